package iptables

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"

	"natlab/nat"
	"natlab/nat/rules"
	"natlab/nat/xt"
)

// Compiled is a table made ready for many packets: its chains in one piece of instructions, and for long chains an index
// by protocol, addresses and destination port, so that the cost of a packet does not grow with the number of Services.
// It decides as Program does, to the rule; Program is the second opinion.
type Compiled struct {
	name    string
	source  []Chain
	code    []instruction
	targets []xt.Target    // of rules that do something to the packet
	effects []rules.Effect // of rules that end the walk, by number
	base    [5]base
	chains  map[string]int // by name, in source

	remembers bool // a rule keeps something between packets

	// What instructions name by number.
	indexes []*chainIndex
	wide    []wideAddress // IPv6 addresses with their masks
	names   []string      // of devices
	chances []float64     // of random statistics
	asks    []ask         // matches without a form of their own

	parts []part                   // chains that are compiled when a packet first comes to them
	met   atomic.Int32             // how many of them are
	full  atomic.Pointer[Compiled] // all chains beside one another, once packets came to many parts
}

// base is the chain of a hook.
type base struct {
	at     uint32 // 0 for none
	policy nat.Verdict
}

type wideAddress struct{ value, mask address }

// ask is a match that is asked for as it is.
type ask struct {
	match xt.Match
	place rules.Place
}

// Hit is a rule that a packet met and that matched, by its chain in the table's order.
type Hit = rules.Hit

// Compile makes a table ready. The table must not be changed afterwards.
func Compile(t Table) *Compiled {
	c := &Compiled{name: t.Name, source: t.Chains, chains: make(map[string]int, len(t.Chains))}
	for i := range t.Chains {
		c.chains[t.Chains[i].Name] = i
		c.remembers = c.remembers || slices.ContainsFunc(t.Chains[i].Rules, func(r Rule) bool { return remembers(&r) })
	}
	c.compile(len(t.Chains) >= partedFrom)
	return c
}

// compile makes the chains of all hooks ready, and of those that they call all or only what is not parted.
func (c *Compiled) compile(parted bool) {
	w := newCompiler(c, c.chains)
	if parted {
		w.parted = map[int]uint32{}
	}
	for h := range c.base {
		i, ok := c.chains[nat.Hook(h).String()]
		if !ok {
			continue
		}
		w.chains(i)
		c.base[h] = base{at: w.heads[i], policy: nat.Accept}
		if c.source[i].Policy == "DROP" {
			c.base[h].policy = nat.Drop
		}
	}
	w.link()
	c.parts = w.parts()
}

// Name is the table's name.
func (c *Compiled) Name() string { return c.name }

// Has reports whether the table has a chain at the hook.
func (c *Compiled) Has(hook nat.Hook) bool { return c.base[hook].at != 0 }

// Run takes a packet through the table's chain for a hook, as Program.Run does. Where hits is not nil, what the packet
// met is appended to it. The effect is what the verdict is carried out with, nil for none.
func (c *Compiled) Run(hook nat.Hook, pkt *rules.Packet, w rules.World, hits *[]Hit) (nat.Verdict, rules.Effect) {
	return new(Walk).Run(c, hook, pkt, w, hits)
}

// Walk is room for a packet on its way through a table: who keeps one for many packets walks without an allocation. The zero Walk is
// ready. It serves one packet at a time.
type Walk struct{ run compiledRun }

// Run is Compiled.Run.
func (k *Walk) Run(c *Compiled, hook nat.Hook, pkt *rules.Packet, w rules.World, hits *[]Hit) (nat.Verdict, rules.Effect) {
	return k.through(c, hook, pkt, w, nil, hits)
}

func (k *Walk) through(c *Compiled, hook nat.Hook, pkt *rules.Packet, w rules.World, d rules.Decider, hits *[]Hit) (nat.Verdict, rules.Effect) {
	if full := c.full.Load(); full != nil {
		c = full
	}
	b := &c.base[hook]
	if b.at == 0 {
		return nat.Accept, nil
	}
	r := &k.run
	r.table, r.hits, r.effect, r.left = c, hits, nil, maxTriedRules
	r.visit.Packet, r.visit.World, r.visit.Decider, r.visit.Hook, r.visit.HotDrop = pkt, w, d, hook, false
	r.readTuple()
	if v := r.chain(b.at, 0); v != nat.Continue {
		return v, r.effect
	}
	r.hit(&c.code[b.at], 0, b.policy)
	return b.policy, nil
}

