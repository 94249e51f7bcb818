package xt

import (
	"strconv"
	"strings"

	"natlab/nat/rules"
)

// Classify is -j CLASSIFY: the packet gets a traffic class, which no rule asks for, and goes on (xt_CLASSIFY.c).
type Classify struct{ Major, Minor uint16 }

var classifyRow = Extension{
	Name: "CLASSIFY", Kind: TargetKind, Hooks: leaves,
	Options:  []Option{{Name: "--set-class", Values: 1}},
	Examples: []string{"--set-class 0001:000a", "--set-class 0000:ffff"},
	Parse: func(a *Args) Value {
		var t Classify
		a.Once()
		a.Need("--set-class")
		for g := range a.Options {
			t = g.class()
		}
		return t
	},
	// struct xt_classify_target_info { __u32 priority; }
	Layouts: layouts(layout(0, 4,
		func(d []byte, _ *Env) (Classify, bool) {
			n := order.Uint32(d)
			return Classify{uint16(n >> 16), uint16(n)}, true
		},
		func(t Classify, d []byte, _ *Env) error {
			order.PutUint32(d, uint32(t.Major)<<16|uint32(t.Minor))
			return nil
		})),
	Listed: listedValue("CLASSIFY set ", "--set-class"),
}

// class reads MAJOR:MINOR, always hexadecimal; iptables keeps the lower half of a number that is longer.
func (g *Given) class() Classify {
	major, minor, ok := strings.Cut(g.Text(), ":")
	hex := func(s string) uint16 {
		n, err := strconv.ParseUint(strings.TrimPrefix(strings.ToLower(s), "0x"), 16, 32)
		ok = ok && err == nil
		return uint16(n)
	}
	t := Classify{hex(major), hex(minor)}
	if !ok {
		g.bad(0, "MAJOR:MINOR, hexadecimal")
	}
	return t
}

// Name is "CLASSIFY".
func (Classify) Name() string { return "CLASSIFY" }

// Save prints the class.
func (t Classify) Save(p *Printer) { p.Textf(" --set-class %04x:%04x", t.Major, t.Minor) }

// List prints the class as iptables -L does.
func (t Classify) List(p *Printer) { p.Textf(" CLASSIFY set %x:%x", t.Major, t.Minor) }

// Act goes on.
func (Classify) Act(*rules.Visit) rules.Action { return rules.Continue() }
