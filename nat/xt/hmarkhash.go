package xt

import (
	"encoding/binary"
	"net/netip"

	"natlab/nat"
	"natlab/nat/packet"
	"natlab/nat/rules"
)

// hashTuple is what is hashed of a packet (struct hmark_tuple): host order, masked already.
type hashTuple struct {
	src, dst uint32
	ports    uint32
	proto    nat.Proto
}

// Act sets the mark. What asks for the connection leaves a packet without one as it is, and so does an error that has too little
// of the packet that it is about.
func (t HashMark) Act(v *rules.Visit) rules.Action {
	h, known := t.tupleOf(v)
	switch known {
	case rules.Yes:
		src, dst := min(h.src, h.dst), max(h.src, h.dst)
		hash := nat.JHash([]uint32{src, dst, h.ports}, t.Seed) ^ uint32(h.proto)&uint32(t.ProtoMask)
		v.Mark = scaled(hash, t.Modulus) + t.Offset
	case rules.Unknown:
		return rules.Action{Verdict: nat.Continue, Else: nat.Continue, Open: "-j HMARK " + Options(t, nat.FamilyOf(v.Tuple.Src().Addr()))}
	case rules.No:
	}
	return rules.Continue()
}

// tupleOf is what is hashed; No: nothing is.
func (t HashMark) tupleOf(v *rules.Visit) (h hashTuple, known rules.Answer) {
	if t.Given&HashMarkConn != 0 {
		if !v.Tracked() {
			return h, rules.No
		}
		c, ok := connOf(v)
		if !ok {
			return h, rules.Unknown
		}
		ports := [2]uint16{c.Original.Src().Port(), c.Reply.Src().Port()}
		return t.tuple4(c.Original.Proto(), c.Original.Src().Addr(), c.Reply.Src().Addr(), ports, c.Original.Proto() != nat.ICMP), rules.Yes
	}
	if v.Wire == nil {
		return t.ofFields(v.Packet)
	}
	if v.Wire.V6() {
		return t.ofIPv6(v.Wire.Bytes())
	}
	return t.ofIPv4(v.Wire.Bytes())
}

// tuple4 masks a tuple. Without ports nothing stands for them, whatever --hmark-sport is.
func (t HashMark) tuple4(proto nat.Proto, src, dst netip.Addr, ports [2]uint16, has bool) hashTuple {
	h := hashTuple{src: hashMarkAddr(src, t.SrcMask), dst: hashMarkAddr(dst, t.DstMask), proto: proto}
	if has {
		h.ports = t.ports(ports[0], ports[1])
	}
	return h
}

// ofFields takes a packet of which the bytes are not known; of an error nothing is known of what it is about.
func (t HashMark) ofFields(p *rules.Packet) (h hashTuple, known rules.Answer) {
	ends := p.Tuple
	if packet.IsError(ends.Proto(), p.ICMPType) && !p.Later && (ends.Proto() == nat.ICMP || ends.Proto() == nat.ICMPv6) {
		return h, rules.Unknown
	}
	_, has := hashMarkPorts(ends.Proto())
	return t.tuple4(ends.Proto(), ends.Src().Addr(), ends.Dst().Addr(), [2]uint16{ends.Src().Port(), ends.Dst().Port()}, has && !p.Later), rules.Yes
}

// hashMarkPorts is where a protocol's ports, or its SPI, stand in its header (proto_ports_offset).
func hashMarkPorts(p nat.Proto) (at int, has bool) {
	switch p {
	case nat.TCP, nat.UDP, nat.SCTP, nat.DCCP, nat.UDPLite, nat.ESP:
		return 0, true
	case nat.AH:
		return 4, true
	}
	return 0, false
}

// portsAt are the ports of a header, false where there are none, or not in full.
func portsAt(b []byte, proto nat.Proto) (ports [2]uint16, ok bool) {
	at, has := hashMarkPorts(proto)
	if !has || len(b) < at+4 {
		return ports, false
	}
	return [2]uint16{binary.BigEndian.Uint16(b[at:]), binary.BigEndian.Uint16(b[at+2:])}, true
}

// from is what is behind an offset, which may be none.
func from(b []byte, at int) []byte { return b[min(at, len(b)):] }

