package iptables

import (
	"bytes"
	"slices"

	"natlab/nat"
	"natlab/nat/rules"
	"natlab/nat/xt"
)

// Way is one way that a packet can take through a table where chance decides, or something that is not known.
type Way struct {
	Verdict nat.Verdict
	Effect  rules.Effect
	Packet  rules.Packet     // as the table leaves it; its Wire is its own
	Hits    []Hit            //
	Chance  float64          // the probability of what chance decided on it
	Assumed []nat.Assumption // on which it depends
	Open    []string         // what was not known on it and made no difference
}

// Bounds of Ways: how many ways may be open at one rule, and how many rules are tried.
const (
	maxOpenWays   = 512
	maxTriedRules = 1 << 21
)

// Ways are all ways that a packet can take through the table's chain for a hook: one where everything is known. Ways that
// leave the packet alike are one, and what they depended on counts no more; a rule that only some of them met is Maybe.
// What was assumed of this packet before stays so. cut tells that a bound was met, and that there are more ways.
func (c *Compiled) Ways(hook nat.Hook, pkt *rules.Packet, w rules.World, assumed []nat.Assumption) (ways []Way, cut bool) {
	if !c.remembers {
		s := open{pkt: pkt.Clone()}
		known := decisions{assumed: assumed}
		v, effect := new(Walk).through(c, hook, &s.pkt, w, &known, &s.hits)
		if len(known.taken) == 0 {
			return []Way{{Verdict: v, Effect: effect, Packet: s.pkt, Hits: s.hits, Chance: 1}}, false
		}
	}
	i, ok := c.chains[hook.String()]
	if !ok {
		return []Way{{Verdict: nat.Accept, Packet: pkt.Clone(), Chance: 1}}, false
	}
	e := explorer{table: c, hook: hook, world: w, before: assumed}
	out, done := e.chain(i, []open{{pkt: pkt.Clone(), chance: 1}}, 0)
	for _, s := range out {
		s.verdict = c.base[hook].policy
		s.hits = append(s.hits, Hit{Chain: i, Verdict: s.verdict, Mark: s.pkt.Mark})
		done = append(done, s)
	}
	for _, s := range merged(done) {
		ways = append(ways, Way{s.verdict, s.effect, s.pkt, s.hits, s.chance, s.assumed, s.made})
	}
	return ways, e.cut
}

// open is a packet on one of its ways.
type open struct {
	pkt     rules.Packet
	hits    []Hit
	chance  float64
	assumed []nat.Assumption
	made    []string // no difference
	verdict nat.Verdict
	effect  rules.Effect
}

func (s *open) clone() open {
	out := *s
	out.pkt = s.pkt.Clone()
	out.hits, out.assumed, out.made = slices.Clip(s.hits), slices.Clip(s.assumed), slices.Clip(s.made)
	return out
}

// explorer goes all ways of a packet through a table side by side.
type explorer struct {
	table  *Compiled
	hook   nat.Hook
	world  rules.World
	before []nat.Assumption
	tried  int
	cut    bool
}

// chain takes packets through a chain: out came out at its end or by a RETURN, done have met a verdict.
func (e *explorer) chain(at int, in []open, depth int) (out, done []open) {
	if depth > maxDepth {
		e.cut = true
		return nil, nil
	}
	c := &e.table.source[at]
	for i := range c.Rules {
		if e.tried += len(in); e.tried > maxTriedRules || len(in) > maxOpenWays || len(in) > 0 && len(in[0].hits) > maxMetRules {
			e.cut = true
			return nil, done
		}
		var on []open
		for j := range in {
			for _, s := range e.rule(at, i, &in[j]) {
				switch s.verdict {
				case nat.Continue:
					on = append(on, s)
				case nat.Return:
					out = append(out, s)
				case nat.Jump, nat.Goto:
					o, d := e.call(c.Rules[i].Target.Name(), s, depth)
					done = append(done, d...)
					if s.verdict == nat.Jump {
						on = append(on, o...)
					} else {
						out = append(out, o...)
					}
				case nat.Accept, nat.Drop, nat.Reject, nat.Queue, nat.Stolen:
					done = append(done, s)
				}
			}
		}
		if in = merged(on); len(in) == 0 {
			break
		}
	}
	return merged(append(out, in...)), done
}

// call enters a user chain. One that is not there lets the packet come out again; no kernel holds such a rule.
func (e *explorer) call(name string, s open, depth int) (out, done []open) {
	i, ok := e.table.chains[name]
	if !ok {
		return []open{s}, nil
	}
	return e.chain(i, []open{s}, depth+1)
}

// rule is what one rule makes of a packet: more than one thing where its conditions leave it open. The verdict is
// Continue for one that did not match.
func (e *explorer) rule(chain, number int, s *open) (all []open) {
	c := &e.table.source[chain]
	rule := &c.Rules[number]
	for given := []bool{}; given != nil; {
		d := decisions{given: given, assumed: append(slices.Clip(e.before), s.assumed...)}
		r := run{visit: rules.Visit{
			Packet: &s.pkt, World: e.world, Decider: &d, Hook: e.hook, At: rules.Place{Table: e.table.name, Chain: c.Name, Rule: number + 1},
		}}
		next := *s
		next.verdict = nat.Continue
		matched := r.matches(rule)
		if matched || r.visit.HotDrop {
			next = s.clone()
			r.visit.Packet = &next.pkt
			if next.verdict = nat.Drop; matched {
				next.verdict = r.act(rule.Target)
			}
			next.effect = r.effect
			next.hits = append(next.hits, Hit{Chain: chain, Rule: number + 1, Verdict: next.verdict, Mark: next.pkt.Mark, Malformed: r.visit.HotDrop})
		}
		next.chance *= d.chance()
		next.assumed = append(slices.Clip(next.assumed), d.assumptions()...)
		all = append(all, next)
		given = d.next()
	}
	return all
}

