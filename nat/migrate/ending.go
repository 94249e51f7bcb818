package migrate

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/proof"
)

// Ending is a way in which a flow ends, as its client and who served it see it.
type Ending struct {
	End      nat.End        `json:"end"`               //
	Endpoint netip.AddrPort `json:"endpoint,omitzero"` // that served; invalid where none did
	Server   string         `json:"server,omitempty"`  // whose socket that is
	As       netip.Addr     `json:"as,omitzero"`       // as whom the client came there
	Dropped  bool           `json:"dropped,omitempty"` // where it is lost: by a rule; else it was sent on, to where nobody answers
	Share    float64        `json:"share"`             // of the flows that are alike
	Where    string         `json:"where,omitempty"`   // what decided, for every end but an answer; two modes need not agree about it
	Why      string         `json:"why,omitempty"`     //

	by *nat.Step // the rule that dropped it
}

// alike is all of an ending that two modes have to agree about, its share aside.
func (e Ending) alike(o Ending) bool {
	return e.End == o.End && e.Endpoint == o.Endpoint && e.Server == o.Server && e.As == o.As && e.Dropped == o.Dropped
}

// String is "answered by 10.244.1.7:8080 as 10.0.0.1", "refused by node-1", "dropped by the rules of node-1", "lost".
func (e Ending) String() string {
	at, _, _ := strings.Cut(e.Where, " ")
	if e.by != nil {
		at = e.by.Node
	}
	switch {
	case e.Why != "" && e.Where == "":
		return e.Why
	case e.End == nat.EndAnswered && e.Server == proxyServer:
		return "answered by kube-proxy"
	case e.End == nat.EndAnswered && e.As.IsValid():
		return fmt.Sprintf("answered by %s, which sees %s", e.Endpoint, e.As)
	case e.End == nat.EndAnswered:
		return "answered"
	case e.End == nat.EndLost && e.Dropped:
		return "dropped by the rules of " + at
	case e.End == nat.EndLost && e.Server == "" && e.Endpoint.IsValid():
		return fmt.Sprintf("lost on its way to %s, as %s", e.Endpoint, e.As)
	case e.End == nat.EndLost && e.Endpoint.IsValid():
		return fmt.Sprintf("lost behind %s, which saw %s", e.Endpoint, e.As)
	case e.End == nat.EndLost && strings.Contains(e.Why, "no route"):
		return "lost: " + at + " has no route there"
	case e.End == nat.EndLost:
		return "lost, sent on where nobody answers"
	case e.End == nat.EndRejected:
		return "rejected at once by the rules of " + at
	case e.End == nat.EndUnknown:
		return "not known: " + e.Why
	}
	return e.End.String() + " by " + at
}

// sticks reports whether ways of a prediction depend on which endpoint served the client before: iptables' lists, nftables' sets of affinity.
func sticks(p nat.Prediction) bool {
	return proof.Sticks(p) || slices.ContainsFunc(p, func(o nat.Outcome) bool {
		return slices.ContainsFunc(o.Assumed, func(a nat.Assumption) bool { return strings.Contains(a.What, "@affinity-") })
	})
}

// endings are those of a prediction: ways that are alike are one. With session affinity the shares depend on who came before: each counts alike.
func endings(p nat.Prediction) []Ending {
	var out []Ending
	for i := range p {
		o := &p[i]
		e := Ending{End: o.End, Endpoint: o.Endpoint, Server: o.Server, As: o.ServerPeer.Addr(), Share: o.Probability, Where: o.Where, Why: o.Why}
		if e.Server == "" { // whoever got it had no server there
			e.Endpoint, e.As = netip.AddrPort{}, netip.Addr{}
		}
		if e.End == nat.EndLost {
			e.by = droppedBy(o)
			e.Dropped = e.by != nil
			if e.Server == "" && !e.Dropped {
				e.Endpoint, e.As = translatedTo(o)
			}
		}
		if e.End == nat.EndAnswered {
			e.Where, e.Why = "", ""
		} else if e.Where == "" {
			e.Where = lastNode(o)
		}
		if k := slices.IndexFunc(out, e.alike); k >= 0 {
			out[k].Share += e.Share
			continue
		}
		out = append(out, e)
	}
	sticky := sticks(p)
	for i := range out {
		if sticky {
			out[i].Share = 1 / float64(len(out))
		}
		out[i].Share = math.Round(out[i].Share*1000) / 1000 //nolint:mnd // -m statistic has 32 bits of a share, nftables whole numbers
	}
	slices.SortFunc(out, func(a, b Ending) int {
		return cmp.Or(cmp.Compare(a.End, b.End), a.Endpoint.Compare(b.Endpoint), a.As.Compare(b.As), cmp.Compare(a.Server, b.Server))
	})
	return out
}

// translatedTo is what a packet that nobody got was last seen as, where it had another destination than the one that was asked.
func translatedTo(o *nat.Outcome) (to netip.AddrPort, as netip.Addr) {
	hops := o.Request.Hops
	if len(hops) == 0 || hops[0].Tuple.Dst() == hops[len(hops)-1].Tuple.Dst() {
		return to, as
	}
	last := hops[len(hops)-1].Tuple
	return last.Dst(), last.Src().Addr()
}

// droppedBy is the rule that dropped a packet of an outcome; nil where none did.
func droppedBy(o *nat.Outcome) *nat.Step {
	for _, steps := range []nat.Trace{o.Request.Steps, o.Reply.Steps} {
		for i := range steps {
			if steps[i].Verdict == nat.Drop {
				return &steps[i]
			}
		}
	}
	return nil
}

// lastNode is where the last packet of an exchange was seen.
func lastNode(o *nat.Outcome) string {
	for _, hops := range [][]nat.Hop{o.Reply.Hops, o.Request.Hops} {
		if len(hops) > 0 {
			return hops[0].Node
		}
	}
	return ""
}

// shareSlack is how far two modes' shares of an endpoint may be apart.
const shareSlack = 0.002

// same reports whether two lists of endings agree.
func same(a, b []Ending) bool {
	return slices.EqualFunc(a, b, func(x, y Ending) bool { return x.alike(y) && math.Abs(x.Share-y.Share) <= shareSlack })
}

// answered is the share of flows that are.
func answered(all []Ending) (share float64) {
	for _, e := range all {
		if e.End == nat.EndAnswered {
			share += e.Share
		}
	}
	return share
}

// only reports whether all endings are of one kind.
func only(all []Ending, end nat.End) bool {
	return len(all) > 0 && !slices.ContainsFunc(all, func(e Ending) bool { return e.End != end })
}

// dropped reports whether all endings are that a rule drops it.
func dropped(all []Ending) bool {
	return only(all, nat.EndLost) && !slices.ContainsFunc(all, func(e Ending) bool { return !e.Dropped })
}
