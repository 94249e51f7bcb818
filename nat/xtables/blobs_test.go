package xtables_test

import (
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/kubeproxy"
	"natlab/nat/view"
	"natlab/nat/xt"
	"natlab/nat/xtables"
	"natlab/topology"
	"natlab/topology/topologytest"
)

// Blobs are what Tables and Encode make of the same rules, to the byte: every extension of both families by old and new revisions, and
// kube-proxy's rules.
func TestBlobs(t *testing.T) {
	t.Parallel()
	var all []iptables.Ruleset
	for file, family := range map[string]nat.Family{"extensions.txt": nat.IPv4, "extensions6.txt": nat.IPv6} {
		b, err := os.ReadFile("../view/testdata/" + file)
		require.NoError(t, err)
		rs, err := iptables.ParseString(string(b), family)
		require.NoError(t, err)
		all = append(all, rs)
	}
	c, err := topology.Reference()
	require.NoError(t, err)
	for _, n := range c.Nodes {
		rs, err := kubeproxy.Rules(c, n.Name, kubeproxy.Options{})
		require.NoError(t, err)
		all = append(all, rs)
	}
	for _, text := range []string{
		"*raw\n:OUTPUT DROP [7:8]\n-A OUTPUT\n[1:2] -A OUTPUT -m odd --raw 3:0011223344556677\nCOMMIT\n",
		"*filter\n:Z - [0:0]\n:A - [0:0]\n-A INPUT -g Z\n-A FORWARD -s 10.0.0.0/255.0.255.0 ! -i eth+ -f -j A\n-A Z -p 132 -j RETURN\nCOMMIT\n",
	} {
		rs, err := iptables.ParseString(text, nat.IPv4)
		require.NoError(t, err, text)
		all = append(all, rs)
	}
	for _, rs := range all {
		for _, version := range []xt.Version{{1, 4, 21}, {1, 8, 2}, view.Newest} {
			w := xtables.Writer{Version: version, Sets: map[string]uint16{"one": 0}}
			tables, err := w.Tables(rs)
			got, other := w.Blobs(rs)
			if err != nil {
				require.Error(t, other)
				continue
			}
			require.NoError(t, other)
			require.Len(t, got, len(tables))
			for i := range tables {
				want, err := tables[i].Encode()
				require.NoError(t, err)
				require.True(t, slices.Equal(want.Bytes, got[i].Bytes), "%s %s %s", version, rs.Family, want.Name)
				require.Equal(t, want, got[i])
			}
		}
	}
}

// What has no bytes is refused, and named.
func TestBlobsRefused(t *testing.T) {
	t.Parallel()
	rule := func(target xt.Target, matches ...xt.Match) iptables.Ruleset {
		return iptables.Ruleset{Tables: []iptables.Table{{Name: "filter", Chains: []iptables.Chain{
			{Name: "INPUT", Policy: "ACCEPT", Rules: []iptables.Rule{{Matches: matches, Target: target}}},
		}}}}
	}
	chains := func(table string, names ...string) iptables.Ruleset {
		t := iptables.Table{Name: table}
		for _, name := range names {
			policy := "-"
			if _, err := nat.ParseHook(name); err == nil {
				policy = "ACCEPT"
			}
			t.Chains = append(t.Chains, iptables.Chain{Name: name, Policy: policy})
		}
		return iptables.Ruleset{Tables: []iptables.Table{t}}
	}
	for _, row := range []struct {
		rs   iptables.Ruleset
		want string
	}{
		{rule(xt.Jump{Chain: "NOWHERE"}), `encode table filter: a jump to "NOWHERE", which is no chain of this table`},
		{rule(nil, xt.RawMatch{Extension: "odd", Options: "--some option"}), "encode table filter: chain INPUT: rule 1: odd: "},
		{rule(nil, iptables.Protocol{Protocol: "nothing"}), `chain INPUT: rule 1: protocol "nothing" is not known`},
		{rule(nil, iptables.InInterface{Device: "a-name-of-more-than-fifteen-bytes"}), "rule 1: device "},
		{chains("nat", "FORWARD"), "encode table nat: it has no chain FORWARD"},
		{chains("nat", "A", "A"), `encode table nat: chain "A" twice`},
		{chains("nat", "A-CHAIN-OF-A-NAME-THAT-IS-TOO-LONG"), "want 1 to 29 bytes"},
		{chains(""), "its name: want 1 to 31 bytes"},
	} {
		_, err := xtables.Writer{Version: view.Newest}.Blobs(row.rs)
		require.ErrorContains(t, err, row.want)
	}
}

// BenchmarkBlobs lays out the rules of a node of 1,000 Services.
func BenchmarkBlobs(b *testing.B) {
	rs, err := kubeproxy.Rules(topologytest.ManyServices(1000), "node-1", kubeproxy.Options{})
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := (xtables.Writer{Version: view.Newest}).Blobs(rs); err != nil {
			b.Fatal(err)
		}
	}
}
