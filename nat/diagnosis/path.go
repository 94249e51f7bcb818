package diagnosis

import (
	"slices"

	"natlab/nat"
)

// Leg is a stay of a packet at one place of its way: as it came in and as it left, with the rule that it met there.
type Leg struct {
	Node   string    `json:"node"`
	Hook   nat.Hook  `json:"hook"`
	Device string    `json:"device,omitempty"` // that it came in by, or that it leaves by
	In     nat.Tuple `json:"in"`               // as it came to the rule, or to the device
	Out    nat.Tuple `json:"out"`              // as it left it
	Mark   uint32    `json:"mark"`             // behind it
	Rule   *Rule     `json:"rule,omitempty"`   // nil for a device
}

// Paths are the ways of a packet and of its answer that the word is about: of several the first that ends without an answer.
func Paths(p nat.Prediction) (forward, back []Leg) {
	o := decisive(p)
	return path(o.Request, nat.Original), path(o.Reply, nat.Reply)
}

// path is a packet's way, devices and rules in their order. Hops and steps are told apart by a prediction, each in its own order: a rule stands
// behind the hop of its node that the packet had when it came to the rule.
func path(j nat.Journey, dir nat.Direction) []Leg {
	legs := []Leg{}
	steps := j.Steps
	take := func(until func(s nat.Step) bool) {
		for len(steps) > 0 && !until(steps[0]) {
			s := steps[0]
			steps = steps[1:]
			if s.Rule == 0 && s.Verdict == nat.Accept {
				continue // the policy that lets everything pass
			}
			r := ruleOf(s, dir)
			legs = append(legs, Leg{Node: s.Node, Hook: s.Hook, In: s.Before, Out: s.After, Mark: s.Mark, Rule: &r})
		}
	}
	for _, h := range j.Hops {
		take(func(s nat.Step) bool { return s.Node != h.Node || rank(s.Hook) >= tapRank(h.Tap) })
		if h.Tap == nat.TapPreNAT || h.Tap == nat.TapOutNAT {
			continue // in the middle of a hook
		}
		legs = append(legs, Leg{Node: h.Node, Hook: h.Tap.Hook(), Device: h.Dev, In: h.Tuple, Out: h.Tuple, Mark: h.Mark})
	}
	take(func(nat.Step) bool { return false })
	return legs
}

// rank orders the hooks on a packet's way through a node, and tapRank the taps among them.
func rank(h nat.Hook) int {
	return slices.Index([]nat.Hook{nat.PreRouting, nat.Input, nat.Forward, nat.Output, nat.PostRouting}, h)*2 + 1
}

func tapRank(t nat.Tap) int {
	switch t {
	case nat.TapPreRaw:
		return rank(nat.PreRouting)
	case nat.TapPreNAT:
		return rank(nat.PreRouting) + 1
	case nat.TapOutRaw:
		return rank(nat.Output)
	case nat.TapOutNAT:
		return rank(nat.Output) + 1
	case nat.TapPost:
	}
	return rank(nat.PostRouting) + 1
}

// decisive is the way that an answer is about: the first one that ends badly, or else the first.
func decisive(p nat.Prediction) nat.Outcome {
	for _, o := range p {
		if o.End != nat.EndAnswered {
			return o
		}
	}
	if len(p) > 0 {
		return p[0]
	}
	return nat.Outcome{}
}
