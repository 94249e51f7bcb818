package rules

import "natlab/nat"

// SetTTL writes the packet's TTL or hop limit.
func (p *Packet) SetTTL(ttl uint8) {
	p.TTL = ttl
	if p.Wire != nil {
		at := p.Wire.Bytes()[6:8]
		old := [2]byte(at)
		p.Wire.SetTTL(ttl)
		p.drifts(old, [2]byte(at))
	}
}

// SetTOS writes the type of service or the traffic class of a packet whose bytes are there.
func (p *Packet) SetTOS(tos uint8) {
	at := p.Wire.Bytes()[:2]
	old := [2]byte(at)
	p.Wire.SetTOS(tos)
	p.drifts(old, [2]byte(at))
}

// drifts notes that bytes of the header have become others (nft_payload_set_eval, xt_HL.c and xt_DSCP.c leave skb->csum alone).
func (p *Packet) drifts(old, now [2]byte) {
	if !p.Wire.V6() || !p.Tracked() {
		return
	}
	sum := uint32(p.Drift) + uint32(^(uint16(old[0])<<8 | uint16(old[1]))) + uint32(now[0])<<8 + uint32(now[1])
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	p.Drift = uint16(sum)
}

// Pull has so many bytes from the transport header on in one place, if there are as many (skb_ensure_writable).
func (p *Packet) Pull(bytes int) {
	if len(p.Wire.Transport()) >= bytes {
		p.Pulled = max(p.Pulled, bytes)
	}
}

// LowerMaxSegment makes the maximum segment size that a TCP header's options give no larger than this (nft_exthdr_tcp_set_eval). A packet without the option stays
// as it is. It reports whether there is a whole header, in which the option is whole.
func (p *Packet) LowerMaxSegment(size uint16) bool {
	const kind, length, header = 2, 4, 20
	h := p.Wire.Transport()
	if p.Wire.Proto() != nat.TCP || p.Wire.Later() || len(h) < header || int(h[12]>>4)*4 < header || len(h) < int(h[12]>>4)*4 {
		return false
	}
	p.Pull(int(h[12]>>4) * 4)
	for at, option := range p.Wire.TCPOptions {
		switch {
		case option[0] != kind:
			continue
		case len(option) < length || len(option) < int(option[1]):
			return false
		}
		if uint16(option[2])<<8|uint16(option[3]) > size {
			p.Wire.ReplaceTCPWord(at+2, size)
		}
		return true
	}
	return true
}
