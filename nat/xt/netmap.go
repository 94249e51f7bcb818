package xt

import (
	"net/netip"
	"strconv"

	"natlab/nat"
	"natlab/nat/rules"
)

// NetMap is -j NETMAP: the part of an address that the mask covers is replaced (xt_NETMAP.c).
type NetMap struct{ To AddrMask }

var netMapRow = Extension{
	Name: "NETMAP", Kind: TargetKind, Tables: []string{"nat"}, Tracks: true,
	Options:  []Option{{Name: "--to", Values: 1}},
	Examples: []string{"--to 10.1.0.0/24", "--to 10.1.2.3/32", "--to 10.0.5.0/255.0.255.0", "--to fd00::/64", "--to fd00::1/128"},
	Parse: func(a *Args) Value {
		var t NetMap
		a.Once()
		a.Need("--to")
		for g := range a.Options {
			t.To = g.AddrMask()
		}
		return t
	},
	Layouts: layouts(netMapLayout(MultiRange).only(IPv4Only), netMapLayout(SingleRange).only(IPv6Only)),
	Listed:  func(l *Listing) bool { return l.Value("to:", "--to", false) },
}

// netMapLayout is a struct that holds a network as its first and last address.
func netMapLayout(s NATStruct) Layout {
	return layout(0, s.Size(),
		func(d []byte, e *Env) (NetMap, bool) {
			r := s.Read(e.Family, d)
			mask := bitwise(r.Min, r.Max, func(a, b byte) byte { return ^(a ^ b) })
			t := NetMap{NewAddrMask(r.Min, mask)}
			return t, r.Flags == NATMapIPs && t.To.Addr == r.Min && (s != MultiRange || order.Uint32(d) == 1)
		},
		func(t NetMap, d []byte, _ *Env) error {
			s.write(NATFields{Flags: NATMapIPs, Min: t.To.Addr, Max: t.last()}, d)
			return nil
		})
}

// last is the network's last address.
func (t NetMap) last() netip.Addr {
	return bitwise(t.To.Addr, t.To.Mask, func(a, m byte) byte { return a | ^m })
}

// bitwise combines two addresses of one family.
func bitwise(a, b netip.Addr, f func(a, b byte) byte) netip.Addr {
	x, y := a.AsSlice(), b.AsSlice()
	for i := range x {
		x[i] = f(x[i], y[i])
	}
	out, _ := netip.AddrFromSlice(x) // of 4 or 16 bytes
	return out
}

// Name is "NETMAP".
func (NetMap) Name() string { return "NETMAP" }

// Save prints the network.
func (t NetMap) Save(p *Printer) {
	p.Text(" --to ")
	t.print(p)
}

// List prints the network as iptables -L does.
func (t NetMap) List(p *Printer) {
	p.Text(" to:")
	t.print(p)
}

// print prints the network, with the length of a whole address too.
func (t NetMap) print(p *Printer) {
	p.Addr(t.To.Addr)
	if n, ok := MaskBits(t.To.Mask); ok {
		p.Text("/", strconv.Itoa(n))
		return
	}
	p.Text("/")
	p.Addr(t.To.Mask)
}

// Act replaces the network part of an address.
func (t NetMap) Act(*rules.Visit) rules.Action {
	return rules.Action{Verdict: nat.Accept, Effect: &rules.Translation{
		Kind: rules.NetMap, Range: rules.NATRange{MinAddr: t.To.Addr, MaxAddr: t.last()},
	}}
}
