package proof

import (
	"net/netip"
	"slices"

	"natlab/nat"
)

// Deviation is the probability that the live rules make a flow go a way that the intent has not; without strict, that
// something else comes of it, as far as chance decides.
func Deviation(intent, live nat.Prediction, rules Chains, strict bool) float64 {
	p := 0.0
	for _, o := range live {
		if !strict {
			if len(o.Assumed) > 0 { // asking again tells no more of what is not known
				continue
			}
			if !slices.ContainsFunc(intent, func(want nat.Outcome) bool { return sameOutcome(want, o) }) {
				p += o.Probability
			}
			continue
		}
		c := Case{Seen: Seen{Request: o.Request, Reply: o.Reply, Conns: o.Conns}, Chains: rules}
		if !slices.ContainsFunc(intent, func(want nat.Outcome) bool { return want.End == o.End && matchOutcome(c, want).same() }) {
			p += o.Probability
		}
	}
	return p
}

// sameOutcome reports whether two ways of a flow are one to the two who talk.
func sameOutcome(a, b nat.Outcome) bool {
	return a.End == b.End && a.Endpoint == b.Endpoint && a.ServerPeer == b.ServerPeer && a.ClientPeer == b.ClientPeer
}

// LostAsPredicted reports whether the witnesses saw a try's packets go exactly the way of an outcome that ends in
// silence: then nothing more will come. Of entries it asks nothing, since the kernel tells of a change to one only
// when the packet that made it leaves.
func LostAsPredicted(p nat.Prediction, seen Seen, rules Chains) bool {
	return slices.ContainsFunc(p, func(o nat.Outcome) bool {
		m := matchOutcome(Case{Seen: seen, Chains: rules}, o)
		return o.End == nat.EndLost && m.hops == [2]*difference{} && m.steps == [2]*difference{}
	})
}

// EnoughSent is how often a client has to have sent its first packet before it counts as lost wherever it was seen last: TCP
// sends it again after one second and after three.
const EnoughSent = 3

// LostByEvidence reports whether it is known, and not only feared, that no answer will come to a try of which nothing new was
// seen for a while, in a lab where no tap and no queue of the kernel holds a packet any more. What a process has may still go
// on: held reports whether one has the packet that was seen last at that hop. Then only a client that sent again and again and
// was never answered is evidence.
func LostByEvidence(p nat.Probe, seen Seen, held func(nat.Hop) bool) bool {
	if seen.Last == 0 || Answered(p, seen) {
		return false
	}
	return seen.Sent >= EnoughSent || !held(seen.LastHop)
}

// Answered reports whether an answer came to the client's namespace.
func Answered(p nat.Probe, seen Seen) bool {
	return slices.ContainsFunc(slices.Concat(seen.Reply.Hops, seen.Stray), func(h nat.Hop) bool {
		return h.Node == p.From && h.Tap == nat.TapPreRaw
	})
}

// NeverChosen is the certificate of a flow by way of an endpoint that has to serve it and was not seen in so many
// tries. The Case needs its Flow, predictions and Rules; where the live rules cannot come to the endpoint at all, the
// rule is named in which they part from the intent.
func NeverChosen(c Case, endpoint netip.AddrPort, tries int) Certificate {
	cert := Certificate{
		Flow: c.Flow, Expect: nat.EndAnswered, Endpoint: endpoint, Verdict: Disproved, Tries: tries,
		Checks: []Finding{bad("dnat", "%s has to serve this client and was never chosen in %d tries", endpoint, tries)},
	}
	cert.Wrong = &Wrong{
		Check: "dnat", Want: endpoint.String() + " serves this client", Got: "it was never chosen", Fault: FaultModel, Packet: c.Probe.Tuple.String(),
	}
	at := slices.IndexFunc(c.Intent, func(o nat.Outcome) bool { return o.Endpoint == endpoint })
	if at < 0 && decides(c.Needed) {
		cert.Wrong.Fault, cert.Node = FaultRules, c.Needed.Node
		cert.Wrong.because("%s", kubeProxyDiffers)
	}
	if at < 0 || slices.ContainsFunc(c.Live, func(o nat.Outcome) bool { return o.Endpoint == endpoint }) {
		return cert
	}
	var best *difference
	for _, o := range c.Live {
		d := c.Chains.decisive(nat.Original, c.Intent[at].Request.Steps, o.Request.Steps)
		if c.Strict {
			d = compareSteps(nat.Original, c.Intent[at].Request.Steps, o.Request.Steps, false)
		}
		if d != nil && (best == nil || d.at > best.at) {
			best = d
		}
	}
	if best != nil {
		w := cert.Wrong
		w.Node, w.Fault, w.WantStep, w.GotStep, w.Packet = best.node, FaultRules, best.wantStep, best.gotStep, best.packet
		cert.Node = best.node
		(&evidence{Case: c}).nameRule(w)
	}
	return cert
}
