package nat

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"strings"
)

// Tuple names one direction of a flow: protocol, source and destination. It is comparable. Ports are in
// host byte order; for ICMP both ports hold the query id, as struct nf_conntrack_tuple keeps it for a
// query; for a protocol without ports they are zero.
type Tuple struct {
	proto    Proto
	src, dst netip.AddrPort
}

// TupleOf builds a tuple. IPv4-mapped IPv6 addresses become plain IPv4 ones, so that equal flows are ==.
func TupleOf(p Proto, src, dst netip.AddrPort) Tuple {
	return Tuple{proto: p, src: unmap(src), dst: unmap(dst)}
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// Proto is the tuple's protocol.
func (t Tuple) Proto() Proto { return t.proto }

// Src is the source address and port.
func (t Tuple) Src() netip.AddrPort { return t.src }

// Dst is the destination address and port.
func (t Tuple) Dst() netip.AddrPort { return t.dst }

// Parts is the tuple taken apart: what Proto, Src and Dst give, but without a copy of the tuple for each. It is for what is done
// to every packet.
func (t *Tuple) Parts() (p Proto, src, dst netip.AddrPort) { return t.proto, t.src, t.dst }

// Reply is the tuple of a packet that answers one of t without any NAT: source and destination swapped
// (nf_ct_invert_tuple).
func (t Tuple) Reply() Tuple { return Tuple{proto: t.proto, src: t.dst, dst: t.src} }

// WithSrc is t with another source.
func (t Tuple) WithSrc(src netip.AddrPort) Tuple { t.src = unmap(src); return t }

// WithDst is t with another destination.
func (t Tuple) WithDst(dst netip.AddrPort) Tuple { t.dst = unmap(dst); return t }

// Hash is a number that equal tuples share, and that differs as a rule where they do; seed chooses one of many such
// functions. It is the same in every process.
func (t Tuple) Hash(seed uint64) uint64 {
	const k0, k1, k2 = 0xa0761d6478bd642f, 0xe7037ed1a0b428db, 0x8ebc6af09c88c6e3 // wyhash's
	ports := uint64(t.src.Port())<<24 | uint64(t.dst.Port())<<8 | uint64(t.proto)
	if t.src.Addr().Is4() && t.dst.Addr().Is4() {
		src, dst := t.src.Addr().As4(), t.dst.Addr().As4()
		addrs := uint64(binary.BigEndian.Uint32(src[:]))<<32 | uint64(binary.BigEndian.Uint32(dst[:]))
		return fold(fold(addrs^seed, k0)^ports, k1)
	}
	src, dst := t.src.Addr().As16(), t.dst.Addr().As16()
	h := fold(binary.BigEndian.Uint64(src[:8])^seed, binary.BigEndian.Uint64(src[8:])^k0)
	h = fold(binary.BigEndian.Uint64(dst[:8])^h, binary.BigEndian.Uint64(dst[8:])^k1)
	return fold(h^ports, k2)
}

// fold multiplies two numbers and adds the halves of the product without carry.
func fold(a, b uint64) uint64 {
	high, low := bits.Mul64(a, b)
	return high ^ low
}

// IsValid reports whether both addresses are set.
func (t Tuple) IsValid() bool { return t.src.Addr().IsValid() && t.dst.Addr().IsValid() }

// String is "tcp 192.168.26.1:40000 > 192.168.26.100:30450"; a tuple that is not valid prints as "none".
func (t Tuple) String() string {
	if !t.IsValid() {
		return "none"
	}
	return t.proto.String() + " " + t.src.String() + " > " + t.dst.String()
}

// ParseTuple reads what String prints, and of a protocol without ports, ICMP among them, addresses alone. White space may
// vary.
func ParseTuple(s string) (Tuple, error) {
	f := strings.Fields(strings.Replace(s, ">", " > ", 1))
	if len(f) != 4 || f[2] != ">" {
		return Tuple{}, fmt.Errorf("tuple %q: want \"PROTO SRC:PORT > DST:PORT\", or of ICMP \"icmp SRC > DST\"", s)
	}
	p, err := ParseProto(f[0])
	if err != nil {
		return Tuple{}, fmt.Errorf("tuple %q: %w", s, err)
	}
	src, err := p.parseEnd(f[1])
	if err != nil {
		return Tuple{}, fmt.Errorf("tuple %q: source: %w", s, err)
	}
	dst, err := p.parseEnd(f[3])
	if err != nil {
		return Tuple{}, fmt.Errorf("tuple %q: destination: %w", s, err)
	}
	return TupleOf(p, src, dst), nil
}

// parseEnd reads one end of a tuple.
func (p Proto) parseEnd(s string) (netip.AddrPort, error) {
	end, err := netip.ParseAddrPort(s)
	if err == nil || p.HasPorts() {
		return end, err
	}
	if a, alone := netip.ParseAddr(s); alone == nil {
		return netip.AddrPortFrom(a, 0), nil
	}
	return end, err
}

// MarshalText makes a tuple one string in JSON.
func (t Tuple) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads what MarshalText wrote; "none" and "" give the zero tuple.
func (t *Tuple) UnmarshalText(b []byte) error {
	if s := string(b); s == "" || s == "none" {
		*t = Tuple{}
		return nil
	}
	got, err := ParseTuple(string(b))
	if err == nil {
		*t = got
	}
	return err
}

// Direction is which of a connection's two tuples a packet carries (enum ip_conntrack_dir).
type Direction uint8

// The two directions: Original is that of the first packet.
const (
	Original Direction = iota // IP_CT_DIR_ORIGINAL
	Reply                     // IP_CT_DIR_REPLY
)

func (d Direction) String() string {
	if d == Reply {
		return "reply"
	}
	return "original"
}

// MarshalText makes a direction its name in JSON.
func (d Direction) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (d *Direction) UnmarshalText(b []byte) error {
	switch string(b) {
	case "original":
		*d = Original
	case "reply":
		*d = Reply
	default:
		return fmt.Errorf("direction %q: want original or reply", b)
	}
	return nil
}