// ofIPv4 takes the ends of a packet, or of the one that an error has the header of: an error is told by the bytes behind the header, of
// later fragments, too (hmark_pkt_set_htuple_ipv4).
func (t HashMark) ofIPv4(b []byte) (h hashTuple, known rules.Answer) {
	const header, more = 20, 0x3fff // IP_MF | IP_OFFSET
	if rest := from(b, int(b[0]&15)*4); nat.Proto(b[9]) == nat.ICMP && len(rest) >= 8 && packet.IsError(nat.ICMP, rest[0]) {
		if b = rest[8:]; len(b) < header {
			return h, rules.No
		}
	}
	proto := nat.Proto(b[9])
	ports, ok := portsAt(from(b, int(b[0]&15)*4), proto)
	ok = ok && binary.BigEndian.Uint16(b[6:])&more == 0
	return t.tuple4(proto, netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20])), ports, ok), rules.Yes
}

// ofIPv6 does the same (hmark_pkt_set_htuple_ipv6). Where no protocol is found, nothing at all is hashed of the packet; and where none is
// found of the packet that an error is about, there is no mark.
func (t HashMark) ofIPv6(b []byte) (h hashTuple, known rules.Answer) {
	f, ok := findIPv6(b)
	if !ok {
		return h, rules.Yes
	}
	if rest := from(b, f.at); f.proto == nat.ICMPv6 && !f.fragment && len(rest) >= 8 && rest[0] != 0 && packet.IsError(nat.ICMPv6, rest[0]) {
		b = rest[8:]
		if f, ok = findIPv6(b); !ok {
			return h, rules.No
		}
	}
	ports, ok := portsAt(from(b, f.at), f.proto)
	return t.tuple4(f.proto, netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40])), ports, ok && !f.fragment), rules.Yes
}

// foundIPv6 is the first header that is no extension, or one of authentication.
type foundIPv6 struct {
	proto    nat.Proto
	at       int
	fragment bool // there is a fragment header in front of it
}

// findIPv6 walks the headers of an IPv6 packet that may be cut short (ipv6_find_hdr for any protocol, with IP6_FH_F_AUTH).
func findIPv6(b []byte) (f foundIPv6, ok bool) {
	if len(b) < 40 || b[0]>>4 != 6 {
		return f, false
	}
	f = foundIPv6{proto: nat.Proto(b[6]), at: 40}
	for ipv6Extension(f.proto) {
		h := from(b, f.at)
		switch {
		case len(h) < 4:
			return f, false
		case f.proto != ipv6Fragment:
			f.at += (int(h[1]) + 1) * 8
		case binary.BigEndian.Uint16(h[2:])&^7 != 0: // of a later one no header is looked behind
			f.fragment = true
			f.proto = nat.Proto(h[0])
			return f, !ipv6Extension(f.proto) && f.proto != nat.AH
		default:
			f.fragment = true
			f.at += 8
		}
		f.proto = nat.Proto(h[0])
	}
	return f, f.proto != nat.AH || len(from(b, f.at)) >= 2
}

// ipv6Fragment is the header of a fragment.
const ipv6Fragment nat.Proto = 44

// ipv6Extension reports whether a header is walked over.
func ipv6Extension(p nat.Proto) bool {
	switch p {
	case 0, 43, ipv6Fragment, 60: // hop-by-hop, routing, destination options
		return true
	}
	return false
}

// ports are two ports as they are hashed: masked, and the greater in front (hmark_swap_ports).
func (t HashMark) ports(src, dst uint16) uint32 {
	both := (uint32(src)<<16|uint32(dst))&t.PortMask | t.PortSet
	src, dst = uint16(both>>16), uint16(both)
	return uint32(max(src, dst))<<16 | uint32(min(src, dst))
}

// hashMarkAddr is an address as it is hashed: the words of IPv6 are folded into one.
func hashMarkAddr(a netip.Addr, mask uint8) (out uint32) {
	network, _ := a.Prefix(int(mask))
	for b := network.Addr().AsSlice(); len(b) >= 4; b = b[4:] {
		out ^= binary.BigEndian.Uint32(b)
	}
	return out
}
