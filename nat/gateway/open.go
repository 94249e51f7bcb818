package gateway

import (
	"cmp"
	"net/netip"
	"path"
	"reflect"
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/conntrack"
	"natlab/topology"
)

// secondFirst is what is not known of a node with rules of two backends.
const secondFirst = "iptables-legacy's rules come before iptables-nft's"

// mostUnplaced is how many devices a packet is followed to that nobody has placed.
const mostUnplaced = 16

// open adds the ways of nodes that are like this one in all that is known, and differ in what is not.
func (x *Explanation) open(g *Gateway, ns topology.Namespace, rules Rules, dice conntrack.Chance) error {
	f := &g.options.Facts
	if f.OrderOpen && len(rules) == 2 {
		other, err := NewGateway(ns, Rules{rules[1], rules[0]}, g.options)
		if err != nil {
			return err
		}
		x.eitherWay(other.explained(x.Ask, dice), secondFirst, dice)
	}
	if err := x.elsewhere(g, ns, rules, dice); err != nil {
		return err
	}
	if err := x.otherwise(g, ns, rules, dice); err != nil {
		return err
	}
	x.entrance(g, ns, dice)
	dst := x.Ask.Tuple.Dst().Addr()
	if !f.NoAddresses || g.host.routingType(dst, "") != "UNICAST" || len(g.host.devices) == 0 {
		return nil
	}
	dev := cmp.Or(x.Ask.In, g.host.devices[0].Name)
	ns.Addresses = append(slices.Clip(ns.Addresses), topology.Address{Device: dev, Prefix: netip.PrefixFrom(dst, dst.BitLen())})
	own, err := NewGateway(ns, rules, g.options)
	if err != nil {
		return err
	}
	other := own.explained(x.Ask, dice)
	if err := other.elsewhere(own, ns, rules, dice); err != nil {
		return err
	}
	x.eitherWay(other, dst.String()+" is an address of the node", dice)
	return nil
}

// otherwise adds the ways of a packet where a setting is not what a fresh namespace has, or a rule of routing leads to a table of which routes are
// told, as far as that may matter to it.
func (x *Explanation) otherwise(g *Gateway, ns topology.Namespace, rules Rules, dice conntrack.Chance) error {
	known := slices.Clone(x.Prediction)
	try := func(there topology.Namespace, what string) error {
		other, err := NewGateway(there, rules, g.options)
		if err != nil {
			return err
		}
		if found := other.explained(x.Ask, dice); !slices.EqualFunc(found.Prediction, known, alike) {
			x.eitherWay(found, what, dice)
		}
		return nil
	}
	for _, s := range g.options.Untold {
		if !x.hangsOn(g.host, s.Key) {
			continue
		}
		there := ns
		there.Sysctls = append(slices.Clip(ns.Sysctls), s)
		if err := try(there, strings.ReplaceAll(s.Key, "/", ".")+" is "+s.Value); err != nil {
			return err
		}
	}
	if err := x.hops(g, ns, rules, dice); err != nil {
		return err
	}
	for _, table := range x.unruled(ns.Unruled) {
		there := ns
		there.Routes = append(slices.Clip(ns.Routes), ns.Unruled...)
		there.Rules = append(slices.Clip(ns.Rules), topology.KernelRules(g.host.family == nat.IPv6)...)
		there.Rules = append(there.Rules, topology.RoutingRule{Six: g.host.family == nat.IPv6, Priority: 32765, Table: table, Suppress: -1})
		if err := try(there, "a rule of routing leads to table "+table); err != nil {
			return err
		}
	}
	return nil
}

// entrance adds the ways of a packet for an address of the node's that may come in by the device that has the address: where its source is beyond
// a router, the way back to it need not be the way that it came, on a node with several ways out.
func (x *Explanation) entrance(g *Gateway, ns topology.Namespace, dice conntrack.Chance) {
	t := x.Ask.Tuple
	kind, name := g.host.localTable(t.Dst().Addr())
	own, by := g.devices[name], g.devices[x.Ask.In]
	if !x.Ask.Routed || kind != routeLocal || own == nil || by == nil || own == by || own.Name == "lo" || by.Master == own.Name {
		return
	}
	back, why := g.host.lookup(t.Src().Addr())
	near := why == "" && back.kind == routeUnicast && back.via == t.Src().Addr() && back.net.Bits() > 0
	world := t.Dst().Addr().IsGlobalUnicast() && !t.Dst().Addr().IsPrivate()
	out := world || slices.ContainsFunc(append(slices.Clip(ns.Routes), ns.Others...), func(r topology.Route) bool { return r.Device == own.Name && r.Via.IsValid() })
	if near || !out {
		return
	}
	ask := x.Ask
	ask.In = own.Name
	x.eitherWay(g.explained(ask, dice), "the packet comes in by "+own.Name, dice)
}

