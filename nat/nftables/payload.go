package nftables

import (
	"natlab/nat"
	"natlab/nat/rules"
)

// transports are the headers behind the IP header that nft asks for only of their protocol.
var transports = map[string]nat.Proto{
	"tcp": nat.TCP, "udp": nat.UDP, "udplite": 136, "sctp": nat.SCTP, "dccp": 33, "icmp": nat.ICMP, "icmpv6": nat.ICMPv6, "esp": 50, "ah": 51, "comp": 108, "igmp": 2,
}

// value reads a field (nft_payload): of the packet's bytes, or where those are not there of what rules know of a packet.
func (f field) value() value {
	proto, transport := transports[f.header]
	switch {
	case f.header == "ip":
		return f.ofIP(nat.IPv4)
	case f.header == "ip6":
		return f.ofIP(nat.IPv6)
	case f.header == "th":
		return f.ofTransport()
	case transport:
		read := f.ofTransport()
		return func(r *run) (Number, rules.Answer) {
			if r.visit.Tuple.Proto() != proto {
				return Number{}, rules.No
			}
			return read(r)
		}
	case f.header == "ether" && f.name == "saddr":
		return frameSource
	case f.header == "arp":
		return func(*run) (Number, rules.Answer) { return Number{}, rules.No }
	}
	return nil
}

// ofIP reads a field of the IP header of a family.
func (f field) ofIP(family nat.Family) value {
	var read value
	switch f.name {
	case "saddr":
		read = func(r *run) (Number, rules.Answer) { return addrNumber(r.visit.Tuple.Src().Addr()), rules.Yes }
	case "daddr":
		read = func(r *run) (Number, rules.Answer) { return addrNumber(r.visit.Tuple.Dst().Addr()), rules.Yes }
	case "protocol":
		read = func(r *run) (Number, rules.Answer) { return known(uint64(r.visit.Tuple.Proto())) }
	case "ttl", "hoplimit":
		read = func(r *run) (Number, rules.Answer) { return known(uint64(r.visit.TTL)) }
	default:
		read = func(r *run) (Number, rules.Answer) {
			if r.visit.Wire == nil {
				return Number{}, rules.Unknown
			}
			return f.in(r.visit.Wire.Bytes())
		}
	}
	return func(r *run) (Number, rules.Answer) {
		if r.c.family != family {
			return Number{}, rules.No
		}
		return read(r)
	}
}

// ofTransport reads a field behind the IP header. A later fragment has none, nor has a packet that is cut short.
func (f field) ofTransport() value {
	return func(r *run) (Number, rules.Answer) {
		v := &r.visit
		switch {
		case v.Later:
			return Number{}, rules.No
		case v.Wire != nil:
			return f.in(v.Wire.Transport())
		}
		switch proto := v.Tuple.Proto(); {
		case (proto == nat.ICMP || proto == nat.ICMPv6) && f.name == "type":
			return known(uint64(v.ICMPType))
		case (proto == nat.ICMP || proto == nat.ICMPv6) && f.name == "code":
			return known(uint64(v.ICMPCode))
		case f.name == "sport" && proto != nat.ICMP && proto != nat.ICMPv6:
			return known(uint64(v.Tuple.Src().Port()))
		case f.name == "dport" && proto != nat.ICMP && proto != nat.ICMPv6:
			return known(uint64(v.Tuple.Dst().Port()))
		case f.name == "flags":
			return known(uint64(v.TCPFlags))
		}
		return Number{}, rules.Unknown
	}
}

// in reads the field of a header's bytes.
func (f field) in(b []byte) (n Number, a rules.Answer) {
	last := f.at + f.bits - 1
	if len(b) <= last/8 {
		return Number{}, rules.No
	}
	if f.bits > 64 {
		for i := range 8 {
			n.High, n.Low = n.High<<8|uint64(b[f.at/8+i]), n.Low<<8|uint64(b[f.at/8+8+i])
		}
		return n, rules.Yes
	}
	for _, c := range b[f.at/8 : last/8+1] {
		n.Low = n.Low<<8 | uint64(c)
	}
	n.Low >>= 7 - uint(last%8)
	return n.and(ones(f.bits)), rules.Yes
}

// value reads the bits.
func (r Raw) value() value {
	f := field{at: r.At, bits: r.Bits}
	switch {
	case r.Bits > 64 || r.Bits > 56 && r.At%8 != 0:
	case r.Base == "th":
		return f.ofTransport()
	case r.Base == "nh":
		return func(run *run) (Number, rules.Answer) {
			if run.visit.Wire == nil {
				return Number{}, rules.Unknown
			}
			return f.in(run.visit.Wire.Bytes())
		}
	}
	return nil
}

// frameSource is the hardware address that the packet came from; one that came in no frame has none.
func frameSource(r *run) (Number, rules.Answer) {
	w, _ := r.visit.World.(rules.Linked)
	mac, framed := rules.FrameSource(r.visit.Packet, w)
	n := Number{}
	for _, b := range mac {
		n.Low = n.Low<<8 | uint64(b)
	}
	return n, framed
}
