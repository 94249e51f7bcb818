package xt

import (
	"strconv"

	"natlab/nat/rules"
)

// Statistic is -m statistic (xt_statistic.c).
type Statistic struct {
	Not         bool
	Probability uint32 // of random mode: times 2^-31, as struct xt_statistic_info keeps it
	Every       uint32 // of nth mode; 0 means random mode
	Packet      uint32
}

// Chance is the probability of a random Statistic.
func (m Statistic) Chance() float64 { return float64(m.Probability) / (1 << 31) }

// Name is "statistic".
func (Statistic) Name() string { return "statistic" }

// Save prints the mode and its numbers.
func (m Statistic) Save(p *Printer) {
	if m.Every == 0 {
		p.Text(" --mode random")
		p.Option(m.Not, "--probability", "")
		p.buf = strconv.AppendFloat(p.buf, m.Chance(), 'f', 11, 64)
		return
	}
	p.Text(" --mode nth")
	p.Not(m.Not)
	p.Number("--every", uint64(m.Every))
	p.Number("--packet", uint64(m.Packet))
}

// Holds lets chance decide; of mode nth, where the World remembers, the counter: it goes from 0 to every-1, and the packet
// that makes it 0 matches. --packet tells where it begins.
func (m Statistic) Holds(v *rules.Visit) rules.Answer {
	p := m.Chance()
	if m.Every != 0 {
		if w, ok := v.World.(rules.Rememberer); ok && w.Memory() != nil {
			count := rules.Recall(w.Memory(), v.At, func() uint32 { return m.Every - m.Packet - 1 })
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
