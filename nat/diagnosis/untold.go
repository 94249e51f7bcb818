package diagnosis

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/iptables"
	"natlab/nat/xt"
)

// untold makes of a packet that works one that may not, or tells what its answer leaves open, where a part of the node is not told: the tables of
// its rules, its sockets.
func (c Case) untold(a *Answer, p nat.Prediction) {
	missing := c.missingTables()
	if slices.Contains(missing, "filter") {
		if mark := c.unread(p); mark != 0 {
			a.Verdict = Depends
			a.Why = fmt.Sprintf("on what a rule of the table filter does with mark %#x, which the packet is given and no rule that is told asks for: the table is not told (iptables-save without -t prints all); without that it is works: %s", mark, a.Why)
			return
		}
	}
	if len(missing) > 0 {
		a.Why += "; of the rules nothing is told of table " + strings.Join(missing, " and ")
	}
	if c.mayBeRefused(p) {
		r, ok := c.published(p)
		if !ok {
			r, ok = c.publishedAt(p)
		}
		if ok {
			a.Verdict = Depends
			a.Why = fmt.Sprintf("on whether a process of the node takes the packet too (ss -lntup): no socket is told, and %s translates that port, but not for this packet; if so, it is %s", r, a.Why)
			a.add(Cause{Code: "dnat.missed", What: fmt.Sprintf("%s is for that port, and the packet was not translated", r), Rule: &r})
			return
		}
		a.Why += "; no socket of the node is told: where none listens there, it is refused"
	}
}

// missingTables are those of nat and filter that the text of the rules lacks: it may be the half of what the node has.
func (c Case) missingTables() (out []string) {
	if !c.RulesOpen || len(c.Rules) == 0 {
		return nil
	}
	for _, name := range []string{"nat", "filter"} {
		if !slices.ContainsFunc(c.Rules, func(rs iptables.Ruleset) bool { _, ok := rs.Table(name); return ok }) {
			out = append(out, name)
		}
	}
	return out
}

// unread are the bits of a mark that the packet leaves the rules with, and that none of them, and no rule of routing, asks for.
func (c Case) unread(p nat.Prediction) uint32 {
	var given, read uint32
	for _, o := range p {
		if n := len(o.Request.Steps); n > 0 {
			given |= o.Request.Steps[n-1].Mark
		}
	}
	for _, r := range c.Namespace.Rules {
		read |= r.Mask
	}
	for _, rs := range c.Rules {
		for _, t := range rs.Tables {
			for _, chain := range t.Chains {
				for _, r := range chain.Rules {
					for _, m := range r.Matches {
						if mark, is := m.(xt.Mark); is {
							read |= mark.Mask
						}
					}
					if r.Target != nil && r.Target.Name() == "CONNMARK" {
						return 0 // it may be kept for later packets
					}
				}
			}
		}
	}
	return given &^ read
}

// mayBeRefused reports whether a process of the node would answer, of which nobody told that it is there.
func (c Case) mayBeRefused(p nat.Prediction) bool {
	return c.Facts.Sockets == nil && slices.ContainsFunc(p, func(o nat.Outcome) bool {
		return (c.own(o.Endpoint.Addr()) || o.Endpoint.Addr().IsLoopback()) && o.Endpoint.Port() != 0 && o.Why == ""
	})
}

// published is a rule that translates the packet's port to another host, where the packet itself goes to a process of the node untranslated.
func (c Case) published(p nat.Prediction) (Rule, bool) {
	t := c.Ask.Tuple
	for _, o := range p {
		if o.Endpoint != t.Dst() {
			return Rule{}, false
		}
	}
	for _, rs := range c.Rules {
		table, ok := rs.Table("nat")
		if !ok || rs.Family != nat.FamilyOf(t.Dst().Addr()) {
			continue
		}
		for _, chain := range table.Chains {
			for i, rule := range chain.Rules {
				if rule.Target != nil && rule.Target.Name() == "DNAT" && ports(rule, t) {
					r := Rule{Table: "nat", Chain: chain.Name, Rule: i + 1, Line: rule.Line, Text: rule.Text(chain.Name)}
					r.Owner = ruleOwner(r.Table, chain.Name, rule.Target.Name(), r.Text)
					return r, true
				}
			}
		}
	}
	return Rule{}, false
}

// mostAsked is how many of the node's other addresses a packet is followed to.
const mostAsked = 8

// publishedAt is a rule that translates the packet's port at another address of the node, where the packet itself goes to a process untranslated: as
// kube-proxy's nftables mode does for node ports, of which none is at 127.0.0.1.
func (c Case) publishedAt(p nat.Prediction) (Rule, bool) {
	t := c.Ask.Tuple
	if slices.ContainsFunc(p, func(o nat.Outcome) bool { return o.Endpoint != t.Dst() }) {
		return Rule{}, false
	}
	asked := 0
	for _, own := range c.Namespace.Addresses {
		at := own.Prefix.Addr()
		if at == t.Dst().Addr() || at.Is6() != t.Dst().Addr().Is6() || at.IsLinkLocalUnicast() || asked == mostAsked {
			continue
		}
		asked++
		other := c
		other.Ask.Tuple = nat.TupleOf(t.Proto(), t.Src(), netip.AddrPortFrom(at, t.Dst().Port()))
		if t.Src().Addr().IsLoopback() { // which nobody asks another address of the node from
			other.Ask.Tuple = nat.TupleOf(t.Proto(), netip.AddrPortFrom(at, t.Src().Port()), other.Ask.Tuple.Dst())
		}
		x, err := gateway.Explain(other.Namespace, other.Rules, other.Facts, other.Ask, nil)
		if err != nil {
			continue
		}
		for _, o := range x.Prediction {
			for _, s := range o.Request.Steps {
				if s.After.Dst() != s.Before.Dst() && s.Before.Dst() == other.Ask.Tuple.Dst() {
					return ruleOf(s, nat.Original), true
				}
			}
		}
	}
	return Rule{}, false
}

// ports reports whether a rule asks for the protocol and the destination port of a packet.
func ports(r iptables.Rule, t nat.Tuple) bool {
	for _, m := range r.Matches {
		if p, is := m.(xt.Ports); is && p.Number() == t.Proto() && p.Destination != nil && !p.Destination.Not && p.Destination.Contains(t.Dst().Port()) {
			return true
		}
	}
	return false
}
