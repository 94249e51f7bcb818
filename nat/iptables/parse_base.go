package iptables

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
)

var errWantAddress = errors.New("want an address, with /PREFIX or /MASK if need be")

// parsePrefix reads ADDRESS[/PREFIX|/MASK]. A mask that is no prefix gives the zero Prefix.
func parsePrefix(s string) (netip.Prefix, error) {
	text, mask, masked := strings.Cut(s, "/")
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, errWantAddress
	}
	bits := a.BitLen()
	if masked {
		if bits, err = maskBits(mask, a); err != nil {
			return netip.Prefix{}, err
		}
	}
	if bits < 0 {
		return netip.Prefix{}, nil
	}
	return netip.PrefixFrom(a, bits).Masked(), nil
}

// maskBits is the length of a mask written as a number or as an address, -1 for one with a hole.
func maskBits(mask string, a netip.Addr) (int, error) {
	if n, err := strconv.ParseUint(mask, 10, 8); err == nil {
		if int(n) > a.BitLen() {
			return 0, errWantAddress
		}
		return int(n), nil
	}
	m, err := netip.ParseAddr(mask)
	if err != nil || m.BitLen() != a.BitLen() {
		return 0, errWantAddress
	}
	return prefixLength(m), nil
}
