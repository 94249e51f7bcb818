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

// remembered reports whether a rule on the way found the client in its list.
func remembered(o nat.Outcome) bool {
	return slices.ContainsFunc(o.Request.Steps, func(s nat.Step) bool { return s.Remembers })
}

// FirstContact is what is left of a prediction for a client that no list remembers.
func FirstContact(p nat.Prediction) nat.Prediction {
	return only(p, func(o nat.Outcome) bool { return !remembered(o) })
}

// SecondContact is what is left of a prediction for a client that an endpoint served before.
func SecondContact(p nat.Prediction, endpoint netip.AddrPort) nat.Prediction {
	return only(p, func(o nat.Outcome) bool { return remembered(o) && o.Endpoint == endpoint })
}

// asksMemory reports whether a condition is one by which rules on the ways ask who was served: what it answers is known of either contact.
func asksMemory(p nat.Prediction, what string) bool {
	return slices.ContainsFunc(p, func(o nat.Outcome) bool {
		return slices.ContainsFunc(o.Request.Steps, func(s nat.Step) bool { return s.Remembers && s.Brief == what })
	})
}

// only keeps some outcomes and makes their probabilities add up to 1 again.
func only(p nat.Prediction, keep func(nat.Outcome) bool) nat.Prediction {
	out := slices.DeleteFunc(slices.Clone(p), func(o nat.Outcome) bool { return !keep(o) })
	sum := 0.0
	for _, o := range out {
		sum += o.Probability
	}
	for i := range out {
		out[i].Probability /= sum
		out[i].Assumed = slices.DeleteFunc(slices.Clone(out[i].Assumed), func(a nat.Assumption) bool { return asksMemory(p, a.What) })
	}
	return out
}
