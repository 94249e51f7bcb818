package xt

import (
	"fmt"
	"strconv"

	"natlab/nat"
	"natlab/nat/rules"
)

// ICMPType is -m icmp or icmp6 (icmp_match, icmp6_match of ip_tables.c and ip6_tables.c).
type ICMPType struct {
	Not     bool
	V6      bool
	Any     bool // --icmp-type any
	Type    uint8
	Code    uint8
	AnyCode bool
}

// Name is "icmp" or "icmp6".
func (m ICMPType) Name() string {
	if m.V6 {
		return "icmp6"
	}
	return "icmp"
}

// Save prints the type.
func (m ICMPType) Save(p *Printer) {
	option := "--icmp-type"
	if m.V6 {
		option = "--icmpv6-type"
	}
	p.Option(m.Not, option, m.text())
}

func (m ICMPType) text() string {
	if m.Any {
		return "any"
	}
	s := strconv.Itoa(int(m.Type))
	if !m.AnyCode {
		s += "/" + strconv.Itoa(int(m.Code))
	}
	return s
}

// Holds compares type and code. A later fragment has none.
func (m ICMPType) Holds(v *rules.Visit) rules.Answer {
	want := nat.ICMP
	if m.V6 {
		want = nat.ICMPv6
	}
	if v.Tuple.Proto() != want || v.Later {
		return rules.No
	}
	return rules.Is(m.Any || v.ICMPType == m.Type && (m.AnyCode || v.ICMPCode == m.Code), m.Not)
}

// Actual is the packet's type and code.
func (ICMPType) Actual(v *rules.Visit) string {
	if proto := v.Tuple.Proto(); v.Later || proto != nat.ICMP && proto != nat.ICMPv6 {
		return "protocol " + proto.String()
	}
	return fmt.Sprintf("ICMP type %d code %d", v.ICMPType, v.ICMPCode)
}
