package xtables

import (
	"sort"

	"natlab/nat"
)

// Complete adds the built-in chains that the table's text did not name, with policy ACCEPT, and puts the chains in
// the order in which iptables-restore leaves them in the kernel: by hook, then the user's by name.
func (t Table) Complete() Table {
	have := map[string]bool{}
	for _, c := range t.Chains {
		have[c.Name] = true
	}
	t.Chains = append([]Chain(nil), t.Chains...)
	for _, h := range nat.TableHooks(t.Name) {
		if !have[h.String()] {
			t.Chains = append(t.Chains, Chain{Name: h.String(), Hook: h, BuiltIn: true, Tail: verdictEntry(t.Family, VerdictAccept)})
		}
	}
	sort.SliceStable(t.Chains, func(i, j int) bool {
		a, b := t.Chains[i], t.Chains[j]
		switch {
		case a.BuiltIn != b.BuiltIn:
			return a.BuiltIn
		case a.BuiltIn:
			return a.Hook < b.Hook
		}
		return a.Name < b.Name
	})
	return t
}
