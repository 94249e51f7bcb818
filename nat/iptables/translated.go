package iptables

import (
	"net/netip"

	"natlab/nat/xt"
)

// Translated is the first rule of the nat table that is for one address alone and translates it, or leads to a chain with a rule that does, as
// kube-proxy has one for each address of a Service. n is its number in the chain, 1 for the first.
func (rs Ruleset) Translated(a netip.Addr) (chain string, n int, ok bool) {
	t, _ := rs.Table("nat")
	for _, c := range t.Chains {
		for i := range c.Rules {
			if c.Rules[i].isFor(a) && t.translates(c.Rules[i].Target, map[string]bool{}) {
				return c.Name, i + 1, true
			}
		}
	}
	return "", 0, false
}

// isFor reports whether a rule asks for one destination.
func (r *Rule) isFor(a netip.Addr) bool {
	for _, m := range r.Matches {
		if d, is := m.(Destination); is {
			return !d.Not && d.Prefix == netip.PrefixFrom(a, a.BitLen())
		}
	}
	return false
}

// translates reports whether a target is DNAT, or a chain that leads to one; chains that were seen do not.
func (t *Table) translates(target xt.Target, seen map[string]bool) bool {
	if target == nil || seen[target.Name()] {
		return false
	}
	if target.Name() == "DNAT" {
		return true
	}
	seen[target.Name()] = true
	c, _ := t.Chain(target.Name())
	for i := range c.Rules {
		if t.translates(c.Rules[i].Target, seen) {
			return true
		}
	}
	return false
}
