package nftables

import (
	"fmt"
	"net/netip"

	"natlab/nat"
	"natlab/nat/rules"
)

// Bounds of a packet's way through a table: nf_tables allows 16 levels of jumps (NFT_JUMP_STACK_SIZE).
const (
	maxDepth = 16
	maxTried = 1 << 21
	maxMet   = 1 << 12
)

// run is one packet's way through one base chain.
type run struct {
	c        *Compiled
	visit    rules.Visit
	hits     *[]rules.Hit
	effect   rules.Effect
	verdict  nat.Verdict
	target   string // of a jump or goto
	to       int32  // its chain's place; -1: there is none
	element  string // that a map had for the packet
	left     int
	at       met
	settling bool // what a rule is carried out with has to be alike for all packets (Settles)
	// keys are room for those of a rule's expressions, one within another; depth is how many are in use.
	keys  [2]key
	depth int
}

// met is where a packet is: a chain, a rule and a statement of it, from 1; 0 where it is asked out of turn.
type met struct{ chain, rule, match int }

// place names it.
func (r *run) place() rules.Place {
	if r.at.chain == 0 {
		return rules.Place{}
	}
	return rules.Place{Table: r.c.name, Chain: r.c.source.Chains[r.at.chain-1].Name, Rule: r.at.rule, Match: r.at.match}
}

// key is room for a key; done gives it back.
func (r *run) key() *key {
	if r.depth++; r.depth > len(r.keys) {
		return new(key)
	}
	k := &r.keys[r.depth-1]
	*k = key{}
	return k
}

func (r *run) done() { r.depth-- }

// Run takes a packet through a base chain (nft_do_chain). Steps are appended to hits where that is not nil. d decides in place of the World
// where it is not nil.
func (c *Compiled) Run(base string, hook nat.Hook, pkt *rules.Packet, w rules.World, d rules.Decider, hits *[]rules.Hit) (nat.Verdict, rules.Effect) {
	at, ok := c.bases[base]
	if !ok {
		return nat.Accept, nil
	}
	r, is := c.runs.Get().(*run)
	if !is {
		r = &run{}
	}
	defer func() {
		*r = run{}
		c.runs.Put(r)
	}()
	r.c, r.hits, r.left = c, hits, maxTried
	r.visit = rules.Visit{Packet: pkt, World: w, Decider: d, Hook: hook}
	if v := r.chain(at, 0); v != nat.Continue {
		return v, r.effect
	}
	v := nat.Accept
	if c.source.Chains[at].Base.Drop {
		v = nat.Drop
	}
	r.hit(at, 0, v)
	return v, nil
}

// chain walks a chain; Continue: the packet came out at its end or by a return.
func (r *run) chain(at, depth int) nat.Verdict {
	all := r.c.rulesOf(at)
	if r.left -= len(all); depth > maxDepth || r.left < 0 || r.hits != nil && len(*r.hits) > maxMet {
		r.effect = &rules.Open{Why: fmt.Sprintf("the packet meets more than %d rules of table %s, or chains call each other more than %d deep: natlab follows it no further", maxMet, r.c.name, maxDepth)}
		return nat.Drop
	}
	for i := range all {
		r.verdict, r.element, r.at = nat.Continue, "", met{at + 1, i + 1, 0}
		if r.rule(all[i]) == breaks {
			continue
		}
		r.hit(at, i+1, r.verdict)
		switch r.verdict {
		case nat.Continue:
		case nat.Return:
			return nat.Continue
		case nat.Jump:
			if v := r.call(depth); v != nat.Continue {
				return v
			}
		case nat.Goto:
			return r.call(depth)
		case nat.Accept, nat.Drop, nat.Reject, nat.Queue, nat.Stolen:
			return r.verdict
		}
	}
	return nat.Continue
}

// rule carries a rule's statements out until one breaks it or ends it.
func (r *run) rule(of rule) flow {
	if r.settling {
		return r.settledRule(of)
	}
	for k, s := range r.c.stepsOf(of) {
		r.at.match = k + 1
		if f := s(r); f != goesOn {
			return f
		}
	}
	return goesOn
}

// call enters the chain that a rule leads to. One that is not there lets the packet come out again; no kernel holds such a rule.
func (r *run) call(depth int) nat.Verdict {
	if r.to < 0 {
		return nat.Continue
	}
	return r.chain(int(r.to), depth+1)
}

// end is a rule's verdict, which leads to the chain at a place; -1 for none.
func (r *run) end(v nat.Verdict, to int32) flow {
	r.verdict, r.to, r.effect = v, to, nil
	if v == nat.Continue {
		return goesOn
	}
	return ends
}

// does is a verdict with what it is carried out with.
func (r *run) does(v nat.Verdict, e rules.Effect) flow {
	r.verdict, r.effect = v, e
	return ends
}

// open is of a condition that is not known: it holds or not.
func (r *run) open(what string) flow { return hold(r.visit.Unknown(what)) }

// lost is of what a rule does that is not known: the packet cannot be followed any further.
func (r *run) lost(what string) flow {
	return r.does(nat.Drop, &rules.Open{Why: what + " is not known"})
}

// aimed is where a DNAT to a single address leads.
func aimed(t *rules.Translation) netip.AddrPort {
	if t.Kind != rules.DNAT || !t.Range.MinAddr.IsValid() || t.Range.MinAddr != t.Range.MaxAddr {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(t.Range.MinAddr, t.Range.MinPort)
}

func (r *run) hit(at, rule int, v nat.Verdict) {
	if r.hits != nil {
		h := rules.Hit{Chain: at, Rule: rule, Verdict: v, Mark: r.visit.Mark, Element: r.element}
		if v == nat.Jump || v == nat.Goto {
			h.Target = r.target
		}
		if t, is := r.effect.(*rules.Translation); is && v == nat.Accept && rule > 0 {
			h.To = aimed(t)
		}
		*r.hits = append(*r.hits, h)
	}
}
