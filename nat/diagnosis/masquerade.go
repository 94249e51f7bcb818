package diagnosis

import (
	"fmt"
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/iptables"
)

// masquerade is that nobody gives the packet an address that its answer comes back to the node for. Where its mark was to bring that about, the rule
// is named that took it away.
func (c Case) masquerade(p nat.Prediction) []Cause {
	if !c.masquerading().works() {
		return nil
	}
	for _, o := range p {
		if s, ok := cleared(o.Request.Steps); ok {
			r := ruleOf(s, nat.Original)
			return []Cause{{Code: "mark.cleared", What: fmt.Sprintf("%s takes the mark away that an earlier rule gave the packet, and without it nobody masquerades the packet: the answer goes past the node, untranslated", r), Rule: &r}}
		}
		if s, ok := unmarked(o.Request.Steps); ok {
			if slices.ContainsFunc(o.Assumed, func(a nat.Assumption) bool { return strings.HasPrefix(a.What, "-j "+s.Target+" ") }) {
				return nil // what that chain does is not known
			}
			r := ruleOf(s, nat.Original)
			return []Cause{{Code: "mark.missing", What: fmt.Sprintf("%s sends the packet to %s to be marked, and no rule there does it: nobody masquerades it", r, s.Target), Rule: &r}}
		}
	}
	return []Cause{{Code: "masquerade.missing", What: "nobody masquerades the packet, so that its answer does not come back by the node; with the node's address as its source it works"}}
}

// cleared is the step at which a packet lost bits of its mark.
func cleared(steps nat.Trace) (nat.Step, bool) {
	had := uint32(0)
	for _, s := range steps {
		if had&^s.Mark != 0 && (s.Hook != nat.PostRouting || s.Table != "nat") { // kube-proxy clears its own bit behind the masquerade
			return s, true
		}
		had = s.Mark
	}
	return nat.Step{}, false
}

// unmarked is the step at which a packet went into a chain that is to mark it, by its name, and came out without a mark.
func unmarked(steps nat.Trace) (nat.Step, bool) {
	for i, s := range steps {
		if !strings.Contains(s.Target, "MARK-MASQ") {
			continue
		}
		if !slices.ContainsFunc(steps[i:], func(n nat.Step) bool { return n.Mark != 0 }) {
			return s, true
		}
	}
	return nat.Step{}, false
}

// masquerading is the case with a rule that masquerades everything in front of the others.
func (c Case) masquerading() Case {
	family := nat.FamilyOf(c.Ask.Tuple.Dst().Addr())
	target, err := iptables.ParseString("*nat\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n", family)
	if err != nil {
		return c
	}
	masq := target.Tables[0].Chains[0].Rules[0]
	all := make(gateway.Rules, len(c.Rules))
	done := false
	for i, rs := range c.Rules {
		all[i] = rs.Clone()
		for t := range all[i].Tables {
			if done || all[i].Tables[t].Name != "nat" {
				continue
			}
			for k := range all[i].Tables[t].Chains {
				if chain := &all[i].Tables[t].Chains[k]; chain.Name == "POSTROUTING" {
					chain.Rules, done = append([]iptables.Rule{masq}, chain.Rules...), true
				}
			}
		}
	}
	if !done && len(all) == 0 { // the rules are nft's own
		all, done = append(all, target), true
	}
	if !done {
		all[0].Tables = slices.DeleteFunc(all[0].Tables, func(t iptables.Table) bool { return t.Name == "nat" })
		all[0].Tables = append(all[0].Tables, target.Tables...)
	}
	c.Rules = all
	return c
}
