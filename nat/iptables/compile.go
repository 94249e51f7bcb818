package iptables

import (
	"encoding/binary"
	"net/netip"

	"natlab/nat"
)

// Compiled is a table made ready for many packets: conditions in a form that is quickly checked, and for long chains an
// index by protocol, addresses and destination port, so that the cost of a packet does not grow with the number of
// Services. It decides as Program does, to the rule; Program is the second opinion.
type Compiled struct {
	name   string
	source []Chain
	chains []compiledChain
	base   [5]int // the chain of each hook, -1 for none
}

// Hit is a rule that a packet met and that matched, or the policy of a built-in chain for Rule 0.
type Hit struct {
	Chain   int // in the table's order
	Rule    int // from 1
	Verdict nat.Verdict
	Mark    uint32 // skb mark after the rule
}

type compiledChain struct {
	rules  []compiledRule
	index  *chainIndex // nil for a short chain
	policy nat.Verdict
}

type compiledRule struct {
	conds  []condition
	target Target
	chain  int // of a jump or goto; -1 where it is missing
	plain  nat.Verdict
	// effect says that the target is more than its plain verdict.
	effect bool
}

// Compile makes a table ready. The table must not be changed afterwards.
func Compile(t Table) *Compiled {
	c := &Compiled{name: t.Name, source: t.Chains, chains: make([]compiledChain, len(t.Chains))}
	byName := make(map[string]int, len(t.Chains))
	rules, matches := 0, 0
	for i := range t.Chains {
		byName[t.Chains[i].Name] = i
		rules += len(t.Chains[i].Rules)
		for j := range t.Chains[i].Rules {
			matches += len(t.Chains[i].Rules[j].Matches)
		}
	}
	for h := range c.base {
		c.base[h] = -1
		if i, ok := byName[nat.Hook(h).String()]; ok {
			c.base[h] = i
		}
	}
	ruleSlab, condSlab := make([]compiledRule, 0, rules), make([]condition, 0, matches)
	for i := range t.Chains {
		chain := &c.chains[i]
		chain.policy = nat.Accept
		if t.Chains[i].Policy == "DROP" {
			chain.policy = nat.Drop
		}
		from := len(ruleSlab)
		for j := range t.Chains[i].Rules {
			first := len(condSlab)
			condSlab = appendConditions(condSlab, Place{Table: t.Name, Chain: t.Chains[i].Name, Rule: j + 1}, &t.Chains[i].Rules[j])
			ruleSlab = append(ruleSlab, compileRule(&t.Chains[i].Rules[j], condSlab[first:len(condSlab):len(condSlab)], byName))
		}
		chain.rules = ruleSlab[from:len(ruleSlab):len(ruleSlab)]
		chain.index = newIndex(t.Chains[i].Rules)
	}
	return c
}

func compileRule(rule *Rule, conds []condition, byName map[string]int) compiledRule {
	r := compiledRule{conds: conds, target: rule.Target, chain: -1}
	to := func(chain string) {
		if i, ok := byName[chain]; ok {
			r.chain = i
		}
	}
	switch t := rule.Target.(type) {
	case nil, Passive:
		r.plain = nat.Continue
	case Accept:
		r.plain = nat.Accept
	case Drop:
		r.plain = nat.Drop
	case Return:
		r.plain = nat.Return
	case Jump:
		r.plain = nat.Jump
		to(t.Chain)
	case Goto:
		r.plain = nat.Goto
		to(t.Chain)
	default:
		r.effect = true
	}
	return r
}

// Name is the table's name.
func (c *Compiled) Name() string { return c.name }

// Has reports whether the table has a chain at the hook.
func (c *Compiled) Has(hook nat.Hook) bool { return c.base[hook] >= 0 }

