package audit

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/kubeproxy"
	"natlab/nat/nftables"
	"natlab/topology"
)

// nativeNode is a node that holds what a kube-proxy in nftables mode wrote, as nft lists it, with an edit of that text.
func nativeNode(t *testing.T, family nat.Family, release string, edit func(string) string) Node {
	t.Helper()
	c, err := topology.DualStack()
	require.NoError(t, err)
	c.KubeProxy.Mode, c.KubeProxy.Release = topology.ModeNFTables, release
	for i := range c.Services {
		if s := &c.Services[i]; s.Name == "release-name-grafana" { // without endpoints
			s.Ports[0].Endpoints, s.Ports[0].Listed = nil, nil
		}
	}
	rs, err := kubeproxy.Tables(c, node, kubeproxy.Options{Family: family})
	require.NoError(t, err)
	text := rs.Tables[0].String()
	if edit != nil {
		changed := edit(text)
		require.NotEqual(t, text, changed, "nothing was planted")
		text = changed
	}
	live, err := nftables.ParseText(text)
	require.NoError(t, err)
	return Node{Cluster: c, Name: node, Options: kubeproxy.Options{Family: family}, Native: live}
}

// first takes the first line that has all the words, and puts another in its place; LINE stands for it.
func first(with string, words ...string) func(string) string {
	return func(text string) string {
		lines := strings.Split(text, "\n")
		for i, line := range lines {
			if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
				lines[i] = strings.ReplaceAll(with, "LINE", line)
				return strings.Join(lines, "\n")
			}
		}
		return text
	}
}

// element takes an element's text for another in the listing.
func replace(was, is string) func(string) string {
	return func(text string) string { return strings.Replace(text, was, is, 1) }
}

func TestNativeIsHealthy(t *testing.T) {
	t.Parallel()
	for _, family := range []nat.Family{nat.IPv4, nat.IPv6} {
		for _, release := range []string{"v1.31", "v1.33.13", "v1.34", "v1.36", "v1.37"} {
			found, err := Check(nativeNode(t, family, release, nil))
			require.NoError(t, err)
			require.Empty(t, found, "%s of %s", release, family)
		}
	}
}

// Each fault that is planted in a healthy node's table is found, alone, by its kind and with what it does.
func TestNativeFaults(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name      string
		edit      func(string) string
		kind      Kind
		what, why string
	}{
		{"element gone", replace("10.98.1.4 . tcp . 9000 : goto", "10.98.1.44 . tcp . 9000 : goto"), Missing, "10.98.1.4 . tcp . 9000 : goto service-", "is not translated"},
		{"foreign element", replace("10.98.1.4 . tcp . 9000 : goto", "10.98.1.44 . tcp . 9000 : goto"), Extra, "10.98.1.44 . tcp . 9000 : goto service-", "kube-proxy's name"},
		{"element led elsewhere", replace("10.98.1.4 . tcp . 9000 : goto service-", "10.98.1.4 . tcp . 9000 : goto local-"), Changed, "10.98.1.4 . tcp . 9000 : goto service-", "led elsewhere"},
		{"stale rejection", replace(`. tcp . 80 comment "default/release-name-grafana:http-web" : goto reject-chain`, ". tcp . 81 : goto reject-chain"), StaleReject, ". tcp . 81 : goto reject-chain", "refused"},
		{"node's address gone", replace("elements = { 192.168.26.105 }", "elements = { 192.168.26.99 }"), Missing, "192.168.26.105", "node ports are not served"},
		{"set gone", replace("set hairpin-connections {", "set hairpins {"), Missing, "set hairpin-connections is missing", "reach itself"},
		{"a set more", replace("set hairpin-connections {", "set hairpins {"), Extra, "set hairpins", "gone"},
		{"stale endpoint", replace("10.244.38.178 . 9000", "10.244.38.99 . 9000"), Changed, "10.244.38.99", "no endpoint that can serve: 10.244.38.99:9000; never chosen: 10.244.38.178:9000"},
		{"rule gone", first("", "masquerade fully-random", "@hairpin-connections"), Missing, "@hairpin-connections", "keep their source"},
		{"rule more", first("LINE\n\t\tip saddr 10.0.0.0/8 drop", "jump services"), Extra, "ip saddr 10.0.0.0/8 drop", "kube-proxy's name"},
		{"rule changed", replace("meta mark set meta mark | 0x00004000", "meta mark set meta mark | 0x00008000"), Changed, "0x00008000", "masqueraded"},
		{"out of order", first("\t\tmeta mark & 0x00004000 != 0x00000000 meta mark set meta mark ^ 0x00004000 masquerade fully-random", "@hairpin-connections"), Missing, "@hairpin-connections", ""},
		{"base chain called otherwise", replace("type nat hook output priority -100", "type nat hook output priority 50"), Changed, "priority security", "another moment"},
		{"policy", replace("type filter hook forward priority filter; policy accept", "type filter hook forward priority filter; policy drop"), Changed, "policy drop", "verdict"},
		{"foreign chain", first("\tchain mine {\n\t\ttype filter hook input priority 0; policy accept;\n\t\tdrop\n\t}\nLINE", "chain services {"), Extra, "chain mine, with one rule", "every packet"},
		{"chain emptied", first("", "ip daddr . meta l4proto . th dport vmap @service-ips"), Missing, "vmap @service-ips", "no Service address"},
		{"dormant", first("LINE\n\tflags dormant", "table ip kube-proxy {"), Changed, "dormant", "no hook"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			found, err := Check(nativeNode(t, nat.IPv4, "v1.37", row.edit))
			require.NoError(t, err)
			require.True(t, slices.ContainsFunc(found, func(f Finding) bool {
				return f.Kind == row.kind && strings.Contains(f.What, row.what) && strings.Contains(f.Why, row.why)
			}), "%v", found)
			require.LessOrEqual(t, len(found), 2, "%v", found)
			for _, f := range found {
				require.Equal(t, native, f.Backend)
				require.NotEmpty(t, f.Why)
			}
		})
	}
}

