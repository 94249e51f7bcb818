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
// packet with at least eight bytes of transport header. It shares its bytes with p: after it was rewritten, p needs
// SealInside.
func (p *Packet) Inside() (inside Packet, ok bool) {
	kind, _, is := p.ICMP()
	h := p.transport()
	if !is || !IsError(p.tuple.Proto(), kind) || len(h) <= icmpHeader {
		return Packet{}, false
	}
	inside = Packet{b: h[icmpHeader:], inner: true}
	if err := inside.parse(); err != nil || inside.V6() != p.V6() {
		return Packet{}, false
	}
	if len(inside.transport()) < 8 || inside.later {
		return Packet{}, false
	}
	return inside, true
}

// SealInside computes the checksum of an ICMP error anew, after the packet inside was rewritten.
func (p *Packet) SealInside() { p.sealTransport() }
