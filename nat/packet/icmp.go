package packet

import "natlab/nat"

// IsError reports whether an ICMP type is an error about another packet (icmp_is_err, icmpv6_is_err): unreachable,
// source quench, redirect, time exceeded, parameter problem; for ICMPv6 those below 128.
func IsError(proto nat.Proto, kind uint8) bool {
	if proto == nat.ICMPv6 {
		return kind < 128
	}
	switch kind {
	case 3, 4, 5, 11, 12:
		return proto == nat.ICMP
	}
	return false
}

// Inside is the packet that an ICMP error is about; ok is false where this is no error, or where what it holds is no
// packet with what its protocol's tuple is read from: four bytes of ports, eight of an ICMP query
// (nf_ct_get_tuplepr). It shares its bytes with p: after it was rewritten, p needs SealInside.
func (p *Packet) Inside() (inside Packet, ok bool) {
	kind, _, is := p.ICMP()
	h := p.transport()
	if !is || !IsError(p.proto, kind) || len(h) <= icmpHeader {
		return Packet{}, false
	}
	inside = Packet{b: h[icmpHeader:], inner: true}
	if err := inside.parse(); err != nil || inside.V6() != p.V6() {
		return Packet{}, false
	}
	if len(inside.transport()) < tupleBytes(inside.proto) || inside.later {
		return Packet{}, false
	}
	return inside, true
}

// tupleBytes is how much of its transport header a protocol's tuple takes.
func tupleBytes(p nat.Proto) int {
	switch p {
	case nat.TCP, nat.UDP, nat.SCTP, nat.UDPLite, nat.DCCP:
		return 4
	case nat.ICMP, nat.ICMPv6:
		return icmpHeader
	}
	return 0
}

// DstRewritable is Rewritable for a destination: of GRE only versions 0 and 1 get another one (gre_manip_pkt).
func (p *Packet) DstRewritable() bool {
	h := p.transport()
	return p.Rewritable() && (p.proto != nat.GRE || h[1]&7 <= 1)
}

// Rewritable reports whether enough of the transport header is there for NAT to translate the packet, or that inside an
// ICMP error (l4proto_manip_pkt).
func (p *Packet) Rewritable() bool {
	return tupleBytes(p.proto) == 0 && p.proto != nat.GRE || len(p.transport()) >= 8
}

// SealInside computes the checksum of an ICMP error anew, after the packet inside was rewritten.
func (p *Packet) SealInside() { p.sealTransport() }
