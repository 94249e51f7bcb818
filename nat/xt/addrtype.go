package xt

import (
	"net/netip"
	"strings"

	"natlab/nat/rules"
)

// AddrType is -m addrtype (xt_addrtype.c). An empty kind is not asked for.
type AddrType struct {
	NotSource, NotDestination bool
	Source, Destination       string // "LOCAL", "UNICAST", ..., several joined by ","
	LimitIn, LimitOut         bool
}

// Name is "addrtype".
func (AddrType) Name() string { return "addrtype" }

// Save prints the types and the device they are limited to.
func (m AddrType) Save(p *Printer) {
	if m.Source != "" {
		p.Option(m.NotSource, "--src-type", m.Source)
	}
	if m.Destination != "" {
		p.Option(m.NotDestination, "--dst-type", m.Destination)
	}
	p.Flag(m.LimitIn, "--limit-iface-in")
	p.Flag(m.LimitOut, "--limit-iface-out")
}

// device is the device that the question is limited to, "" for none.
func (m AddrType) device(v *rules.Visit) string {
	switch {
	case m.LimitIn:
		return v.In
	case m.LimitOut:
		return v.Out
	}
	return ""
}

// Holds asks for the types of the packet's addresses.
func (m AddrType) Holds(v *rules.Visit) rules.Answer {
	dev := m.device(v)
	if m.Source != "" && isType(m.Source, v.Tuple.Src().Addr(), dev, v.World) == m.NotSource {
		return rules.No
	}
	return rules.Is(m.Destination == "" || isType(m.Destination, v.Tuple.Dst().Addr(), dev, v.World) != m.NotDestination, false)
}

// isType reports whether an address is of one of the types.
func isType(types string, a netip.Addr, dev string, w rules.World) bool {
	actual := w.AddrType(a, dev)
	if a.Is6() {
		return isType6(types, actual, a)
	}
	for one := range strings.SplitSeq(types, ",") {
		if one == actual {
			return true
		}
	}
	return false
}

// isType6 is match_type6: what is asked for must all hold, and an address of the node is UNICAST too.
func isType6(types, actual string, a netip.Addr) bool {
	routed, asked := false, false
	for one := range strings.SplitSeq(types, ",") {
		switch one {
		case "MULTICAST":
			if !a.IsMulticast() {
				return false
			}
		case "UNICAST":
			if a.IsMulticast() || a.IsUnspecified() {
				return false
			}
		case "UNSPEC":
			if !a.IsUnspecified() {
				return false
			}
		case "LOCAL", "ANYCAST", "UNREACHABLE":
			asked = true
			routed = routed || one == actual
		}
	}
	return routed || !asked
}

// Actual is the type of the address that is of another one.
func (m AddrType) Actual(v *rules.Visit) string {
	dev := m.device(v)
	if m.Source != "" && isType(m.Source, v.Tuple.Src().Addr(), dev, v.World) == m.NotSource {
		return typeText("source", v.Tuple.Src().Addr(), dev, v.World)
	}
	return typeText("destination", v.Tuple.Dst().Addr(), dev, v.World)
}

func typeText(side string, a netip.Addr, dev string, w rules.World) string {
	return side + " " + a.String() + " is " + w.AddrType(a, dev)
}