// Run takes a packet through the table's chain for a hook, as Program.Run does. Where hits is not nil, what the packet
// met is appended to it. The target is what decided: nil for a policy.
func (c *Compiled) Run(hook nat.Hook, pkt *Packet, w World, hits *[]Hit) (nat.Verdict, Target) {
	at := c.base[hook]
	if at < 0 {
		return nat.Accept, nil
	}
	r := compiledRun{
		table: c, hits: hits, src: halves(pkt.Tuple.Src().Addr()), dst: halves(pkt.Tuple.Dst().Addr()),
		sport: pkt.Tuple.Src().Port(), dport: pkt.Tuple.Dst().Port(), proto: pkt.Tuple.Proto(),
		run: run{hook: hook, pkt: pkt, world: w, before: pkt.Tuple},
	}
	if v := r.chain(at, 0); v != nat.Continue {
		return v, r.target
	}
	policy := c.chains[at].policy
	r.hit(at, 0, policy)
	return policy, nil
}

// Steps are hits as a trace shows them.
func (c *Compiled) Steps(node string, hook nat.Hook, before nat.Tuple, hits []Hit) nat.Trace {
	r := run{program: &Program{name: c.name}, hook: hook, node: node, before: before, pkt: &Packet{}}
	for _, h := range hits {
		chain := &c.source[h.Chain]
		r.pkt.Mark = h.Mark
		if h.Rule > 0 {
			r.step(chain, h.Rule-1, &chain.Rules[h.Rule-1], h.Verdict)
			continue
		}
		r.steps = append(r.steps, nat.Step{
			Node: node, Hook: hook, Table: c.name, Chain: chain.Name, Before: before, After: before, Mark: h.Mark, Verdict: h.Verdict,
			Why: "policy of " + chain.Name,
		})
	}
	return r.steps
}

// compiledRun is one packet's way through one table.
type compiledRun struct {
	run
	table        *Compiled
	hits         *[]Hit
	src, dst     address
	sport, dport uint16
	proto        nat.Proto
}

// address is an IP address as two numbers; an IPv4 one is mapped into IPv6.
type address struct{ high, low uint64 }

func halves(a netip.Addr) address {
	b := a.As16()
	return address{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

func (a address) in(value, mask address) bool {
	return (a.high^value.high)&mask.high|(a.low^value.low)&mask.low == 0
}

func (a address) masked(mask address) address { return address{a.high & mask.high, a.low & mask.low} }

func maskOf(p netip.Prefix) address {
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += 96
	}
	return address{onesAbove(bits), onesAbove(bits - 64)}
}

// onesAbove is a number with its first n bits set.
func onesAbove(n int) uint64 {
	switch {
	case n <= 0:
		return 0
	case n >= 64:
		return ^uint64(0)
	}
	return ^uint64(0) << (64 - n)
}

func (r *compiledRun) hit(chain, rule int, v nat.Verdict) {
	if r.hits != nil {
		*r.hits = append(*r.hits, Hit{Chain: chain, Rule: rule, Verdict: v, Mark: r.pkt.Mark})
	}
}

// chain walks a chain; Continue says that the packet came out at its end or by a RETURN.
func (r *compiledRun) chain(at, depth int) nat.Verdict {
	if depth > maxDepth {
		return nat.Drop
	}
	c := &r.table.chains[at]
	if c.index != nil {
		return r.indexed(c, at, depth)
	}
	for i := range c.rules {
		if v, done := r.rule(c, at, i, depth); done {
			return v
		}
	}
	return nat.Continue
}

// rule tries one rule; done says that the chain is left, with v.
func (r *compiledRun) rule(c *compiledChain, at, i, depth int) (v nat.Verdict, done bool) {
	rule := &c.rules[i]
	for k := range rule.conds {
		if !r.holds(&rule.conds[k]) {
			return nat.Continue, false
		}
	}
	v = rule.plain
	if rule.effect {
		v = r.verdict(&r.table.source[at].Rules[i])
	}
	r.hit(at, i+1, v)
	switch v {
	case nat.Continue:
		return nat.Continue, false
	case nat.Return:
		return nat.Continue, true
	case nat.Jump:
		if rule.chain < 0 {
			return nat.Continue, false
		}
		v = r.chain(rule.chain, depth+1)
		return v, v != nat.Continue
	case nat.Goto:
		if rule.chain < 0 {
			return nat.Continue, true
		}
		return r.chain(rule.chain, depth+1), true
	case nat.Accept, nat.Drop, nat.Reject, nat.Queue, nat.Stolen:
	}
	r.target = rule.target
	return v, true
}
