package xt

import (
	"fmt"
	"net/netip"
	"strings"

	"natlab/nat"
	"natlab/nat/rules"
)

// AddrType is -m addrtype: what the node's routes make of an address (xt_addrtype.c). No type is not asked for.
type AddrType struct {
	NotSource, NotDestination bool
	Source, Destination       AddrTypes
	LimitIn, LimitOut         bool
}

// AddrTypes is a set of routing types (XT_ADDRTYPE_*), by the kernel's numbers of them (RTN_*).
type AddrTypes uint16

// The types that IPv6 knows, too, and two that it does not.
const (
	AddrUnspec AddrTypes = 1 << iota
	AddrUnicast
	AddrLocal
	AddrBroadcast
	AddrAnycast
	AddrMulticast
	AddrBlackhole
	AddrUnreachable
)

// addrNotInIPv6 are the types that the kernel refuses in IPv6: BROADCAST, BLACKHOLE, and all above UNREACHABLE.
const addrNotInIPv6 = AddrBroadcast | AddrBlackhole | 0xff00

var addrTypeNames = []string{"UNSPEC", "UNICAST", "LOCAL", "BROADCAST", "ANYCAST", "MULTICAST", "BLACKHOLE", "UNREACHABLE", "PROHIBIT", "THROW", "NAT", "XRESOLVE"}

