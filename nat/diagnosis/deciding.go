package diagnosis

import (
	"slices"
	"strings"

	"natlab/nat"
)

// deciding are the rules that decide what becomes of a packet, each once, in the order in which they are met: those that translate it, and
// those that end it.
func deciding(p nat.Prediction) (out []Rule) {
	for _, o := range p {
		for dir, j := range [...]nat.Journey{nat.Original: o.Request, nat.Reply: o.Reply} {
			for _, s := range j.Steps {
				if !decides(s) {
					continue
				}
				if r := ruleOf(s, nat.Direction(dir)); !slices.Contains(out, r) {
					out = append(out, r)
				}
			}
		}
	}
	return out
}

func decides(s nat.Step) bool {
	switch strings.ToUpper(s.Target) { // nft writes them small
	case "DNAT", "SNAT", "MASQUERADE", "REDIRECT", "NETMAP", "REJECT", "TPROXY":
		return true
	}
	return s.Verdict == nat.Drop || s.Untracks
}

func ruleOf(s nat.Step, dir nat.Direction) Rule {
	return Rule{Direction: dir, Table: s.Table, Chain: s.Chain, Rule: s.Rule, Line: s.Line, Text: s.Text, Owner: ruleOwner(s.Table, s.Chain, s.Target, s.Text)}
}

// last is the rule that ended a way, where one did.
func last(o nat.Outcome) (s nat.Step, dir nat.Direction, ok bool) {
	for _, dir := range []nat.Direction{nat.Reply, nat.Original} {
		j := o.Request
		if dir == nat.Reply {
			j = o.Reply
		}
		for _, s := range slices.Backward(j.Steps) {
			if s.Verdict == nat.Drop || strings.EqualFold(s.Target, "REJECT") {
				return s, dir, true
			}
		}
	}
	return nat.Step{}, 0, false
}
