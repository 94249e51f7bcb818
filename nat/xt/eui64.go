package xt

import (
	"fmt"

	"natlab/nat/rules"
)

// EUI64 is -m eui64: the source's last 64 bits are made of the hardware address that the packet came from (ip6t_eui64.c, RFC
// 4291, appendix A).
type EUI64 struct{}

var eui64Row = Extension{
	Name: "eui64", Families: IPv6Only, Hooks: cameIn,
	Parse: func(*Args) Value { return EUI64{} },
	// int
	Layouts: layouts(layout(0, 4,
		func([]byte, *Env) (EUI64, bool) { return EUI64{}, true },
		func(EUI64, []byte, *Env) error { return nil })),
	Listed: func(l *Listing) bool { return l.TakeWord("eui64") },
}

// Name is "eui64".
func (EUI64) Name() string { return "eui64" }

// Save prints no option.
func (EUI64) Save(*Printer) {}

// List prints the name, as iptables -L does for a match that prints nothing itself.
func (EUI64) List(p *Printer) { p.Text("eui64 ") }

// Holds compares the address with the frame's sender. One that is made of no hardware address holds for none.
func (EUI64) Holds(v *rules.Visit) rules.Answer {
	id := v.Tuple.Src().Addr().As16()
	if id[11] != 0xff || id[12] != 0xfe {
		return rules.No
	}
	mac, framed := frameSource(v)
	if framed != rules.Yes {
		return rules.Unknown
	}
	return rules.Is([8]byte(id[8:]) == eui64(mac), false)
}

// eui64 is the interface identifier of a hardware address.
func eui64(mac [6]byte) [8]byte {
	return [8]byte{mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]}
}

// Actual is the source and the frame's sender.
func (EUI64) Actual(v *rules.Visit) string {
	if mac, framed := frameSource(v); framed == rules.Yes {
		return fmt.Sprintf("source %s from %s", v.Tuple.Src().Addr(), macText(mac))
	}
	return fmt.Sprintf("source %s", v.Tuple.Src().Addr())
}
