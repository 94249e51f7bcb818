package conntrack

import (
	"net/netip"

	"natlab/nat"
)

// key is a tuple in the form that is hashed: no pointers and no holes (struct nf_conntrack_tuple). ICMP keeps its type
// and code where others have the destination port.
type key struct {
	src, dst     [16]byte
	sport, dport uint16
	proto        nat.Proto
	family       uint8
	_            [2]byte
}

func keyOf(t nat.Tuple, kind, code uint8) key {
	k := key{
		src: t.Src().Addr().As16(), dst: t.Dst().Addr().As16(),
		sport: t.Src().Port(), dport: t.Dst().Port(), proto: t.Proto(),
	}
	if t.Src().Addr().Is6() {
		k.family = 1
	}
	if isICMP(k.proto) {
		k.dport = uint16(kind)<<8 | uint16(code)
	}
	return k
}

func isICMP(p nat.Proto) bool { return p == nat.ICMP || p == nat.ICMPv6 }

// invertedType is the ICMP type that answers a query of this type, ok where there is one (icmp_invert_tuple).
func invertedType(p nat.Proto, kind uint8) (answer uint8, ok bool) {
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

// opens reports whether an ICMP query of this type may begin a connection.
func opens(p nat.Proto, kind uint8) bool {
	if p == nat.ICMPv6 {
		return kind == 128 || kind == 139
	}
	return kind == 8 || kind == 13 || kind == 15 || kind == 17
}

// keyIn is the key of a connection's direction.
func (c *Conn) keyIn(d nat.Direction) key {
	t := c.Tuple(d)
	kind := c.kind
	if d == nat.Reply && isICMP(t.Proto()) {
		kind, _ = invertedType(t.Proto(), kind)
	}
	return keyOf(t, kind, c.code)
}

// source is what bySource finds connections by: the original source (hash_by_src).
type source struct {
	addr  netip.Addr
	port  uint16
	proto nat.Proto
}

func sourceOf(t nat.Tuple) source {
	return source{t.Src().Addr(), t.Src().Port(), t.Proto()}
}
