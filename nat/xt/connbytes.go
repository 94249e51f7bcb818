package xt

import (
	"fmt"
	"math"
	"strings"

	"natlab/nat/rules"
)

// ConnBytes is -m connbytes: how much a connection has carried so far, this packet included (xt_connbytes.c). A rule with it
// makes the kernel count connections that begin from then on; of others it holds for none.
type ConnBytes struct {
	From, To uint64 // both in; where From is the greater, all but those between and not the two either
	Mode     ConnBytesMode
	Dir      ConnBytesDir
}

// ConnBytesMode is what is counted (enum xt_connbytes_what).
type ConnBytesMode uint8

// The modes.
const (
	ConnPackets ConnBytesMode = iota
	ConnBytesTotal
	ConnBytesAverage // bytes a packet, rounded down
)

// ConnBytesDir is of which direction (enum xt_connbytes_direction).
type ConnBytesDir uint8

// The directions.
const (
	ConnBytesOriginal ConnBytesDir = iota
	ConnBytesReply
	ConnBytesBoth
)

var (
	connBytesModes = []string{"packets", "bytes", "avgpkt"}
	connBytesDirs  = []string{"original", "reply", "both"}
)

var connBytesRow = Extension{
	Name: "connbytes",
	Options: []Option{
		{Name: "--connbytes", Values: 1, Not: true},
		{Name: "--connbytes-mode", Values: 1},
		{Name: "--connbytes-dir", Values: 1},
	},
	Examples: []string{
		"--connbytes 0:1000 --connbytes-mode packets --connbytes-dir original", "! --connbytes 5 --connbytes-mode bytes --connbytes-dir reply",
		"! --connbytes 5:6 --connbytes-mode avgpkt --connbytes-dir both", "--connbytes 18446744073709551614 --connbytes-mode bytes --connbytes-dir both",
	},
	Parse: func(a *Args) Value {
		var m ConnBytes
		a.Once()
		a.Need("--connbytes")
		a.Need("--connbytes-mode")
		a.Need("--connbytes-dir")
		for g := range a.Options {
			switch g.Name() {
			case "--connbytes":
				m.parse(g)
			case "--connbytes-mode":
				m.Mode = ConnBytesMode(g.Choice(false, connBytesModes...))
			case "--connbytes-dir":
				m.Dir = ConnBytesDir(g.Choice(false, connBytesDirs...))
			}
		}
		return m
	},
	Listed: func(l *Listing) bool {
		not := l.TakeWord("!")
		return l.Value("connbytes ", "--connbytes", not) && l.Value("connbytes mode ", "--connbytes-mode", false) &&
			l.Value("connbytes direction ", "--connbytes-dir", false)
	},
	// struct xt_connbytes_info { struct { __aligned_u64 from, to; } count; __u8 what, direction; };
	Layouts: layouts(layout(0, 24,
		func(d []byte, _ *Env) (ConnBytes, bool) {
			m := ConnBytes{order.Uint64(d), order.Uint64(d[8:]), ConnBytesMode(d[16]), ConnBytesDir(d[17])}
			return m, m.Mode <= ConnBytesAverage && m.Dir <= ConnBytesBoth
		},
		func(m ConnBytes, d []byte, _ *Env) error {
			order.PutUint64(d, m.From)
			order.PutUint64(d[8:], m.To)
			d[16], d[17] = byte(m.Mode), byte(m.Dir)
			return nil
		})),
	Tracks: true,
	Counts: true,
}

// parse reads "5", which has no end, "5:", ":5" or "5:6".
func (m *ConnBytes) parse(g *Given) {
	m.From, m.To = g.Range(":", 64)
	if m.From == m.To && !strings.Contains(g.Text(), ":") {
		m.To = math.MaxUint64
	}
	if m.To < m.From {
		g.bad(0, "FROM[:TO], TO not below FROM")
	}
	if g.Not {
		m.From, m.To = m.To, m.From
	}
}

// Name is "connbytes".
func (ConnBytes) Name() string { return "connbytes" }

// Save prints the bounds, what is counted, and of which direction.
func (m ConnBytes) Save(p *Printer) {
	m.print(p, " --connbytes ")
	p.Text(" --connbytes-mode ", connBytesModes[m.Mode], " --connbytes-dir ", connBytesDirs[m.Dir])
}

// List prints the same as iptables -L does.
func (m ConnBytes) List(p *Printer) {
	m.print(p, " connbytes ")
	p.Text(" connbytes mode ", connBytesModes[m.Mode], " connbytes direction ", connBytesDirs[m.Dir])
}

// print prints the bounds, and no upper one that is 0 or the greatest number.
func (m ConnBytes) print(p *Printer, option string) {
	low, high := min(m.From, m.To), max(m.From, m.To)
	p.Not(m.From > m.To)
	p.Textf("%s%d", option, low)
	if high != 0 && high != math.MaxUint64 {
		p.Textf(":%d", high)
	}
}

// Holds asks what the connection has carried.
func (m ConnBytes) Holds(v *rules.Visit) rules.Answer {
	if !v.Tracked() {
		return rules.No
	}
	c, ok := connOf(v)
	if !ok {
		return rules.Unknown
	}
	n := m.count(&c)
	if m.From > m.To {
		return rules.Is(c.Counted && (n < m.To || n > m.From), false)
	}
	return rules.Is(c.Counted && n >= m.From && n <= m.To, false)
}

func (m ConnBytes) count(c *rules.Conn) uint64 {
	packets, bytes := c.Packets[0]+c.Packets[1], c.Bytes[0]+c.Bytes[1]
	if m.Dir != ConnBytesBoth {
		packets, bytes = c.Packets[m.Dir], c.Bytes[m.Dir]
	}
	switch {
	case m.Mode == ConnPackets:
		return packets
	case m.Mode == ConnBytesTotal:
		return bytes
	case packets == 0:
		return 0
	}
	return bytes / packets
}

// Actual is what the connection has carried.
func (m ConnBytes) Actual(v *rules.Visit) string {
	c, ok := connOf(v)
	switch {
	case !v.Tracked():
		return "no connection"
	case !ok:
		return "the connection is not known"
	case !c.Counted:
		return "the connection is not counted"
	}
	return fmt.Sprintf("%d %s of the direction %s", m.count(&c), connBytesModes[m.Mode], connBytesDirs[m.Dir])
}
