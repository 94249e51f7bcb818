package xt

import (
	"net/netip"

	"natlab/nat"
)

// AddrMask is an address with a mask, which need not be a prefix.
type AddrMask struct{ Addr, Mask netip.Addr }

// NewAddrMask is an address with a mask of its family; bits of the address outside the mask are cleared.
func NewAddrMask(a, mask netip.Addr) AddrMask { return AddrMask{maskedBy(a, mask), mask} }

// Contains reports whether an address is among those.
func (m AddrMask) Contains(a netip.Addr) bool {
	return a.BitLen() == m.Addr.BitLen() && maskedBy(a, m.Mask) == m.Addr
}

// String is the address alone where the mask is full, else with the mask as a length where it has one.
func (m AddrMask) String() string {
	switch n, ok := MaskBits(m.Mask); {
	case !ok:
		return m.Addr.String() + "/" + m.Mask.String()
	case n == m.Addr.BitLen():
		return m.Addr.String()
	default:
		return netip.PrefixFrom(m.Addr, n).String()
	}
}

// maskOfBits is a mask of n leading ones.
func maskOfBits(n int, f nat.Family) netip.Addr {
	var b [16]byte
	PutMask(b[:], n)
	return inetAddr(f, b[:])
}

// PutMask writes a mask of so many leading ones, as the kernel's structs have it: in network byte order, over the whole of b.
func PutMask(b []byte, bits int) {
	for i := range b {
		switch left := bits - 8*i; {
		case left >= 8:
			b[i] = 0xff
		case left > 0:
			b[i] = byte(0xff << (8 - left))
		}
	}
}

// MaskBits is how many leading ones a mask has; ok is false for one with a hole.
func MaskBits(m netip.Addr) (n int, ok bool) {
	ended := false
	for _, octet := range m.AsSlice() {
		for bit := 7; bit >= 0; bit-- {
			on := octet&(1<<bit) != 0
			if on && ended {
				return 0, false
			}
			if on {
				n++
			}
			ended = ended || !on
		}
	}
	return n, true
}

// maskedBy is an address with the bits outside the mask cleared; an invalid mask keeps all.
func maskedBy(a, mask netip.Addr) netip.Addr {
	if !mask.IsValid() || a.BitLen() != mask.BitLen() {
		return a
	}
	x, m := a.AsSlice(), mask.AsSlice()
	for i := range x {
		x[i] &= m[i]
	}
	out, _ := netip.AddrFromSlice(x) // of 4 or 16 bytes
	return out
}

// inetAddr reads a union nf_inet_addr of the family.
func inetAddr(f nat.Family, b []byte) netip.Addr {
	if f == nat.IPv6 {
		return netip.AddrFrom16([16]byte(b[:16]))
	}
	return netip.AddrFrom4([4]byte(b[:4]))
}