// decisions are the answers to what one rule leaves open: those given, then yes.
type decisions struct {
	given   []bool
	assumed []nat.Assumption
	taken   []decision
}

type decision struct {
	what string // "" for chance
	yes  bool
	p    float64 // of what was decided
}

// Take answers a question of chance. A sure one is no decision.
func (d *decisions) Take(p float64) bool {
	if p <= 0 || p >= 1 {
		return p >= 1
	}
	yes := d.answer()
	if !yes {
		p = 1 - p
	}
	d.taken = append(d.taken, decision{yes: yes, p: p})
	return yes
}

// Unknown answers for what is not known; what has been assumed on the way stays so.
func (d *decisions) Unknown(what string) bool {
	for _, a := range d.assumed {
		if a.What == what {
			return a.Holds
		}
	}
	for _, t := range d.taken {
		if t.what == what {
			return t.yes
		}
	}
	yes := d.answer()
	d.taken = append(d.taken, decision{what: what, yes: yes, p: 1})
	return yes
}

// Assumed is what has been assumed on the way so far.
func (d *decisions) Assumed() []nat.Assumption {
	return append(slices.Clip(d.assumed), d.assumptions()...)
}

func (d *decisions) answer() bool {
	if i := len(d.taken); i < len(d.given) {
		return d.given[i]
	}
	return true
}

func (d *decisions) chance() float64 {
	p := 1.0
	for _, t := range d.taken {
		p *= t.p
	}
	return p
}

func (d *decisions) assumptions() (out []nat.Assumption) {
	for _, t := range d.taken {
		if t.what != "" {
			out = append(out, nat.Assumption{What: t.what, Holds: t.yes})
		}
	}
	return out
}

// next is what to give for the answers after these: the last yes becomes a no; nil at their end.
func (d *decisions) next() []bool {
	for i, t := range slices.Backward(d.taken) {
		if !t.yes {
			continue
		}
		given := make([]bool, i+1)
		for j := range i {
			given[j] = d.taken[j].yes
		}
		return given
	}
	return nil
}

// merged makes ways that are at one place and have left the packet alike one way, where that leaves nothing out: their
// chances add up, or what one assumed does not matter.
func merged(all []open) []open {
	for again := true; again; {
		again = false
		for i := 0; i < len(all); i++ {
			for j := i + 1; j < len(all); {
				if !all[i].takeIn(&all[j]) {
					j++
					continue
				}
				all = slices.Delete(all, j, j+1)
				again = true
			}
		}
	}
	return all
}

// takeIn merges another way into s; false where they are not one.
func (s *open) takeIn(o *open) bool {
	if s.verdict != o.verdict || !sameEffect(s.effect, o.effect) || !samePacket(&s.pkt, &o.pkt) {
		return false
	}
	opposite := -1
	if len(s.assumed) != len(o.assumed) {
		return false
	}
	for i := range s.assumed {
		switch a, b := s.assumed[i], o.assumed[i]; {
		case a == b:
		case a.What == b.What && opposite < 0:
			opposite = i
		default:
			return false
		}
	}
	switch {
	case opposite < 0:
		s.chance += o.chance
	case s.chance != o.chance:
		return false
	default:
		s.made = append(slices.Clip(s.made), s.assumed[opposite].What)
		s.assumed = slices.Delete(slices.Clone(s.assumed), opposite, opposite+1)
	}
	for _, what := range o.made {
		if !slices.Contains(s.made, what) {
			s.made = append(slices.Clip(s.made), what)
		}
	}
	s.hits = mergedHits(s.hits, o.hits)
	return true
}

func sameEffect(a, b rules.Effect) bool {
	switch a := a.(type) {
	case *rules.Translation:
		b, ok := b.(*rules.Translation)
		return ok && *a == *b
	case *rules.Rejection:
		b, ok := b.(*rules.Rejection)
		return ok && *a == *b
	case *rules.Open:
		b, ok := b.(*rules.Open)
		return ok && *a == *b
	case *rules.Queued:
		_, ok := b.(*rules.Queued)
		return ok
	}
	return a == b
}

func samePacket(a, b *rules.Packet) bool {
	x, y := *a, *b
	x.Wire, y.Wire = nil, nil
	if x != y || (a.Wire == nil) != (b.Wire == nil) {
		return false
	}
	return a.Wire == nil || bytes.Equal(a.Wire.Bytes(), b.Wire.Bytes())
}

// mergedHits are the rules that both ways met, with what only one met between them as Maybe.
func mergedHits(a, b []Hit) []Hit {
	same := 0
	for same < len(a) && same < len(b) && a[same] == b[same] {
		same++
	}
	end := 0
	for end < len(a)-same && end < len(b)-same && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	out := slices.Clone(a[:same])
	for _, only := range [][]Hit{a[same : len(a)-end], b[same : len(b)-end]} {
		for _, h := range only {
			h.Maybe = true
			out = append(out, h)
		}
	}
	return append(out, a[len(a)-end:]...)
}

// remembers reports whether a rule keeps something between packets.
func remembers(rule *Rule) bool {
	if rule.Target != nil {
		if x, ok := xt.Find(rule.Target.Name(), xt.TargetKind, nat.IPv4); ok && x.Remembers {
			return true
		}
	}
	return slices.ContainsFunc(rule.Matches, func(m xt.Match) bool {
		if s, is := m.(xt.Statistic); is {
			return s.Every != 0
		}
		x, ok := xt.Find(m.Name(), xt.MatchKind, nat.IPv4)
		if !ok {
			x, ok = xt.Find(m.Name(), xt.MatchKind, nat.IPv6)
		}
		return ok && x.Remembers
	})
}
