package rules

import (
	"slices"

	"natlab/nat"
)

// Decisions are a Decider's answers to what is left open: those given, then yes. The zero Decisions answer yes.
type Decisions struct {
	Given  []bool
	Before []nat.Assumption // what was assumed of the packet before, which stays so
	taken  []decision
}

type decision struct {
	what string // "" for chance
	yes  bool
	p    float64 // of what was decided
}

// Take answers a question of chance. A sure one is no decision.
func (d *Decisions) Take(p float64) bool {
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
func (d *Decisions) Unknown(what string) bool {
	for _, a := range d.Before {
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
func (d *Decisions) Assumed() []nat.Assumption {
	return append(slices.Clip(d.Before), d.Assumptions()...)
}

func (d *Decisions) answer() bool {
	if i := len(d.taken); i < len(d.Given) {
		return d.Given[i]
	}
	return true
}

// Chance is the probability of what was decided.
func (d *Decisions) Chance() float64 {
	p := 1.0
	for _, t := range d.taken {
		p *= t.p
	}
	return p
}

// Assumptions are those that were made, behind those of before.
func (d *Decisions) Assumptions() (out []nat.Assumption) {
	for _, t := range d.taken {
		if t.what != "" {
			out = append(out, nat.Assumption{What: t.what, Holds: t.yes})
		}
	}
	return out
}

// Next is what to give for the answers after these: the last yes becomes a no; nil at their end.
func (d *Decisions) Next() []bool {
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

// Sure reports whether nothing was left open.
func (d *Decisions) Sure() bool { return len(d.taken) == 0 }
