package xtables

import (
	"net/netip"
	"strings"

	"natlab/nat"
)

// parseMasked reads ADDR, ADDR/LENGTH or ADDR/MASK. Bits of the address outside the mask are cleared, as the
// program does.
func parseMasked(a *args, s string, addr, mask []byte) {
	n := 4
	if a.family == nat.IPv6 {
		n = 16
	}
	ip, m, has := strings.Cut(s, "/")
	a.addr(ip, addr[:n])
	switch {
	case !has:
		putMask(mask[:n], 8*n)
	case strings.ContainsAny(m, ".:"):
		a.addr(m, mask[:n])
	default:
		one := args{words: []string{m}}
		bits := one.number(8)
		if one.err != nil || int(bits) > 8*n {
			a.fail("%q: no such prefix length", s)
			return
		}
		putMask(mask[:n], int(bits))
	}
	for i := range n {
		addr[i] &= mask[i]
	}
}

func putMask(b []byte, bits int) {
	for i := range b {
		switch left := bits - 8*i; {
		case left >= 8:
			b[i] = 0xff
		case left > 0:
			b[i] = byte(0xff << (8 - left))
		}
	}
}

// addrMask prints a mask as a length where it has one.
func addrMask(m netip.Addr) string {
	if n, ok := maskBits(m); ok {
		return pair(uint16(n), uint16(n), "")
	}
	return m.String()
}
