package proof

import "natlab/nat"

// Meter counts which rules the flows of a lab met.
type Meter map[ruleKey]bool

type ruleKey struct {
	node, table, chain string
	rule               int
	element            string
}

// Add counts the rule of a step.
func (m Meter) Add(s *nat.Step) {
	m[ruleKey{s.Node, s.Table, s.Chain, s.Rule, ""}] = true
	if s.Element != "" {
		m[ruleKey{s.Node, s.Table, s.Chain, s.Rule, s.Element}] = true
	}
}

// met reports whether a rule was met.
func (m Meter) met(r RuleRef) bool { return m[ruleKey{r.Node, r.Table, r.Chain, r.Rule, r.Element}] }

// Of is the coverage of the given rules, which are all that the nodes hold.
func (m Meter) Of(all []RuleRef) Coverage {
	c := Coverage{Rules: len(all)}
	for _, r := range all {
		if m.met(r) {
			c.Met++
		} else {
			c.Unmet = append(c.Unmet, r)
		}
	}
	return c
}
