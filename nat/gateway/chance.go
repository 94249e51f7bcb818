package gateway

import (
	"slices"

	"natlab/nat"
	"natlab/nat/conntrack"
	"natlab/nat/iptables"
)

// choices are what is chosen on one way through the network, where chance decides or something is not known: those it was
// given, then the first of each further question, or what dice choose. It remembers what it was asked, so that the next
// walk can go another way.
type choices struct {
	given   []int
	dice    conntrack.Chance
	taken   []choice
	assumed []nat.Assumption
	open    []string // not known, and made no difference
	unsure  int      // how many ways through tables there were that hang on something that is not known
	cut     bool     // there are ways that are not followed
}

type choice struct {
	number, of int
	p          float64 // the probability of what was chosen, as far as chance chose
}

// Take decides a question that answers yes with probability p. A sure one is no choice.
func (s *choices) Take(p float64) bool {
	switch {
	case p <= 0:
		return false
	case p >= 1:
		return true
	}
	yes := s.choose([]float64{p, 1 - p}) == 0
	return yes
}

// Unknown decides for what is not known: both answers are followed, and the same question of the same packet in the same
// node gets the same answer.
func (s *choices) Unknown(what, of string) bool {
	for _, a := range s.assumed {
		if a.What == what && a.Of == of {
			return a.Holds
		}
	}
	holds := s.choose([]float64{1, 1}) == 0
	s.assumed = append(s.assumed, nat.Assumption{What: what, Of: of, Holds: holds})
	return holds
}

// of are the assumptions about one packet in one node.
func (s *choices) of(of string) (out []nat.Assumption) {
	for _, a := range s.assumed {
		if a.Of == of {
			out = append(out, a)
		}
	}
	return out
}

// effort is what the ways of a probe have cost that were followed.
type effort struct{ ways, cut, unsure int }

// Bounds of effort. A way on which a table was cut short cost as much as the table's own bound allows; one through hundreds of rules of which
// each hangs on something unknown costs nearly that.
const (
	maxWays   = 1 << 10
	maxCut    = 2
	maxUnsure = 1 << 16
)

func (e *effort) add(s *choices) {
	e.ways++
	e.unsure += s.unsure
	if s.cut {
		e.cut++
	}
}

// enough reports whether no further way is followed.
func (e *effort) enough() bool { return e.ways >= maxWays || e.cut >= maxCut || e.unsure >= maxUnsure }

// way chooses one of the ways of a packet through a table.
func (s *choices) way(all []iptables.Way, of string) iptables.Way {
	weights := make([]float64, len(all))
	for i, w := range all {
		weights[i] = w.Chance
		if len(w.Assumed) > 0 {
			s.unsure++
		}
	}
	w := all[0]
	if len(all) > 1 {
		w = all[s.choose(weights)]
	}
	for _, a := range w.Assumed {
		a.Of = of
		s.assumed = append(s.assumed, a)
	}
	for _, what := range w.Open {
		if !slices.Contains(s.open, what) {
			s.open = append(s.open, what)
		}
	}
	return w
}

// choose takes one of several; weights are the probabilities as far as chance decides.
func (s *choices) choose(weights []float64) int {
	n := 0
	if i := len(s.taken); i < len(s.given) {
		n = s.given[i]
	} else if s.dice != nil {
		n = thrown(s.dice, weights)
	}
	s.taken = append(s.taken, choice{n, len(weights), weights[n]})
	return n
}

// thrown is what dice choose.
func thrown(dice conntrack.Chance, weights []float64) int {
	sum := 0.0
	for _, w := range weights {
		sum += w
	}
	at := float64(dice.Uint32()) / (1 << 32) * sum
	for i, w := range weights {
		if at -= w; at < 0 {
			return i
		}
	}
	return len(weights) - 1
}

// probability is that of all choices together.
func (s *choices) probability() float64 {
	p := 1.0
	for _, c := range s.taken {
		p *= c.p
	}
	return p
}

// tell writes what was chosen, and what is not known, into an outcome.
func (s *choices) tell(o *nat.Outcome) {
	o.Probability, o.Assumed, o.Unknown = s.probability(), s.assumed, s.open
	if s.cut {
		o.End, o.Where, o.Why = nat.EndUnknown, "", "the packet has more ways through a table, or meets more rules there, "+NotFollowed
	}
}

// NotFollowed is a part of why an outcome is unknown: there are ways of the packet that were not looked at.
const NotFollowed = "than are followed"

// tooManyWays stands for the ways of a packet that are not followed.
func tooManyWays() nat.Outcome {
	return nat.Outcome{Why: "the packet has more ways " + NotFollowed}
}

// next are the choices of the walk after this one; nil: all ways have been walked, or the one that dice chose.
func (s *choices) next() []int {
	if s.dice != nil {
		return nil
	}
	for i, c := range slices.Backward(s.taken) {
		if c.number+1 == c.of {
			continue
		}
		given := make([]int, i+1)
		for j := range i {
			given[j] = s.taken[j].number
		}
		given[i] = c.number + 1
		return given
	}
	return nil
}
