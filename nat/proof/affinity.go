package proof

import (
	"net/netip"
	"slices"

	"natlab/nat"
)

// Sticks reports whether chance in a prediction is, in part, the kernel's memory of who served a client before: the
// rules ask the recent match, as kube-proxy has them do for session affinity.
func Sticks(p nat.Prediction) bool {
	return slices.ContainsFunc(p, remembered)
}

// remembered reports whether a rule on the way found the client in its list, or may have.
func remembered(o nat.Outcome) bool {
	return slices.ContainsFunc(o.Request.Steps, func(s nat.Step) bool { return s.Remembers })
}

// FirstContact is what is left of a prediction for a client that no list remembers.
func FirstContact(p nat.Prediction) nat.Prediction {
	return only(p, func(o *nat.Outcome) bool {
		for _, s := range o.Request.Steps {
			if s.Remembers && !s.Maybe {
				return false
			}
		}
		o.Request.Steps = decided(o.Request.Steps, false)
		return true
	})
}

// SecondContact is what is left of a prediction for a client that an endpoint served before.
func SecondContact(p nat.Prediction, endpoint netip.AddrPort) nat.Prediction {
	return only(p, func(o *nat.Outcome) bool {
		if !remembered(*o) || o.Endpoint != endpoint {
			return false
		}
		o.Request.Steps = decided(o.Request.Steps, true)
		return true
	})
}

// decided are the steps of a way where it is known whether the client is remembered. Where a rule that remembers and one of its chain that
// does not do the same, the way is one for both, and either of them is met. Where there are several such pairs, which is met stays open, but none that remembers is by a client that
// is not remembered.
func decided(steps nat.Trace, remembers bool) nat.Trace {
	var out nat.Trace
	for _, s := range steps {
		pairs, twin := 0, false
		for _, o := range steps {
			if !s.Maybe || !o.Maybe || chainOf(o) != chainOf(s) || o.Hook != s.Hook {
				continue
			}
			if o.Remembers {
				pairs++
			}
			twin = twin || o.Remembers != s.Remembers && o.Action == s.Action
		}
		twin = twin && pairs == 1
		switch {
		case s.Maybe && s.Remembers && !remembers, twin && s.Remembers != remembers:
		case twin:
			s.Maybe = false
			out = append(out, s)
		default:
			out = append(out, s)
		}
	}
	return out
}

// asksMemory reports whether a condition is one by which rules on the ways ask who was served: what it answers is known of either contact.
func asksMemory(p nat.Prediction, what string) bool {
	return slices.ContainsFunc(p, func(o nat.Outcome) bool {
		return slices.ContainsFunc(o.Request.Steps, func(s nat.Step) bool { return s.Remembers && s.Brief == what })
	})
}

// only keeps some outcomes, of which keep may change the copy that it gets, and makes their probabilities add up to 1 again.
func only(p nat.Prediction, keep func(*nat.Outcome) bool) nat.Prediction {
	var out nat.Prediction
	sum := 0.0
	for _, o := range p {
		if keep(&o) {
			out = append(out, o)
			sum += o.Probability
		}
	}
	for i := range out {
		out[i].Probability /= sum
		out[i].Assumed = slices.DeleteFunc(slices.Clone(out[i].Assumed), func(a nat.Assumption) bool { return asksMemory(p, a.What) })
	}
	return out
}
