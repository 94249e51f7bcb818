package gateway

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"

	"natlab/nat"
	"natlab/nat/rules"
	"natlab/topology"
)

// routingKey is what rules of routing see of a packet besides its destination (struct flowi). The zero one is of a packet of the node itself
// of which nothing is known.
type routingKey struct {
	src   netip.Addr // not valid: none is chosen yet
	in    string     // the device that it came in by; "" for lo, of the node's own
	mark  uint32
	proto nat.Proto
	sport uint16
	dport uint16
	uid   rules.ID
}

// key is what rules of routing see of a packet that came in by a device, nil for one of the node's own.
func (v *visit) key(p *passage, in *device) routingKey {
	t := &p.view.Tuple
	k := routingKey{src: t.Src().Addr(), mark: p.view.Mark, proto: t.Proto(), sport: t.Src().Port(), dport: t.Dst().Port()}
	if in != nil {
		k.in = in.Name
		return k
	}
	k.uid = v.options.UID
	if p.raw && v.prediction.choices == nil { // raw_sendmsg: IP_HDRINCL names no source
		k.src = netip.Addr{}
	}
	return k
}

// back is the key by which the way back to a packet's source is asked for (__fib_validate_source): out is the device that the packet goes on by, nil
// where it is the node's.
func (v *visit) back(p *passage, in, out *device) routingKey {
	t := &p.view.Tuple
	k := routingKey{src: t.Dst().Addr(), proto: t.Proto(), sport: t.Dst().Port(), dport: t.Src().Port()}
	if in.settings.srcValidMark {
		k.mark = p.view.Mark
	}
	if out != nil {
		k.in = out.Name
	}
	return k
}

// takes reports whether a rule of routing is for a packet (fib_rule_match, fib4_rule_match).
func takes(r *topology.RoutingRule, dst netip.Addr, k *routingKey) bool {
	in := k.in
	if in == "" {
		in = "lo"
	}
	holds := (!r.From.IsValid() || r.From.Bits() == 0 || k.src.IsValid() && r.From.Contains(k.src)) &&
		(!r.To.IsValid() || r.To.Contains(dst)) &&
		(r.In == "" || r.In == in) && r.Out == "" &&
		(r.Mark^k.mark)&r.Mask == 0 &&
		(r.Proto == 0 || r.Proto == uint8(k.proto)) && r.Sport.Has(k.sport) && r.Dport.Has(k.dport) &&
		(r.UID == nil || k.uid.Known && r.UID[0] <= k.uid.Number && k.uid.Number <= r.UID[1])
	return holds != r.Not
}

// route is the way of a packet that came in by a device to a destination.
func (v *visit) route(p *passage, in *device, dst netip.Addr) (next nextHop, why string) {
	if v.host.rules == nil {
		return v.host.lookup(dst)
	}
	return v.host.route(dst, v.key(p, in))
}

// route finds the route for a destination as rules of routing have it (fib_rules_lookup). One that asks a table without a route there, or with one that
// is suppressed, leaves the packet to the next.
func (h *host) route(dst netip.Addr, k routingKey) (next nextHop, why string) {
	if h.rules == nil {
		return h.lookup(dst)
	}
	if h.family == nat.IPv6 && dst.IsMulticast() {
		return h.multicast6(dst, nil)
	}
	from := uint32(0)
	for i := range h.rules {
		r := &h.rules[i]
		if r.Priority < from || r.Open != "" || !takes(r, dst, &k) {
			continue
		}
		switch r.Action {
		case topology.RouteByGoto:
			from = r.Goto
		case topology.RouteByNothing:
		case topology.RouteToBlackhole:
			return nextHop{kind: routeBlackhole}, fmt.Sprintf("rule of routing %d: blackhole", r.Priority)
		case topology.RouteToUnreachable:
			return nextHop{kind: routeUnreachable}, fmt.Sprintf("rule of routing %d: unreachable", r.Priority)
		case topology.RouteToProhibit:
			return nextHop{kind: routeProhibit}, fmt.Sprintf("rule of routing %d: prohibit", r.Priority)
		case topology.RouteByTable:
			if next, why, found := h.inTable(r.Table, dst, r.Suppress); found {
				return next, why
			}
		}
	}
	return nextHop{}, NoRoute
}

// inTable finds the route of the longest prefix in one table; found is false where it has none, or none that counts: a route of a prefix
// that is not longer than suppress does not (fib4_rule_suppress).
func (h *host) inTable(table string, dst netip.Addr, suppress int) (next nextHop, why string, found bool) {
	if table == "local" {
		next, ok := h.ownRoute(dst)
		return next, "", ok
	}
	routes := h.main
	if table != "" {
		routes = h.tables[table]
	}
	if routes == nil {
		return nextHop{}, "", false
	}
	r, ok := routes.Lookup(dst)
	if !ok || r.Type == topology.Throw || r.Type == topology.Unicast && r.Dst.Bits() <= suppress {
		return nextHop{}, "", false
	}
	next, why = h.take(r, dst)
	return next, why, true
}

// longest finds routes by the longest prefix; of several to one prefix it has the first whose device is there.
func (h *host) longest(routes []route) *bart.Table[*route] {
	t := &bart.Table[*route]{}
	for i := range routes {
		r := &routes[i]
		if _, there := t.Get(r.Dst); !there && (r.Type != topology.Unicast || r.dev != nil) {
			t.Insert(r.Dst, r)
		}
	}
	return t
}

// policies takes over the namespace's rules of routing, and the routes of other tables than main.
func (h *host) policies(ns *topology.Namespace) {
	six := h.family == nat.IPv6
	for _, r := range ns.Rules {
		if r.Six == six {
			h.rules = append(h.rules, r)
		}
	}
	slices.SortStableFunc(h.rules, func(a, b topology.RoutingRule) int { return int(int64(a.Priority) - int64(b.Priority)) })
	tables := map[string][]route{}
	for _, r := range ns.Routes {
		if r.Table != "" && nat.FamilyOf(r.Dst.Addr()) == h.family {
			tables[r.Table] = append(tables[r.Table], route{r, h.device(r.Device)})
		}
	}
	for _, r := range ns.Others {
		if nat.FamilyOf(r.Dst.Addr()) == h.family {
			h.others = append(h.others, route{r, h.device(r.Device)})
		}
	}
	h.tables = map[string]*bart.Table[*route]{}
	for name, routes := range tables {
		h.tables[name] = h.longest(routes)
	}
}

// leadsBy reports whether one of the further next hops of the route to an address leaves by a device (fib_info_nh_uses_dev).
func (h *host) leadsBy(d *device, dst netip.Addr, k routingKey) bool {
	if !slices.ContainsFunc(h.others, func(r route) bool { return r.dev == d }) {
		return false
	}
	by := *h
	by.tables = maps.Clone(h.tables)
	for i := range h.others {
		r := &h.others[i]
		switch {
		case r.dev != d:
		case r.Table == "":
			by.main = by.main.InsertPersist(r.Dst, r)
		case by.tables[r.Table] != nil:
			by.tables[r.Table] = by.tables[r.Table].InsertPersist(r.Dst, r)
		}
	}
	next, why := by.route(dst, k)
	return why == "" && next.kind == routeUnicast && next.dev == d
}
