package xt

import (
	"fmt"
	"strings"

	"natlab/nat"
	"natlab/nat/rules"
)

// MH is -m mh: the type of a mobility header (ip6t_mh.c).
type MH struct {
	Not       bool
	Low, High uint8
}

const mobilityHeader nat.Proto = 135

// anyMH asks for no type.
var anyMH = MH{High: 255}

var mhRow = Extension{
	Name: "mh", Families: IPv6Only, Needs: "-p mobility-header", Protocols: []nat.Proto{mobilityHeader},
	Options:  []Option{{Name: "--mh-type", Values: 1, Not: true}},
	Examples: []string{"--mh-type 1", "! --mh-type 4:123", ""},
	Parse: func(a *Args) Value {
		m := anyMH
		a.Once()
		for g := range a.Options {
			m = g.mobilityTypes()
		}
		return m
	},
	Listed: func(l *Listing) bool {
		taken := l.TakeWord("mh")
		was := *l
		not := l.Bang()
		if types := l.Run(digits + ":"); types != "" {
			l.Give("--mh-type", not, types)
		} else {
			*l = was
		}
		return taken
	},
	// struct ip6t_mh { __u8 types[2], invflags; }
	Layouts: layouts(layout(0, 3,
		func(d []byte, _ *Env) (MH, bool) { return MH{d[2] != 0, d[0], d[1]}, d[2] <= 1 },
		func(m MH, d []byte, _ *Env) error {
			d[0], d[1], d[2] = m.Low, m.High, flagByte(m.Not)
			return nil
		})),
}

// mobilityNames are the names of types that iptables takes, with the short one of each (RFC 6275, 6.1).
var mobilityNames = [][2]string{
	{"binding-refresh-request", "brr"},
	{"home-test-init", "hoti"},
	{"careof-test-init", "coti"},
	{"home-test", "hot"},
	{"careof-test", "cot"},
	{"binding-update", "bu"},
	{"binding-acknowledgement", "ba"},
	{"binding-error", "be"},
}

// mobilityTypes is the first value as TYPE, LOW:HIGH, LOW: or :HIGH.
func (g *Given) mobilityTypes() MH {
	low, high, two := strings.Cut(g.Text(), ":")
	m, ok, ok2 := MH{Not: g.Not, High: 255}, true, true
	if low != "" || !two {
		m.Low, ok = mobilityType(low)
	}
	switch {
	case !two:
		m.High = m.Low
	case high != "":
		m.High, ok2 = mobilityType(high)
	}
	if !ok || !ok2 || m.Low > m.High {
		g.bad(0, "a type from 0 to 255 or its name, or LOW:HIGH")
	}
	return m
}

// mobilityType is a type by its name, or by the beginning of one, or by its number.
func mobilityType(s string) (kind uint8, ok bool) {
	begins := -1
	for i, names := range mobilityNames {
		for _, name := range names {
			switch {
			case strings.EqualFold(name, s):
				return uint8(i), true
			case begins < 0 && len(s) <= len(name) && strings.EqualFold(name[:len(s)], s):
				begins = i
			}
		}
	}
	if begins >= 0 {
		return uint8(begins), true
	}
	n, ok := Number(s, 255)
	return uint8(n), ok
}

// Name is "mh".
func (MH) Name() string { return "mh" }

// Save prints the types, unless they are all; before wholeRanges inverted ones neither.
func (m MH) Save(p *Printer) {
	if m != anyMH && (m.Low != 0 || m.High != 255 || p.Exact || !p.Version.Before(wholeRanges)) {
		p.Option(m.Not, "--mh-type", span(m.Low, m.High, ":"))
	}
}

// List prints the types as iptables -L does.
func (m MH) List(p *Printer) {
	if p.Text(" mh"); m != anyMH {
		p.Text(" ", bang(m.Not), span(m.Low, m.High, ":"))
	}
}

// Holds looks at the header's type. A header that is cut short, or has something behind it, drops the packet.
func (m MH) Holds(v *rules.Visit) rules.Answer {
	const header = 6
	h, answer := headerOf(v, mobilityHeader, header)
	if h == nil {
		return answer
	}
	if nat.Proto(h[0]) != noNextHeader {
		v.HotDrop = true
		return rules.No
	}
	return rules.Is(m.Low <= h[2] && h[2] <= m.High, m.Not)
}

// Actual is the header's type.
func (MH) Actual(v *rules.Visit) string {
	return actualHeader(v, mobilityHeader, 1, func(h []byte) string { return fmt.Sprintf("mobility type %d", h[min(2, len(h)-1)]) })
}
