package proof

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
)

// A way that is one for a client that is remembered and for one that is not is told apart again: either meets the rule of its own.
func TestContactsOfOneWay(t *testing.T) {
	t.Parallel()
	step := func(rule int, target, brief string, remembers, maybe bool) nat.Step {
		return nat.Step{Node: "a", Hook: nat.PreRouting, Table: "nat", Chain: "KUBE-SVC", Rule: rule, Maybe: maybe, Met: nat.Met{Action: "-j " + target, Brief: brief, Remembers: remembers}}
	}
	at := netip.MustParseAddrPort("10.0.0.1:80")
	asked, plain, dnat := step(1, "A", "recent A", true, true), step(2, "A", "", false, true), step(1, "DNAT", "", false, false)
	sure := func(s nat.Step) nat.Step { s.Maybe = false; return s }
	otherAsked, other := step(3, "B", "recent B", true, true), step(4, "B", "", false, true)
	for _, row := range []struct {
		name          string
		steps         nat.Trace
		first, second nat.Trace // nil: there is none
	}{
		{"one way for both", nat.Trace{asked, plain, dnat}, nat.Trace{sure(plain), dnat}, nat.Trace{sure(asked), dnat}},
		{"remembered", nat.Trace{sure(asked), dnat}, nil, nat.Trace{sure(asked), dnat}},
		{"not remembered", nat.Trace{sure(plain), dnat}, nat.Trace{sure(plain), dnat}, nil},
		{"of several pairs, which is not known", nat.Trace{asked, otherAsked, plain, other, dnat}, nat.Trace{plain, other, dnat}, nat.Trace{asked, otherAsked, plain, other, dnat}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			p := nat.Prediction{{Endpoint: at, Probability: 0.5, Request: nat.Journey{Steps: row.steps}}}
			for _, contact := range []struct {
				want nat.Trace
				got  nat.Prediction
			}{{row.first, FirstContact(p)}, {row.second, SecondContact(p, at)}} {
				if contact.want == nil {
					require.Empty(t, contact.got)
					continue
				}
				require.Len(t, contact.got, 1)
				require.Equal(t, contact.want, contact.got[0].Request.Steps)
				require.InDelta(t, 1, contact.got[0].Probability, 0)
			}
		})
	}
}
