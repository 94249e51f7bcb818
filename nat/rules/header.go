package rules

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
