package xt

import "natlab/nat"

// Bits of xt_policy_info.flags (XT_POLICY_MATCH_*).
const (
	policyIn     = 1 << 0
	policyOut    = 1 << 1
	policyNone   = 1 << 2
	policyStrict = 1 << 3
)

// Bits of struct xt_policy_spec.
const (
	policySource = 1 << iota
	policyDestination
	policyProto
	policyMode
	policySPI
	policyReqID
)

// Where things are in struct xt_policy_elem { union nf_inet_addr saddr, smask, daddr, dmask; __be32 spi; __u32 reqid; __u8 proto,
// mode; struct xt_policy_spec match, invert; }, and its size.
const (
	policySPIAt     = 64
	policyReqIDAt   = 68
	policyProtoAt   = 72
	policyModeAt    = 73
	policyMatchAt   = 74
	policyInvertAt  = 75
	policySize      = 76
	policyAddr      = 16
	policyFlagsAt   = maxPolicyElements * policySize
	policyCounterAt = policyFlagsAt + 2
)

func decodePolicy(d []byte, e *Env) (Policy, bool) {
	flags, count := order.Uint16(d[policyFlagsAt:]), int(order.Uint16(d[policyCounterAt:]))
	m := Policy{Out: flags&policyOut != 0, None: flags&policyNone != 0, Strict: flags&policyStrict != 0}
	if count > maxPolicyElements {
		return m, false
	}
	for i := range count {
		m.Elements = append(m.Elements, decodePolicyElement(d[i*policySize:], e.Family))
	}
	return m, flags < policyStrict<<1 && (flags&policyIn != 0) != m.Out
}

func decodePolicyElement(d []byte, f nat.Family) (e PolicyElement) {
	match, invert := d[policyMatchAt], d[policyInvertAt]
	one := func(bit uint8, value uint32) *HeaderNumber {
		if match&bit == 0 {
			return nil
		}
		return &HeaderNumber{invert&bit != 0, value}
	}
	end := func(bit uint8, at int) PolicyEnd {
		if match&bit == 0 {
			return PolicyEnd{}
		}
		return PolicyEnd{invert&bit != 0, AddrMask{inetAddr(f, d[at:]), inetAddr(f, d[at+policyAddr:])}}
	}
	return PolicyElement{
		ReqID: one(policyReqID, order.Uint32(d[policyReqIDAt:])), SPI: one(policySPI, order.Uint32(d[policySPIAt:])),
		Proto: one(policyProto, uint32(d[policyProtoAt])), Mode: one(policyMode, uint32(d[policyModeAt])),
		Source: end(policySource, 0), Destination: end(policyDestination, 2*policyAddr),
	}
}

func encodePolicy(m Policy, d []byte, _ *Env) error {
	flags := bitIf[uint16](m.Out, policyOut) | bitIf[uint16](!m.Out, policyIn) | bitIf[uint16](m.None, policyNone) |
		bitIf[uint16](m.Strict, policyStrict)
	order.PutUint16(d[policyFlagsAt:], flags)
	order.PutUint16(d[policyCounterAt:], uint16(len(m.Elements)))
	for i, e := range m.Elements {
		e.encode(d[i*policySize:])
	}
	return nil
}

func (e *PolicyElement) encode(d []byte) {
	put := func(asked, not bool, bit uint8) {
		d[policyMatchAt] |= bitIf(asked, bit)
		d[policyInvertAt] |= bitIf(asked && not, bit)
	}
	for _, n := range []struct {
		*HeaderNumber
		bit uint8
		put func(v uint32)
	}{
		{e.ReqID, policyReqID, func(v uint32) { order.PutUint32(d[policyReqIDAt:], v) }},
		{e.SPI, policySPI, func(v uint32) { order.PutUint32(d[policySPIAt:], v) }},
		{e.Proto, policyProto, func(v uint32) { d[policyProtoAt] = uint8(v) }},
		{e.Mode, policyMode, func(v uint32) { d[policyModeAt] = uint8(v) }},
	} {
		if n.HeaderNumber != nil {
			put(true, n.Not, n.bit)
			n.put(n.Value)
		}
	}
	for i, end := range []PolicyEnd{e.Source, e.Destination} {
		put(end.Addr.IsValid(), end.Not, policySource<<i)
		if mask := d[(2*i+1)*policyAddr:][:policyAddr]; end.Addr.IsValid() {
			copy(d[2*i*policyAddr:], end.Addr.AsSlice())
			if n, _ := MaskBits(end.Mask); n == end.Addr.BitLen() { // iptables fills the union
				PutMask(mask, 8*policyAddr)
			}
			copy(mask, end.Mask.AsSlice())
		}
	}
}
