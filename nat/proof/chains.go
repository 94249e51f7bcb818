package proof

import (
	"slices"
	"strings"

	"natlab/nat"
)

// requestChains writes the way of the first packet through a node as facts.md does: PREROUTING, KUBE-SERVICES, ...,
// KUBE-SEP-X, DNAT, POSTROUTING, KUBE-POSTROUTING, MASQUERADE. It holds the nat table's chains, and another table's
// where that one dropped or rejected the packet.
func (r Chains) requestChains(steps nat.Trace, node string) []string {
	var out []string
	for _, visit := range visits(steps.In(node, "")) {
		last := visit[len(visit)-1]
		if last.Table == "nat" || r.translates(visit[0]) || last.Verdict == nat.Drop || last.Verdict == nat.Reject {
			out = append(out, way(visit)...)
		}
	}
	return out
}

// translates reports whether a step is in a base chain of nf_tables' own that is asked for translations.
func (r Chains) translates(first nat.Step) bool {
	if !isNative(first) {
		return false
	}
	declared, _ := r.live(ChainRef{Node: first.Node, Table: first.Table})
	begin := "chain " + first.Chain + ": type "
	return slices.ContainsFunc(declared, func(m nat.Met) bool { return strings.HasPrefix(m.Text, begin+"nat ") })
}

// replyChains writes the way of the first answer likewise. The nat table never sees an answer, since conntrack
// translates it by itself; so it is the filter table's chains.
func replyChains(steps nat.Trace, node string) []string {
	var out []string
	for _, visit := range visits(steps.In(node, "")) {
		if visit[0].Table == "filter" || isNative(visit[0]) {
			out = append(out, way(visit)...)
		}
	}
	return out
}

// visits cuts a node's steps where another table or hook begins, and where another base chain of nf_tables' own does.
func visits(steps nat.Trace) []nat.Trace {
	var out []nat.Trace
	begin := 0
	for i := range steps {
		if i == 0 {
			continue
		}
		if s, before := &steps[i], &steps[i-1]; s.Table != before.Table || s.Hook != before.Hook || isNative(*s) && over(*before) {
			out, begin = append(out, steps[begin:i]), i
		}
	}
	if len(steps) > 0 {
		out = append(out, steps[begin:])
	}
	return out
}

// over reports whether a base chain's walk ends with a step.
func over(s nat.Step) bool {
	switch s.Verdict {
	case nat.Accept, nat.Drop, nat.Reject, nat.Queue, nat.Stolen:
		return true
	case nat.Continue, nat.Return, nat.Jump, nat.Goto:
	}
	return false
}

// way is the chains that a packet stood in when one table's verdict fell, the rule's target last. A chain that it
// came back from is on the way only if nothing matched after it: KUBE-MARK-MASQ is a detour, KUBE-POSTROUTING
// without the mark is not.
func way(visit nat.Trace) []string {
	var stack, detour []string
	for _, s := range visit {
		for len(stack) > 0 && stack[len(stack)-1] != s.Chain && slices.Contains(stack, s.Chain) {
			detour = slices.Insert(detour, 0, stack[len(stack)-1])
			stack = stack[:len(stack)-1]
		}
		if len(stack) == 0 || stack[len(stack)-1] != s.Chain {
			stack = append(stack, s.Chain)
		}
		if s.Rule != 0 {
			detour = nil
		}
		if target := endTarget(s); target != "" {
			return append(stack, target)
		}
	}
	return append(stack, detour...)
}

// endTarget is the target of a rule whose verdict ends the walk of its table.
func endTarget(s nat.Step) string {
	switch s.Verdict {
	case nat.Accept, nat.Drop, nat.Reject, nat.Queue, nat.Stolen:
	case nat.Continue, nat.Return, nat.Jump, nat.Goto:
		return ""
	}
	if s.Rule == 0 {
		return "" // a policy
	}
	if s.Target != "" {
		return s.Target
	}
	return strings.ToUpper(s.Verdict.String())
}

// Passed is the chains that a first packet, or the first answer, met in a node, the target that ended it last; of tables of nf_tables' own all that
// it met.
func Passed(steps nat.Trace, node string, dir nat.Direction) (out []string) {
	if dir == nat.Reply {
		return replyChains(steps, node)
	}
	for _, visit := range visits(steps.In(node, "")) {
		if last := visit[len(visit)-1]; last.Table == "nat" || isNative(last) || last.Verdict == nat.Drop || last.Verdict == nat.Reject {
			out = append(out, way(visit)...)
		}
	}
	return out
}
