package proof

import (
	"net/netip"
	"slices"

	"natlab/nat"
)

// allowedEnd is the rule of another agent that ended a packet of the try, where that is what the agent is there for: a NetworkPolicy has the last
// word on a Service. nil: there is none, the try came to another end, or the live rules do not have it end there.
func (c Case) allowedEnd() *Allowance {
	ends := func(o nat.Outcome) bool { return o.End != nat.EndAnswered }
	if c.Strict || c.Ends.End == nat.EndAnswered || c.Ends.Halted != "" || !slices.ContainsFunc(c.Live, ends) {
		return nil
	}
	for _, s := range slices.Concat(c.Seen.Request.Steps, c.Seen.Reply.Steps) {
		if s.Verdict == nat.Drop || s.Verdict == nat.Reject {
			return c.allowance(s)
		}
	}
	return nil
}

// allowance is a step as an Allowance; nil where nobody may.
func (c Case) allowance(s nat.Step) *Allowance {
	if c.Allowed == nil {
		return nil
	}
	owner, what := c.Allowed(s)
	if what == "" {
		return nil
	}
	return &Allowance{RuleRef{Node: s.Node, Table: s.Table, Chain: s.Chain, Rule: s.Rule, Text: s.Text}, owner, what}
}

// allow has what is needed follow the rules of others that may have it otherwise: the one that ended the try, or one that changed its source.
func (e *evidence) allow(ended *Allowance) {
	if ended != nil {
		e.needed.allowed, e.needed.why = ended, "allowed by "+ended.String()
		return
	}
	if e.Strict || e.needed.masked {
		return
	}
	for _, c := range e.Seen.Conns {
		if c.Reply.Dst().Addr() == c.Original.Src().Addr() {
			continue
		}
		for _, s := range e.Seen.Request.Steps {
			if s.Node != c.Node || s.Hook != nat.PostRouting || s.Verdict != nat.Accept {
				continue
			}
			if a := e.allowance(s); a != nil {
				e.needed.allowed, e.needed.as = a, c.Reply.Dst().Addr()
				if e.translation != nil && e.translation.Node == c.Node {
					e.needed.masked, e.needed.clients = true, []netip.Addr{e.needed.as}
				}
				return
			}
		}
	}
}
