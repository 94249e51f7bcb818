package iptables

import (
	"net/netip"
	"strings"

	"natlab/nat"
	"natlab/nat/rules"
	"natlab/nat/xt"
)

// The conditions that need no -m (struct ipt_ip, struct ip6t_ip).
type (
	// Source is -s.
	Source struct {
		Not    bool
		Prefix netip.Prefix // masked
	}
	// Destination is -d.
	Destination struct {
		Not    bool
		Prefix netip.Prefix
	}
	// MaskedAddress is -s or -d with a mask that is no prefix.
	MaskedAddress struct {
		Not         bool
		Destination bool // -d
		Address     xt.AddrMask
	}
	// InInterface is -i. A Device that ends in "+" stands for every device whose name begins so.
	InInterface struct {
		Not    bool
		Device string
	}
	// OutInterface is -o.
	OutInterface struct {
		Not    bool
		Device string
	}
	// Protocol is -p.
	Protocol struct {
		Not      bool
		Protocol string // as iptables-save prints it: "tcp", "ipv6-icmp", or a number
	}
	// Fragment is -f: the second and later fragments of a packet.
	Fragment struct{ Not bool }
)

// Name is "": -s needs no -m.
func (Source) Name() string { return "" }

// Save prints -s.
func (m Source) Save(p *xt.Printer) {
	p.Option(m.Not, "-s", "")
	p.Prefix(m.Prefix)
}

// Holds compares the packet's source.
func (m Source) Holds(v *rules.Visit) rules.Answer {
	return rules.Is(m.Prefix.Contains(v.Tuple.Src().Addr()), m.Not)
}

// Actual is the packet's source.
func (Source) Actual(v *rules.Visit) string { return "source " + v.Tuple.Src().Addr().String() }

// Name is "": -d needs no -m.
func (Destination) Name() string { return "" }

// Save prints -d.
func (m Destination) Save(p *xt.Printer) {
	p.Option(m.Not, "-d", "")
	p.Prefix(m.Prefix)
}

// Holds compares the packet's destination.
func (m Destination) Holds(v *rules.Visit) rules.Answer {
	return rules.Is(m.Prefix.Contains(v.Tuple.Dst().Addr()), m.Not)
}

// Actual is the packet's destination.
func (Destination) Actual(v *rules.Visit) string {
	return "destination " + v.Tuple.Dst().Addr().String()
}

// Name is "": -s and -d need no -m.
func (MaskedAddress) Name() string { return "" }

// Save prints -s or -d.
func (m MaskedAddress) Save(p *xt.Printer) {
	option := "-s"
	if m.Destination {
		option = "-d"
	}
	p.Option(m.Not, option, m.Address.String())
}

// Holds compares the packet's source or destination.
func (m MaskedAddress) Holds(v *rules.Visit) rules.Answer {
	return rules.Is(m.Address.Contains(m.of(v)), m.Not)
}

// Actual is the packet's source or destination.
func (m MaskedAddress) Actual(v *rules.Visit) string {
	if m.Destination {
		return "destination " + m.of(v).String()
	}
	return "source " + m.of(v).String()
}

func (m MaskedAddress) of(v *rules.Visit) netip.Addr {
	if m.Destination {
		return v.Tuple.Dst().Addr()
	}
	return v.Tuple.Src().Addr()
}

// Name is "": -i needs no -m.
func (InInterface) Name() string { return "" }

// Save prints -i.
func (m InInterface) Save(p *xt.Printer) { p.Option(m.Not, "-i", m.Device) }

// Holds compares the in device's name (ifname_compare).
func (m InInterface) Holds(v *rules.Visit) rules.Answer {
	return rules.Is(deviceMatches(m.Device, v.Input()), m.Not)
}

// Actual is the in device.
func (InInterface) Actual(v *rules.Visit) string { return deviceText("in", v.Input()) }

// Name is "": -o needs no -m.
func (OutInterface) Name() string { return "" }

// Save prints -o.
func (m OutInterface) Save(p *xt.Printer) { p.Option(m.Not, "-o", m.Device) }

// Holds compares the out device's name (ifname_compare).
func (m OutInterface) Holds(v *rules.Visit) rules.Answer {
	return rules.Is(deviceMatches(m.Device, v.Out), m.Not)
}

// Actual is the out device.
func (OutInterface) Actual(v *rules.Visit) string { return deviceText("out", v.Out) }

// deviceMatches compares a device with a name that may end in "+".
func deviceMatches(name, device string) bool {
	if prefix, ok := strings.CutSuffix(name, "+"); ok {
		return strings.HasPrefix(device, prefix)
	}
	return name == device
}

func deviceText(side, name string) string {
	if name == "" {
		return "no " + side + " device at this hook"
	}
	return side + " device " + name
}

// Name is "": -p needs no -m.
func (Protocol) Name() string { return "" }

// Save prints -p.
func (m Protocol) Save(p *xt.Printer) { p.Option(m.Not, "-p", m.Protocol) }

// Number is the protocol's number; ok is false for "all" and for a name that natlab does not know.
func (m Protocol) Number() (p nat.Proto, ok bool) { return protocolNumber(m.Protocol) }

// Holds compares the packet's protocol.
func (m Protocol) Holds(v *rules.Visit) rules.Answer {
	if v.Later && xt.CutShort(v.Packet) {
		v.HotDrop = true
		return rules.No
	}
	number, ok := m.Number()
	return rules.Is(m.Protocol == "all" || ok && number == v.Tuple.Proto(), m.Not)
}

// Actual is the packet's protocol.
func (Protocol) Actual(v *rules.Visit) string { return "protocol " + v.Tuple.Proto().String() }

// Name is "": -f needs no -m.
func (Fragment) Name() string { return "" }

// Save prints -f.
func (m Fragment) Save(p *xt.Printer) {
	p.Not(m.Not)
	p.Text(" -f")
}

// Holds asks whether the packet is a later fragment.
func (m Fragment) Holds(v *rules.Visit) rules.Answer { return rules.Is(v.Later, m.Not) }

// Actual tells whether the packet is a later fragment.
func (Fragment) Actual(v *rules.Visit) string {
	if v.Later {
		return "a later fragment"
	}
	return "not a later fragment"
}
