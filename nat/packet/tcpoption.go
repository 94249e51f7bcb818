package packet

import (
	"encoding/binary"
	"slices"

	"natlab/nat"
)

// TCPOptions yields the options of a TCP header that are longer than a byte, with where each begins in the transport header,
// as netfilter walks them: one whose length is 0 counts as a byte (optlen). b is of the length that the option has in it,
// cut at the header's end.
func (p *Packet) TCPOptions(yield func(at int, b []byte) bool) {
	h := p.transport()
	if p.proto != nat.TCP || p.later || len(h) < tcpHeader {
		return
	}
	h = h[:min(len(h), int(h[12]>>4)*4)]
	for at := tcpHeader; at < len(h)-1; {
		n := 1
		if h[at] > 1 {
			n = max(n, int(h[at+1]))
			if !yield(at, h[at:min(len(h), at+n)]) {
				return
			}
		}
		at += n
	}
}

// WriteTCP writes bytes at an offset of a TCP header and corrects its checksum as the kernel does, from the old values. The
// header has to have them.
func (p *Packet) WriteTCP(at int, b []byte) {
	h := p.transport()
	from, to := at&^1, (at+len(b)+1)&^1
	if to > len(h) { // an odd byte at the end
		h = append(slices.Clone(h), 0)
	}
	old := slices.Clone(h[from:to])
	new := slices.Clone(old)
	copy(new[at-from:], b)
	p.fixTransport(old, new)
	copy(p.transport()[at:], b)
}

// ReplaceTCPWord writes a word at an offset of a TCP header and corrects its checksum as TCPMSS does, as though it stood at an
// even offset (inet_proto_csum_replace2): at an odd one the checksum is wrong afterwards.
func (p *Packet) ReplaceTCPWord(at int, word uint16) {
	h := p.transport()
	new := [2]byte{byte(word >> 8), byte(word)}
	p.fixTransport(slices.Clone(h[at:at+2]), new[:])
	copy(p.transport()[at:], new[:])
}

// InsertTCPOption puts an option of four bytes in front of the others of a TCP header, which has to have room for it. The
// packet has new bytes then.
func (p *Packet) InsertTCPOption(option [4]byte) {
	n := uint16(len(p.transport()))
	p.b = slices.Insert(slices.Clip(p.b), p.at+tcpHeader, option[:]...)
	h := p.transport()
	var before, after [2]byte
	binary.BigEndian.PutUint16(before[:], n)
	binary.BigEndian.PutUint16(after[:], n+uint16(len(option)))
	p.fixTransport(before[:], after[:]) // the pseudo header's length
	p.fixTransport(make([]byte, len(option)), option[:])
	p.WriteTCP(12, []byte{h[12] + 1<<4})
	at := 2
	if p.V6() {
		at = 4
	}
	binary.BigEndian.PutUint16(after[:], binary.BigEndian.Uint16(p.b[at:])+uint16(len(option)))
	if !p.V6() {
		check := p.b[10:12]
		binary.BigEndian.PutUint16(check, replaced(binary.BigEndian.Uint16(check), p.b[at:at+2], after[:]))
	}
	copy(p.b[at:], after[:])
}
