package gateway_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/nftables"
	"natlab/nat/packet"
	"natlab/topology"
)

// nativeRules do as kube-proxy's nftables mode does for one Service.
const nativeRules = `table ip kube-proxy {
	set cluster-ips {
		type ipv4_addr
		elements = { 10.96.0.1, 10.96.0.2 }
	}
	map no-endpoint-services {
		type ipv4_addr . inet_proto . inet_service : verdict
		elements = { 10.96.0.2 . tcp . 80 : goto reject-chain }
	}
	map service-ips {
		type ipv4_addr . inet_proto . inet_service : verdict
		elements = { 10.96.0.1 . tcp . 80 : goto service-web }
	}
	chain filter-forward {
		type filter hook forward priority filter; policy accept;
		ct state new ip daddr . meta l4proto . th dport vmap @no-endpoint-services
		ct state new ip daddr @cluster-ips reject
	}
	chain nat-prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		ip daddr @cluster-ips ip saddr != 10.244.0.0/16 meta mark set meta mark | 0x00004000
		ip daddr . meta l4proto . th dport vmap @service-ips
	}
	chain nat-postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		meta mark & 0x00004000 != 0x00000000 meta mark set meta mark ^ 0x00004000 masquerade fully-random
	}
	chain service-web {
		meta l4proto tcp dnat ip to numgen random mod 4 map { 0 : 10.244.1.5 . 8080, 1 : 10.244.1.6 . 8080, 2 : 10.244.1.6 . 8080, 3 : 10.244.1.6 . 8080 }
	}
	chain reject-chain {
		reject
	}
}
`

func native(t *testing.T, text string) gateway.Facts {
	t.Helper()
	rs, err := nftables.ParseText(text)
	require.NoError(t, err)
	return gateway.Facts{NFT: rs}
}

// explainNative is the ways of a packet, each as its end, its endpoint and its chance.
func explainNative(t *testing.T, f gateway.Facts, packet string) (ways []string, x *gateway.Explanation) {
	t.Helper()
	tuple, err := nat.ParseTuple(packet)
	require.NoError(t, err)
	ns := twoNetworks()
	ns.Routes = append(ns.Routes, topology.Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("192.168.1.254"), Device: "eth0"})
	dev, ok := gateway.Arrives(ns, tuple.Src().Addr())
	require.True(t, ok)
	x, err = gateway.Explain(ns, nil, f, askIn(tuple, dev), nil)
	require.NoError(t, err)
	return endsAndChances(x), x
}

// endsAndChances are the ways of a packet, each as its end, its endpoint and its chance.
func endsAndChances(x *gateway.Explanation) (ways []string) {
	for _, w := range x.Prediction {
		ways = append(ways, strings.TrimSpace(fmt.Sprintf("%v %v %.2f", w.End, w.Endpoint, w.Probability)))
	}
	slices.Sort(ways)
	return ways
}

func TestNative(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, packet, want, why, because string }{
		{"a map of endpoints", "tcp 192.168.1.9:1000 > 10.96.0.1:80", "answered 10.244.1.5:8080 0.25, answered 10.244.1.6:8080 0.75", "ip kube-proxy service-web:1", "service-web:1 (line 29) was hit"},
		{"a port that no Service has", "tcp 192.168.1.9:1000 > 10.96.0.1:81", "rejected invalid AddrPort 1.00", "service-web", "nat-prerouting:2, which leads to it, wants ip daddr . meta l4proto . th dport vmap @service-ips: @service-ips has no element 10.96.0.1 . tcp . 81"},
		{"no endpoints", "tcp 192.168.1.9:1000 > 10.96.0.2:80", "rejected invalid AddrPort 1.00", "filter-forward:2", "filter-forward:1 took the packet before: ct state new ip daddr . meta l4proto . th dport vmap @no-endpoint-services [10.96.0.2 . tcp . 80 : goto reject-chain]"},
		{"a pod itself", "tcp 192.168.1.9:1000 > 10.244.1.5:8080", "answered 10.244.1.5:8080 1.00", "nat-prerouting:1", "wants ip daddr @cluster-ips: @cluster-ips has no element 10.244.1.5"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			ways, x := explainNative(t, native(t, nativeRules), row.packet)
			if row.why != "" {
				reasons, err := x.Why(row.why)
				require.NoError(t, err)
				require.Contains(t, fmt.Sprint(reasons), row.because)
			}
			require.Equal(t, row.want, strings.Join(ways, ", "))
		})
	}
}

