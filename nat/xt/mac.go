package xt

import (
	"fmt"
	"strings"

	"natlab/nat"
	"natlab/nat/rules"
)

// MAC is -m mac: the hardware address that the packet's frame came from (xt_mac.c).
type MAC struct {
	Not    bool
	Source [6]byte
}

var macRow = Extension{
	Name: "mac", Hooks: cameIn,
	Options:  []Option{{Name: "--mac-source", Values: 1, Not: true}},
	Examples: []string{"--mac-source 00:11:22:33:44:55", "! --mac-source 42:01:02:03:04:05"},
	Parse: func(a *Args) Value {
		var m MAC
		a.Need("--mac-source")
		a.Once()
		for g := range a.Options {
			var ok bool
			if m.Source, ok = nat.ParseMAC(g.Text()); !ok {
				want := "six hexadecimal octets, with : between them"
				if nat.BlackedOut(g.Text()) {
					want += ": the address was made unreadable: put one in its place, and the same in all that tells of the node"
				}
				g.bad(0, want)
			}
			m.Not = g.Not
		}
		return m
	},
	Listed: listedValue("MAC", "--mac-source"),
	// struct xt_mac_info { unsigned char srcaddr[6]; int invert; }
	Layouts: layouts(layout(0, 12,
		func(d []byte, _ *Env) (MAC, bool) { return MAC{order.Uint32(d[8:]) != 0, [6]byte(d)}, true },
		func(m MAC, d []byte, _ *Env) error {
			copy(d, m.Source[:])
			order.PutUint32(d[8:], uint32(flagByte(m.Not)))
			return nil
		})),
}

// macText is the address as iptables prints it.
func macText(mac [6]byte) string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5])
}

// The releases of iptables from which on addresses are printed in small letters, and from which on -L prints a blank in front
// of one again.
var (
	smallMACs  = Version{1, 8, 7}
	spacedMACs = Version{1, 8, 8}
)

// text is the address as one version of iptables prints it.
func (m MAC) text(p *Printer) string {
	if p.Version.Before(smallMACs) {
		return strings.ToUpper(macText(m.Source))
	}
	return macText(m.Source)
}

// Name is "mac".
func (MAC) Name() string { return "mac" }

// Save prints the address.
func (m MAC) Save(p *Printer) { p.Option(m.Not, "--mac-source", m.text(p)) }

// List prints the address as iptables -L does.
func (m MAC) List(p *Printer) {
	p.Text(" MAC")
	p.Not(m.Not)
	if p.Version.Before(smallMACs) || !p.Version.Before(spacedMACs) {
		p.Text(" ")
	}
	p.Text(m.text(p))
}

// Holds compares the address; inverted or not, it does not hold for a packet that came in no Ethernet frame.
func (m MAC) Holds(v *rules.Visit) rules.Answer {
	mac, framed := frameSource(v)
	if framed != rules.Yes {
		return framed
	}
	return rules.Is(mac == m.Source, m.Not)
}

// Actual is the address that the packet came from.
func (MAC) Actual(v *rules.Visit) string {
	if mac, framed := frameSource(v); framed == rules.Yes {
		return "from " + macText(mac)
	}
	return "it came in no Ethernet frame"
}

// frameSource is the hardware address that a packet came from; No: it came in no Ethernet frame.
func frameSource(v *rules.Visit) (mac [6]byte, framed rules.Answer) {
	w, _ := v.World.(rules.Linked)
	return rules.FrameSource(v.Packet, w)
}
