package conntrack

import (
	"net/netip"

	"natlab/nat"
)

// keyOf is a tuple as connections are found by it (struct nf_conntrack_tuple): ICMP keeps its type and code where others
// have the destination port.
func keyOf(t nat.Tuple, kind, code uint8) nat.Tuple {
	if proto, _, _ := t.Parts(); isICMP(proto) {
		return t.WithDst(netip.AddrPortFrom(t.Dst().Addr(), uint16(kind)<<8|uint16(code)))
	}
	return t
}

// hasPorts reports whether a protocol's tuples have ports (nf_ct_get_tuple).
func (s *Settings) hasPorts(p nat.Proto) bool {
	switch p {
	case nat.TCP, nat.UDP, nat.SCTP:
		return true
	case nat.DCCP:
		return !s.Kernel.Has(nat.DCCPForgotten)
	case nat.UDPLite:
		return !s.Kernel.Has(nat.UDPLiteForgotten)
	}
	return false
}

// Knows reports whether conntrack reads more of a protocol than its addresses. NAT leaves the transport header of any other as it
// is (l4proto_manip_pkt).
func (s *Settings) Knows(p nat.Proto) bool { return s.hasPorts(p) || isICMP(p) || p == nat.GRE }

// Read is a packet's tuple as conntrack reads it: without the ports of a protocol that it does not know.
func (s *Settings) Read(t nat.Tuple) nat.Tuple {
	if s.Knows(t.Proto()) {
		return t
	}
	return nat.TupleOf(t.Proto(), netip.AddrPortFrom(t.Src().Addr(), 0), netip.AddrPortFrom(t.Dst().Addr(), 0))
}

func isICMP(p nat.Proto) bool { return p == nat.ICMP || p == nat.ICMPv6 }

// ICMPAnswer is the ICMP type that answers a query of this type, or that an answer of this type answers; ok where there is
// one (icmp_invert_tuple, icmpv6_invert_tuple).
func ICMPAnswer(p nat.Proto, kind uint8) (answer uint8, ok bool) {
	if p == nat.ICMPv6 {
		switch kind {
		case 128, 139: // echo request, node information query
			return kind + 1, true
		case 129, 140:
			return kind - 1, true
		}
		return 0, false
	}
	switch kind {
	case 8:
		return 0, true
	case 0:
		return 8, true
	case 13, 15, 17:
		return kind + 1, true
	case 14, 16, 18:
		return kind - 1, true
	}
	return 0, false
}

// neighbourly reports whether an ICMPv6 type is one of neighbour discovery or multicast listeners, which are not tracked
// (noct_valid_new).
func neighbourly(kind uint8) bool { return kind >= 130 && kind <= 136 || kind == 143 }

// ICMPOpens reports whether an ICMP packet of this type asks for an answer, so that it may begin a connection (icmp_new,
// icmpv6_new).
func ICMPOpens(p nat.Proto, kind uint8) bool {
	if p == nat.ICMPv6 {
		return kind == 128 || kind == 139
	}
	return kind == 8 || kind == 13 || kind == 15 || kind == 17
}

// keyIn is the key of a connection's direction.
func (c *Conn) keyIn(d nat.Direction) nat.Tuple {
	if d == nat.Original {
		return keyOf(c.Original, c.kind, c.code)
	}
	return c.answerKey(c.Reply)
}

// isKey reports whether k is the key of a connection's direction.
func (c *Conn) isKey(d nat.Direction, k *nat.Tuple) bool {
	t := &c.Original
	if d == nat.Reply {
		t = &c.Reply
	}
	if proto, _, _ := t.Parts(); isICMP(proto) {
		return c.keyIn(d) == *k
	}
	return *t == *k
}

// answerKey is the key of a tuple that answers the connection's first packet.
func (c *Conn) answerKey(answer nat.Tuple) nat.Tuple {
	kind := c.kind
	if isICMP(answer.Proto()) {
		kind, _ = ICMPAnswer(answer.Proto(), kind)
	}
	return keyOf(answer, kind, c.code)
}

// sourceOf is what bySource finds connections by: the original source (hash_by_src).
func sourceOf(t nat.Tuple) nat.Tuple { return nat.TupleOf(t.Proto(), t.Src(), netip.AddrPort{}) }
