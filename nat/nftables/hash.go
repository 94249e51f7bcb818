package nftables

import (
	"encoding/binary"
	"strconv"

	"natlab/nat"
	"natlab/nat/rules"
)

// value is the hash of what the packet has (nft_jhash_eval). Without a seed the kernel draws one that it does not tell, and a hash of the
// packet's flow (symhash) has the machine's: each number is as likely then.
func (h Hash) value(c *Compiled) value {
	if h.Mod == 0 {
		return nil
	}
	parts, concat := h.Of.(Concat)
	if !concat {
		parts = Concat{h.Of}
	}
	seed, err := strconv.ParseUint(h.Seed, 0, 32)
	for _, part := range parts {
		if s, is := part.(Selector); err != nil || !is || hashed(kindOf(s)) == 0 {
			return NumGen{Mod: h.Mod, Offset: h.Offset}.value()
		}
	}
	read := c.reader(parts)
	if read == nil {
		return nil
	}
	return func(r *run) (Number, rules.Answer) {
		var k key
		if got := read(r, &k); got != rules.Yes {
			return Number{}, got
		}
		var b []byte
		for i, part := range parts {
			b = appendRegister(b, kindOf(part.(Selector)), k[i])
			for concat && len(b)%4 != 0 {
				b = append(b, 0)
			}
		}
		hash := nat.JHashBytes(b, uint32(seed))
		return known(uint64(h.Offset) + uint64(hash)*uint64(h.Mod)>>32) // reciprocal_scale
	}
}

// kindOf is the type of a selector.
func kindOf(s Selector) Type {
	if row, ok := selectorRow(string(s)); ok {
		return row.kind
	}
	return ""
}

// hashed is how many bytes a value of a type has in a register, as far as natlab knows how they lie there; else 0.
func hashed(t Type) int {
	return map[Type]int{IPv4Addr: 4, MarkType: 4, IPv6Addr: 16, InetProto: 1, InetService: 2}[t]
}

// appendRegister adds a value as a register has it: what is of a header as it stands there, a mark as the machine has numbers.
func appendRegister(b []byte, t Type, n Number) []byte {
	if t == MarkType {
		return binary.LittleEndian.AppendUint32(b, uint32(n.Low))
	}
	whole := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, n.High), n.Low)
	return append(b, whole[16-hashed(t):]...)
}