// Base chains of equal priority run with the last registered first; accept ends one of them alone, drop all; iptables' tables count as
// registered before.
func TestNativeOrder(t *testing.T) {
	t.Parallel()
	table := func(name, hook, rules string) string {
		return "table ip " + name + " {\n\tchain c {\n\t\ttype " + hook + "; policy accept;\n\t\t" + rules + "\n\t}\n}\n"
	}
	const dstnat, forward = "nat hook prerouting priority dstnat", "filter hook forward priority filter"
	for _, row := range []struct {
		name, rules string
		last        int // the table whose chain is registered last; -1: as they stand
		want        string
	}{
		{"the second is first", table("a", dstnat, "dnat to 10.244.1.5:80") + table("b", dstnat, "dnat to 10.244.1.6:80"), -1, "answered 10.244.1.6:80 1.00"},
		{"the first is registered anew", table("a", dstnat, "dnat to 10.244.1.5:80") + table("b", dstnat, "dnat to 10.244.1.6:80"), 0, "answered 10.244.1.5:80 1.00"},
		{"what does not translate leaves it to the other", table("a", dstnat, "dnat to 10.244.1.5:80") + table("b", dstnat, "accept"), -1, "answered 10.244.1.5:80 1.00"},
		{"accept ends one", table("a", dstnat, "dnat to 10.244.1.5:80") + table("b", forward, "accept") + table("c", forward, "drop"), -1, "lost invalid AddrPort 1.00"},
		{"a mark of the first is seen", table("a", dstnat, "dnat to 10.244.1.5:80") + table("b", forward, "meta mark 0x1 drop") + table("c", forward, "meta mark set 0x1"), -1, "lost invalid AddrPort 1.00"},
		{"a mark of the second is not", table("a", dstnat, "dnat to 10.244.1.5:80") + table("b", forward, "meta mark 0x1 drop") + table("c", forward, "meta mark set 0x1"), 1, "answered 10.244.1.5:80 1.00"},
		{"priority goes before", table("a", dstnat+" - 1", "dnat to 10.244.1.5:80") + table("b", dstnat, "dnat to 10.244.1.6:80"), -1, "answered 10.244.1.5:80 1.00"},
		{"a table that is dormant", strings.Replace(table("a", dstnat, "dnat to 10.244.1.5:80"), "{\n", "{\n\tflags dormant\n", 1) + table("b", dstnat+" + 1", "dnat to 10.244.1.6:80"), -1, "answered 10.244.1.6:80 1.00"},
		{"the other family", table("b", dstnat, "dnat to 10.244.1.6:80") + "table ip6 x {\n\tchain c {\n\t\ttype " + forward + "; policy drop;\n\t}\n}\n", -1, "answered 10.244.1.6:80 1.00"},
		{"inet meets both", table("b", dstnat, "dnat to 10.244.1.6:80") + "table inet x {\n\tchain c {\n\t\ttype " + forward + "; policy drop;\n\t}\n}\n", -1, "lost invalid AddrPort 1.00"},
		{"what is not known goes both ways", table("b", dstnat, "rt classid 5 dnat to 10.244.1.6:80") + table("a", dstnat+" + 1", "dnat to 10.244.1.5:80"), -1, "answered 10.244.1.5:80 1.00, answered 10.244.1.6:80 1.00"},
		{"what natlab cannot read, too", table("b", dstnat, "bogus thing 5 dnat to 10.244.1.6:80") + table("a", dstnat+" + 1", "dnat to 10.244.1.5:80"), -1, "answered 10.244.1.5:80 1.00, answered 10.244.1.6:80 1.00"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			f := native(t, row.rules)
			if row.last >= 0 {
				f.NFT.Tables[row.last].Chains[0].Base.Registered = 100
			}
			ways, _ := explainNative(t, f, "tcp 192.168.1.9:1000 > 192.168.1.1:80")
			require.Equal(t, row.want, strings.Join(ways, ", "))
		})
	}
}

// What lo brings leads to lo where nft_fib asks at the prerouting hook, and at the input hook in newer kernels alone: in older ones the routes are asked there,
// which lead to no device for an address of the node.
func TestFibOfLoopback(t *testing.T) {
	t.Parallel()
	const asks = `table ip t {
	chain in {
		type filter hook %s priority filter; policy accept;
		fib saddr oif "lo" drop
	}
}
`
	for _, row := range []struct {
		hook   string
		kernel nat.Kernel
		drops  bool
	}{
		{"prerouting", nat.Kernel{Major: 5, Minor: 10}, true},
		{"prerouting", nat.Kernel{}, true},
		{"input", nat.Kernel{Major: 5, Minor: 10}, false},
		{"input", nat.Kernel{Major: 6, Minor: 1}, false},
		{"input", nat.Kernel{Major: 6, Minor: 12}, true},
		{"input", nat.Kernel{}, true},
	} {
		f := native(t, fmt.Sprintf(asks, row.hook))
		f.Kernel = row.kernel
		g, err := gateway.NewGateway(twoNetworks(), nil, gateway.NodeOptions{Facts: f, Trace: true})
		require.NoError(t, err)
		tuple, err := nat.ParseTuple("udp 10.244.1.1:1000 > 192.168.1.1:53")
		require.NoError(t, err)
		_, trace, _ := g.Send(packet.Build(tuple, packet.Fields{}).Bytes(), 0, time.Unix(1, 0))
		dropped := slices.ContainsFunc(trace, func(s nat.Step) bool { return s.Chain == "in" && s.Verdict == nat.Drop })
		require.Equal(t, row.drops, dropped, "%s, %s: %v", row.hook, row.kernel, trace)
	}
}
