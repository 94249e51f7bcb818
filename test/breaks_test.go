package test

import (
	"fmt"
	"net/netip"
	"slices"

	"natlab/nat/iptables"
	"natlab/nat/proof"
	"natlab/nat/xt"
)

// breakage is one way to spoil one node's rules, with the rules in which the proof has to see intent and live part.
type breakage struct {
	name   string
	node   string
	place  place
	change func([]iptables.Rule) []iptables.Rule // of the chain's rules
	both   bool                                  // install the rules with the other backend as well, and change none

	meets   proof.RuleRef // a packet that meets this rule of the unspoilt node notices; without a number, that enters its chain
	want    string        // Wrong.WantRule
	instead string        // Wrong.LiveRule

	harmless string // why no packet can notice; "" where one can
}

// breaksOf lists every break of one node's rules: each rule of nat and filter deleted, each target spoilt, each chain
// shadowed.
func breaksOf(node string, rs iptables.Ruleset, endpoints []netip.AddrPort) []breakage {
	var out []breakage
	for ti, t := range rs.Tables {
		if t.Name != "nat" && t.Name != "filter" {
			continue
		}
		for ci, c := range t.Chains {
			for ri, rule := range c.Rules {
				ref := proof.RuleRef{Node: node, Table: t.Name, Chain: c.Name, Rule: ri + 1, Text: rule.Text(c.Name)}
				at := place{ti, ci}
				out = append(out, breakage{
					name: "delete " + ref.Text, node: node, meets: ref, want: ref.Text, harmless: twin(c, ri), place: at,
					change: func(rules []iptables.Rule) []iptables.Rule { return slices.Delete(rules, ri, ri+1) },
				})
				for _, s := range spoil(rule.Target, endpoints) {
					bad := rule
					bad.Target = s.target
					out = append(out, breakage{
						name: s.name + ": " + bad.Text(c.Name), node: node, meets: ref, want: ref.Text, instead: bad.Text(c.Name), place: at,
						change: func(rules []iptables.Rule) []iptables.Rule { rules[ri] = bad; return rules },
					})
				}
			}
			out = append(out, shadows(node, rs, place{ti, ci})...)
		}
	}
	return append(out, breakage{name: "both backends at once", node: node, both: true})
}

// twin says that another rule of the chain does the same: kube-proxy lets each port of a Service in to its health check.
func twin(c iptables.Chain, at int) string {
	bare := func(r iptables.Rule) string {
		r.Matches = slices.DeleteFunc(slices.Clone(r.Matches), func(m xt.Match) bool { _, is := m.(xt.Comment); return is })
		return r.Text(c.Name)
	}
	for i := range c.Rules {
		if i != at && bare(c.Rules[i]) == bare(c.Rules[at]) {
			return "another rule of the chain does the same: " + c.Rules[i].Text(c.Name)
		}
	}
	return ""
}

// place is where a chain stands in a Ruleset.
type place struct{ table, chain int }

// spoiltBy is a node's rules with breaks of different chains in them.
func spoiltBy(rs iptables.Ruleset, breaks []breakage) iptables.Ruleset {
	rs = rs.Clone()
	for _, br := range breaks {
		c := &rs.Tables[br.place.table].Chains[br.place.chain]
		c.Rules = br.change(c.Rules)
	}
	return rs
}

type spoilt struct {
	name   string
	target xt.Target
}

// spoil makes a target do something near to what it should.
func spoil(target xt.Target, endpoints []netip.AddrPort) []spoilt {
	switch t := target.(type) {
	case xt.DNAT:
		wrongPort, wrongPod := t, t
		wrongPort.Range.MinPort, wrongPort.Range.MaxPort = t.Range.MinPort+1, t.Range.MaxPort+1
		for _, e := range endpoints {
			if e.Addr() != t.Range.MinAddr {
				wrongPod.Range.MinAddr, wrongPod.Range.MaxAddr = e.Addr(), e.Addr()
				break
			}
		}
		return []spoilt{{"DNAT to a wrong port", wrongPort}, {"DNAT to a wrong pod", wrongPod}}
	case xt.SetMark:
		name := "mark not set"
		if t.Value&t.Mask == 0 || t.Mask == 0 {
			name = "mark not cleared"
		}
		return []spoilt{{name, xt.SetMark{}}}
	case xt.Masquerade:
		return []spoilt{{"not masqueraded", xt.Accept{}}}
	case xt.Accept, xt.Reject:
		return []spoilt{{"dropped instead", xt.Drop{}}}
	}
	return nil
}

// shadows puts a RETURN before everything in a chain, and before POSTROUTING's an ACCEPT.
func shadows(node string, rs iptables.Ruleset, at place) []breakage {
	t := rs.Tables[at.table]
	c := t.Chains[at.chain]
	if len(c.Rules) == 0 {
		return nil
	}
	first := proof.RuleRef{Node: node, Table: t.Name, Chain: c.Name}
	put := func(name string, target xt.Target) breakage {
		rule := iptables.Rule{Target: target}
		return breakage{
			name: fmt.Sprintf("%s %s", t.Name, name), node: node, meets: first, instead: rule.Text(c.Name), place: at,
			change: func(rules []iptables.Rule) []iptables.Rule { return slices.Insert(rules, 0, rule) },
		}
	}
	out := []breakage{put("shadowing RETURN in "+c.Name, xt.Return{})}
	if t.Name == "nat" && c.Name == "POSTROUTING" {
		out = append(out, put("ACCEPT before KUBE-POSTROUTING", xt.Accept{}))
	}
	return out
}
