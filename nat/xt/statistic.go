package xt

import (
	"math"
	"strconv"
	"strings"

	"natlab/nat/rules"
)

// Statistic is -m statistic (xt_statistic.c).
type Statistic struct {
	Not         bool
	Probability uint32 // of random mode: times 2^-31, as struct xt_statistic_info keeps it
	Every       uint32 // of nth mode; 0 means random mode
	Packet      uint32 // of nth mode: how many packets go by before the first that matches, below Every
}

var statisticRow = Extension{
	Name: "statistic",
	Options: []Option{
		{Name: "--mode", Values: 1},
		{Name: "--probability", Values: 1, Not: true},
		{Name: "--every", Values: 1, Not: true},
		{Name: "--packet", Values: 1},
	},
	Examples: []string{
		"--mode random --probability 0.50000000000", "--mode random ! --probability 0.33333333349", "--mode random --probability 1.00000000000",
		"--mode nth --every 3 --packet 0", "--mode nth ! --every 5 --packet 4",
	},
	Parse: parseStatistic,
	Listed: func(l *Listing) bool {
		listed := l.TakeWord("statistic") && l.Options("")
		if l.Gave("--every") && !l.Gave("--packet") {
			l.Give("--packet", false, "0")
		}
		return listed
	},
	// struct xt_statistic_info { __u16 mode, flags; union { struct { __u32 probability; } random;
	// struct { __u32 every, packet, count; } nth; } u; struct xt_statistic_priv *master; }; every is kept less 1.
	Layouts:   layouts(layout(0, 24, decodeStatistic, encodeStatistic)),
	Remembers: true,
}

func parseStatistic(a *Args) Value {
	var m Statistic
	mode := 0
	a.Once()
	a.Need("--mode")
	a.Exclusive("--probability", "--every")
	a.Exclusive("--probability", "--packet")
	for g := range a.Options {
		switch g.Name() {
		case "--mode":
			mode = g.Choice(false, "random", "nth")
		case "--probability":
			m.Not, m.Probability = g.Not, g.probability()
		case "--every":
			m.Not, m.Every = g.Not, uint32(g.Within(1, math.MaxUint32))
		case "--packet":
			m.Packet = uint32(g.Uint(32))
		}
	}
	if mode == 0 {
		a.Need("--probability")
		return m
	}
	a.Need("--every")
	a.Need("--packet")
	if m.Packet >= m.Every {
		a.Fail("--packet %d: want less than --every %d", m.Packet, m.Every)
	}
	return m
}

// probability is the first value as a fraction, rounded to a multiple of 2^-31.
func (g *Given) probability() uint32 {
	f, err := strconv.ParseFloat(g.Text(), 64)
	if err != nil || f < 0 || f > 1 || math.IsNaN(f) || strings.Contains(g.Text(), "_") {
		g.bad(0, "0 to 1")
		return 0
	}
	return uint32(math.Round(f * (1 << 31)))
}

func decodeStatistic(d []byte, _ *Env) (Statistic, bool) {
	m := Statistic{Not: order.Uint16(d[2:]) != 0}
	mode := order.Uint16(d)
	if mode == 0 {
		m.Probability = order.Uint32(d[4:])
	} else {
		m.Every, m.Packet = order.Uint32(d[4:])+1, order.Uint32(d[8:])
	}
	return m, mode <= 1 && order.Uint16(d[2:]) <= 1 && (mode == 0 || m.Every != 0)
}

func encodeStatistic(m Statistic, d []byte, _ *Env) error {
	order.PutUint16(d[2:], uint16(flagByte(m.Not)))
	order.PutUint32(d[4:], m.Probability)
	if m.Every != 0 {
		order.PutUint16(d, 1)
		order.PutUint32(d[4:], m.Every-1)
		order.PutUint32(d[8:], m.Packet)
	}
	// The program sets the counter in either mode.
	order.PutUint32(d[12:], order.Uint32(d[4:])-order.Uint32(d[8:]))
	return nil
}

// Chance is the probability of a random Statistic.
func (m Statistic) Chance() float64 { return float64(m.Probability) / (1 << 31) }

// Name is "statistic".
func (Statistic) Name() string { return "statistic" }

// Save prints the mode and its numbers.
func (m Statistic) Save(p *Printer) {
	m.print(p, " --")
	if m.Every != 0 {
		p.Number("--packet", uint64(m.Packet))
	}
}

// List prints the mode and its numbers as iptables -L does, without a --packet of 0.
func (m Statistic) List(p *Printer) {
	p.Text(" statistic")
	m.print(p, " ")
	if m.Packet != 0 {
		p.Number("packet", uint64(m.Packet))
	}
}

func (m Statistic) print(p *Printer, dashes string) {
	option := strings.TrimPrefix(dashes, " ")
	if m.Every == 0 {
		p.Text(dashes, "mode random")
		p.Option(m.Not, option+"probability", "")
		p.buf = strconv.AppendFloat(p.buf, m.Chance(), 'f', 11, 64)
		return
	}
	p.Text(dashes, "mode nth")
	p.Not(m.Not)
	p.Number(option+"every", uint64(m.Every))
}

// Holds lets chance decide; of mode nth, where the World knows where it stands, the counter: it goes from 0 to every-1, and the packet
// that makes it 0 matches. --packet tells where it begins.
func (m Statistic) Holds(v *rules.Visit) rules.Answer {
	p := m.Chance()
	if m.Every != 0 {
		if memory := rules.Counting(v.World); memory != nil {
			count := rules.Recall(memory, v.At, func() uint32 { return m.Every - m.Packet - 1 })
			if *count++; *count >= m.Every {
				*count = 0
			}
			return rules.Is(*count == 0, m.Not)
		}
		p = 1 / float64(m.Every) // which of every n this packet is, is not known
	}
	return rules.Is(v.Take(p), m.Not)
}

// Actual tells that chance cannot take the rule.
func (Statistic) Actual(*rules.Visit) string { return "its probability is 0" }