// Steps are hits as a trace shows them.
func (c *Compiled) Steps(node string, hook nat.Hook, before nat.Tuple, hits []Hit) nat.Trace {
	r := run{program: &Program{name: c.name}, node: node, before: before, visit: rules.Visit{Packet: &rules.Packet{}, Hook: hook}}
	for _, h := range hits {
		chain := &c.source[h.Chain]
		r.visit.Mark, r.visit.HotDrop = h.Mark, h.Malformed
		if h.Rule > 0 {
			r.step(chain, h.Rule-1, &chain.Rules[h.Rule-1], h.Verdict)
			r.steps[len(r.steps)-1].Maybe = h.Maybe
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
	tuple        nat.Tuple // of which the rest is
	src, dst     address
	left         int  // rules that it may still try
	narrow       bool // IPv4
	short        bool // the transport header is cut short: who asks for it drops the packet
	sport, dport uint16
	proto        nat.Proto
}

// readTuple takes over the packet's tuple, where it is another than before: from table to table it mostly is not.
func (r *compiledRun) readTuple() {
	r.short = xt.CutShort(r.visit.Packet)
	if r.visit.Tuple == r.tuple {
		return
	}
	r.tuple = r.visit.Tuple
	proto, src, dst := r.visit.Tuple.Parts()
	r.src, r.dst, r.narrow = halves(src.Addr()), halves(dst.Addr()), src.Addr().Is4()
	r.sport, r.dport, r.proto = src.Port(), dst.Port(), proto
}

// mapped is what stands in front of an IPv4 address that is mapped into IPv6 (RFC 4291, 2.5.5.2).
const mapped = 0xffff << 32

// address is an IP address as two numbers; an IPv4 one is mapped into IPv6.
type address struct{ high, low uint64 }

func halves(a netip.Addr) address {
	if a.Is4() {
		b := a.As4()
		return address{low: mapped | uint64(binary.BigEndian.Uint32(b[:]))}
	}
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

// hit notes a rule of the chain whose head this is, or its policy for rule 0.
func (r *compiledRun) hit(chain *instruction, rule uint32, v nat.Verdict) {
	if r.hits != nil {
		*r.hits = append(*r.hits, Hit{Chain: int(chain.high), Rule: int(rule), Verdict: v, Mark: r.visit.Mark, Malformed: r.visit.HotDrop})
	}
}

// What bounds a packet's way through a table, on top of maxTriedRules: chains that each call the next one twice are a few lines, and more rules
// than anybody can wait for.
const maxMetRules = 1 << 12

var tooMany = &rules.Open{Why: fmt.Sprintf("the packet meets more than %d rules of one table, or tries more than %d: natlab follows it no further", maxMetRules, maxTriedRules)}

// chain walks the chain whose head is there; Continue: the packet came out at its end or by a RETURN.
func (r *compiledRun) chain(at uint32, depth int) nat.Verdict {
	head := &r.table.code[at]
	if r.left -= int(head.low); depth > maxDepth || r.left < 0 || r.hits != nil && len(*r.hits) > maxMetRules {
		r.effect = tooMany
		return nat.Drop
	}
	if head.operands != 0 && !r.short {
		return r.indexed(head, depth)
	}
	at++
	for rule := uint32(1); rule <= head.low; rule++ {
		if v, done := r.rule(head, at, rule, depth); done {
			return v
		}
		at += 1 + uint32(r.table.code[at].operands)
	}
	return nat.Continue
}

// rule tries one rule, numbered from 1; done: the chain is left, with v.
func (r *compiledRun) rule(chain *instruction, at, number uint32, depth int) (v nat.Verdict, done bool) {
	rule := &r.table.code[at]
	conditions := r.table.code[at+1:][:rule.operands]
	for i := range conditions {
		if !r.holds(&conditions[i]) {
			if r.visit.HotDrop {
				r.hit(chain, number, nat.Drop)
				return nat.Drop, true
			}
			return nat.Continue, false
		}
	}
	v = nat.Verdict(rule.low)
	if rule.op == opPart {
		return r.part(chain, number, rule, depth)
	}
	if rule.not {
		v = r.act(r.table.targets[rule.high])
		r.readTuple() // DNPT gives the packet another address
	}
	r.hit(chain, number, v)
	switch v {
	case nat.Continue:
		return nat.Continue, false
	case nat.Return:
		return nat.Continue, true
	case nat.Jump:
		if rule.high == 0 {
			return nat.Continue, false
		}
		v = r.chain(rule.high, depth+1)
		return v, v != nat.Continue
	case nat.Goto:
		if rule.high == 0 {
			return nat.Continue, true
		}
		return r.chain(rule.high, depth+1), true
	case nat.Accept, nat.Drop, nat.Reject, nat.Queue, nat.Stolen:
	}
	if !rule.not {
		r.effect = r.table.effects[rule.high]
	}
	return v, true
}
