package traffic

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/netip"
)

// SCTP is spoken by raw sockets, from user space, where the kernel does not speak it itself: many kernels have no sockets for it, and all
// track and translate its packets. It is as much of RFC 9260 as a request and an answer need, over links that lose nothing: one stream, no timers, no congestion.

// The chunks (RFC 9260, 3.2).
const (
	chunkData             = 0
	chunkInit             = 1
	chunkInitAck          = 2
	chunkSack             = 3
	chunkHeartbeat        = 4
	chunkHeartbeatAck     = 5
	chunkAbort            = 6
	chunkShutdown         = 7
	chunkShutdownAck      = 8
	chunkCookieEcho       = 10
	chunkCookieAck        = 11
	chunkShutdownComplete = 14
)

// Flags, sizes and the parameter that the chunks need.
const (
	flagFirst     = 2 // of DATA: the message's first fragment
	flagLast      = 1 // the same: its last
	flagReflected = 1 // of ABORT and SHUTDOWN COMPLETE: the verification tag is the receiver's peer's
	sctpHeader    = 12
	chunkHeader   = 4
	dataHeader    = 12 // of a DATA chunk, behind the chunk's own
	initFixed     = 16
	stateCookie   = 7
	cookieSize    = 16
	window        = 1 << 20
	maxData       = 1024 // of a chunk: with all headers and tunnels less than IPv6's least MTU
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sctpPacket is a packet without the IP header. Numbers are host byte order.
type sctpPacket struct {
	src, dst uint16
	tag      uint32 // the verification tag
	chunks   []chunk
}

type chunk struct {
	kind, flags uint8
	value       []byte
}

// bytes is the packet as it goes over the wire, with its checksum.
func (p sctpPacket) bytes() []byte {
	b := binary.BigEndian.AppendUint16(nil, p.src)
	b = binary.BigEndian.AppendUint16(b, p.dst)
	b = binary.BigEndian.AppendUint32(b, p.tag)
	b = append(b, 0, 0, 0, 0)
	for _, c := range p.chunks {
		b = append(b, c.kind, c.flags)
		b = binary.BigEndian.AppendUint16(b, uint16(chunkHeader+len(c.value)))
		b = append(b, c.value...)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
	}
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, castagnoli))
	return b
}

// parseSCTP reads a packet; false for one whose checksum or lengths are wrong.
func parseSCTP(b []byte) (p sctpPacket, ok bool) {
	if len(b) < sctpHeader {
		return p, false
	}
	sum := crc32.Update(crc32.Checksum(b[:8], castagnoli), castagnoli, []byte{0, 0, 0, 0})
	if crc32.Update(sum, castagnoli, b[sctpHeader:]) != binary.LittleEndian.Uint32(b[8:]) {
		return p, false
	}
	p.src, p.dst, p.tag = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:]), binary.BigEndian.Uint32(b[4:])
	for rest := b[sctpHeader:]; len(rest) > 0; {
		if len(rest) < chunkHeader {
			return sctpPacket{}, false
		}
		n := int(binary.BigEndian.Uint16(rest[2:]))
		if n < chunkHeader || n > len(rest) {
			return sctpPacket{}, false
		}
		p.chunks = append(p.chunks, chunk{rest[0], rest[1], rest[chunkHeader:n]})
		rest = rest[min(len(rest), (n+3)&^3):]
	}
	if p.chunks == nil {
		return sctpPacket{}, false
	}
	return p, true
}

// transport is an IP packet's payload as a raw socket of its protocol gets it: of IPv4 with the header (raw(7)), of IPv6 without (RFC 3542).
func transport(b []byte, family netip.Addr) []byte {
	if family.Is6() {
		return b
	}
	if len(b) < 20 || len(b) < int(b[0]&15)*4 {
		return nil
	}
	return b[int(b[0]&15)*4:]
}

// side is one end of an association.
type side struct {
	src, dst   uint16 // ports
	mine, peer uint32 // the tags that packets to this end and to the other have
	next       uint32 // the number (TSN) of the next DATA chunk
	acked      uint32 // the last that the other end has got
	got        uint32 // the last that came from the other end
	in         []byte // the message that is coming in
}

// newSide is an end that has chosen its tag and its first number.
func newSide(src, dst uint16) side {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails
	s := side{src: src, dst: dst, mine: binary.BigEndian.Uint32(b[:]) | 1, next: binary.BigEndian.Uint32(b[4:])}
	s.acked = s.next - 1
	return s
}

func (s *side) packet(chunks ...chunk) []byte {
	return sctpPacket{s.src, s.dst, s.peer, chunks}.bytes()
}

// init is the value of an INIT or INIT ACK of this end.
func (s *side) init(parameters ...byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, s.mine)
	b = binary.BigEndian.AppendUint32(b, window)
	b = append(b, 0, 1, 0, 1) // one stream each way
	b = binary.BigEndian.AppendUint32(b, s.next)
	return append(b, parameters...)
}

// heard takes over what the other end's INIT or INIT ACK tells.
func (s *side) heard(value []byte) error {
	if len(value) < initFixed {
		return fmt.Errorf("an INIT of %d bytes: want %d", len(value), initFixed)
	}
	s.peer, s.got = binary.BigEndian.Uint32(value), binary.BigEndian.Uint32(value[12:])-1
	return nil
}

// data cuts a message into the packets of DATA chunks.
func (s *side) data(message []byte) (packets [][]byte) {
	flags := uint8(flagFirst)
	for len(message) > 0 {
		part := message[:min(maxData, len(message))]
		message = message[len(part):]
		if len(message) == 0 {
			flags |= flagLast
		}
		value := binary.BigEndian.AppendUint32(nil, s.next)
		value = append(value, make([]byte, dataHeader-4)...) // stream 0, sequence 0, no protocol
		packets = append(packets, s.packet(chunk{chunkData, flags, append(value, part...)}))
		s.next, flags = s.next+1, 0
	}
	return packets
}

// took takes a DATA chunk in and acknowledges what came so far; message is the one that it completes, nil where it does not.
func (s *side) took(c chunk) (message, sack []byte) {
	if len(c.value) >= dataHeader && binary.BigEndian.Uint32(c.value) == s.got+1 {
		s.got++
		if s.in = append(s.in, c.value[dataHeader:]...); c.flags&flagLast != 0 {
			message, s.in = s.in, nil
		}
	}
	value := binary.BigEndian.AppendUint32(nil, s.got)
	value = binary.BigEndian.AppendUint32(value, window)
	return message, s.packet(chunk{chunkSack, 0, append(value, 0, 0, 0, 0)})
}

// sacked notes what the other end has got, and reports whether that is all.
func (s *side) sacked(c chunk) bool {
	if len(c.value) >= 4 {
		s.acked = binary.BigEndian.Uint32(c.value)
	}
	return s.acked == s.next-1
}

// shutdown is a SHUTDOWN of this end.
func (s *side) shutdown() []byte {
	return s.packet(chunk{kind: chunkShutdown, value: binary.BigEndian.AppendUint32(nil, s.got)})
}
