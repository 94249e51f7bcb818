package tunnel

import "encoding/binary"

const (
	headerLen = 20 // an IPv4 header without options
	maxPacket = 65535

	flagDF    = 0x4000
	flagMF    = 0x2000
	protoIPIP = 4
	protoICMP = 1

	// offsetMask is the fragment offset's part of the flags field, in units of 8 bytes.
	offsetMask = 0x1fff
)

func be32(b []byte) uint32 { return binary.BigEndian.Uint32(b) }

// outer is what ip_tunnel_xmit of the kernel's tunl0 (ttl inherit, nopmtudisc, tos 0) puts before an inner packet: its
// TTL and DF, of its TOS only ECN, with "congestion experienced" set back to "capable". The kernel fills in id and checksum of
// a packet sent with IP_HDRINCL.
func putOuter(b []byte, inner []byte, src, dst [4]byte) {
	b[0] = 0x45
	ecn := inner[1] & 3
	if ecn == 3 {
		ecn = 2
	}
	b[1] = ecn
	binary.BigEndian.PutUint16(b[2:], uint16(headerLen+len(inner)))
	binary.BigEndian.PutUint16(b[4:], 0)
	binary.BigEndian.PutUint16(b[6:], binary.BigEndian.Uint16(inner[6:])&flagDF)
	b[8] = inner[8]
	b[9] = protoIPIP
	binary.BigEndian.PutUint16(b[10:], 0)
	copy(b[12:16], src[:])
	copy(b[16:20], dst[:])
}

// validIPv4 reports whether b begins with a whole IPv4 packet, and how long it is.
func validIPv4(b []byte) (length int, ok bool) {
	if len(b) < headerLen || b[0]>>4 != 4 {
		return 0, false
	}
	header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	return total, header >= headerLen && total >= header && total <= len(b)
}

// inner returns the IPv4 packet inside an outer one.
func inner(outer []byte) ([]byte, bool) {
	if len(outer) < headerLen {
		return nil, false
	}
	// A raw socket gives the length field as the kernel keeps it, so the packet's own length is what counts.
	header := int(outer[0]&15) * 4
	if header < headerLen || header > len(outer) {
		return nil, false
	}
	length, ok := validIPv4(outer[header:])
	if !ok {
		return nil, false
	}
	return outer[header : header+length], true
}

// putTooBig writes "fragmentation needed" (RFC 1191) about an inner packet that came from the tunnel's own side, as
// tnl_update_pmtu sends it, and returns its length. b has room for 576 bytes. It is sent in the name of the packet's
// destination: that is the one address of which the node believes that it lies behind the device (rp_filter), and an
// address of the node's own would be a martian.
func putTooBig(b, packet []byte, mtu int) int {
	quoted := min(len(packet), 576-headerLen-8)
	total := headerLen + 8 + quoted
	clear(b[:headerLen+8])
	b[0] = 0x45
	b[1] = 0xc0 // internetwork control, as the kernel's ICMP errors have it
	binary.BigEndian.PutUint16(b[2:], uint16(total))
	b[8] = 64
	b[9] = protoICMP
	copy(b[12:16], packet[16:20])
	copy(b[16:20], packet[12:16])
	binary.BigEndian.PutUint16(b[10:], checksum(b[:headerLen]))
	icmp := b[headerLen:total]
	icmp[0], icmp[1] = 3, 4
	binary.BigEndian.PutUint16(icmp[6:], uint16(mtu))
	copy(icmp[8:], packet[:quoted])
	binary.BigEndian.PutUint16(icmp[2:], checksum(icmp))
	return total
}

// checksum is the Internet checksum (RFC 1071) of bytes whose own checksum field is zero.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
