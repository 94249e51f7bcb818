package xt

import (
	"fmt"

	"natlab/nat/rules"
)

// Length is -m length: the packet's length in bytes, with its IP header (xt_length.c). Nothing is between ends in the wrong
// order.
type Length struct {
	Not      bool
	Min, Max uint16
}

var lengthRow = Extension{
	Name:     "length",
	Options:  []Option{{Name: "--length", Values: 1, Not: true}},
	Examples: []string{"--length 1:5", "--length 40", "! --length 0:65535"},
	Parse: func(a *Args) Value {
		var m Length
		a.Need("--length")
		a.Once()
		for g := range a.Options {
			low, high := g.Range(":", 16)
			m = Length{g.Not, uint16(low), uint16(high)}
		}
		return m
	},
	Listed: listedValue("length", "--length"),
	// struct xt_length_info { __u16 min, max; __u8 invert; }
	Layouts: layouts(layout(0, spanSize,
		func(d []byte, _ *Env) (Length, bool) {
			not, low, high := span16(d)
			return Length{not, low, high}, true
		},
		func(m Length, d []byte, _ *Env) error { putSpan16(d, m.Not, m.Min, m.Max); return nil })),
}

// spanSize is the size of { __u16 min, max; __u8 invert; }, which xt_tcpmss_match_info is, too.
const spanSize = 5

func span16(d []byte) (not bool, low, high uint16) {
	return d[4] != 0, order.Uint16(d), order.Uint16(d[2:])
}

func putSpan16(d []byte, not bool, low, high uint16) {
	order.PutUint16(d, low)
	order.PutUint16(d[2:], high)
	d[4] = flagByte(not)
}

// Name is "length".
func (Length) Name() string { return "length" }

// Save prints the range.
func (m Length) Save(p *Printer) { p.Option(m.Not, "--length", span(m.Min, m.Max, ":")) }

// List prints the range as iptables -L does.
func (m Length) List(p *Printer) { p.Text(" length ", bang(m.Not), span(m.Min, m.Max, ":")) }

// Holds measures the packet.
func (m Length) Holds(v *rules.Visit) rules.Answer {
	if v.Wire == nil {
		return rules.Unknown
	}
	n := v.Wire.Len()
	return rules.Is(int(m.Min) <= n && n <= int(m.Max), m.Not)
}

// Actual is the packet's length.
func (Length) Actual(v *rules.Visit) string { return fmt.Sprintf("%d bytes", v.Wire.Len()) }