// hops adds the ways of a packet by the other next hops of routes that have several: a hash of the flow chooses (fib_select_multipath).
func (x *Explanation) hops(g *Gateway, ns topology.Namespace, rules Rules, dice conntrack.Chance) error {
	for n, other := range ns.Others {
		if n == mostUnplaced || !x.leads(other) {
			continue
		}
		i := slices.IndexFunc(ns.Routes, func(r topology.Route) bool { return r.Dst == other.Dst && r.Table == other.Table })
		if i < 0 {
			continue
		}
		there := ns
		there.Routes = slices.Clone(ns.Routes)
		there.Others = slices.Clone(ns.Others)
		there.Routes[i], there.Others[n] = other, ns.Routes[i]
		found, err := NewGateway(there, rules, g.options)
		if err != nil {
			return err
		}
		hop := "dev " + other.Device
		if other.Via.IsValid() {
			hop = "via " + other.Via.String() + " " + hop
		}
		what := "the hash of the flow chooses the next hop " + hop + " of route " + other.Dst.String()
		x.eitherWay(found.explained(x.Ask, dice), what, dice)
	}
	return nil
}

// unruled are the tables of routes that nobody told a rule for, and that lead to where the packet or an answer to it goes.
func (x *Explanation) unruled(routes []topology.Route) (tables []string) {
	for _, r := range routes {
		if x.leads(r) && !slices.Contains(tables, r.Table) {
			tables = append(tables, r.Table)
		}
	}
	return tables
}

// leads reports whether a route leads to where the packet or an answer to it goes.
func (x *Explanation) leads(r topology.Route) bool {
	return r.Dst.Contains(x.Ask.Tuple.Src().Addr()) || slices.ContainsFunc(x.Prediction, func(o nat.Outcome) bool {
		return slices.ContainsFunc(o.Request.Hops, func(h nat.Hop) bool { return r.Dst.Contains(h.Tuple.Dst().Addr()) })
	})
}

// hangsOn reports whether a setting may matter to the packet: that of loopback's addresses where it is lost for one, and that of the way back to
// its source where that is by another device. Any other may.
func (x *Explanation) hangsOn(h *host, key string) bool {
	switch path.Base(key) {
	case "route_localnet":
		return slices.ContainsFunc(x.Prediction, func(o nat.Outcome) bool { return strings.HasSuffix(o.Why, localnetOff) })
	case "rp_filter":
		back, why := h.lookup(x.Ask.Tuple.Src().Addr())
		return x.Ask.In != "" && why == "" && back.dev != nil && back.dev.Name != x.Ask.In
	}
	return true
}

// explained are the ways of a packet through this node.
func (g *Gateway) explained(ask Ask, dice conntrack.Chance) *Explanation {
	x := &Explanation{Ask: ask, nodes: []*Gateway{g}}
	x.Prediction, x.looks = g.ways(ask, dice)
	return x
}

// elsewhere adds the ways of a packet whose source, or where it goes, is behind a device that rules name and nobody has placed, where it comes
// to something else there.
func (x *Explanation) elsewhere(g *Gateway, ns topology.Namespace, rules Rules, dice conntrack.Chance) error {
	known := slices.Clone(x.Prediction)
	for i, dev := range g.options.Unplaced {
		if i == mostUnplaced {
			break
		}
		for _, addr := range unplacedEnds(ns, x.Ask, known) {
			ask, there := x.Ask, ns
			there.Place(dev, netip.PrefixFrom(addr, addr.BitLen()))
			if addr == ask.Tuple.Src().Addr() {
				ask.In = dev
			}
			other, err := NewGateway(there, rules, g.options)
			if err != nil {
				return err
			}
			if found := other.explained(ask, dice); !slices.EqualFunc(found.Prediction, known, alike) {
				x.eitherWay(found, addr.String()+" is behind "+dev, dice)
			}
		}
	}
	return nil
}

// unplacedEnds are the packet's source, where that told by which device it comes, and the addresses that it goes to, as far as no route but a
// default one leads there.
func unplacedEnds(ns topology.Namespace, ask Ask, ways nat.Prediction) (out []netip.Addr) {
	add := func(a netip.Addr) {
		if !slices.Contains(out, a) && !ns.Leads(a) && !a.IsLoopback() {
			out = append(out, a)
		}
	}
	if ask.Routed {
		add(ask.Tuple.Src().Addr())
	}
	for _, o := range ways {
		if n := len(o.Request.Hops); n > 0 {
			add(o.Request.Hops[n-1].Tuple.Dst().Addr())
		}
	}
	return out
}

// alike reports whether two ways come to the same.
func alike(a, b nat.Outcome) bool {
	return a.End == b.End && a.Endpoint == b.Endpoint && a.ServerPeer.Addr() == b.ServerPeer.Addr() && a.ClientPeer == b.ClientPeer
}

// eitherWay adds the ways of a node of which something holds that is not known, where they are others. Dice choose one of the two.
func (x *Explanation) eitherWay(own *Explanation, what string, dice conntrack.Chance) {
	ways, looks := own.Prediction, own.looks
	if slices.EqualFunc(ways, x.Prediction, sameWay) {
		return
	}
	assume := func(ways nat.Prediction, holds bool) {
		for i := range ways {
			ways[i].Assumed = append([]nat.Assumption{{What: what, Of: own.nodes[0].host.member, Holds: holds}}, ways[i].Assumed...)
		}
	}
	assume(ways, true)
	assume(x.Prediction, false)
	switch {
	case dice == nil:
		x.Prediction, x.looks = append(ways, x.Prediction...), append(looks, x.looks...)
	case dice.Uint32()&1 == 0:
		x.Prediction, x.looks = ways, looks
	}
}

// sameWay reports whether two ways are drawn alike.
func sameWay(a, b nat.Outcome) bool { return reflect.DeepEqual(a, b) }
