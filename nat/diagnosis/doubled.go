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

// doubled is that a rule translates a packet for which a later one of its chain is, too, and leads elsewhere: one of the two was left behind by a pod or
// container that is gone, and the node need not tell which.
func (c Case) doubled(o *nat.Outcome) (flaw, bool) {
	for _, s := range o.Request.Steps {
		if s.Table != "nat" || s.Rule == 0 || strings.HasPrefix(s.Chain, "KUBE-") || s.Hook != nat.PreRouting && s.Hook != nat.Output {
			continue
		}
		for _, rs := range c.Rules {
			if !has(rs, s) {
				continue
			}
			t, _ := rs.Table("nat")
			chain, _ := t.Chain(s.Chain)
			first := chain.Rules[s.Rule-1]
			to := translationOf(o.Request.Steps)
			if !to.IsValid() || c.hears(to.Addr()) || slices.ContainsFunc(first.Matches, byTurns) {
				continue
			}
			for i, later := range chain.Rules[s.Rule:] {
				if later.Target == nil || conditions(first) != conditions(later) {
					continue
				}
				n := s.Rule + 1 + i
				if other := c.translatedBy(rs, s, n); !other.IsValid() || other == to {
					continue
				}
				r := ruleOf(s, nat.Original)
				r.Rule, r.Line, r.Text = n, later.Line, later.Text(chain.Name)
				return flaw{
					on:     fmt.Sprintf("on whether a host has %s still: a later rule for the same packets leads elsewhere, and one of the two was left behind", to.Addr()),
					causes: []Cause{{Code: "dnat.doubled", What: fmt.Sprintf("%s is for the same packets as rule %d of the chain, in front of it, by which they are translated to %s", r, s.Rule, to), Rule: &r}},
				}, true
			}
		}
	}
	return flaw{}, false
}

// hears reports whether a host is one of the node's own addresses, or has told a device of the node that it is there.
func (c Case) hears(a netip.Addr) bool {
	if c.own(a) {
		return true
	}
	for _, d := range c.Namespace.Devices {
		if slices.Contains(d.Met, a) {
			return true
		}
	}
	return false
}

// translationOf is where DNAT led a packet; invalid where none did.
func translationOf(steps nat.Trace) (to netip.AddrPort) {
	for _, s := range steps {
		if s.Table == "nat" && s.Target == "DNAT" {
			to = s.After.Dst()
		}
	}
	return to
}

// translatedBy is where the packet would be translated to by rule n of a chain, were the rule of a step not there; invalid where it would not be.
func (c Case) translatedBy(of iptables.Ruleset, s nat.Step, n int) netip.AddrPort {
	less := of
	less.Tables = slices.Clone(of.Tables)
	for i := range less.Tables {
		if t := &less.Tables[i]; t.Name == s.Table {
			t.Chains = slices.Clone(t.Chains)
			for k := range t.Chains {
				if chain := &t.Chains[k]; chain.Name == s.Chain {
					chain.Rules = slices.Delete(slices.Clone(chain.Rules), s.Rule-1, s.Rule)
				}
			}
		}
	}
	without := c
	without.Rules = nil
	for _, rs := range c.Rules {
		if has(rs, s) {
			rs = less
		}
		without.Rules = append(without.Rules, rs)
	}
	x, err := gateway.Explain(without.Namespace, without.Rules, without.Facts, without.Ask, nil)
	if err != nil {
		return netip.AddrPort{}
	}
	for _, o := range x.Prediction {
		if slices.ContainsFunc(o.Request.Steps, func(m nat.Step) bool { return m.Table == s.Table && m.Chain == s.Chain && m.Rule == n-1 }) {
			return translationOf(o.Request.Steps)
		}
	}
	return netip.AddrPort{}
}

// conditions are a rule's, but for comments.
func conditions(r iptables.Rule) string {
	matches := slices.DeleteFunc(slices.Clone(r.Matches), func(m xt.Match) bool { _, is := m.(xt.Comment); return is })
	return iptables.Rule{Matches: matches}.Spec()
}

// byTurns reports whether a condition does not hold for the same packets each time, so that two rules share them.
func byTurns(m xt.Match) bool {
	switch m.(type) {
	case xt.Statistic, xt.Limit, xt.HashLimit, xt.Recent, xt.Time, xt.Quota, xt.ConnLimit:
		return true
	}
	return false
}
