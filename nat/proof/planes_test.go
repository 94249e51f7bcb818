package proof_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/proof"
)

// answered is a flow's certificate by an endpoint.
func answered(name, endpoint string, masqueraded bool, verdict proof.Outcome) proof.Certificate {
	c := proof.Certificate{
		Flow: proof.Flow{Name: name}, End: nat.EndAnswered, Endpoint: netip.MustParseAddrPort(endpoint), Server: "shop", Verdict: verdict,
		ClientPeer: netip.MustParseAddrPort("10.96.0.80:80"), Masqueraded: masqueraded,
	}
	if verdict != proof.Proved {
		c.Wrong = &proof.Wrong{Check: "dnat", Want: "this", Got: "that"}
	}
	return c
}

// What differs comes first, and is named by the plane that is not as the first that knows; too little seen is no difference, and no proof.
func TestCompare(t *testing.T) {
	t.Parallel()
	const a, b = "10.244.1.2:8080", "10.244.2.2:8080"
	by := func(endpoint string) proof.Certificate { return answered("f", endpoint, false, proof.Proved) }
	masq := answered("f", a, true, proof.Proved)
	wrong, little := answered("f", b, false, proof.Disproved), answered("f", b, false, proof.Inconclusive)
	peer, server, lost := by(a), by(a), by(a)
	peer.ClientPeer = netip.MustParseAddrPort("10.96.0.80:81")
	server.Server = "another"
	lost.End = nat.EndLost
	type certs = []proof.Certificate
	for _, row := range []struct {
		what   string
		on     [3]certs
		differ string
		proved bool
	}{
		{"all the same", [3]certs{{by(a)}, {by(a)}, {by(a)}}, "", true},
		{"endpoints in another order", [3]certs{{by(a), by(b)}, {by(b), by(a)}, {by(a), by(b), by(b)}}, "", true},
		{"another endpoint", [3]certs{{by(a)}, {by(a)}, {by(b)}}, "userspace", true},
		{"an endpoint less", [3]certs{{by(a), by(b)}, {by(a), by(b)}, {by(a)}}, "userspace", true},
		{"masqueraded", [3]certs{{by(a)}, {masq}, {by(a)}}, "nft", true},
		{"another peer", [3]certs{{by(a)}, {by(a)}, {peer}}, "userspace", true},
		{"another server", [3]certs{{by(a)}, {by(a)}, {server}}, "userspace", true},
		{"another end", [3]certs{{by(a)}, {by(a)}, {lost}}, "userspace", true},
		{"both are others", [3]certs{{by(a)}, {by(b)}, {by(b)}}, "nft userspace", true},
		{"disproved alike", [3]certs{{wrong}, {wrong}, {wrong}}, "", false},
		{"disproved and another", [3]certs{{by(a)}, {by(a)}, {wrong}}, "userspace", false},
		{"too little was seen", [3]certs{{by(a)}, {by(a)}, {little}}, "", false},
		{"too little was seen on the first", [3]certs{{little}, {by(a)}, {masq}}, "userspace", false},
		{"not asked", [3]certs{{by(a)}, {by(a)}, nil}, "", false},
	} {
		t.Run(row.what, func(t *testing.T) {
			t.Parallel()
			var planes []proof.Plane
			same := answered("same", a, false, proof.Proved)
			unproved := answered("unproved", a, false, proof.Inconclusive)
			for i, name := range []string{"legacy", "nft", "userspace"} {
				planes = append(planes, proof.Plane{Name: name, Report: proof.Report{Flows: append(certs{same, unproved}, row.on[i]...)}})
			}
			alone := proof.Compare([]proof.Flow{{Name: "f"}}, planes)
			require.Equal(t, row.differ, strings.Join(alone.Flows[0].Differ, " "))
			require.Equal(t, row.proved, alone.Flows[0].Proved())
			require.Equal(t, row.differ == "" && row.proved, alone.Agrees())
			for _, r := range alone.Flows[0].Results {
				require.Equal(t, r.Verdict == proof.Proved, r.Why == "")
			}

			all := proof.Compare([]proof.Flow{{Name: "same"}, {Name: "unproved"}, {Name: "f"}}, planes)
			order := []string{}
			for _, f := range all.Flows {
				order = append(order, f.Name)
			}
			require.Less(t, slices.Index(order, "unproved"), slices.Index(order, "same"))
			require.Equal(t, row.differ != "", order[0] == "f")
			require.Equal(t, row.differ == "" && row.proved, order[2] == "f")
		})
	}
}

// A proof that ended, or had no flow, agrees with nothing; what some plane was not asked is told once.
func TestCompareOfWhatWasNotAsked(t *testing.T) {
	t.Parallel()
	require.False(t, proof.Compare(nil, []proof.Plane{{Name: "legacy"}, {Name: "nft"}}).Agrees())
	f := []proof.Flow{{Name: "f"}}
	whole := proof.Report{Flows: []proof.Certificate{answered("f", "10.244.1.2:8080", false, proof.Proved)}, NotAsked: []proof.NotAsked{{Service: "default/shop:53"}}}
	require.True(t, proof.Compare(f, []proof.Plane{{"legacy", whole}, {"nft", whole}}).Agrees())
	ended := whole
	ended.Ended = "interrupted"
	c := proof.Compare(f, []proof.Plane{{"legacy", whole}, {"nft", ended}})
	require.False(t, c.Agrees())
	require.Equal(t, "nft: interrupted", c.Ended)
	require.Len(t, c.NotAsked, 1)
	ended.Flows = nil
	require.Equal(t, "not asked: interrupted", proof.Compare(f, []proof.Plane{{"legacy", whole}, {"nft", ended}}).Flows[0].Results[1].Why)
}
