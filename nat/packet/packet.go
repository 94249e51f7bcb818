package packet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"natlab/nat"
)

// Lengths of headers without options, in bytes.
const (
	ipv4Header = 20
	ipv6Header = 40
	tcpHeader  = 20
	udpHeader  = 8
	icmpHeader = 8
	sctpHeader = 12
	dccpHeader = 12 // of any type, with short sequence numbers
)

// ErrMalformed is what a packet's bytes are that no IP stack would take (ip_rcv_core, ip6_rcv_core).
var ErrMalformed = errors.New("malformed packet")

// Packet is one IP packet. Its fields are read from and written to the bytes that it was parsed from; the tuple is kept
// beside them. The zero Packet is none. A Packet is to be used by one goroutine at a time.
type Packet struct {
	b     []byte // from the first byte of the IP header to the last of its payload
	tuple nat.Tuple
	proto nat.Proto // the tuple's
	at    int       // of the transport header in b
	later bool
	first bool // the first fragment of several
	inner bool // the packet inside an ICMP error, which may be cut short
}

// Parse makes a packet of bytes, which it keeps. Bytes behind the packet's own length are left out, as the kernel trims
// them. An error is ErrMalformed with what is wrong.
func Parse(b []byte) (Packet, error) {
	var p Packet
	err := p.Parse(b)
	return p, err
}

// Parse is the function of that name, into a Packet that is there already: it allocates nothing unless it fails.
func (p *Packet) Parse(b []byte) error {
	*p = Packet{b: b}
	return p.parse()
}

func (p *Packet) parse() (err error) {
	switch {
	case len(p.b) == 0:
		err = fmt.Errorf("%w: empty", ErrMalformed)
	case p.b[0]>>4 == 4:
		err = p.parse4()
	case p.b[0]>>4 == 6:
		err = p.parse6()
	default:
		err = fmt.Errorf("%w: IP version %d", ErrMalformed, p.b[0]>>4)
	}
	if err != nil {
		*p = Packet{}
	}
	return err
}

func (p *Packet) parse4() error {
	b := p.b
	if len(b) < ipv4Header {
		return fmt.Errorf("%w: %d bytes, less than an IPv4 header", ErrMalformed, len(b))
	}
	header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	switch {
	case header < ipv4Header || header > len(b):
		return fmt.Errorf("%w: IPv4 header length %d of %d bytes", ErrMalformed, header, len(b))
	case total < header:
		return fmt.Errorf("%w: IPv4 total length %d, header %d", ErrMalformed, total, header)
	case total > len(b) && !p.inner:
		return fmt.Errorf("%w: IPv4 total length %d of %d bytes", ErrMalformed, total, len(b))
	}
	p.b = b[:min(total, len(b))]
	fragment := binary.BigEndian.Uint16(b[6:])
	p.later, p.first = fragment&0x1fff != 0, fragment&0x3fff == 0x2000
	p.at = header
	src, dst := netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	p.setTuple(nat.Proto(b[9]), src, dst)
	return nil
}

// setTuple completes the tuple with what the transport header has. A header that is cut short gives ports of zero.
func (p *Packet) setTuple(proto nat.Proto, src, dst netip.Addr) {
	p.proto = proto
	var sport, dport uint16
	if h := p.transport(); !p.later {
		switch proto {
		case nat.TCP, nat.UDP, nat.SCTP, nat.UDPLite, nat.DCCP:
			if len(h) >= 4 {
				sport, dport = binary.BigEndian.Uint16(h), binary.BigEndian.Uint16(h[2:])
			}
		case nat.GRE:
			if pptp(h) {
				dport = binary.BigEndian.Uint16(h[6:])
			}
		case nat.ICMP, nat.ICMPv6:
			if len(h) >= icmpHeader && Query(proto, h[0]) {
				sport = binary.BigEndian.Uint16(h[4:])
				dport = sport
			}
		}
	}
	p.tuple = nat.TupleOf(proto, netip.AddrPortFrom(src, sport), netip.AddrPortFrom(dst, dport))
}

