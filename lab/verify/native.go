package verify

import (
	"slices"

	"natlab/nat/nftables"
	"natlab/nat/proof"
)

// forgetful are tables without what their rules put into sets: it is of whoever asked before, and the flows ask anew.
func forgetful(of map[string]nftables.Ruleset) map[string]nftables.Ruleset {
	if of == nil {
		return nil
	}
	out := map[string]nftables.Ruleset{}
	for node, rs := range of {
		all := nftables.Ruleset{}
		for _, t := range rs.Tables {
			all.Tables = append(all.Tables, t.Emptied())
		}
		out[node] = all
	}
	return out
}

// nativeRules are the rules of tables of nf_tables' own, and the elements of the verdict maps that they ask.
func nativeRules(node string, rs nftables.Ruleset) (out []proof.RuleRef) {
	for i := range rs.Tables {
		t := &rs.Tables[i]
		for _, c := range t.Chains {
			for k := range c.Rules {
				ref := proof.RuleRef{Node: node, Table: t.FullName(), Chain: c.Name, Rule: k + 1, Text: c.Rules[k].String()}
				out = append(out, ref)
				for _, m := range t.LaidRule(&c.Rules[k]) {
					if m.Element != "" {
						ref.Text, ref.Element = m.Text, m.Element
						out = append(out, ref)
					}
				}
			}
		}
	}
	return out
}

// shouldHoldNative is shouldHold for the tables of nf_tables' own. Outside of kube-proxy's nftables mode none is asked for, and what there
// is of others' is in the World.
func (r nodeRules) shouldHoldNative(node string, wanted nftables.Ruleset) (should nftables.Ruleset, differs bool) {
	if r.native == nil {
		return wanted, false
	}
	held := r.network.NFTOf[node]
	same := len(held.Tables) == len(wanted.Tables) && !slices.ContainsFunc(wanted.Tables, func(t nftables.Table) bool {
		live, ok := held.Table(t.Family, t.Name)
		return !ok || !t.Same(&live)
	})
	if same {
		return held, false
	}
	return wanted, true
}
