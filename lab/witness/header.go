package witness

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"natlab/nat"
	"natlab/nat/proof"
)

// Offsets and sizes of RFC 791, 8200, 793, 768, 792, 4443, 7348 and 9260.
const (
	ipv4Header   = 20
	ipv6Header   = 40
	udpHeader    = 8
	vxlanHeader  = 8
	etherHeader  = 14
	icmpHeader   = 8
	vxlanPort    = 4789
	etherIPv4    = 0x0800
	etherIPv6    = 0x86dd
	tcpFlagsAt   = 13
	chunkAt      = 12
	chunkInit    = 1
	chunkInitAck = 2
	chunkAbort   = 6
	fragmentMask = 0x1fff
)

// header is what the witness tells of a packet. All of it may come from a packet that somebody else made: what is too
// short leaves the fields behind it zero.
type header struct {
	tuple nat.Tuple // of the innermost packet
	outer nat.Tuple // of a tunnelled packet
	flags uint8     // TCP, and of SCTP what its first chunk is in the words of TCP
	icmp  proof.ICMP
}

// parseHeader looks through IPIP and VXLAN at the packet inside.
func parseHeader(b []byte) header {
	outer, proto, payload := parseIP(b)
	inner := payload
	switch {
	case !outer.IsValid():
		return header{}
	case proto == nat.IPIP:
	case proto == nat.UDP && outer.Dst().Port() == vxlanPort:
		const lead = udpHeader + vxlanHeader + etherHeader
		if len(inner) < lead || !etherIP(binary.BigEndian.Uint16(inner[lead-2:])) {
			return header{tuple: outer}
		}
		inner = inner[lead:]
	default:
		return parseTransport(outer, payload)
	}
	tuple, _, payload := parseIP(inner)
	if !tuple.IsValid() {
		return header{tuple: outer}
	}
	h := parseTransport(tuple, payload)
	h.outer = outer
	return h
}

func etherIP(kind uint16) bool { return kind == etherIPv4 || kind == etherIPv6 }

// parseTransport adds what stands in the transport header.
func parseTransport(t nat.Tuple, payload []byte) header {
	h := header{tuple: t}
	switch t.Proto() {
	case nat.TCP, nat.SCTP:
		h.flags = flagsOf(t.Proto(), payload)
	case nat.ICMP, nat.ICMPv6:
		if len(payload) >= icmpHeader && icmpError(t.Proto(), payload[0]) {
			h.icmp = proof.ICMP{Type: payload[0], Code: payload[1]}
			h.icmp.Inside, _, _ = parseIP(payload[icmpHeader:])
		}
	}
	return h
}

// icmpErrors are the ICMP messages that carry the packet that they are about (RFC 1812 4.3.1): unreachable, source
// quench, redirect, time exceeded, parameter problem. Of ICMPv6 (RFC 4443) they are unreachable, too big, time exceeded, parameter problem.
var (
	icmpErrors   = [...]uint8{3, 4, 5, 11, 12}
	icmpv6Errors = [...]uint8{1, 2, 3, 4}
)

func icmpError(proto nat.Proto, kind uint8) bool {
	if proto == nat.ICMPv6 {
		return slices.Contains(icmpv6Errors[:], kind)
	}
	return slices.Contains(icmpErrors[:], kind)
}

// parseIP gives a packet's tuple and what is behind the IP header. Fragments but the first have no ports.
func parseIP(b []byte) (nat.Tuple, nat.Proto, []byte) {
	switch {
	case len(b) >= ipv4Header && b[0]>>4 == 4:
		return parseIPv4(b)
	case len(b) >= ipv6Header && b[0]>>4 == 6:
		return parseIPv6(b)
	}
	return nat.Tuple{}, 0, nil
}

func parseIPv4(b []byte) (nat.Tuple, nat.Proto, []byte) {
	n := int(b[0]&15) * 4
	if n < ipv4Header || len(b) < n {
		return nat.Tuple{}, 0, nil
	}
	src, dst := netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
	return tupleIn(nat.Proto(b[9]), src, dst, b[n:], binary.BigEndian.Uint16(b[6:])&fragmentMask == 0)
}

// The extension headers of RFC 8200 that are looked through.
const (
	hopByHop    = 0
	routing     = 43
	fragment    = 44
	destination = 60
)

func parseIPv6(b []byte) (nat.Tuple, nat.Proto, []byte) {
	src, dst := netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
	first := true
	next, rest := b[6], b[ipv6Header:]
	for {
		n := 8
		switch next {
		case hopByHop, routing, destination:
			if len(rest) > 1 {
				n = 8 * (int(rest[1]) + 1)
			}
		case fragment:
			if len(rest) > 3 {
				first = first && binary.BigEndian.Uint16(rest[2:])>>3 == 0
			}
		default:
			return tupleIn(nat.Proto(next), src, dst, rest, first)
		}
		if len(rest) < n {
			return nat.Tuple{}, 0, nil
		}
		next, rest = rest[0], rest[n:]
	}
}

// tupleIn is the tuple of a packet with that payload; first: it is whole, or its first fragment.
func tupleIn(proto nat.Proto, src, dst netip.Addr, payload []byte, first bool) (nat.Tuple, nat.Proto, []byte) {
	var from, to uint16
	if first {
		from, to = ports(proto, payload)
	}
	return nat.TupleOf(proto, netip.AddrPortFrom(src, from), netip.AddrPortFrom(dst, to)), proto, payload
}

// headerOf gives a packet's tuple and its flags (header.flags); it looks into no tunnel.
func headerOf(b []byte) (nat.Tuple, uint8) {
	t, proto, payload := parseIP(b)
	return t, flagsOf(proto, payload)
}

// flagsOf are the flags of a TCP header; of SCTP's first chunk it is those of the segment that does the same: SYN of an INIT, SYN and ACK
// of an INIT ACK, RST of an ABORT (RFC 9260, 3.2), and ACK of the others.
func flagsOf(proto nat.Proto, payload []byte) uint8 {
	switch {
	case proto == nat.TCP && len(payload) > tcpFlagsAt:
		return payload[tcpFlagsAt]
	case proto != nat.SCTP || len(payload) <= chunkAt:
		return 0
	}
	switch payload[chunkAt] {
	case chunkInit:
		return syn
	case chunkInitAck:
		return syn | ack
	case chunkAbort:
		return rst
	}
	return ack
}

// The echo request and its answer of ICMPv6 (RFC 4443), which have an id; the other messages that are no errors have none.
const (
	echo6      = 128
	echoReply6 = 129
)

// ports reads the ports, or the id of an ICMP query twice.
func ports(proto nat.Proto, b []byte) (src, dst uint16) {
	switch proto {
	case nat.TCP, nat.UDP, nat.SCTP:
		if len(b) >= 4 {
			return binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		}
	case nat.ICMP, nat.ICMPv6:
		queries := proto == nat.ICMP || len(b) > 0 && (b[0] == echo6 || b[0] == echoReply6)
		if len(b) >= 6 && queries && !icmpError(proto, b[0]) {
			id := binary.BigEndian.Uint16(b[4:])
			return id, id
		}
	case nat.IPIP: // without ports
	}
	return 0, 0
}