// pptp reports whether a GRE header is one of PPTP's, with a call id (RFC 2637, 4.1).
func pptp(h []byte) bool {
	return len(h) >= greHeader && h[1]&7 == 1 && h[2] == 0x88 && h[3] == 0x0b
}

// greHeader is how much of GRE's header of version 1 is always there.
const greHeader = 8

// Trackable reports whether conntrack finds a tuple in the packet at all: of GRE's version 1 only in PPTP's
// (gre_pkt_to_tuple), and none behind the end of IPv6's headers (ipv6_skip_exthdr).
func (p *Packet) Trackable() bool {
	h := p.transport()
	switch p.proto {
	case nat.GRE:
		return len(h) < greHeader || h[1]&7 != 1 || pptp(h)
	case noNext:
		return !p.V6()
	}
	return true
}

// Query reports whether an ICMP type has an identifier: echo, timestamp, information and address mask with their
// answers, ICMPv6 echo.
func Query(proto nat.Proto, kind uint8) bool {
	if proto == nat.ICMPv6 {
		return kind == 128 || kind == 129
	}
	switch kind {
	case 0, 8, 13, 14, 15, 16, 17, 18:
		return proto == nat.ICMP
	}
	return false
}

// Clone is a copy that shares no bytes with p.
func (p *Packet) Clone() Packet {
	out := *p
	out.b = bytes.Clone(p.b)
	return out
}

// Bytes is the packet's bytes, without what was behind its length. They change as the packet is rewritten.
func (p *Packet) Bytes() []byte { return p.b }

// IsValid reports whether there is a packet.
func (p *Packet) IsValid() bool { return len(p.b) > 0 }

// Tuple is the packet's protocol, addresses and ports: the identifier at both ends for an ICMP query, the call id as
// destination of PPTP's GRE, zero ports where
// the protocol has none, in a later fragment, and where the header is cut short.
func (p *Packet) Tuple() nat.Tuple { return p.tuple }

// Proto is the protocol of Tuple.
func (p *Packet) Proto() nat.Proto { return p.proto }

// V6 reports whether it is an IPv6 packet.
func (p *Packet) V6() bool { return p.b[0]>>4 == 6 }

// Later reports whether it is a second or later fragment.
func (p *Packet) Later() bool { return p.later }

// Len is the packet's length with its header, in bytes.
func (p *Packet) Len() int { return len(p.b) }

// TTL is the time to live, or the hop limit.
func (p *Packet) TTL() uint8 {
	if p.V6() {
		return p.b[7]
	}
	return p.b[8]
}

// TOS is the type of service byte, or the traffic class.
func (p *Packet) TOS() uint8 {
	if p.V6() {
		return p.b[0]<<4 | p.b[1]>>4
	}
	return p.b[1]
}

// Options are those of an IPv4 header, padding and all; IPv6 has none.
func (p *Packet) Options() []byte {
	if !p.IsValid() || p.V6() {
		return nil
	}
	return p.b[ipv4Header:p.at]
}

// DontFragment reports whether routers may not split the packet; they never split an IPv6 one.
func (p *Packet) DontFragment() bool { return p.V6() || p.b[6]&0x40 != 0 }

// transport is the transport header with its payload.
func (p *Packet) transport() []byte { return p.b[min(p.at, len(p.b)):] }

// Transport is the bytes behind the IP header and its extensions.
func (p *Packet) Transport() []byte { return p.transport() }

