package nftables

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// Number is a value of 128 bits, as a register has it: an address or a number in the low bits, the bytes of a device's name from the
// left.
type Number struct{ High, Low uint64 }

// number is one of 64 bits.
func number(n uint64) Number { return Number{Low: n} }

func addrNumber(a netip.Addr) Number {
	if a.Is4() {
		b := a.As4()
		return number(uint64(binary.BigEndian.Uint32(b[:])))
	}
	b := a.As16()
	return Number{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// addr4 and addr6 are the address that a number is.
func (n Number) addr4() netip.Addr {
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, uint32(n.Low))))
}

func (n Number) addr6() netip.Addr {
	return netip.AddrFrom16([16]byte(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, n.High), n.Low)))
}

// nameNumber has a text's bytes from the left; more than 16 do not fit.
func nameNumber(s string) Number {
	var b [16]byte
	copy(b[:], s)
	return Number{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// name is the text of a number that nameNumber made.
func (n Number) name() string {
	b := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, n.High), n.Low)
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

func (n Number) less(o Number) bool { return n.High < o.High || n.High == o.High && n.Low < o.Low }

func (n Number) and(o Number) Number { return Number{n.High & o.High, n.Low & o.Low} }
func (n Number) or(o Number) Number  { return Number{n.High | o.High, n.Low | o.Low} }
func (n Number) xor(o Number) Number { return Number{n.High ^ o.High, n.Low ^ o.Low} }

// ones is a number with its last count bits set.
func ones(count int) Number {
	switch {
	case count >= 128:
		return Number{^uint64(0), ^uint64(0)}
	case count > 64:
		return Number{1<<(count-64) - 1, ^uint64(0)}
	case count == 64:
		return Number{0, ^uint64(0)}
	}
	return number(1<<count - 1)
}

// wild is how many low bits are free in the numbers from low to high, where those are exactly a prefix's; false where they are none.
func wild(low, high Number) (free int, ok bool) {
	differ := low.xor(high)
	free = bits.Len64(differ.Low)
	if differ.High != 0 {
		free = 64 + bits.Len64(differ.High)
	}
	mask := ones(free)
	return free, low.and(mask) == Number{} && high.and(mask) == mask
}
