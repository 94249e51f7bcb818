package gateway

import (
	"cmp"
	"net/netip"

	"natlab/nat"
	"natlab/nat/rules"
)

// RouteType is an address's type to nft_fib.
func (v *visit) RouteType(a netip.Addr, dev string) string { return v.host.fibType(a, dev) }

// fibType is an address's type to nft_fib: of IPv4 that of routingType (nft_fib4_eval_type), of IPv6 by the way that a packet would go
// (__nft_fib6_eval_type).
func (h *host) fibType(a netip.Addr, dev string) string {
	if a.Is4() {
		return h.routingType(a, dev)
	}
	if kind, own := h.localTable(a); dev != "" && kind == routeLocal && own == dev {
		return "LOCAL"
	}
	next, why := h.lookup(a)
	switch {
	case why != "":
		return cmp.Or(map[routeKind]string{routeBlackhole: "BLACKHOLE", routeProhibit: "PROHIBIT"}[next.kind], "UNREACHABLE")
	case next.anycast():
		return "ANYCAST"
	case dev == "" && next.kind == routeLocal:
		return "LOCAL"
	case a.IsMulticast():
		return "MULTICAST"
	case a.IsUnspecified():
		return "UNSPEC"
	}
	return "UNICAST"
}

// RouteDevice is the device that a way leads to (nft_fib4_eval, nft_fib6_eval): none to what the routes refuse, or the node itself is.
func (v *visit) RouteDevice(p *rules.Packet, q rules.RouteQuery) (dev string, known bool) {
	in := v.devices[p.In]
	arrives := q.Hook == nat.PreRouting || q.Hook == nat.Input && v.options.Kernel.Has(nat.LoopbackLeadsHome)
	if in != nil && (in.Name == "lo" || v.Echoed()) && arrives {
		return in.Name, true
	}
	to, from := p.Tuple.Src().Addr(), p.Tuple.Dst().Addr()
	if to.IsUnspecified() && p.In != "" && (to.Is4() && (from == limitedBroadcast || localGroup(from)) || to.Is6() && arrives && from.IsLinkLocalUnicast() && p.Tuple.Proto() == v.icmp().proto) {
		return p.In, true
	}
	if q.Dst {
		to, from = from, to
	}
	only := v.devices[q.Dev]
	if q.Dev != "" && only == nil {
		return "", false
	}
	k := routingKey{}
	if q.Mark {
		k.mark = p.Mark
	}
	next, why := v.host.route(to, k)
	if to.Is6() && (to.IsLinkLocalUnicast() || to.IsLinkLocalMulticast()) && !next.local() && cmp.Or(only, in) != nil {
		next, why = v.host.lookupBy(cmp.Or(only, in), to)
	}
	switch {
	case only != nil && v.host.leadsBy(only, to, k):
		return only.Name, true
	case why != "", next.local(), next.dev == nil, only != nil && next.dev != only:
		return "", true
	}
	return next.dev.Name, true
}
