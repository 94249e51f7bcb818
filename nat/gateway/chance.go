package gateway

import (
	"slices"

	"natlab/nat/conntrack"
)

// script is the decisions of chance in one walk: those it was given, then yes to each further question, or what dice
// say. It remembers what it was asked, so that the next walk can go another way.
type script struct {
	given   []bool
	dice    conntrack.Chance
	taken   []decision
	unknown []string // texts of rules that had to be decided without knowing
}

type decision struct {
	yes bool
	p   float64 // the probability of what was decided
}

// Take decides a question that says yes with probability p. A sure one is no decision.
func (s *script) Take(p float64) bool {
	switch {
	case p <= 0:
		return false
	case p >= 1:
		return true
	}
	yes := true
	if i := len(s.taken); i < len(s.given) {
		yes = s.given[i]
	} else if s.dice != nil {
		yes = float64(s.dice.Uint32())/(1<<32) < p
	}
	if !yes {
		p = 1 - p
	}
	s.taken = append(s.taken, decision{yes, p})
	return yes
}

// Unknown decides for what is not modelled: both outcomes are followed.
func (s *script) Unknown(rule string) bool {
	s.unknown = append(s.unknown, rule)
	return s.Take(0.5)
}

// probability is that of all decisions together.
func (s *script) probability() float64 {
	p := 1.0
	for _, d := range s.taken {
		p *= d.p
	}
	return p
}

// next is the script of the walk after this one: the last yes becomes a no. nil: all ways have been walked, or the one
// that dice chose.
func (s *script) next() []bool {
	if s.dice != nil {
		return nil
	}
	for i, d := range slices.Backward(s.taken) {
		if !d.yes {
			continue
		}
		given := make([]bool, i+1)
		for j := range i {
			given[j] = s.taken[j].yes
		}
		return given
	}
	return nil
}
