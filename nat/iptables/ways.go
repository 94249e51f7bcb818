package iptables

import (
	"slices"

	"natlab/nat"
	"natlab/nat/rules"
	"natlab/nat/xt"
)

// Way is one way that a packet can take through a table where chance decides, or something that is not known.
type Way = rules.Way

// Bounds of Ways: how many ways may be open at one rule, how many may have met a verdict, and how many rules are tried.
const (
	maxOpenWays   = 512
	maxEndedWays  = 1 << 12
	maxTriedRules = 1 << 21
	perMerge      = 8 // pairs of open ways that are held against each other count as one rule tried
)

// Ways are all ways that a packet can take through the table's chain for a hook: one where everything is known. Ways that
// leave the packet alike are one, and what they depended on counts no more; a rule that only some of them met is Maybe.
// What was assumed of this packet before stays so. cut tells that a bound was met, and that there are more ways.
func (c *Compiled) Ways(hook nat.Hook, pkt *rules.Packet, w rules.World, assumed []nat.Assumption) (ways []Way, cut bool) {
	if !c.remembers {
		s := Way{Packet: pkt.Clone()}
		known := rules.Decisions{Before: assumed}
		v, effect := new(Walk).through(c, hook, &s.Packet, w, &known, &s.Hits)
		if known.Sure() {
			return []Way{{Verdict: v, Effect: effect, Packet: s.Packet, Hits: s.Hits, Chance: 1}}, false
		}
	}
	i, ok := c.chains[hook.String()]
	if !ok {
		return []Way{{Verdict: nat.Accept, Packet: pkt.Clone(), Chance: 1}}, false
	}
	e := explorer{table: c, hook: hook, world: w, before: assumed}
	out, done := e.chain(i, []Way{{Packet: pkt.Clone(), Chance: 1}}, 0)
	for _, s := range out {
		s.Verdict = c.base[hook].policy
		s.Hits = append(s.Hits, Hit{Chain: i, Verdict: s.Verdict, Mark: s.Packet.Mark})
		done = append(done, s)
	}
	return rules.Merged(done), e.cut
}

// explorer goes all ways of a packet through a table side by side.
type explorer struct {
	table  *Compiled
	hook   nat.Hook
	world  rules.World
	before []nat.Assumption
	tried  int
	ended  int
	cut    bool // what is found behind a cut changes nothing: it is not looked for
}

// chain takes packets through a chain: out came out at its end or by a RETURN, done have met a verdict.
func (e *explorer) chain(at int, in []Way, depth int) (out, done []Way) {
	if depth > maxDepth {
		e.cut = true
		return nil, nil
	}
	c := &e.table.source[at]
	for i := range c.Rules {
		if e.tried += len(in) + len(in)*len(in)/perMerge; e.cut || e.tried > maxTriedRules || e.ended > maxEndedWays || len(in) > maxOpenWays || len(in) > 0 && len(in[0].Hits) > maxMetRules {
			e.cut = true
			return nil, done
		}
		var on []Way
		for j := range in {
			for _, s := range e.rule(at, i, &in[j]) {
				switch s.Verdict {
				case nat.Continue:
					on = append(on, s)
				case nat.Return:
					out = append(out, s)
				case nat.Jump, nat.Goto:
					o, d := e.call(c.Rules[i].Target.Name(), s, depth)
					done = append(done, d...)
					if s.Verdict == nat.Jump {
						on = append(on, o...)
					} else {
						out = append(out, o...)
					}
				case nat.Accept, nat.Drop, nat.Reject, nat.Queue, nat.Stolen:
					done = append(done, s)
					e.ended++
				}
			}
		}
		if in = rules.Merged(on); len(in) == 0 {
			break
		}
	}
	return rules.Merged(append(out, in...)), done
}

// call enters a user chain. One that is not there lets the packet come out again; no kernel holds such a rule.
func (e *explorer) call(name string, s Way, depth int) (out, done []Way) {
	i, ok := e.table.chains[name]
	if !ok {
		return []Way{s}, nil
	}
	return e.chain(i, []Way{s}, depth+1)
}

// rule is what one rule makes of a packet: more than one thing where its conditions leave it open. The verdict is
// Continue for one that did not match.
func (e *explorer) rule(chain, number int, s *Way) (all []Way) {
	c := &e.table.source[chain]
	rule := &c.Rules[number]
	for given := []bool{}; given != nil; {
		d := rules.Decisions{Given: given, Before: append(slices.Clip(e.before), s.Assumed...)}
		r := run{visit: rules.Visit{
			Packet: &s.Packet, World: e.world, Decider: &d, Hook: e.hook, At: rules.Place{Table: e.table.name, Chain: c.Name, Rule: number + 1},
		}}
		next := *s
		next.Verdict = nat.Continue
		matched := r.matches(rule)
		if matched || r.visit.HotDrop {
			next = s.Clone()
			r.visit.Packet = &next.Packet
			if next.Verdict = nat.Drop; matched {
				next.Verdict = r.act(rule.Target)
			}
			next.Effect = r.effect
			next.Hits = append(next.Hits, Hit{Chain: chain, Rule: number + 1, Verdict: next.Verdict, Mark: next.Packet.Mark, Malformed: r.visit.HotDrop})
		}
		next.Chance *= d.Chance()
		next.Assumed = append(slices.Clip(next.Assumed), d.Assumptions()...)
		all = append(all, next)
		given = d.Next()
	}
	return all
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
