package test

import (
	"slices"
	"strings"

	"natlab/nat/proof"
)

// trial is a break with the flow that has to notice it.
type trial struct {
	breakage
	flow proof.Flow
}

// round is breaks that are made together: no flow that is asked meets two of them, so that each is noticed as if it were alone.
type round struct {
	trials   []trial
	stranger proof.Flow // that meets none of them
}

// madeTogether is how many breaks are made together at most.
const madeTogether = 24

// rounds deals breaks out.
func (s *score) rounds(breaks []breakage) (out []round) {
	breaks = slices.Clone(breaks)
	for len(breaks) > 0 {
		var r round
		breaks = slices.DeleteFunc(breaks, func(br breakage) bool { return s.join(&r, br) })
		if len(r.trials) == 0 { // no flow is a stranger to it
			s.missed = append(s.missed, breaks[0].node+": "+breaks[0].name+": every flow of the lab meets it")
			breaks = breaks[1:]
			continue
		}
		out = append(out, r)
	}
	return out
}

// join takes a break into a round, if none that is in it is in its way.
func (s *score) join(r *round, br breakage) bool {
	if len(r.trials) == madeTogether {
		return false
	}
	for _, t := range r.trials {
		if t.node == br.node && (t.both || br.both || t.place == br.place) || s.isMet[br.at()][t.flow.Name] {
			return false
		}
	}
	free := func(f proof.Flow) bool {
		return !slices.ContainsFunc(r.trials, func(t trial) bool { return s.isMet[t.at()][f.Name] })
	}
	flow := slices.IndexFunc(s.met[br.at()], free)
	stranger := slices.IndexFunc(s.all, func(f proof.Flow) bool { return free(f) && !s.isMet[br.at()][f.Name] })
	if flow < 0 || stranger < 0 {
		return false
	}
	r.trials, r.stranger = append(r.trials, trial{br, s.met[br.at()][flow]}), s.all[stranger]
	return true
}

// byNode are the breaks of each node.
func (r round) byNode() map[string][]breakage {
	out := map[string][]breakage{}
	for _, t := range r.trials {
		out[t.node] = append(out[t.node], t.breakage)
	}
	return out
}

func (r round) String() string {
	var names []string
	for _, t := range r.trials {
		names = append(names, t.node+" "+t.name)
	}
	return strings.Join(names, "; ")
}
