package xt

import (
	"fmt"
	"strings"

	"natlab/nat/rules"
)

// TOS is -m tos: bits of the type of service or traffic class (xt_dscp.c, tos_mt).
type TOS struct {
	Not         bool
	Value, Mask uint8
}

// SetTOS is -j TOS: tos = tos &^ Mask ^ Value (xt_DSCP.c, tos_tg).
type SetTOS struct{ Value, Mask uint8 }

var tosRow = Extension{
	Name:     "tos",
	Listed:   listedValue("tos match", "--tos"),
	Options:  []Option{{Name: "--tos", Values: 1, Not: true}},
	Examples: []string{"--tos 0x10/0x3f", "! --tos 0xff/0xff"},
	Parse: func(a *Args) Value {
		var m TOS
		a.Need("--tos")
		a.Once()
		for g := range a.Options {
			m.Not = g.Not
			m.Value, m.Mask = g.tos()
		}
		return m
	},
	// struct xt_tos_match_info { __u8 tos_mask, tos_value, invert; }
	Layouts: layouts(layout(1, 3,
		func(d []byte, _ *Env) (TOS, bool) { return TOS{d[2] != 0, d[1], d[0]}, true },
		func(m TOS, d []byte, _ *Env) error { d[0], d[1], d[2] = m.Mask, m.Value, flagByte(m.Not); return nil })),
}

var setTOSRow = Extension{
	Name: "TOS", Kind: TargetKind, Tables: []string{"mangle"},
	Listed: func(l *Listing) bool {
		if !l.TakeWord("TOS") {
			return false
		}
		verb := l.Word() // without -n "and" and its like
		l.Give("--"+verb+"-tos", false, l.Word())
		return true
	},
	Options: []Option{
		{Name: "--set-tos", Values: 1}, {Name: "--and-tos", Values: 1}, {Name: "--or-tos", Values: 1}, {Name: "--xor-tos", Values: 1},
	},
	Examples: []string{"--set-tos 0x1f/0xff", "--set-tos 0x00/0xed", "--set-tos 0x12/0x00"},
	Parse:    parseSetTOS,
	// struct xt_tos_target_info { __u8 tos_value, tos_mask; }
	Layouts: layouts(layout(1, 2,
		func(d []byte, _ *Env) (SetTOS, bool) { return SetTOS{d[0], d[1]}, true },
		func(t SetTOS, d []byte, _ *Env) error { d[0], d[1] = t.Value, t.Mask; return nil })),
}

func parseSetTOS(a *Args) Value {
	var t SetTOS
	names := []string{"--set-tos", "--and-tos", "--or-tos", "--xor-tos"}
	a.Need(names...)
	a.Exclusive(names...)
	a.Once()
	for g := range a.Options {
		switch g.Name() {
		case "--set-tos":
			t.Value, t.Mask = g.tos()
		case "--and-tos":
			t.Mask = ^uint8(g.Uint(8))
		case "--or-tos":
			t.Value = uint8(g.Uint(8))
			t.Mask = t.Value
		case "--xor-tos":
			t.Value = uint8(g.Uint(8))
		}
	}
	return t
}

// tosNames are the types of service of RFC 1349, with the bit of each.
var tosNames = []struct {
	name  string
	value uint8
}{{"Minimize-Delay", 0x10}, {"Maximize-Throughput", 0x08}, {"Maximize-Reliability", 0x04}, {"Minimize-Cost", 0x02}, {"Normal-Service", 0}}

// tos is the first value as VALUE[/MASK] or as a name, whose mask leaves the precedence alone.
func (g *Given) tos() (value, mask uint8) {
	for _, t := range tosNames {
		if strings.EqualFold(t.name, g.Text()) {
			return t.value, 0x3f
		}
	}
	v, m, masked := strings.Cut(g.Text(), "/")
	x, ok := Number(v, 0xff)
	y := uint64(0xff)
	if masked && ok {
		y, ok = Number(m, 0xff)
	}
	if !ok {
		g.bad(0, "VALUE[/MASK] of 8 bits, Minimize-Delay, Maximize-Throughput, Maximize-Reliability, Minimize-Cost or Normal-Service")
	}
	return uint8(x), uint8(y)
}

// Name is "tos".
func (TOS) Name() string { return "tos" }

// Save prints the bits.
func (m TOS) Save(p *Printer) {
	p.Not(m.Not)
	p.Textf(" --tos 0x%02x/0x%02x", m.Value, m.Mask)
}

// List prints the bits as iptables -L does.
func (m TOS) List(p *Printer) { p.Textf(" tos match%s0x%02x/0x%02x", bang(m.Not), m.Value, m.Mask) }

// Holds compares the packet's bits.
func (m TOS) Holds(v *rules.Visit) rules.Answer {
	if v.Wire == nil {
		return rules.Unknown
	}
	return rules.Is(v.Wire.TOS()&m.Mask == m.Value, m.Not)
}

// Actual is the packet's type of service.
func (TOS) Actual(v *rules.Visit) string { return fmt.Sprintf("TOS 0x%02x", v.Wire.TOS()) }

// Name is "TOS".
func (SetTOS) Name() string { return "TOS" }

// Save prints the bits.
func (t SetTOS) Save(p *Printer) { p.Textf(" --set-tos 0x%02x/0x%02x", t.Value, t.Mask) }

// List prints the bits as iptables -L does.
func (t SetTOS) List(p *Printer) { p.Textf(" TOS set 0x%02x/0x%02x", t.Value, t.Mask) }

// Act writes the bits.
func (t SetTOS) Act(v *rules.Visit) rules.Action {
	if v.Wire != nil {
		v.SetTOS(v.Wire.TOS()&^t.Mask ^ t.Value)
	}
	return rules.Continue()
}
