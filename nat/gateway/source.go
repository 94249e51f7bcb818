package gateway

import (
	"math/bits"
	"net/netip"
	"slices"
)

// What one IPv6 source has before another, in ipv6_get_saddr_eval's order, above the bits that it has in common with the destination: label, out device,
// preferred (rules 6, 5 and 3 of RFC 6724). All are global ones (rule 2).
const (
	sameLabel = 256 << iota
	onDevice
	notDeprecated
)

// sourceAddr is the IPv6 address that suits a destination best (ipv6_dev_get_saddr, rules 1 to 3, 5, 6 and 8 of RFC 6724); of several the youngest. For
// what is of the link it is the out device's in any case. What of them is temporary (rule 7) is not known, and as good as others, as it is where
// use_tempaddr is not 2.
func (h *host) sourceAddr(next nextHop) (best netip.Addr) {
	near := reach(next.dst) == reachNode || reach(next.dst) == reachLink || next.dst.IsMulticast() || next.dst.IsUnspecified()
	switch {
	case h.isLocal(next.dst) && (!near || next.dev.Name == "lo" || next.dev.has(next.dst)):
		return next.dst
	case near && next.dev.Name == "lo":
		return h.loopback()
	}
	most, label := -1, labelOf(next.dst)
	weigh := func(p netip.Prefix, d *device) {
		score := min(commonBits(p.Addr(), next.dst), p.Bits())
		for _, has := range []struct {
			what int
			is   bool
		}{{sameLabel, labelOf(p.Addr()) == label}, {onDevice, d == next.dev}, {notDeprecated, !slices.Contains(d.old, p.Addr())}} {
			if has.is {
				score += has.what
			}
		}
		if score > most {
			best, most = p.Addr(), score
		}
	}
	for _, d := range h.devices {
		if near && d != next.dev {
			continue
		}
		for _, p := range slices.Backward(d.addrs) {
			weigh(p, d)
		}
	}
	return best
}

// has reports whether an address is the device's own.
func (d *device) has(a netip.Addr) bool {
	return slices.ContainsFunc(d.addrs, func(p netip.Prefix) bool { return p.Addr() == a })
}

// labels are the kernel's policy table, the longest prefix first (ip6addrlbl_init_table in addrlabel.c); what none holds has label 1.
var labels = []struct {
	net   netip.Prefix
	label int
}{
	{netip.MustParsePrefix("::1/128"), 0},
	{netip.MustParsePrefix("::/96"), 3},
	{netip.MustParsePrefix("2001::/32"), 6},
	{netip.MustParsePrefix("2001:10::/28"), 7},
	{netip.MustParsePrefix("2002::/16"), 2},
	{netip.MustParsePrefix("3ffe::/16"), 12},
	{netip.MustParsePrefix("fec0::/10"), 11},
	{netip.MustParsePrefix("fc00::/7"), 5},
}

func labelOf(a netip.Addr) int {
	for _, l := range labels {
		if l.net.Contains(a) {
			return l.label
		}
	}
	return 1
}

// commonBits is how many leading bits two addresses share.
func commonBits(a, b netip.Addr) int {
	x, y := a.As16(), b.As16()
	for i := range x {
		if x[i] != y[i] {
			return 8*i + bits.LeadingZeros8(x[i]^y[i])
		}
	}
	return 128
}
