package iptables

import (
	"net/netip"
	"strconv"
	"strings"

	"natlab/nat"
	"natlab/nat/xt"
)

// hosts is -s or -d as it is given.
type hosts struct {
	kind, name, value string
	not               bool
	at                int         // the word behind the value
	room              [1]xt.Match // for the usual one address
}

// addresses reads the value of -s or -d: ADDRESS[/LENGTH|/MASK], or several with commas between, each of which makes a rule
// of its own.
func (rr *ruleReader) addresses(h *hosts) error {
	if h.kind == "" {
		return nil
	}
	list := h.room[:0]
	for one := range strings.SplitSeq(h.value, ",") {
		m, reason := rr.address(h.kind, strings.TrimLeft(one, " \t"), h.not)
		if reason != "" {
			rr.c.at = h.at
			return rr.c.errorf("%s %s: %s", h.name, one, reason)
		}
		list = append(list, m)
	}
	if h.kind == "-s" {
		rr.source = list
	} else {
		rr.destination = list
	}
	return nil
}

// address is one address of -s or -d as a condition: none for any address. The reason tells what is wrong with it.
func (rr *ruleReader) address(kind, text string, not bool) (m xt.Match, reason string) {
	a, mask, reason := addressAndMask(text, rr.family)
	if reason != "" {
		return nil, reason
	}
	bits := prefixLength(mask)
	if bits < 0 {
		return MaskedAddress{not, kind == "-d", xt.NewAddrMask(a, mask)}, ""
	}
	p := netip.PrefixFrom(a, bits).Masked()
	switch {
	case bits == 0 && !not:
		return nil, ""
	case kind == "-s":
		return Source{not, p}, ""
	}
	return Destination{not, p}, ""
}

// addressAndMask reads ADDRESS[/LENGTH|/MASK] as xtables_ipparse_multiple and xtables_ip6parse_multiple do.
func addressAndMask(text string, family nat.Family) (a, mask netip.Addr, reason string) {
	length := 32
	if family == nat.IPv6 {
		length = 128
	}
	name := text
	mask = maskOfLength(length, family)
	if at := strings.LastIndexByte(text, '/'); at >= 0 {
		name = text[:at]
		var ok bool
		if mask, ok = readMask(text[at+1:], length, family); !ok {
			if other, err := netip.ParseAddr(name); err == nil && nat.FamilyOf(other) != family {
				return a, mask, "want an address of " + family.String()
			}
			return a, mask, "want a mask of 0 to " + strconv.Itoa(length) + " bits, or as an address"
		}
	}
	if mask.IsUnspecified() { // then iptables does not look at the address: any/0
		return mask, mask, ""
	}
	for _, read := range []func(string, nat.Family) (netip.Addr, bool){xt.NetworkAddr, xt.HostAddr} {
		if a, ok := read(name, family); ok {
			return a, mask, ""
		}
	}
	if other, err := netip.ParseAddr(name); err == nil && nat.FamilyOf(other) != family {
		return a, mask, "want an address of " + family.String()
	}
	if name == "" {
		return a, mask, "want an address"
	}
	if nat.BlackedOut(name) {
		return a, mask, "the address was made unreadable: put one in its place, such as one of 203.0.113.0/24, and the same in all that tells of the node"
	}
	return a, mask, "want an address: a name is looked up when the rule is loaded, and natlab looks nothing up"
}

func readMask(text string, length int, family nat.Family) (mask netip.Addr, ok bool) {
	if n, ok := number(text, uint64(length)); ok {
		return maskOfLength(int(n), family), true
	}
	return xt.NumericAddr(text, family)
}

// number reads a decimal, octal (0...) or hexadecimal (0x...) number up to limit, as xtables_strtoui does.
func number(text string, limit uint64) (n uint64, ok bool) {
	if strings.Contains(text, "_") || len(text) > 1 && text[0] == '0' && strings.ContainsRune("bBoO", rune(text[1])) {
		return 0, false // Go's, not strtoul's
	}
	n, err := strconv.ParseUint(text, 0, 32)
	return n, err == nil && n <= limit
}

func maskOfLength(bits int, family nat.Family) netip.Addr {
	a := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	if family == nat.IPv6 {
		var ones [16]byte
		for i := range ones {
			ones[i] = 255
		}
		a = netip.AddrFrom16(ones)
	}
	return netip.PrefixFrom(a, bits).Masked().Addr()
}

// prefixLength is the length of a mask, -1 for one with a hole.
func prefixLength(mask netip.Addr) int {
	bits, ended := 0, false
	for _, octet := range mask.AsSlice() {
		for bit := 7; bit >= 0; bit-- {
			on := octet&(1<<bit) != 0
			if on && ended {
				return -1
			}
			if on {
				bits++
			}
			ended = ended || !on
		}
	}
	return bits
}
