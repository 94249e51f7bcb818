package gateway_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/conntrack"
	"natlab/nat/gateway"
	"natlab/nat/kubeproxy"
	"natlab/topology"
)

// A connection that one node of a network remembers takes the packets that belong to it there, and no others: they go where it leads, past the rules that translate.
func TestRemembered(t *testing.T) {
	t.Parallel()
	c, err := topology.Reference()
	require.NoError(t, err)
	plan, err := topology.NewPlan(c)
	require.NoError(t, err)
	rules := map[string]gateway.Rules{}
	for _, n := range c.Nodes {
		rs, err := kubeproxy.Rules(c, n.Name, kubeproxy.Options{})
		require.NoError(t, err)
		rules[n.Name] = gateway.Rules{rs}
	}
	entries, err := conntrack.ParseEntries("udp 17 100 src=192.168.26.101 dst=10.96.0.10 sport=40000 dport=53 src=10.244.9.9 dst=192.168.26.101 sport=53 dport=40000 [ASSURED] mark=5 use=1\n")
	require.NoError(t, err)
	n, err := gateway.NewNetwork(gateway.Setup{Plan: plan, Rules: rules, Servers: topology.Servers(c), EntriesOf: map[string][]conntrack.Conn{"vms101": entries}})
	require.NoError(t, err)
	old := predict(t, n, "vms101", "udp 192.168.26.101:40000 > 10.96.0.10:53")
	require.Len(t, old, 1)
	require.Equal(t, nat.EndLost, old[0].End)
	require.Empty(t, chains(old[0].Request, "vms101"))
	require.Len(t, old[0].Conns, 1)
	require.Equal(t, entries[0].Reply, old[0].Conns[0].Reply)
	require.Equal(t, uint32(5), old[0].Conns[0].Mark)
	for _, from := range [][2]string{{"vms101", "udp 192.168.26.101:40001 > 10.96.0.10:53"}, {"vms102", "udp 192.168.26.102:40000 > 10.96.0.10:53"}} {
		for _, o := range predict(t, n, from[0], from[1]) {
			require.Equal(t, nat.EndAnswered, o.End, from)
			require.NotEmpty(t, chains(o.Request, from[0]))
		}
	}
}
