package packet

import (
	"encoding/binary"
	"net/netip"

	"natlab/nat"
)

// SetSrc writes the source address and port, for an ICMP query its identifier, and brings the checksums up to date as
// the kernel does (nf_nat_manip_pkt): from the old values, so that one that was wrong stays wrong by as much. A port
// is written only where the packet has one. The address has to be of the packet's family.
func (p *Packet) SetSrc(to netip.AddrPort) {
	p.coverAddr(p.srcField(), to.Addr())
	p.putAddr(p.srcField(), to.Addr())
	p.setPort(0, to.Port())
	if p.ported() && to.Addr().Is4() {
		p.tuple = p.tuple.WithSrc(to)
		return
	}
	p.reread()
}

// SetDst is SetSrc for the destination.
func (p *Packet) SetDst(to netip.AddrPort) {
	p.coverAddr(p.dstField(), to.Addr())
	p.putAddr(p.dstField(), to.Addr())
	p.setPort(2, to.Port())
	if p.ported() && to.Addr().Is4() {
		p.tuple = p.tuple.WithDst(to)
		return
	}
	p.reread()
}

// ported reports whether a port that was written is one of the tuple: the transport header begins with two, and they are there.
func (p *Packet) ported() bool {
	switch p.proto {
	case nat.TCP, nat.UDP, nat.SCTP, nat.UDPLite, nat.DCCP:
		return !p.later && len(p.b) >= p.at+4
	}
	return false
}

// SetSrcAddr writes the source address and leaves what follows the IP header as it is, as NAT does with a protocol that it
// does not know.
func (p *Packet) SetSrcAddr(to netip.Addr) {
	p.putAddr(p.srcField(), to)
	p.reread()
}

// SetDstAddr is SetSrcAddr for the destination.
func (p *Packet) SetDstAddr(to netip.Addr) {
	p.putAddr(p.dstField(), to)
	p.reread()
}

// reread takes the tuple from the bytes again.
func (p *Packet) reread() {
	proto := p.proto
	if p.V6() {
		p.setTuple(proto, netip.AddrFrom16([16]byte(p.b[8:24])), netip.AddrFrom16([16]byte(p.b[24:40])))
		return
	}
	p.setTuple(proto, netip.AddrFrom4([4]byte(p.b[12:16])), netip.AddrFrom4([4]byte(p.b[16:20])))
}

func (p *Packet) srcField() []byte {
	if p.V6() {
		return p.b[8:24]
	}
	return p.b[12:16]
}

func (p *Packet) dstField() []byte {
	if p.V6() {
		return p.b[24:40]
	}
	return p.b[16:20]
}

// putAddr writes an address, and corrects the IPv4 header's checksum.
func (p *Packet) putAddr(field []byte, to netip.Addr) {
	if p.V6() {
		b := to.As16()
		copy(field, b[:])
		return
	}
	b := to.As4()
	check := p.b[10:12]
	binary.BigEndian.PutUint16(check, replaced(binary.BigEndian.Uint16(check), field, b[:]))
	copy(field, b[:])
}

// coverAddr corrects the transport checksum for an address that is about to change, where it covers addresses.
func (p *Packet) coverAddr(field []byte, to netip.Addr) {
	if _, pseudo := checksumAt(p.proto); !pseudo {
		return
	}
	if p.V6() {
		b := to.As16()
		p.fixTransport(field, b[:])
		return
	}
	b := to.As4()
	p.fixTransport(field, b[:])
}

// fixTransport corrects the transport checksum for a change of words that it covers.
func (p *Packet) fixTransport(old, new []byte) {
	proto := p.proto
	h := p.transport()
	at, _ := checksumAt(proto)
	if at < 0 || p.later || len(h) < at+2 || p.inner && !p.checksumKept(h) {
		return
	}
	check := binary.BigEndian.Uint16(h[at:])
	if check == 0 && proto == nat.UDP {
		return
	}
	check = replaced(check, old, new)
	if check == 0 && (proto == nat.UDP || proto == nat.UDPLite) {
		check = 0xffff
	}
	binary.BigEndian.PutUint16(h[at:], check)
}

