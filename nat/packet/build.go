package packet

import (
	"encoding/binary"
	"slices"

	"natlab/nat"
)

// Fields are what a packet is built from besides its tuple.
type Fields struct {
	TTL     uint8  // 0 for 64
	TOS     uint8  //
	ID      uint16 // of the IPv4 header
	DF      bool   // don't fragment
	TCP     TCP    // for TCP; Options are padded to a multiple of four bytes, at most 40
	Type    uint8  // for ICMP; of a DCCP packet: 0 for a request, 1 for a response (RFC 4340, 5.1)
	Code    uint8  //
	Rest    uint32 // the second word of an ICMP error: the MTU, the gateway
	Payload []byte
	ZeroSum bool     // of TCP: a checksum of zero stays zero, as ip_send_unicast_reply writes it, and does not become 0xffff
	Part    uint16   // of a fragment of IPv4: more fragments (0x2000) and the offset in units of 8 bytes; it replaces DF
	Headers []Header // of IPv6, between its header and the transport header
}

// Build makes a packet of a tuple, with its checksums. The family is that of the addresses. Headers that cannot be walked
// make it the zero Packet.
func Build(t nat.Tuple, f Fields) *Packet {
	v6 := t.Src().Addr().Is6()
	header, body, next := ipv4Header, transportOf(t, f), t.Proto()
	if v6 {
		header = ipv6Header
		for _, h := range slices.Backward(f.Headers) {
			body = append(slices.Clone(h.Bytes), body...)
			body[0], next = byte(next), h.Type
		}
	}
	b := make([]byte, header+len(body))
	copy(b[header:], body)
	ttl := f.TTL
	if ttl == 0 {
		ttl = 64
	}
	if v6 {
		b[0], b[1] = 6<<4|f.TOS>>4, f.TOS<<4
		binary.BigEndian.PutUint16(b[4:], uint16(len(body)))
		b[6], b[7] = byte(next), ttl
		src, dst := t.Src().Addr().As16(), t.Dst().Addr().As16()
		copy(b[8:], src[:])
		copy(b[24:], dst[:])
	} else {
		b[0], b[1] = 4<<4|5, f.TOS
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		binary.BigEndian.PutUint16(b[4:], f.ID)
		if f.DF {
			b[6] = 0x40
		}
		if f.Part != 0 {
			binary.BigEndian.PutUint16(b[6:], f.Part)
		}
		b[8], b[9] = ttl, byte(t.Proto())
		src, dst := t.Src().Addr().As4(), t.Dst().Addr().As4()
		copy(b[12:], src[:])
		copy(b[16:], dst[:])
	}
	p := &Packet{b: b}
	if p.parse() != nil {
		return p
	}
	p.Seal()
	if h := p.transport(); f.ZeroSum && t.Proto() == nat.TCP && !p.later && binary.BigEndian.Uint16(h[16:]) == 0xffff {
		binary.BigEndian.PutUint16(h[16:], 0)
	}
	return p
}

// transportOf is the transport header with the payload, without a checksum.
func transportOf(t nat.Tuple, f Fields) []byte {
	var h []byte
	switch t.Proto() {
	case nat.TCP:
		options := (len(f.TCP.Options) + 3) &^ 3
		h = make([]byte, tcpHeader+options, tcpHeader+options+len(f.Payload))
		putPorts(h, t)
		binary.BigEndian.PutUint32(h[4:], f.TCP.Seq)
		binary.BigEndian.PutUint32(h[8:], f.TCP.Ack)
		h[12], h[13] = byte(len(h)/4)<<4, f.TCP.Flags
		binary.BigEndian.PutUint16(h[14:], f.TCP.Window)
		copy(h[tcpHeader:], f.TCP.Options)
	case nat.UDP:
		h = make([]byte, udpHeader, udpHeader+len(f.Payload))
		putPorts(h, t)
		binary.BigEndian.PutUint16(h[4:], uint16(udpHeader+len(f.Payload)))
	case nat.UDPLite: // a coverage of 0 is all of it
		h = make([]byte, udpHeader, udpHeader+len(f.Payload))
		putPorts(h, t)
	case nat.DCCP: // with long sequence numbers
		h = make([]byte, dccpLength(f.Type))
		putPorts(h, t)
		h[4], h[8] = uint8(len(h)/4), f.Type<<1|1
	case nat.SCTP:
		h = make([]byte, sctpHeader, sctpHeader+len(f.Payload))
		putPorts(h, t)
		binary.BigEndian.PutUint32(h[4:], f.Rest) // the verification tag
	case nat.ICMP, nat.ICMPv6:
		h = make([]byte, icmpHeader, icmpHeader+len(f.Payload))
		h[0], h[1] = f.Type, f.Code
		if Query(t.Proto(), f.Type) {
			binary.BigEndian.PutUint16(h[4:], t.Src().Port())
			binary.BigEndian.PutUint16(h[6:], uint16(f.Rest))
		} else {
			binary.BigEndian.PutUint32(h[4:], f.Rest)
		}
	}
	return append(h, f.Payload...)
}

func putPorts(h []byte, t nat.Tuple) {
	binary.BigEndian.PutUint16(h, t.Src().Port())
	binary.BigEndian.PutUint16(h[2:], t.Dst().Port())
}

// dccpLength is how long a DCCP header of a type is, with long sequence numbers and without options (RFC 4340, 5.1 to 5.7).
func dccpLength(kind uint8) int {
	const long = dccpHeader + 4
	switch kind {
	case 0: // a service code
		return long + 4
	case 1, 7: // what it acknowledges, and a service code or a reason
		return long + 12
	case 2: // data
		return long
	}
	return long + 8 // what it acknowledges
}
