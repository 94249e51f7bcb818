package proof

import (
	"cmp"
	"slices"
	"strings"

	"natlab/nat"
)

// nameDeclared finds what a table of nf_tables' own has otherwise besides its rules, where those are as they should be: an element of a set
// that the rule asks, or a base chain that is called at another moment, or not at all.
func nameDeclared(c Chains, w *Wrong, way nat.Trace) {
	step := cmp.Or(w.WantStep, w.GotStep)
	if step == nil { // the packet was another one between two rules
		if i := slices.IndexFunc(way, func(s nat.Step) bool { return s.Node == w.Node && isNative(s) }); i >= 0 {
			step = &way[i]
		}
	}
	if step == nil || !isNative(*step) {
		return
	}
	table := ChainRef{Node: step.Node, Table: step.Table}
	intent, _ := c.intent(table)
	live, _ := c.live(table)
	asked := func(m nat.Met) bool {
		kind, rest, _ := strings.Cut(m.Text, " ")
		name, _, _ := strings.Cut(rest, ":")
		return kind == "chain" || slices.ContainsFunc([]*nat.Step{w.WantStep, w.GotStep}, func(s *nat.Step) bool { return s != nil && looksInto(s.Text, name) })
	}
	lacks := func(all, other []nat.Met) int {
		return slices.IndexFunc(all, func(m nat.Met) bool { return asked(m) && indexRule(other, m) < 0 })
	}
	if i := lacks(intent, live); i >= 0 {
		w.WantRule, w.LiveRule = intent[i].Text, calledOtherwise(live, intent[i].Text)
		w.because("the table has it otherwise")
		if w.LiveRule == "" {
			w.Why = "the table does not have it"
		}
		return
	}
	if i := lacks(live, intent); i >= 0 {
		w.LiveRule = live[i].Text
		w.because("the table should not have it")
	}
}

// calledOtherwise is a base chain of the same name; "" where there is none.
func calledOtherwise(live []nat.Met, text string) string {
	name, _, chain := strings.Cut(text, ": type ")
	i := slices.IndexFunc(live, func(m nat.Met) bool { return chain && strings.HasPrefix(m.Text, name+": type ") })
	if i < 0 {
		return ""
	}
	return live[i].Text
}

// looksInto reports whether a rule's text names a set.
func looksInto(text, set string) bool {
	return slices.Contains(strings.Fields(text), "@"+set)
}
