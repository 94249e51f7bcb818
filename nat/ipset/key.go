package ipset

import (
	"net/netip"

	"natlab/nat"
	"natlab/nat/rules"
)

// asked is what a packet is looked for by in a set.
type asked struct {
	key
	device string
	from   [6]byte      // the hardware address
	framed rules.Answer // whether the packet has one; Unknown: it is not known which
}

// keyOf is a packet as an entry of the set; No: it can be none, Unknown: too little is known of it.
func (s *Set) keyOf(p *rules.Packet, w rules.Linked, d rules.SetDims) (a asked, can rules.Answer) {
	a.framed, can = rules.Yes, rules.Yes
	at := 0
	for i, part := range s.parts {
		ok := true
		switch source := d.Source(i); part {
		case partIP, partNet:
			a.addrs[at], ok = s.address(end(p, source).Addr())
			at++
		case partPort:
			a.port, a.proto, ok = port(p, source)
			if s.Type == typeBitmapPort {
				ok = ok && (a.proto == nat.TCP || a.proto == nat.UDP) && a.port >= s.ports[0] && a.port <= s.ports[1]
				a.proto = 0
			}
		case partMAC:
			a.from, a.framed = frame(p, w, source)
			if ok = a.framed != rules.No; s.Type != typeBitmapMAC {
				a.mac = a.from
				if a.framed == rules.Unknown {
					can = rules.Unknown
				}
			}
		case partDevice:
			if a.device = p.Out; source {
				a.device = p.Input()
			}
			ok = a.device != ""
		case partMark:
			a.mark = p.Mark & s.mark
		case partSet:
		}
		if !ok {
			return a, rules.No
		}
	}
	return a, can
}

func end(p *rules.Packet, source bool) netip.AddrPort {
	if source {
		return p.Tuple.Src()
	}
	return p.Tuple.Dst()
}

// address is an address as members have it; false for one that none has.
func (s *Set) address(a netip.Addr) (network, bool) {
	if s.first.IsValid() && (a.Less(s.first) || s.last.Less(a)) {
		return network{}, false
	}
	if s.mask.IsValid() {
		a = masked(a, s.mask)
	}
	if (s.Type == typeHashIP || s.Type == typeHashIPPort) && a.IsUnspecified() {
		return network{}, false
	}
	return networkOf(netip.PrefixFrom(a, a.BitLen())), true
}

func masked(a, mask netip.Addr) netip.Addr {
	b, m := a.AsSlice(), mask.AsSlice()
	for i := range b {
		b[i] &= m[i]
	}
	a, _ = netip.AddrFromSlice(b)
	return a
}

// headers are how many bytes of a transport header have to be there (get_port of ip_set_getport.c).
var headers = map[nat.Proto]int{nat.TCP: 20, nat.UDP: 8, nat.UDPLite: 8, nat.SCTP: 12, nat.ICMP: 8, nat.ICMPv6: 8}

// port is a packet's port on one side, or its ICMP type and code; protocols without either have 0.
func port(p *rules.Packet, source bool) (number uint16, proto nat.Proto, ok bool) {
	const noNextHeader nat.Proto = 59 // of IPv6: nothing is behind it (ipv6_skip_exthdr)
	proto = p.Tuple.Proto()
	later, length := p.Later, headers[proto]
	if p.Wire != nil {
		later = p.Wire.Later()
		if len(p.Wire.Transport()) < length {
			return 0, proto, false
		}
	}
	switch {
	case later || proto == 0 && !p.Tuple.Src().Addr().Is6() || proto == noNextHeader && p.Tuple.Src().Addr().Is6():
		return 0, proto, false
	case length == 0:
		return 0, proto, true
	case proto == nat.ICMP || proto == nat.ICMPv6:
		return uint16(p.ICMPType)<<8 | uint16(p.ICMPCode), proto, true
	}
	return end(p, source).Port(), proto, true
}

// frame is the hardware address that a packet came from, or that it came for, which nobody has noted. One of zeros is none.
func frame(p *rules.Packet, w rules.Linked, source bool) (mac [6]byte, framed rules.Answer) {
	if p.In == "" && p.Sender.Socket == rules.NoSocket { // it is forwarded, and at POSTROUTING
		return mac, rules.Unknown
	}
	mac, framed = rules.FrameSource(p, w)
	switch {
	case framed == rules.Yes && !source:
		return mac, rules.Unknown
	case framed == rules.Yes && mac == [6]byte{}:
		return mac, rules.No
	}
	return mac, framed
}