// A node that holds nothing, and one that holds the rules of iptables mode as well.
func TestNativeOfTheOtherMode(t *testing.T) {
	t.Parallel()
	n := nativeNode(t, nat.IPv6, "v1.37", nil)
	n.Native = nftables.Ruleset{}
	found, err := Check(n)
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Contains(t, found[0].What, "none of kube-proxy's rules")

	n = nativeNode(t, nat.IPv4, "v1.37", nil)
	old := n.Cluster
	old.KubeProxy.Mode = ""
	rs, err := kubeproxy.Rules(old, node, kubeproxy.Options{})
	require.NoError(t, err)
	n.Held = []Held{held(t, legacy, rs), {Backend: nft, Rules: iptables.Ruleset{}}}
	found, err = Check(n)
	require.NoError(t, err)
	require.True(t, slices.ContainsFunc(found, func(f Finding) bool { return f.Backend == legacy && f.Kind == Extra && f.Chain == "KUBE-SERVICES" }), "%v", found)
	require.True(t, slices.ContainsFunc(found, func(f Finding) bool { return f.Kind == StaleReject }), "%v", found)
}

// Without a KubeProxyConfiguration the node's table tells the mode, and the pods' network.
func TestNativeIsInferred(t *testing.T) {
	t.Parallel()
	for _, family := range []nat.Family{nat.IPv4, nat.IPv6} {
		for _, release := range []string{"v1.31", "v1.37"} {
			n := nativeNode(t, family, release, nil)
			n.Cluster.KubeProxy = topology.KubeProxy{MasqueradeBit: -1, Release: release}
			require.Contains(t, n.Infer(), "nftables mode, with clusterCIDR ")
			found, err := Check(n)
			require.NoError(t, err)
			require.Empty(t, found, "%s of %s", release, family)
		}
	}
	n := nativeNode(t, nat.IPv4, "v1.37", nil)
	n.Cluster.KubeProxy = topology.KubeProxy{MasqueradeBit: -1, Configured: true}
	require.Empty(t, n.Infer())
}

func TestEndpointsOfRules(t *testing.T) {
	t.Parallel()
	n := nativeNode(t, nat.IPv6, "v1.37", nil)
	var all []netip.AddrPort
	for _, c := range n.Native.Tables[0].Chains {
		for i := range c.Rules {
			all = append(all, c.Rules[i].Endpoints()...)
		}
	}
	require.NotEmpty(t, all)
	for _, e := range all {
		require.True(t, e.Addr().Is6(), e)
		require.NotZero(t, e.Port())
	}
}

// What others do to what comes for Services is found beside kube-proxy's table, too, and so are settings; a node without any of it has no finding.
func TestOthersInNFTablesMode(t *testing.T) {
	t.Parallel()
	n := nativeNode(t, nat.IPv4, "v1.37", nil)
	beside := func(rules string) []Kind {
		rs, err := iptables.ParseString("*filter\n:FORWARD ACCEPT [0:0]\n"+rules+"COMMIT\n", nat.IPv4)
		require.NoError(t, err)
		one := n
		one.Held = []Held{{Backend: nft, Rules: rs}}
		found, err := Check(one)
		require.NoError(t, err)
		return kinds(found)
	}
	require.Empty(t, beside(""))
	require.Equal(t, []Kind{Dropped}, beside("-A FORWARD -j REJECT --reject-with icmp-host-prohibited\n"))
	n.Sysctls = []topology.Sysctl{{Key: "net/ipv4/ip_forward", Value: "0"}, {Key: "net/ipv4/conf/all/route_localnet", Value: "0"}}
	require.Equal(t, []Kind{Setting}, beside(""))
}
