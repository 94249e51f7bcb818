package iptables

import (
	"net/netip"

	"natlab/nat"
	"natlab/nat/rules"
	"natlab/nat/xt"
)

// Result is what one table did to a packet at one hook.
type Result struct {
	Verdict nat.Verdict  // Accept, Drop, Reject or Queue
	Effect  rules.Effect // what the verdict is carried out with; nil for none
	Steps   nat.Trace
}

// Program is a table ready to be evaluated.
type Program struct {
	name   string
	chains []Chain
	index  map[string]int
}

// maxDepth bounds how deep chains call each other. The kernel refuses loops when rules are loaded; nf_tables allows 16
// levels.
const maxDepth = 128

// NewProgram prepares a table. The table must not be changed afterwards.
func NewProgram(t Table) *Program {
	p := &Program{name: t.Name, chains: t.Chains, index: make(map[string]int, len(t.Chains))}
	for i, c := range t.Chains {
		p.index[c.Name] = i
	}
	return p
}

// Has reports whether the table has a base chain at the hook.
func (p *Program) Has(hook nat.Hook) bool {
	i, ok := p.index[hook.String()]
	return ok && p.chains[i].BuiltIn()
}

// Run takes a packet through the table's chain for a hook (ipt_do_table, nft_do_chain). Steps name the node and hold
// every rule that matched, and the policy where it was reached; the packet's marks change as its rules have it, its tuple
// does not: a NAT target is for conntrack to carry out. A table without the chain accepts, with no step.
func (p *Program) Run(hook nat.Hook, node string, pkt *rules.Packet, w rules.World) Result {
	i, ok := p.index[hook.String()]
	if !ok {
		return Result{Verdict: nat.Accept}
	}
	r := run{program: p, node: node, before: pkt.Tuple, visit: rules.Visit{Packet: pkt, World: w, Hook: hook}}
	if v := r.chain(i, 0); v != nat.Continue {
		return r.result(v)
	}
	c := &p.chains[i]
	v := nat.Accept
	if c.Policy == "DROP" {
		v = nat.Drop
	}
	r.effect = nil
	r.steps = append(r.steps, nat.Step{
		Node: node, Hook: hook, Table: p.name, Chain: c.Name, Before: r.before, After: r.before, Mark: pkt.Mark, Verdict: v,
		Why: "policy of " + c.Name,
	})
	return r.result(v)
}

// run is one packet's way through one table.
type run struct {
	program *Program
	node    string
	before  nat.Tuple
	visit   rules.Visit
	effect  rules.Effect
	steps   nat.Trace
}

func (r *run) result(v nat.Verdict) Result {
	return Result{Verdict: v, Effect: r.effect, Steps: r.steps}
}

// chain walks a chain; Continue: the packet came out at its end or by a RETURN.
func (r *run) chain(at, depth int) nat.Verdict {
	if depth > maxDepth {
		return nat.Drop
	}
	c := &r.program.chains[at]
	for i := range c.Rules {
		rule := &c.Rules[i]
		r.visit.At = rules.Place{Table: r.program.name, Chain: c.Name, Rule: i + 1}
		if !r.matches(rule) {
			if r.visit.HotDrop {
				r.step(c, i, rule, nat.Drop)
				return nat.Drop
			}
			continue
		}
		v := r.act(rule.Target)
		r.step(c, i, rule, v)
		switch v {
		case nat.Continue:
		case nat.Return:
			return nat.Continue
		case nat.Jump:
			if v := r.call(rule.Target.(xt.Jump).Chain, depth); v != nat.Continue {
				return v
			}
		case nat.Goto:
			return r.call(rule.Target.(xt.Goto).Chain, depth)
		case nat.Accept, nat.Drop, nat.Reject, nat.Queue, nat.Stolen:
			return v
		}
	}
	return nat.Continue
}

// call enters a user chain. One that is not there lets the packet come out again; no kernel holds such a rule.
func (r *run) call(name string, depth int) nat.Verdict {
	i, ok := r.program.index[name]
	if !ok {
		return nat.Continue
	}
	return r.chain(i, depth+1)
}

func (r *run) step(c *Chain, i int, rule *Rule, v nat.Verdict) {
	after, met := r.before, rule.Met(c.Name)
	if d, ok := rule.Target.(xt.DNAT); ok && d.Range.MinAddr.IsValid() {
		after = after.WithDst(netip.AddrPortFrom(d.Range.MinAddr, portOr(d.Range.MinPort, after.Dst().Port())))
	}
	why := ""
	switch v {
	case nat.Accept, nat.Drop, nat.Reject, nat.Queue, nat.Stolen:
		why = met.Action
	case nat.Continue, nat.Return, nat.Jump, nat.Goto:
	}
	if r.visit.HotDrop {
		why = WhyHotdrop
	}
	r.steps = append(r.steps, nat.Step{
		Node: r.node, Hook: r.visit.Hook, Table: r.program.name, Chain: c.Name, Rule: i + 1, Met: met, Line: rule.Line,
		Before: r.before, After: after, Mark: r.visit.Mark, Verdict: v, Why: why,
	})
}

// WhyHotdrop is why a rule drops a packet whose match wants to see a header that is not there in full.
const WhyHotdrop = "the packet is malformed for a match of the rule"

func portOr(port, other uint16) uint16 {
	if port != 0 {
		return port
	}
	return other
}

// act carries a rule's target out and tells the verdict.
func (r *run) act(target xt.Target) nat.Verdict {
	if target == nil {
		return nat.Continue
	}
	a := target.Act(&r.visit)
	r.effect = a.Effect
	if a.Open != "" && !r.visit.Unknown(a.Open) {
		return a.Else
	}
	return a.Verdict
}

func (r *run) matches(rule *Rule) bool {
	for i, m := range rule.Matches {
		r.visit.At.Match = i + 1
		if !r.match(m) {
			return false
		}
	}
	return true
}

// match reports whether one condition holds. What cannot be decided is the World's to decide.
func (r *run) match(m xt.Match) bool {
	switch m.Holds(&r.visit) {
	case rules.Yes:
		return true
	case rules.No:
		return false
	case rules.Unknown:
	}
	return r.visit.Unknown(matchText(m))
}
