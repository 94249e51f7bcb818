package packet

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"

	"natlab/nat"
)

// sum adds bytes in 16-bit words to a one's complement sum, not yet folded. 2^16 counts as 1, and so does 2^64: words are added four at
// a time, and what is carried comes back at the other end (RFC 1071, 2).
func sum(acc uint64, b []byte) uint64 {
	var carry uint64
	for ; len(b) >= 32; b = b[32:] {
		acc, carry = bits.Add64(acc, binary.BigEndian.Uint64(b), carry)
		acc, carry = bits.Add64(acc, binary.BigEndian.Uint64(b[8:]), carry)
		acc, carry = bits.Add64(acc, binary.BigEndian.Uint64(b[16:]), carry)
		acc, carry = bits.Add64(acc, binary.BigEndian.Uint64(b[24:]), carry)
	}
	for ; len(b) >= 8; b = b[8:] {
		acc, carry = bits.Add64(acc, binary.BigEndian.Uint64(b), carry)
	}
	acc = acc>>32 + acc&0xffffffff + carry
	for ; len(b) >= 2; b = b[2:] {
		acc += uint64(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		acc += uint64(b[0]) << 8
	}
	return acc
}

func fold(acc uint64) uint16 {
	for acc > 0xffff {
		acc = acc>>16 + acc&0xffff
	}
	return uint16(acc)
}

// replaced is a checksum after some 16-bit words that it covers changed from old to new: HC' = ~(~HC + ~m + m') of
// RFC 1624, equation 3.
func replaced(check uint16, old, new []byte) uint16 {
	acc := uint64(^check)
	for i := 0; i+1 < len(old); i += 2 {
		acc += uint64(^binary.BigEndian.Uint16(old[i:])) + uint64(binary.BigEndian.Uint16(new[i:]))
	}
	return ^fold(acc)
}

// checksumAt is where the transport header keeps its checksum, -1 for a protocol without one. pseudo: it also
// covers the addresses.
func checksumAt(proto nat.Proto) (at int, pseudo bool) {
	switch proto {
	case nat.TCP:
		return 16, true
	case nat.UDP, nat.UDPLite:
		return 6, true
	case nat.DCCP:
		return 6, true
	case nat.ICMP:
		return 2, false
	case nat.ICMPv6:
		return 2, true
	}
	return -1, false
}

// pseudoSum is the sum of the pseudo header of a transport checksum.
func (p *Packet) pseudoSum(length int) uint64 {
	addresses := p.b[12:20]
	if p.V6() {
		addresses = p.b[8:40]
	}
	return sum(uint64(p.proto)+uint64(length), addresses)
}

// transportSum is the sum over the transport header and payload with its checksum as it stands: 0xffff when it is right.
func (p *Packet) transportSum() uint16 {
	h := p.transport()
	acc := uint64(0)
	if p.proto == nat.UDP && len(h) >= udpHeader {
		h = h[:min(len(h), max(udpHeader, int(binary.BigEndian.Uint16(h[4:]))))]
	}
	if _, pseudo := checksumAt(p.proto); pseudo {
		acc = p.pseudoSum(len(h))
	}
	if p.proto == nat.UDPLite && len(h) >= udpHeader { // the length is all of it, even where less is covered
		if n := int(binary.BigEndian.Uint16(h[4:])); n != 0 {
			h = h[:min(len(h), max(udpHeader, n))]
		}
	}
	return fold(sum(acc, h))
}

// Rejectable reports whether REJECT answers the packet as far as its checksum goes (nf_reject_verify_csum): of a protocol
// that the kernel does not know it wants an Internet checksum over all that follows the IP header, in IPv6 with the
// pseudo header. That of a first fragment is hardly right, unless it is a UDP checksum that is none; a later one is never answered.
func (p *Packet) Rejectable(k nat.Kernel) bool {
	proto, h := p.proto, p.transport()
	_, pseudo := checksumAt(proto)
	if proto == nat.DCCP && k.Has(nat.DCCPForgotten) {
		pseudo = false
	}
	switch known := pseudo || proto == nat.ICMP; {
	case p.later:
		return false
	case proto == nat.SCTP, proto == nat.GRE, proto == nat.ESP, proto == nat.AH, proto == nat.UDPLite, proto == nat.DCCP && pseudo:
		return true
	case proto == nat.UDP && len(h) >= udpHeader && h[6]|h[7] == 0:
		if k.Has(nat.RejectsUnsummedUDP) {
			return true
		}
	case known && !p.first:
		return p.ChecksumOK()
	}
	acc := uint64(0)
	if pseudo || p.V6() {
		acc = p.pseudoSum(len(h))
	}
	return zeroSum(fold(sum(acc, h)))
}

// zeroSum reports whether a one's complement sum is zero, of which there are two: 0 is that of nothing but zeros, and the
// kernel takes it too.
func zeroSum(s uint16) bool { return s == 0 || s == 0xffff }

// Summed reports whether conntrack sums the packet to know whether its checksum is right: one of TCP, of ICMP, or of UDP that has a checksum
// (tcp_error, udp_error, nf_conntrack_icmpv6_error).
func (p *Packet) Summed() bool {
	switch h := p.transport(); p.proto {
	case nat.TCP, nat.ICMP, nat.ICMPv6:
		return true
	case nat.UDP:
		return len(h) >= udpHeader && h[6]|h[7] != 0
	}
	return false
}

// ChecksumOK reports whether the transport checksum is right, as conntrack asks in PREROUTING (nf_checksum). A UDP
// checksum of zero is none and is right; so is that of a protocol without one.
func (p *Packet) ChecksumOK() bool {
	h := p.transport()
	proto := p.proto
	if proto == nat.SCTP {
		return len(h) >= sctpHeader && binary.LittleEndian.Uint32(h[8:]) == sctpSum(h)
	}
	at, _ := checksumAt(proto)
	if at < 0 || p.later || p.first {
		return true
	}
	if len(h) < at+2 {
		return false
	}
	if proto == nat.UDP && binary.BigEndian.Uint16(h[at:]) == 0 {
		return true
	}
	return zeroSum(p.transportSum())
}

// TrackedChecksumOK reports whether conntrack takes the checksum as right: ChecksumOK, but that of UDP-Lite it judges as if the
// protocol were UDP's, so that a right one is wrong to it (udplite_error), and that of DCCP by what it takes as covered.
func (p *Packet) TrackedChecksumOK() bool {
	switch h, proto := p.transport(), p.proto; {
	case p.later || p.first || proto != nat.UDPLite && proto != nat.DCCP:
		return p.ChecksumOK()
	case proto == nat.DCCP && len(h) >= dccpHeader:
		return zeroSum(fold(sum(p.pseudoSum(p.partialLength()), h[:min(len(h), dccpCovered(h))])))
	case proto == nat.DCCP:
		return false
	}
	whole := uint16(len(p.transport()))
	return zeroSum(fold(uint64(p.transportSum()) + uint64(nat.UDP) + uint64(^uint16(nat.UDPLite)) + uint64(^whole) + uint64(p.partialLength())))
}

// partialLength is the length in the pseudo header of a checksum that need not cover all, as conntrack takes it: in IPv4 its lowest eight
// bits alone, for nf_ip_checksum_partial hands it on in the protocol's place.
func (p *Packet) partialLength() int {
	n := len(p.transport())
	if p.V6() {
		return n
	}
	return n & 0xff
}

// dccpCovered is how many bytes of a DCCP packet its checksum covers, as conntrack counts them: by the header's field, which is 0 for
// all, and without the header's own length, which RFC 4340, 9.2, has counted (dccp_error).
func dccpCovered(h []byte) int {
	if n := int(h[5] & 15); n != 0 {
		return (n - 1) * 4
	}
	return len(h)
}

// HeaderOK reports whether the IPv4 header's checksum is right; IPv6 has none.
func (p *Packet) HeaderOK() bool {
	return p.V6() || fold(sum(0, p.b[:int(p.b[0]&15)*4])) == 0xffff
}

// Seal computes the IPv4 header's and the transport header's checksums anew.
func (p *Packet) Seal() {
	if !p.V6() {
		sealHeader(p.b)
	}
	p.sealTransport()
}

// Complete writes into an IPv4 header what the kernel itself writes for a socket with IP_HDRINCL: the packet's length and
// the header's checksum (raw_send_hdrinc). Others stay as they are.
func Complete(b []byte) {
	if len(b) < ipv4Header || b[0]>>4 != 4 || int(b[0]&15)*4 < ipv4Header || int(b[0]&15)*4 > len(b) {
		return
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	sealHeader(b)
}

func (p *Packet) sealTransport() {
	h := p.transport()
	proto := p.proto
	if proto == nat.SCTP && len(h) >= sctpHeader {
		binary.LittleEndian.PutUint32(h[8:], sctpSum(h))
		return
	}
	at, _ := checksumAt(proto)
	if at < 0 || p.later || len(h) < at+2 {
		return
	}
	binary.BigEndian.PutUint16(h[at:], 0)
	check := ^p.transportSum()
	if check == 0 && (proto == nat.UDP || proto == nat.UDPLite || proto == nat.TCP) {
		check = 0xffff // of UDP zero means that there is none; the kernel writes no zero for TCP either (skb_checksum_help)
	}
	binary.BigEndian.PutUint16(h[at:], check)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sctpSum is the CRC32c of an SCTP packet with its checksum field taken as zero.
func sctpSum(h []byte) uint32 {
	crc := crc32.Update(0, castagnoli, h[:8])
	crc = crc32.Update(crc, castagnoli, []byte{0, 0, 0, 0})
	return crc32.Update(crc, castagnoli, h[sctpHeader:])
}
