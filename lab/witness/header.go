package witness

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"natlab/nat"
	"natlab/nat/proof"
)

// Offsets and sizes of RFC 791, 793, 768, 792 and 7348.
const (
	ipv4Header   = 20
	udpHeader    = 8
	vxlanHeader  = 8
	etherHeader  = 14
	icmpHeader   = 8
	vxlanPort    = 4789
	etherIPv4    = 0x0800
	tcpFlagsAt   = 13
	fragmentMask = 0x1fff
)

// header is what the witness tells of a packet. All of it may come from a packet that somebody else made: what is too
// short leaves the fields behind it zero.
type header struct {
	tuple nat.Tuple // of the innermost IPv4 packet
	outer nat.Tuple // of a tunnelled packet
	flags uint8     // TCP
	icmp  proof.ICMP
}

// parseHeader looks through IPIP and VXLAN at the packet inside.
func parseHeader(b []byte) header {
	outer, proto, payload := parseIPv4(b)
	inner := payload
	switch {
	case !outer.IsValid():
		return header{}
	case proto == nat.IPIP:
	case proto == nat.UDP && outer.Dst().Port() == vxlanPort:
		const lead = udpHeader + vxlanHeader + etherHeader
		if len(inner) < lead || binary.BigEndian.Uint16(inner[lead-2:]) != etherIPv4 {
			return header{tuple: outer}
		}
		inner = inner[lead:]
	default:
		return parseTransport(outer, payload)
	}
	tuple, _, payload := parseIPv4(inner)
	if !tuple.IsValid() {
		return header{tuple: outer}
	}
	h := parseTransport(tuple, payload)
	h.outer = outer
	return h
}

// parseTransport adds what stands in the transport header.
func parseTransport(t nat.Tuple, payload []byte) header {
	h := header{tuple: t}
	switch t.Proto() {
	case nat.TCP:
		if len(payload) > tcpFlagsAt {
			h.flags = payload[tcpFlagsAt]
		}
	case nat.ICMP:
		if len(payload) >= icmpHeader && icmpError(payload[0]) {
			h.icmp = proof.ICMP{Type: payload[0], Code: payload[1]}
			h.icmp.Inside, _, _ = parseIPv4(payload[icmpHeader:])
		}
	}
	return h
}

// icmpErrors are the ICMP messages that carry the packet that they are about (RFC 1812 4.3.1): unreachable, source
// quench, redirect, time exceeded, parameter problem.
var icmpErrors = [...]uint8{3, 4, 5, 11, 12}

func icmpError(kind uint8) bool { return slices.Contains(icmpErrors[:], kind) }

// parseIPv4 gives a packet's tuple and what is behind the IP header. Fragments but the first have no ports.
func parseIPv4(b []byte) (nat.Tuple, nat.Proto, []byte) {
	if len(b) < ipv4Header || b[0]>>4 != 4 {
		return nat.Tuple{}, 0, nil
	}
	n := int(b[0]&15) * 4
	if n < ipv4Header || len(b) < n {
		return nat.Tuple{}, 0, nil
	}
	proto, payload := nat.Proto(b[9]), b[n:]
	var src, dst uint16
	if binary.BigEndian.Uint16(b[6:])&fragmentMask == 0 {
		src, dst = ports(proto, payload)
	}
	return nat.TupleOf(proto,
		netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[12:])), src),
		netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[16:])), dst)), proto, payload
}

// headerOf gives a packet's tuple and, of TCP, its flags; it looks into no tunnel.
func headerOf(b []byte) (nat.Tuple, uint8) {
	t, proto, payload := parseIPv4(b)
	if proto == nat.TCP && len(payload) > tcpFlagsAt {
		return t, payload[tcpFlagsAt]
	}
	return t, 0
}

// ports reads the ports, or the id of an ICMP query twice.
func ports(proto nat.Proto, b []byte) (src, dst uint16) {
	switch proto {
	case nat.TCP, nat.UDP, nat.SCTP:
		if len(b) >= 4 {
			return binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		}
	case nat.ICMP:
		if len(b) >= 6 && !icmpError(b[0]) {
			id := binary.BigEndian.Uint16(b[4:])
			return id, id
		}
	case nat.IPIP, nat.ICMPv6: // without ports
	}
	return 0, 0
}
