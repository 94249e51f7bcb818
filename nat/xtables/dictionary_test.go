package xtables_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/kubeproxy"
	"natlab/nat/view"
	"natlab/nat/xtables"
	"natlab/topology"
	"natlab/topology/topologytest"
)

// A Dictionary reads what Decode reads: every extension of both families, and kube-proxy's rules of all nodes, of which it keeps what is
// alike once.
func TestDictionary(t *testing.T) {
	t.Parallel()
	var d xtables.Dictionary
	same := func(b xtables.Blob) iptables.Ruleset {
		table, err := xtables.Decode(b)
		require.NoError(t, err)
		got, err := d.Ruleset(b.Family, b)
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(xtables.Ruleset(b.Family, nil, table).String(), got.String()))
		require.Equal(t, xtables.Ruleset(b.Family, nil, table).Tables[0].Chains[0], got.Tables[0].Chains[0])
		return got
	}
	for _, b := range seeds(t) {
		same(b)
		same(b) // what it knows
	}
	c, err := topology.Reference()
	require.NoError(t, err)
	firsts := map[string]*iptables.Rule{}
	for i, n := range c.Nodes {
		rs, err := kubeproxy.Rules(c, n.Name, kubeproxy.Options{})
		require.NoError(t, err)
		for j := range rs.Tables { // counters of a node's own
			for k := range rs.Tables[j].Chains {
				if c := &rs.Tables[j].Chains[k]; c.Name == "KUBE-POSTROUTING" {
					c.Rules[0].Packets, c.Rules[0].Bytes = uint64(i+1), 60
				}
			}
		}
		blobs, err := xtables.Writer{Version: view.Newest}.Blobs(rs)
		require.NoError(t, err)
		for _, b := range blobs {
			for _, chain := range same(b).Tables[0].Chains {
				if len(chain.Rules) == 0 {
					continue
				}
				key := b.Name + " " + chain.Name
				if first := firsts[key]; first != nil && chain.Name == "KUBE-MARK-MASQ" {
					require.Same(t, first, &chain.Rules[0], key)
				} else if first != nil && chain.Name == "KUBE-POSTROUTING" && chain.Rules[0].Packets > 0 {
					require.NotSame(t, first, &chain.Rules[0], key)
				}
				firsts[key] = &chain.Rules[0]
			}
		}
	}
}

// What is no table is refused as by Decode.
func TestDictionaryRefuses(t *testing.T) {
	t.Parallel()
	for _, seed := range seeds(t) {
		for _, change := range []func(b *xtables.Blob){
			func(b *xtables.Blob) { b.Bytes = b.Bytes[:len(b.Bytes)-8] },
			func(b *xtables.Blob) { b.Count++ },
			func(b *xtables.Blob) { b.Entry[nat.Input] += 8 },
			func(b *xtables.Blob) { b.Underflow[nat.Output] = b.Entry[nat.Output] + 8 },
			func(b *xtables.Blob) { b.Bytes = nil },
			func(b *xtables.Blob) { b.Bytes = make([]byte, len(b.Bytes)) },
		} {
			b := seed
			b.Bytes = slices.Clone(b.Bytes)
			change(&b)
			_, want := xtables.Decode(b)
			_, err := new(xtables.Dictionary).Ruleset(b.Family, b)
			require.Equal(t, want, err)
		}
	}
}

// BenchmarkDictionary reads the rules of nodes of 1,000 Services that are all alike.
func BenchmarkDictionary(b *testing.B) {
	rs, err := kubeproxy.Rules(topologytest.ManyServices(1000), "node-1", kubeproxy.Options{})
	require.NoError(b, err)
	blobs, err := xtables.Writer{Version: view.Newest}.Blobs(rs)
	require.NoError(b, err)
	var d xtables.Dictionary
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Ruleset(nat.IPv4, blobs...); err != nil {
			b.Fatal(err)
		}
	}
}