// checksumKept reports whether a packet inside an ICMP error has its whole transport header: only then the kernel
// corrects its checksum (tcp_manip_pkt and its like).
func (p *Packet) checksumKept(h []byte) bool {
	switch p.proto {
	case nat.TCP:
		return len(h) >= tcpHeader
	case nat.DCCP:
		return len(h) >= dccpHeader
	}
	return true
}

// setPort writes the port at an offset of the transport header, or an ICMP query's identifier.
func (p *Packet) setPort(at int, to uint16) {
	h := p.transport()
	if p.later {
		return
	}
	switch p.proto {
	case nat.TCP, nat.UDP, nat.UDPLite, nat.DCCP:
		if len(h) < 4 {
			return
		}
	case nat.SCTP:
		if len(h) >= 4 {
			binary.BigEndian.PutUint16(h[at:], to)
		}
		if len(h) >= sctpHeader {
			binary.LittleEndian.PutUint32(h[8:], sctpSum(h))
		}
		return
	case nat.GRE: // of PPTP's the destination has a call id
		if at != 0 && pptp(h) {
			binary.BigEndian.PutUint16(h[6:], to)
		}
		return
	case nat.ICMP, nat.ICMPv6:
		if len(h) < icmpHeader || !Query(p.proto, h[0]) {
			return
		}
		at = 4
	default:
		return
	}
	new := [2]byte{byte(to >> 8), byte(to)}
	p.fixTransport(h[at:at+2], new[:])
	copy(h[at:], new[:])
}

// DecrementTTL takes one hop from the time to live (ip_decrease_ttl).
func (p *Packet) DecrementTTL() {
	if p.V6() {
		p.b[7]--
		return
	}
	old := [2]byte{p.b[8], p.b[9]}
	p.b[8]--
	check := p.b[10:12]
	binary.BigEndian.PutUint16(check, replaced(binary.BigEndian.Uint16(check), old[:], p.b[8:10]))
}

// SetTTL writes the time to live or the hop limit.
func (p *Packet) SetTTL(ttl uint8) {
	if p.V6() {
		p.b[7] = ttl
		return
	}
	old := [2]byte{p.b[8], p.b[9]}
	p.b[8] = ttl
	check := p.b[10:12]
	binary.BigEndian.PutUint16(check, replaced(binary.BigEndian.Uint16(check), old[:], p.b[8:10]))
}

// SetDontFragment forbids routers to split the packet, as they never do IPv6's.
func (p *Packet) SetDontFragment() {
	if !p.V6() {
		old := [2]byte{p.b[6], p.b[7]}
		p.b[6] |= 0x40
		check := p.b[10:12]
		binary.BigEndian.PutUint16(check, replaced(binary.BigEndian.Uint16(check), old[:], p.b[6:8]))
	}
}

// SetTOS writes the type of service byte or the traffic class (ipv4_change_dsfield, ipv6_change_dsfield).
func (p *Packet) SetTOS(tos uint8) {
	if p.V6() {
		p.b[0], p.b[1] = p.b[0]&0xf0|tos>>4, p.b[1]&0x0f|tos<<4
		return
	}
	old := [2]byte{p.b[0], p.b[1]}
	p.b[1] = tos
	check := p.b[10:12]
	binary.BigEndian.PutUint16(check, replaced(binary.BigEndian.Uint16(check), old[:], p.b[:2]))
}

// SetTCPFlags writes the flag byte of a TCP header; a packet without one stays as it is.
func (p *Packet) SetTCPFlags(flags uint8) {
	h := p.transport()
	if p.proto != nat.TCP || p.later || len(h) < tcpHeader {
		return
	}
	new := [2]byte{h[12], flags}
	p.fixTransport(h[12:14], new[:])
	h[13] = flags
}