// String is the types' names, joined by commas.
func (t AddrTypes) String() string {
	var out []string
	for i, name := range addrTypeNames {
		if t&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	return strings.Join(out, ",")
}

// has reports whether a type is among them, by its name.
func (t AddrTypes) has(name string) bool {
	for i, n := range addrTypeNames {
		if n == name {
			return t&(1<<i) != 0
		}
	}
	return false
}

var addrTypeRow = Extension{
	Name: "addrtype",
	Options: []Option{
		{Name: "--src-type", Values: 1, Not: true},
		{Name: "--dst-type", Values: 1, Not: true},
		{Name: "--limit-iface-in"},
		{Name: "--limit-iface-out"},
	},
	Examples: []string{
		"--dst-type LOCAL", "! --src-type UNICAST,LOCAL --dst-type ANYCAST", "--src-type MULTICAST ! --dst-type UNSPEC",
		"--src-type LOCAL --limit-iface-in", "! --dst-type LOCAL --limit-iface-out",
	},
	Parse: parseAddrType,
	Layouts: layouts(
		// struct xt_addrtype_info_v1 { __u16 source, dest; __u32 flags; }
		layout(1, 8, decodeAddrType, encodeAddrType),
		// struct xt_addrtype_info { __u16 source, dest; __u32 invert_source, invert_dest; }
		layout(0, 12, decodeAddrType0, encodeAddrType0).only(IPv4Only),
	),
	Listed: listedAddrType,
}

func parseAddrType(a *Args) Value {
	var m AddrType
	a.Once()
	a.Need("--src-type", "--dst-type")
	a.Exclusive("--limit-iface-in", "--limit-iface-out")
	for g := range a.Options {
		switch g.Name() {
		case "--src-type":
			m.NotSource, m.Source = g.Not, g.addrTypes()
		case "--dst-type":
			m.NotDestination, m.Destination = g.Not, g.addrTypes()
		case "--limit-iface-in":
			m.LimitIn = true
		case "--limit-iface-out":
			m.LimitOut = true
		}
	}
	return m
}

// addrTypes reads names of types, joined by commas, each as short as it pleases.
func (g *Given) addrTypes() AddrTypes {
	types := AddrTypes(g.Shortened(addrTypeNames))
	if wrong := types & addrNotInIPv6; wrong != 0 && g.args.Family == nat.IPv6 {
		g.bad(0, "no "+wrong.String()+": the kernel does not ask for it in IPv6")
	}
	return types
}

// Bits of xt_addrtype_info_v1.flags: XT_ADDRTYPE_INVERT_SOURCE and so on.
const (
	addrInvertSource = 1 << iota
	addrInvertDest
	addrLimitIn
	addrLimitOut
)

func decodeAddrType(d []byte, _ *Env) (AddrType, bool) {
	f := order.Uint32(d[4:])
	m := AddrType{
		f&addrInvertSource != 0, f&addrInvertDest != 0, AddrTypes(order.Uint16(d)), AddrTypes(order.Uint16(d[2:])),
		f&addrLimitIn != 0, f&addrLimitOut != 0,
	}
	return m, f < addrLimitOut<<1 && m.named()
}

func encodeAddrType(m AddrType, d []byte, _ *Env) error {
	order.PutUint16(d, uint16(m.Source))
	order.PutUint16(d[2:], uint16(m.Destination))
	var f uint32
	for bit, on := range []bool{m.NotSource, m.NotDestination, m.LimitIn, m.LimitOut} {
		f |= uint32(flagByte(on)) << bit
	}
	order.PutUint32(d[4:], f)
	return nil
}

func decodeAddrType0(d []byte, _ *Env) (AddrType, bool) {
	m := AddrType{
		NotSource: order.Uint32(d[4:]) != 0, NotDestination: order.Uint32(d[8:]) != 0,
		Source: AddrTypes(order.Uint16(d)), Destination: AddrTypes(order.Uint16(d[2:])),
	}
	return m, m.named()
}

func encodeAddrType0(m AddrType, d []byte, _ *Env) error {
	if m.LimitIn || m.LimitOut {
		return fmt.Errorf("--limit-iface-in and --limit-iface-out need revision 1 of addrtype")
	}
	order.PutUint16(d, uint16(m.Source))
	order.PutUint16(d[2:], uint16(m.Destination))
	order.PutUint32(d[4:], uint32(flagByte(m.NotSource)))
	order.PutUint32(d[8:], uint32(flagByte(m.NotDestination)))
	return nil
}

// named reports whether all types have a name.
func (m AddrType) named() bool { return (m.Source|m.Destination)>>len(addrTypeNames) == 0 }

// Hooks are those where there is the device that the question is limited to (addrtype_mt_checkentry_v1).
func (m AddrType) Hooks() (h Hooks) {
	switch {
	case m.LimitIn:
		return cameIn
	case m.LimitOut:
		return leaves
	}
	return h
}

// Name is "addrtype".
func (AddrType) Name() string { return "addrtype" }

// Save prints the types and the device they are limited to.
func (m AddrType) Save(p *Printer) {
	if m.Source != 0 {
		p.Option(m.NotSource, "--src-type", m.Source.String())
	}
	if m.Destination != 0 {
		p.Option(m.NotDestination, "--dst-type", m.Destination.String())
	}
	p.Flag(m.LimitIn, "--limit-iface-in")
	p.Flag(m.LimitOut, "--limit-iface-out")
}

// List prints the types as iptables -L does.
func (m AddrType) List(p *Printer) {
	p.Text(" ADDRTYPE match")
	if m.Source != 0 {
		p.Text(" src-type ", bang(m.NotSource), m.Source.String())
	}
	if m.Destination != 0 {
		p.Text(" dst-type ", bang(m.NotDestination), m.Destination.String())
	}
	p.Flag(m.LimitIn, "limit-in")
	p.Flag(m.LimitOut, "limit-out")
}

func listedAddrType(l *Listing) bool {
	if !l.Take("ADDRTYPE match") {
		return false
	}
	for _, side := range []string{"src-type", "dst-type"} {
		if l.Take(side + " ") {
			l.Give("--"+side, l.Bang(), l.Word())
		}
	}
	l.Flag("limit-in", "--limit-iface-in")
	l.Flag("limit-out", "--limit-iface-out")
	return true
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
	if m.Source != 0 && isType(m.Source, v.Tuple.Src().Addr(), dev, v.World) == m.NotSource {
		return rules.No
	}
	return rules.Is(m.Destination == 0 || isType(m.Destination, v.Tuple.Dst().Addr(), dev, v.World) != m.NotDestination, false)
}

// isType reports whether an address is of one of the types.
func isType(types AddrTypes, a netip.Addr, dev string, w rules.World) bool {
	actual := w.AddrType(a, dev)
	if a.Is4() {
		return types.has(actual)
	}
	return isType6(types, actual, a)
}

// isType6 is match_type6: what is asked for must all hold, and an address of the node is UNICAST too.
func isType6(types AddrTypes, actual string, a netip.Addr) bool {
	if types&AddrMulticast != 0 && !a.IsMulticast() ||
		types&AddrUnicast != 0 && (a.IsMulticast() || a.IsUnspecified()) ||
		types&AddrUnspec != 0 && !a.IsUnspecified() {
		return false
	}
	routed := types & (AddrLocal | AddrAnycast | AddrUnreachable)
	return routed == 0 || routed.has(actual)
}

// Actual is the type of the address that is of another one.
func (m AddrType) Actual(v *rules.Visit) string {
	dev := m.device(v)
	if m.Source != 0 && isType(m.Source, v.Tuple.Src().Addr(), dev, v.World) == m.NotSource {
		return typeText("source", v.Tuple.Src().Addr(), dev, v.World)
	}
	return typeText("destination", v.Tuple.Dst().Addr(), dev, v.World)
}

func typeText(side string, a netip.Addr, dev string, w rules.World) string {
	return side + " " + a.String() + " is " + w.AddrType(a, dev)
}
