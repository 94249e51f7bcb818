package xt

import "natlab/nat"

var udpRow = Extension{
	Name: "udp", Needs: "-p udp", Protocols: []nat.Proto{nat.UDP},
	Options:  portOptions(),
	Listed:   listedPorts("udp", nil),
	Examples: []string{"--sport 53", "! --sport 1:1023 --dport 123"},
	Parse: func(a *Args) Value {
		m := Ports{Protocol: "udp"}
		a.Once()
		for g := range a.Options {
			if r := whole(g.portRange(nat.UDP, decimal)); g.Name() == "--sport" {
				m.Source = r
			} else {
				m.Destination = r
			}
		}
		return m
	},
	// struct xt_udp { __u16 spts[2], dpts[2]; __u8 invflags; }
	Layouts: layouts(layout(0, 10,
		func(d []byte, _ *Env) (Ports, bool) {
			inv := d[8]
			return Ports{
				Protocol: "udp", Source: asked(d, inv&tcpInvSource != 0), Destination: asked(d[4:], inv&tcpInvDestination != 0),
				NotBoth: inv&tcpNotBoth != 0,
			}, inv&^(3|tcpNotBoth) == 0
		},
		func(m Ports, d []byte, _ *Env) error {
			putPorts(d, m.Source)
			putPorts(d[4:], m.Destination)
			d[8] = m.Source.inverted(tcpInvSource) | m.Destination.inverted(tcpInvDestination) | bitIf[uint8](m.NotBoth, tcpNotBoth)
			return nil
		})),
}