// Whole reports whether the transport header is there in full and agrees with the packet's length, as conntrack asks
// (tcp_error, udp_error, dccp_error, get_l4proto). A protocol without one is whole.
func (p *Packet) Whole() bool {
	h := p.transport()
	switch p.proto {
	case nat.TCP:
		return len(h) >= tcpHeader && int(h[12]>>4)*4 >= tcpHeader && int(h[12]>>4)*4 <= len(h)
	case nat.UDP:
		if len(h) < udpHeader {
			return false
		}
		n := int(binary.BigEndian.Uint16(h[4:]))
		return n >= udpHeader && n <= len(h)
	case nat.UDPLite: // RFC 3828, 3.1
		if len(h) < udpHeader {
			return false
		}
		n := int(binary.BigEndian.Uint16(h[4:]))
		return (n == 0 || n >= udpHeader && n <= len(h)) && h[6]|h[7] != 0
	case nat.SCTP:
		return len(h) >= sctpHeader
	case nat.DCCP:
		return len(h) >= dccpHeader && int(h[4])*4 >= dccpHeader && int(h[4])*4 <= len(h) && dccpCovered(h) <= len(h)
	case nat.ICMP, nat.ICMPv6:
		return len(h) >= icmpHeader
	}
	return true
}

// UDPLength is how many bytes of a whole packet a UDP header and its payload are, as the header has it; of UDP-Lite as many as there are.
func (p *Packet) UDPLength() int {
	if h := p.transport(); p.proto == nat.UDP {
		return int(binary.BigEndian.Uint16(h[4:]))
	}
	return len(p.transport())
}

// TCP is what the TCP header has.
type TCP struct {
	Flags    uint8 // FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32, ECE 64, CWR 128
	Seq, Ack uint32
	Window   uint16
	Length   int    // of the payload, in bytes
	Options  []byte // a part of the packet
}

// TCP reads the TCP header; ok is false where there is none in full.
func (p *Packet) TCP() (t TCP, ok bool) {
	if p.proto != nat.TCP || p.later || !p.Whole() {
		return TCP{}, false
	}
	h := p.transport()
	n := int(h[12]>>4) * 4
	return TCP{
		Flags: h[13], Seq: binary.BigEndian.Uint32(h[4:]), Ack: binary.BigEndian.Uint32(h[8:]),
		Window: binary.BigEndian.Uint16(h[14:]), Length: len(h) - n, Options: h[tcpHeader:n],
	}, true
}

// TCPFlags is the flag byte of a TCP header, 0 where there is none.
func (p *Packet) TCPFlags() uint8 {
	if h := p.transport(); p.proto == nat.TCP && !p.later && len(h) >= 14 {
		return h[13]
	}
	return 0
}

// ICMP is the type and code of an ICMP or ICMPv6 packet; ok is false for others.
func (p *Packet) ICMP() (kind, code uint8, ok bool) {
	h := p.transport()
	if proto := p.proto; proto != nat.ICMP && proto != nat.ICMPv6 || p.later || len(h) < 2 {
		return 0, 0, false
	}
	return h[0], h[1], true
}

// String is the packet's tuple with what matters of its transport header: "tcp 10.0.0.1:1 > 10.0.0.2:2 S ttl 64".
func (p *Packet) String() string {
	if !p.IsValid() {
		return "no packet"
	}
	s := p.tuple.String()
	if t, ok := p.TCP(); ok {
		s += " " + FlagNames(t.Flags)
	}
	if kind, code, ok := p.ICMP(); ok {
		s += fmt.Sprintf(" type %d code %d", kind, code)
	}
	if inside, ok := p.Inside(); ok {
		s += " about " + inside.tuple.String()
	}
	return s + fmt.Sprintf(" ttl %d", p.TTL())
}

// FlagNames is tcpdump's letters for the bits of TCP's flag byte: "S.", "R", "none".
func FlagNames(flags uint8) string {
	const letters = "FSRP.UEW"
	var out []byte
	for i := range len(letters) {
		if flags&(1<<i) != 0 && letters[i] != '.' {
			out = append(out, letters[i])
		}
	}
	if flags&16 != 0 {
		out = append(out, '.')
	}
	if out == nil {
		return "none"
	}
	return string(out)
}
