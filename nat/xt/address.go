package xt

import (
	"encoding/binary"
	"net/netip"
	"strings"

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

// NumericAddr reads an address of a family. Octets of IPv4 may be octal (0...) and hexadecimal (0x...) numbers
// (xtables_numeric_to_ipaddr).
func NumericAddr(text string, f nat.Family) (a netip.Addr, ok bool) {
	if f == nat.IPv4 && strings.Count(text, ".") != 3 {
		return a, false
	}
	return NetworkAddr(text, f)
}

// NetworkAddr is NumericAddr, but an address of IPv4 may leave its last octets out: 10.1 is 10.1.0.0.
func NetworkAddr(text string, f nat.Family) (a netip.Addr, ok bool) {
	if a, err := netip.ParseAddr(text); err == nil || f == nat.IPv6 {
		return a, err == nil && a.Zone() == "" && a.Is6() == (f == nat.IPv6)
	}
	var octets [4]byte
	parts := strings.Split(text, ".")
	if len(parts) > 4 {
		return a, false
	}
	for i, part := range parts {
		n, ok := Number(part, 255)
		if !ok {
			return a, false
		}
		octets[i] = byte(n)
	}
	return netip.AddrFrom4(octets), true
}

// HostAddr reads an address as the resolver does (inet_aton): of one of IPv4 the last number fills the octets that are left,
// 10.300 is 10.0.1.44 and 1 is 0.0.0.1. Names are looked up by iptables, and not here.
func HostAddr(text string, f nat.Family) (a netip.Addr, ok bool) {
	parts := strings.Split(text, ".")
	last := len(parts) - 1
	if f == nat.IPv6 || last > 3 {
		return NumericAddr(text, f)
	}
	var octets [4]byte
	for i, part := range parts {
		limit := uint64(255)
		if i == last {
			limit = 1<<(8*(4-last)) - 1
		}
		n, ok := Number(part, limit)
		switch {
		case !ok:
			return a, false
		case i == last:
			binary.BigEndian.PutUint32(octets[:], binary.BigEndian.Uint32(octets[:])|uint32(n))
		default:
			octets[i] = byte(n)
		}
	}
	return netip.AddrFrom4(octets), true
}
