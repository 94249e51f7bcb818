package diagnosis

import (
	"fmt"
	"net/netip"
	"slices"

	"natlab/nat"
	"natlab/topology"
)

// routing is that no route leads to where the packet or its answer goes: where a rule of routing chose the table, that is to blame.
func (c Case) routing(p nat.Prediction) []Cause {
	if found := c.ruled(p); len(found) > 0 {
		return found
	}
	return c.route(p)
}

// ruled is that a rule of routing leads the packet, or its answer, to a table that has no way for it.
func (c Case) ruled(p nat.Prediction) []Cause {
	for i, r := range c.Namespace.Rules {
		own := r.Action == topology.RouteByTable && slices.Contains([]string{"", "local", "default"}, r.Table)
		if own || r.Six != c.Ask.Tuple.Dst().Addr().Is6() {
			continue
		}
		without := c
		without.Namespace.Rules = slices.Delete(slices.Clone(c.Namespace.Rules), i, i+1)
		if !without.helps(p) {
			continue
		}
		return []Cause{c.ruledBy(r, p)}
	}
	return nil
}

// ruledBy tells what a rule of routing does to the packets of ways that it ends.
func (c Case) ruledBy(r topology.RoutingRule, p nat.Prediction) Cause {
	if r.Action != topology.RouteByTable {
		return Cause{Code: "route.closed", What: fmt.Sprintf("rule of routing %d ends it (%s), and without the rule it works", r.Priority, firstWhy(p))}
	}
	to := destination(p)
	at := fmt.Sprintf("rule of routing %d leads to table %s", r.Priority, r.Table)
	best, ok := c.routeIn(r.Table, to)
	switch {
	case !ok || best.Type == topology.Throw:
		return Cause{Code: "route.missing", What: fmt.Sprintf("%s, which has no route to %s: without the rule it works", at, to)}
	case best.Type != topology.Unicast:
		return Cause{Code: "route.closed", What: fmt.Sprintf("%s, where the route %q ends what goes to %s: no closer route to it is there, and without the rule it works", at, best, to)}
	}
	return Cause{Code: "route.missing", What: fmt.Sprintf("%s, where %s is reached by %q alone, which does not lead there: without the rule it works", at, to, best)}
}

// destination is where the packet, or its answer, was going when the first way ended badly.
func destination(p nat.Prediction) netip.Addr {
	for _, o := range p {
		if o.End == nat.EndAnswered {
			continue
		}
		for _, j := range []nat.Journey{o.Reply, o.Request} {
			if n := len(j.Hops); n > 0 {
				return j.Hops[n-1].Tuple.Dst().Addr()
			}
		}
	}
	return netip.Addr{}
}

// routeIn is the route of the longest prefix to an address in one table.
func (c Case) routeIn(table string, a netip.Addr) (best topology.Route, ok bool) {
	for _, r := range c.Namespace.Routes {
		if r.Table == table && r.Dst.Contains(a) && (!ok || r.Dst.Bits() > best.Dst.Bits()) {
			best, ok = r, true
		}
	}
	return best, ok
}
