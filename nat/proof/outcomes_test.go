package proof

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/service"
)

// A try whose path nobody predicts is judged by who served, as whom both ends saw each other, and what came of it.
func TestByOutcome(t *testing.T) {
	t.Parallel()
	const vip, a, b, client, node = "10.96.0.10:80", "10.1.0.5:8080", "10.1.0.6:8080", "10.2.0.7:40000", "10.2.0.0"
	at := netip.MustParseAddrPort
	needed := service.Answer{Service: "s", Node: "n", AffinitySeconds: 10, Endings: []service.Ending{
		{End: nat.EndAnswered, Endpoint: at(a), Client: []netip.Addr{netip.MustParseAddr(node)}, Masqueraded: true},
		{End: nat.EndAnswered, Endpoint: at(b), Client: []netip.Addr{netip.MustParseAddr(node)}, Masqueraded: true},
	}}
	refused := service.Answer{Service: "s", Node: "n", Endings: []service.Ending{{End: nat.EndRejected, Why: "no endpoint"}}}
	answered := func(server, saw, from string) Ends {
		return Ends{End: nat.EndAnswered, Server: "p", ServerAddr: at(server), ServerPeer: at(saw), ClientPeer: at(from)}
	}
	for _, row := range []struct {
		name    string
		needed  service.Answer
		ends    Ends
		conn    string // what conntrack has for the server; "" for no entry
		stuck   string
		verdict Outcome
		check   string
	}{
		{"as it has to be", needed, answered(a, node+":5", vip), a, "", Proved, ""},
		{"no entry is no fault", needed, answered(a, node+":5", vip), "", "", Proved, ""},
		{"by the one that served before", needed, answered(b, node+":5", vip), b, b, Proved, ""},
		{"by another than served before", needed, answered(a, node+":5", vip), a, b, Disproved, "dnat"},
		{"by a stranger", needed, answered("10.1.0.9:8080", node+":5", vip), "10.1.0.9:8080", "", Disproved, "dnat"},
		{"conntrack has another", needed, answered(a, node+":5", vip), b, "", Disproved, "dnat"},
		{"not masqueraded", needed, answered(a, client, vip), a, "", Disproved, "masquerade"},
		{"from another address", needed, answered(a, node+":5", a), a, "", Disproved, "ends"},
		{"lost", needed, Ends{End: nat.EndLost}, "", "", Disproved, "ends"},
		{"refused", needed, Ends{End: nat.EndRefused}, "", "", Disproved, "ends"},
		{"refused as it has to be", refused, Ends{End: nat.EndRefused}, "", "", Proved, ""},
		{"served although nobody may", refused, answered(a, node+":5", vip), a, "", Disproved, "dnat"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			asked := nat.TupleOf(nat.TCP, at(client), at(vip))
			c := Case{Probe: nat.Probe{From: "c", Tuple: asked}, Needed: row.needed, Intent: Outcomes(row.needed), Ends: row.ends}
			c.Live = c.Intent
			if row.conn != "" {
				c.Seen.Conns = []nat.Conn{{Node: "n", Original: asked, Reply: nat.TupleOf(nat.TCP, at(row.conn), at(node+":5"))}}
			}
			if row.stuck != "" {
				c.Stuck = at(row.stuck)
			}
			cert := ByOutcome(c)
			require.Equal(t, row.verdict, cert.Verdict, "%+v", cert.Checks)
			if row.check != "" {
				require.Equal(t, row.check, cert.Wrong.Check)
				require.Equal(t, "n", cert.Wrong.Node)
			} else {
				require.Nil(t, cert.Wrong)
			}
		})
	}
	require.InDelta(t, 0, Outcomes(needed).Chance(at(a)), 0, "session affinity: none for certain")
	needed.AffinitySeconds = 0
	require.InDelta(t, 0.5, Outcomes(needed).Chance(at(a)), 0)
}
