package proof

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/topology"
)

// The route that is told is the longest of the table main, and none where that is not certain.
func TestRoutesOf(t *testing.T) {
	t.Parallel()
	node := topology.Namespace{
		Member: "n1", Kind: topology.KindNode,
		Addresses: []topology.Address{
			{Device: "eth0", Prefix: netip.MustParsePrefix("192.168.1.11/24")}, {Device: "tunl0", Prefix: netip.MustParsePrefix("10.244.1.0/32")},
		},
		Routes: []topology.Route{
			{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("192.168.1.1"), Device: "eth0"},
			{Dst: netip.MustParsePrefix("10.244.2.0/24"), Via: netip.MustParseAddr("192.168.1.12"), Device: "tunl0", Onlink: true},
			{Dst: netip.MustParsePrefix("10.244.2.128/25"), Via: netip.MustParseAddr("192.168.1.13"), Device: "tunl0", Table: "7"},
			{Dst: netip.MustParsePrefix("10.9.0.0/24"), Device: "a"},
			{Dst: netip.MustParsePrefix("10.9.0.0/24"), Device: "b"},
		},
	}
	ruled, pod := node, node
	ruled.Member, ruled.Rules = "n2", []topology.RoutingRule{{}}
	pod.Member, pod.Kind = "d/p", topology.KindPod
	plan := topology.Plan{Namespaces: []topology.Namespace{node, ruled, pod}}
	for _, row := range []struct{ node, tap, dev, dst, outer, want, next string }{
		{"n1", "postrouting", "tunl0", "10.244.2.200", "", "10.244.2.0/24 via 192.168.1.12 dev tunl0 onlink", "192.168.1.12"},
		{"n1", "postrouting", "eth0", "10.244.2.200", "192.168.1.12", "192.168.1.0/24 dev eth0 proto kernel scope link src 192.168.1.11", ""},
		{"n1", "postrouting", "eth0", "9.9.9.9", "", "default via 192.168.1.1 dev eth0", "192.168.1.1"},
		{"n1", "postrouting", "eth0", "10.244.2.200", "", "", ""}, // the table leads elsewhere
		{"n1", "postrouting", "a", "10.9.0.1", "", "", ""},        // two of them do
		{"n1", "output-raw", "eth0", "9.9.9.9", "", "", ""},       // it is not out yet
		{"n2", "postrouting", "eth0", "9.9.9.9", "", "", ""},      // rules of routing
		{"d/p", "postrouting", "eth0", "9.9.9.9", "", "", ""},     // no node
		{"n3", "postrouting", "eth0", "9.9.9.9", "", "", ""},
	} {
		h := Hop{Hop: nat.Hop{Node: row.node, Dev: row.dev, Tuple: nat.TupleOf(nat.TCP, netip.MustParseAddrPort("1.1.1.1:1"), netip.MustParseAddrPort(row.dst+":80"))}}
		require.NoError(t, h.Tap.UnmarshalText([]byte(row.tap)))
		if row.outer != "" {
			h.Outer = nat.TupleOf(nat.TCP, netip.MustParseAddrPort("1.1.1.1:1"), netip.MustParseAddrPort(row.outer+":1"))
		}
		got := RoutesOf(plan, []Hop{h})
		if row.want == "" {
			require.Empty(t, got, row)
			continue
		}
		require.Len(t, got, 1, row)
		require.Equal(t, row.want, got[0].Route)
		require.Equal(t, row.next != "", got[0].NextHop.IsValid())
	}
}
