package proof

import (
	"net/netip"
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/service"
)

// ByOutcome judges a try by what came of it alone, where nobody can predict its path: the first of Check's two questions. Who served, as whom client and server saw each other, and that
// the answer came from where the client asked, have to be as the objects call for; what the kernel told of the way is in the certificate, and held against nothing.
func ByOutcome(c Case) Certificate {
	e := &evidence{Case: c, match: match{bound: ports{}, translation: translating(c.Seen.Conns)}}
	e.needed = e.need()
	cert := e.certificate()
	if t := e.translation; t == nil {
		cert.Node = e.needed.node
	}
	for _, check := range []func(*evidence) Finding{checkServed, checkSource, checkSeen, checkEnds, checkControl} {
		cert.Checks = append(cert.Checks, check(e))
	}
	e.concludeOutcome(&cert)
	return cert
}

// Outcomes are the ways that the objects let a flow end, as a prediction without paths: each endpoint as likely as any other, or by session affinity none for certain.
func Outcomes(a service.Answer) nat.Prediction {
	var out nat.Prediction
	for _, g := range a.Endings {
		o := nat.Outcome{End: g.End, Endpoint: g.Endpoint, Why: g.Why}
		if a.AffinitySeconds == 0 {
			o.Probability = 1 / float64(len(a.Endings))
		}
		out = append(out, o)
	}
	return out
}

// Decides reports whether objects call for something that can be held against a try (ByOutcome).
func Decides(a service.Answer) bool { return decides(a) }

// checkServed: an endpoint that may serve this client did, and conntrack has the same one; where none may, none did.
func checkServed(e *evidence) Finding {
	const name = "dnat"
	asked, by := e.Probe.Tuple.Dst(), EndpointOf(e.Probe.Tuple, e.Seen, e.Ends)
	switch {
	case e.Ends.End != nat.EndAnswered:
		return ok(name, "nobody served %s", asked)
	case len(e.needed.may) == 0:
		return bad(name, "nobody may serve %s, but %s at %s did", asked, e.Ends.Server, by)
	case !slices.Contains(e.needed.may, by):
		return bad(name, "%s was served by %s at %s, which is no endpoint that may serve this client", asked, e.Ends.Server, by)
	case e.Stuck.IsValid() && by != e.Stuck:
		return bad(name, "%s served this client before and has to again, but %s did", e.Stuck, by)
	}
	if t := e.translation; t != nil && t.Reply.Src() != by {
		return bad(name, "conntrack in %s has %s, but the server that answered is %s at %s", t.Node, t.Reply.Src(), e.Ends.Server, by)
	}
	return ok(name, "%s was served by %s at %s, which may", asked, e.Ends.Server, by)
}

// checkSource: the server saw the client as one of the addresses that the objects call for.
func checkSource(e *evidence) Finding {
	const name = "masquerade"
	source, saw := e.Probe.Tuple.Src().Addr(), e.Ends.ServerPeer.Addr()
	if e.Ends.End != nat.EndAnswered {
		return ok(name, "no server saw the client")
	}
	if !slices.Contains(e.needed.clients, saw) {
		return bad(name, "the server must see the client as %s, but saw %s", anyOf(e.needed.clients), saw)
	}
	if saw == source {
		return ok(name, "none; the server saw the client as %s", saw)
	}
	return ok(name, "the server saw the client as %s", saw)
}

func anyOf(all []netip.Addr) string {
	texts := make([]string, len(all))
	for i, a := range all {
		texts[i] = a.String()
	}
	return strings.Join(texts, " or ")
}

// checkSeen tells what there is of the way.
func checkSeen(e *evidence) Finding {
	return ok("path", "%d rules and %d hops, as the kernel told of them: no prediction to hold them against", len(e.Seen.Request.Steps)+len(e.Seen.Reply.Steps), len(e.Seen.Request.Hops)+len(e.Seen.Reply.Hops))
}

// concludeOutcome turns the checks into a verdict.
func (e *evidence) concludeOutcome(cert *Certificate) {
	failed := slices.IndexFunc(cert.Checks, func(c Finding) bool { return !c.OK && !c.Missing })
	missing := slices.IndexFunc(cert.Checks, func(c Finding) bool { return !c.OK && c.Missing })
	switch {
	case e.Seen.Mixed:
		cert.Wrong = &Wrong{Check: "path", Want: "tuples of its own", Got: "tuples that another try had too"}
	case failed >= 0 && e.Lost > 0:
		cert.Wrong = &Wrong{Check: "path", Want: "every event of the kernel", Got: "some that could not be delivered"}
	case failed >= 0:
		cert.Verdict = Disproved
		cert.Wrong = &Wrong{
			Check: cert.Checks[failed].Name, Node: cert.Node, Want: e.needed.end.String() + ": " + e.needed.why, Got: cert.Checks[failed].Detail,
			Fault: FaultRules, Packet: e.Probe.Tuple.String(),
		}
	case missing >= 0:
		cert.Wrong = &Wrong{Check: cert.Checks[missing].Name, Want: "evidence", Got: cert.Checks[missing].Detail}
	default:
		cert.Verdict = Proved
	}
}
