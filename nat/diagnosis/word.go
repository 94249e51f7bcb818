package diagnosis

import (
	"fmt"
	"slices"
	"strings"

	"natlab/nat"
)

// Word is an answer in one word.
type Word string

// The words. The zero one is none.
const (
	Works   Word = "works"   // every way ends with an answer to whoever asked
	Broken  Word = "broken"  // there are ways without one, whatever is not known
	Depends Word = "depends" // on something that is not known
	Unknown Word = "unknown" // natlab does not follow the packet to its end
)

// judge is the word for a prediction, with its reason in a line.
func judge(p nat.Prediction) (Word, string) {
	var groups []group
	for _, o := range p {
		i := slices.IndexFunc(groups, func(g group) bool { return slices.Equal(g.assumed, o.Assumed) })
		if i < 0 {
			groups, i = append(groups, group{assumed: o.Assumed}), len(groups)
		}
		groups[i].ways = append(groups[i].ways, o)
	}
	if len(groups) == 0 {
		return Unknown, "no way of the packet was followed"
	}
	word, why := groups[0].word()
	for _, g := range groups[1:] {
		if next, other := g.word(); next != word || word == Works && !slices.Equal(g.servers(), groups[0].servers()) {
			return Depends, either(groups[0].assumed, g.assumed, fmt.Sprintf("%s (%s)", word, why), fmt.Sprintf("%s (%s)", next, other))
		}
	}
	return word, why
}

// group is the ways that hang on the same assumptions.
type group struct {
	assumed []nat.Assumption
	ways    nat.Prediction
}

func (g group) word() (Word, string) {
	var good, open, bad nat.Prediction
	for _, o := range g.ways {
		switch o.End {
		case nat.EndAnswered:
			good = append(good, o)
		case nat.EndUnknown:
			open = append(open, o)
		case nat.EndRefused, nat.EndRejected, nat.EndLost, nat.EndUnreachable:
			bad = append(bad, o)
		}
	}
	switch {
	case len(bad) > 0 && len(bad) < len(g.ways):
		chance := 0.0
		for _, o := range bad {
			chance += o.Probability
		}
		return Broken, fmt.Sprintf("with probability %.3g %s", chance, reason(bad[0]))
	case len(bad) > 0:
		return Broken, reason(bad[0])
	case len(open) > 0:
		return Unknown, reason(open[0])
	}
	if n := len(g.servers()); n > 1 {
		return Works, fmt.Sprintf("%s, or by one of %d more", reason(good[0]), n-1)
	}
	return Works, reason(good[0])
}

// servers are who answers, sorted.
func (g group) servers() (all []string) {
	for _, o := range g.ways {
		all = append(all, o.Endpoint.String())
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// reason is an outcome in a line.
func reason(o nat.Outcome) string {
	var parts []string
	switch o.End {
	case nat.EndAnswered:
		parts = append(parts, answered(o))
	case nat.EndUnknown:
	case nat.EndRefused, nat.EndRejected, nat.EndLost, nat.EndUnreachable:
		parts = append(parts, o.End.String())
		if o.Where != "" {
			parts[0] += " at " + o.Where
		}
	}
	if o.Why != "" {
		parts = append(parts, o.Why)
	}
	return strings.Join(parts, ": ")
}

// answered is who answers, and whom that one sees.
func answered(o nat.Outcome) string {
	at, as := nat.EndText(o.Endpoint), nat.EndText(o.ServerPeer)
	if o.Endpoint.Port() == 0 { // ICMP has no ports
		at, as = o.Endpoint.Addr().String(), o.ServerPeer.Addr().String()
	}
	return fmt.Sprintf("answered by %s, %s, which sees %s", at, o.Server, as)
}

// either tells two answers, that of the assumptions a and that of b, by the first thing that they take differently.
func either(a, b []nat.Assumption, first, second string) string {
	for _, x := range a {
		if slices.Contains(b, x) {
			continue
		}
		if !x.Holds {
			first, second = second, first
		}
		return fmt.Sprintf("on whether %s, which is not known: if so, %s; if not, %s", x.What, first, second)
	}
	return fmt.Sprintf("on what is not known: either %s, or %s", first, second)
}
