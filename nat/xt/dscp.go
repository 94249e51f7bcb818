package xt

import (
	"fmt"
	"strings"

	"natlab/nat/rules"
)

// DSCP is -m dscp: the upper six bits of the type of service or traffic class (xt_dscp.c).
type DSCP struct {
	Not   bool
	Value uint8
}

// SetDSCP is -j DSCP (xt_DSCP.c).
type SetDSCP struct{ Value uint8 }

const dscpShift = 2 // XT_DSCP_SHIFT: below are the two bits of ECN

var dscpRow = Extension{
	Name:     "dscp",
	Listed:   listedValue("DSCP match", "--dscp"),
	Options:  []Option{{Name: "--dscp", Values: 1, Not: true}, {Name: "--dscp-class", Values: 1, Not: true}},
	Examples: []string{"--dscp 0x03", "! --dscp 0x3f"},
	Parse: func(a *Args) Value {
		var m DSCP
		parseDSCP(a, &m.Not, &m.Value, "--dscp", "--dscp-class")
		return m
	},
	// struct xt_dscp_info { __u8 dscp, invert; }
	Layouts: layouts(layout(0, 2,
		func(d []byte, _ *Env) (DSCP, bool) { return DSCP{d[1] != 0, d[0]}, d[0] < 64 },
		func(m DSCP, d []byte, _ *Env) error { d[0], d[1] = m.Value, flagByte(m.Not); return nil })),
}

var setDSCPRow = Extension{
	Name: "DSCP", Kind: TargetKind, Tables: []string{"mangle"},
	Listed:   listedValue("DSCP set", "--set-dscp"),
	Options:  []Option{{Name: "--set-dscp", Values: 1}, {Name: "--set-dscp-class", Values: 1}},
	Examples: []string{"--set-dscp 0x05", "--set-dscp 0x00"},
	Parse: func(a *Args) Value {
		var t SetDSCP
		var not bool
		parseDSCP(a, &not, &t.Value, "--set-dscp", "--set-dscp-class")
		return t
	},
	// struct xt_DSCP_info { __u8 dscp; }
	Layouts: layouts(layout(0, 1,
		func(d []byte, _ *Env) (SetDSCP, bool) { return SetDSCP{d[0]}, d[0] < 64 },
		func(t SetDSCP, d []byte, _ *Env) error { d[0] = t.Value; return nil })),
}

// parseDSCP reads a code point as a number, or as the name of its class.
func parseDSCP(a *Args, not *bool, value *uint8, number, class string) {
	a.Need(number, class)
	a.Exclusive(number, class)
	a.Once()
	for g := range a.Options {
		if *not = g.Not; g.Name() == number {
			*value = uint8(g.Uint(6))
			continue
		}
		var ok bool
		if *value, ok = classDSCP(g.Text()); !ok {
			g.bad(0, "EF, BE, CS0 to CS7 or AF11 to AF43")
		}
	}
}

// classDSCP is the code point of a class: CSx is the old precedence x, AFxy the class x with a chance y of being dropped
// (RFC 2474, RFC 2597, RFC 3246). What stands behind a name does not count, as iptables has it.
func classDSCP(name string) (value uint8, ok bool) {
	name = strings.ToUpper(name)
	digit := func(i int, low, high byte) bool { return len(name) > i && name[i] >= low && name[i] <= high }
	switch {
	case strings.HasPrefix(name, "BE"):
		return 0, true
	case strings.HasPrefix(name, "EF"):
		return 0x2e, true
	case strings.HasPrefix(name, "CS") && digit(2, '0', '7'):
		return (name[2] - '0') << 3, true
	case strings.HasPrefix(name, "AF") && digit(2, '1', '4') && digit(3, '1', '3'):
		return (name[2]-'0')<<3 | (name[3]-'0')<<1, true
	}
	return 0, false
}

// Name is "dscp".
func (DSCP) Name() string { return "dscp" }

// Save prints the code point.
func (m DSCP) Save(p *Printer) {
	p.Not(m.Not)
	p.Textf(" --dscp 0x%02x", m.Value)
}

// List prints the code point as iptables -L does.
func (m DSCP) List(p *Printer) { p.Textf(" DSCP match %s0x%02x", bang(m.Not), m.Value) }

// Holds compares the packet's code point.
func (m DSCP) Holds(v *rules.Visit) rules.Answer {
	if v.Wire == nil {
		return rules.Unknown
	}
	return rules.Is(v.Wire.TOS()>>dscpShift == m.Value, m.Not)
}

// Actual is the packet's code point.
func (DSCP) Actual(v *rules.Visit) string { return fmt.Sprintf("DSCP 0x%02x", v.Wire.TOS()>>dscpShift) }

// Name is "DSCP".
func (SetDSCP) Name() string { return "DSCP" }

// Save prints the code point.
func (t SetDSCP) Save(p *Printer) { p.Textf(" --set-dscp 0x%02x", t.Value) }

// List prints the code point as iptables -L does.
func (t SetDSCP) List(p *Printer) { p.Textf(" DSCP set 0x%02x", t.Value) }

// Act writes the code point; ECN's bits stay.
func (t SetDSCP) Act(v *rules.Visit) rules.Action {
	if v.Wire != nil {
		v.SetTOS(v.Wire.TOS()&(1<<dscpShift-1) | t.Value<<dscpShift)
	}
	return rules.Continue()
}
