package xt

import (
	"fmt"
	"net/netip"
	"strings"

	"natlab/nat/rules"
)

// IPRange is -m iprange: source and destination between two addresses (xt_iprange.c).
type IPRange struct{ Source, Destination AddrRange }

// AddrRange is the addresses from Min to Max, both in; the zero AddrRange asks for none. One that ends before it begins
// holds no address.
type AddrRange struct {
	Not      bool
	Min, Max netip.Addr
}

var ipRangeRow = Extension{
	Name:    "iprange",
	Options: []Option{{Name: "--src-range", Values: 1, Not: true}, {Name: "--dst-range", Values: 1, Not: true}},
	Examples: []string{
		"--src-range 1.1.1.1-2.2.2.2 ! --dst-range 3.3.3.3-4.4.4.4", "--dst-range 1.1.1.1-1.1.1.1", "! --src-range fd00::1-fd00::ffff",
	},
	Listed: func(l *Listing) bool {
		for _, side := range [][2]string{{"source IP range", "--src-range"}, {"destination IP range", "--dst-range"}} {
			if l.Take(side[0]) {
				l.Give(side[1], l.Bang(), l.Word())
			}
		}
		return len(l.given) > 0
	},
	Parse: func(a *Args) Value {
		var m IPRange
		a.Need("--src-range", "--dst-range")
		a.Once()
		for g := range a.Options {
			side := &m.Source
			if g.Name() == "--dst-range" {
				side = &m.Destination
			}
			*side = g.addrRange()
		}
		return m
	},
	// struct xt_iprange_mtinfo { union nf_inet_addr src_min, src_max, dst_min, dst_max; __u8 flags; }
	Layouts: layouts(layout(1, 65, decodeIPRange, encodeIPRange)),
}

// addrRange is the option's value as LOW-HIGH, or as one address.
func (g *Given) addrRange() AddrRange {
	low, high, two := strings.Cut(g.Text(), "-")
	if !two {
		high = low
	}
	first, ok := NetworkAddr(low, g.args.Family)
	last, ok2 := NetworkAddr(high, g.args.Family)
	if !ok || !ok2 {
		g.bad(0, "ADDRESS-ADDRESS of "+g.args.Family.String())
	}
	return AddrRange{g.Not, first, last}
}

// Bits of xt_iprange_mtinfo.flags: a side that is asked for (IPRANGE_SRC, _DST), and one that is inverted (IPRANGE_SRC_INV,
// _DST_INV).
const (
	ipRangeSource  = 1 << 0
	ipRangeInverse = 4 // shift
)

func (m *IPRange) sides() [2]*AddrRange { return [2]*AddrRange{&m.Source, &m.Destination} }

func decodeIPRange(d []byte, e *Env) (m IPRange, ok bool) {
	for i, side := range m.sides() {
		bit := byte(ipRangeSource << i)
		if d[64]&bit != 0 {
			*side = AddrRange{d[64]&(bit<<ipRangeInverse) != 0, inetAddr(e.Family, d[32*i:]), inetAddr(e.Family, d[32*i+16:])}
		}
	}
	return m, d[64]&^0x33 == 0 && d[64]&0x03 != 0
}

func encodeIPRange(m IPRange, d []byte, _ *Env) error {
	for i, side := range m.sides() {
		if !side.Min.IsValid() {
			continue
		}
		bit := byte(ipRangeSource << i)
		d[64] |= bit | flagByte(side.Not)*(bit<<ipRangeInverse)
		copy(d[32*i:], side.Min.AsSlice())
		copy(d[32*i+16:], side.Max.AsSlice())
	}
	return nil
}

// Name is "iprange".
func (IPRange) Name() string { return "iprange" }

// Save prints the ranges.
func (m IPRange) Save(p *Printer) { m.print(p, "", " --src-range ", " --dst-range ") }

// List prints the ranges as iptables -L does.
func (m IPRange) List(p *Printer) { m.print(p, " ", " source IP range", " destination IP range") }

// print prints each range behind its name; behind -L's, which ends without a blank, stand the "!" and the range.
func (m IPRange) print(p *Printer, behind string, names ...string) {
	for i, side := range m.sides() {
		if !side.Min.IsValid() {
			continue
		}
		if behind == "" {
			p.Not(side.Not)
		}
		p.Text(names[i])
		if behind != "" {
			p.Not(side.Not)
		}
		p.Text(behind)
		p.Addr(side.Min)
		p.Text("-")
		p.Addr(side.Max)
	}
}

// Holds compares the packet's addresses.
func (m IPRange) Holds(v *rules.Visit) rules.Answer {
	return rules.Is(m.Source.holds(v.Tuple.Src().Addr()) && m.Destination.holds(v.Tuple.Dst().Addr()), false)
}

func (r AddrRange) holds(a netip.Addr) bool {
	return !r.Min.IsValid() || (r.Min.Compare(a) <= 0 && a.Compare(r.Max) <= 0) != r.Not
}

// Actual is the packet's addresses.
func (IPRange) Actual(v *rules.Visit) string {
	return fmt.Sprintf("from %s to %s", v.Tuple.Src().Addr(), v.Tuple.Dst().Addr())
}
