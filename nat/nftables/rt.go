package nftables

import (
	"natlab/nat"
	"natlab/nat/rules"
)

// rtSelectors are the rows of nft_rt. Those without read are of what natlab does not know of a route.
var rtSelectors = []selector{
	{name: "rt classid", kind: "realm"},
	{name: "rt nexthop", kind: IPv4Addr},
	{name: "rt ip nexthop", kind: IPv4Addr},
	{name: "rt ip6 nexthop", kind: IPv6Addr},
	{name: "rt mtu", kind: Integer, read: routeSegment},
	{name: "rt ipsec", kind: Boolean},
}

// routeSegment is what nft calls the route's MTU: the maximum segment size that it has room for, and the route back to the packet's source, too
// (nft_rt.c, get_tcpmss). Where it has no room for any, or for longer packets than an IPv4 header can tell, that is TCP's own.
func routeSegment(r *run) (Number, rules.Answer) {
	const usual, longest, header4, header6, headerTCP = 536, 0xffff, 20, 40, 20 // TCP_MSS_DEFAULT, and the headers without options
	w, ok := r.visit.World.(rules.Measurer)
	if !ok {
		return Number{}, rules.Unknown
	}
	mtu, ok := w.PathMTU(r.visit.Packet)
	if !ok {
		return Number{}, rules.Unknown
	}
	headers := header4 + headerTCP
	if r.c.family == nat.IPv6 {
		headers = header6 + headerTCP
	}
	if mtu <= headers || mtu > longest {
		return known(usual)
	}
	return known(uint64(mtu - headers))
}
