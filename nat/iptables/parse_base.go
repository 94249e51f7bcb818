package iptables

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"

	"natlab/nat"
	"natlab/nat/xt"
)

// baseOptions are the options that need no -m. A parser that returns no match leaves the option to a Raw.
var baseOptions = map[string]func(value string, not bool) (xt.Match, error){
	"-s": parseSource, "--source": parseSource, "--src": parseSource,
	"-d": parseDestination, "--destination": parseDestination, "--dst": parseDestination,
	"-i": parseIn, "--in-interface": parseIn,
	"-o": parseOut, "--out-interface": parseOut,
	"-p": parseProtocol, "--protocol": parseProtocol, "--proto": parseProtocol,
	"-f": parseFragment, "--fragment": parseFragment,
}

var errWantAddress = errors.New("want an address, with /PREFIX or /MASK if need be")

func parseSource(value string, not bool) (xt.Match, error) {
	p, err := parsePrefix(value)
	if err != nil || !p.IsValid() {
		return nil, err
	}
	return Source{not, p}, nil
}

func parseDestination(value string, not bool) (xt.Match, error) {
	p, err := parsePrefix(value)
	if err != nil || !p.IsValid() {
		return nil, err
	}
	return Destination{not, p}, nil
}

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
	bits, ended := 0, false
	for _, octet := range m.AsSlice() {
		for bit := 7; bit >= 0; bit-- {
			on := octet&(1<<bit) != 0
			if on && ended {
				return -1, nil
			}
			if on {
				bits++
			}
			ended = ended || !on
		}
	}
	return bits, nil
}

func parseIn(value string, not bool) (xt.Match, error)  { return InInterface{not, value}, nil }
func parseOut(value string, not bool) (xt.Match, error) { return OutInterface{not, value}, nil }

func parseProtocol(value string, not bool) (xt.Match, error) {
	name := strings.ToLower(value)
	if p, ok := nat.ParseRuleProto(name); ok {
		name = p.RuleName()
	}
	return Protocol{not, name}, nil
}

func parseFragment(_ string, not bool) (xt.Match, error) { return Fragment{not}, nil }
