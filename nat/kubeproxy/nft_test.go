package kubeproxy_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/kubeproxy"
	"natlab/nat/nftables"
	"natlab/topology"
)

// The patch releases on both sides of each change in nftables mode.
var nftReleases = []string{"v1.31.0", "v1.32.13", "v1.33.0", "v1.33.5", "v1.33.6", "v1.33", "v1.34.0", "v1.34.1", "v1.34.2", "v1.35.4", "v1.36.0", "v1.37.2", "v1.37"}

// between lists those of them from one on and up to another; "" for no bound.
func between(from, until string) (out []string) {
	on := from == ""
	for _, r := range nftReleases {
		if on = on || r == from; on {
			out = append(out, r)
		}
		if r == until {
			break
		}
	}
	return out
}

// What changed with which patch release in nftables mode: a piece of the table that those releases have, and no other.
func TestWhatChangedInNFTablesMode(t *testing.T) {
	t.Parallel()
	sticky := service(func(s *topology.Service) { s.AffinitySeconds = 60 })
	one := behind("10.244.1.5 node-1")
	local := service(func(s *topology.Service) { s.ExternalPolicy = topology.PolicyLocal })
	bridge := config(func(k *topology.KubeProxy) { k.DetectLocalMode, k.BridgeInterface = "BridgeInterface", "cni0" })
	ranges := func(c *topology.Cluster) {
		c.ServiceCIDRs = []netip.Prefix{netip.MustParsePrefix("10.112.0.0/16"), netip.MustParsePrefix("10.96.0.0/12")}
	}
	loopback := []edit{nodePorts("127.0.0.0/8"), set("KubeProxyNFTablesLocalhostNodePorts", true)}
	byIndex := append(between("", "v1.33.5"), "v1.34.0", "v1.34.1")
	for _, row := range []struct {
		name  string
		edits []edit
		text  string
		in    []string
	}{
		{"endpoints are looked for before DNAT", nil, "type filter hook input priority -110;", between("", "v1.33.5")},
		{"endpoints are looked for after it", nil, "type filter hook input priority filter;", between("v1.33.6", "")},
		{"source ranges have a chain of their own", nil, "chain filter-output-pre-dnat {", between("v1.33.6", "")},
		{"a chain marks", nil, "chain mark-for-masquerade {", between("", "v1.35.4")},
		{"the port is named", nil, "ip daddr 10.96.0.20 tcp dport 80 ip saddr != 10.244.0.0/16 jump mark-for-masquerade", between("", "v1.33")},
		{"it is not", nil, "ip daddr 10.96.0.20 ip saddr != 10.244.0.0/16 jump mark-for-masquerade", between("v1.34.0", "v1.35.4")},
		{"all Services at once", nil, "ip daddr @cluster-ips ip saddr != 10.244.0.0/16 meta mark set meta mark | 0x00004000 comment", between("v1.36.0", "")},
		{"endpoints have chains", nil, "ip saddr 10.244.1.5 jump mark-for-masquerade", between("", "v1.35.4")},
		{"endpoints are in a map", nil, "numgen random mod 2 map { 0 : 10.244.1.5 . 8080, 1 : 10.244.2.5 . 8080 }", between("v1.36.0", "")},
		{"local ones that ask themselves are in a set", nil, "elements = { 10.244.1.5 . 10.244.1.5 . tcp . 8080 }", between("v1.36.0", "")},
		{"one endpoint in a map", []edit{one}, "numgen random mod 1 map { 0 : 10.244.1.5 . 8080 }", between("v1.36.0", "v1.36.0")},
		{"one endpoint without", []edit{one}, "chain service-X546UWPH-default/web/tcp/p {\n\t\tmeta l4proto tcp dnat to 10.244.1.5:8080\n", between("v1.37.2", "")},
		{"devices by index", []edit{bridge}, `iif != "cni0"`, byIndex},
		{"with affinity all have chains", []edit{sticky}, "{ ip saddr }\n\t\tmeta l4proto tcp dnat to 10.244.2.5:8080", nftReleases},
		{"its sets", []edit{sticky}, "size 65535\n\t\tflags dynamic,timeout\n\t\ttimeout 1m\n", nftReleases},
		{"pods past externalTrafficPolicy", []edit{local}, `comment "short-circuit pod traffic"`, nftReleases},
		{"node ports at the first address alone", nil, "elements = { 192.168.26.10 }", nftReleases},
		{"node ports at every address", []edit{nodePorts("0.0.0.0/0")}, "fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap @service-nodeports", nftReleases},
		{"ServiceCIDRs, by default since 1.33", []edit{ranges}, `ip daddr { 10.96.0.0-10.112.255.255 } drop comment "Drop traffic to unallocated ClusterIPs"`, between("v1.33.0", "")},
		{"source ranges join", []edit{balancer("198.51.100.0/24", "198.51.101.0/24", "198.51.100.7/32")}, "ip saddr != { 198.51.100.0/23 } drop", nftReleases},
		{"one stands alone", []edit{balancer("198.51.100.0/24")}, "ip saddr != 198.51.100.0/24 drop", nftReleases},
		{"the node may ask as the load balancer", []edit{balancer("192.168.26.0/24")}, "ip saddr != { 192.168.26.0/24, 203.0.113.1 } drop", nftReleases},
		{"no endpoint at all", []edit{behind()}, `10.96.0.20 . tcp . 80 comment "default/web:p" : goto reject-chain`, nftReleases},
		{"no local one", []edit{local, behind("10.244.2.5 node-2")}, `tcp . 30080 comment "default/web:p" : drop`, nftReleases},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			for _, release := range nftReleases {
				text := tables(t, release, row.edits...)
				require.Equal(t, slices.Contains(row.in, release), strings.Contains(text, row.text), "%s: %q in\n%s", release, row.text, text)
			}
		})
	}
	gate := "counter localhost-nodeport-rejected-udp {"
	require.Contains(t, tables(t, "v1.37.2", loopback...), gate)
	require.NotContains(t, tables(t, "v1.37.2", loopback...), "counter localhost-nodeport-rejected-tcp {", "kube-proxy serves it itself")
	require.NotContains(t, tables(t, "v1.37.2", loopback[0]), gate)
}

// tables is the IPv4 table; that of IPv6 prints and parses as well.
func tables(t *testing.T, release string, edits ...edit) string {
	t.Helper()
	out := ""
	for _, family := range []nat.Family{nat.IPv6, nat.IPv4} {
		o := kubeproxy.Options{Release: release, Family: family, NodeDevices: []string{"cni0"}}
		rs, err := kubeproxy.Tables(small(edits...), "node-1", o)
		require.NoError(t, err)
		again, err := nftables.ParseText(rs.String())
		require.NoError(t, err)
		require.Equal(t, rs.String(), again.String(), "what is printed parses")
		out = rs.String()
	}
	return out
}

// What nft refuses is an error, and no table.
func TestRefusedByNFT(t *testing.T) {
	t.Parallel()
	prefix := config(func(k *topology.KubeProxy) { k.DetectLocalMode, k.InterfacePrefix = "InterfaceNamePrefix", "cali" })
	bridge := config(func(k *topology.KubeProxy) { k.DetectLocalMode, k.BridgeInterface = "BridgeInterface", "br9" })
	long := service(func(s *topology.Service) {
		s.Namespace, s.Name, s.Ports[0].Endpoints = strings.Repeat("n", 63), strings.Repeat("s", 63), nil
	})
	for _, row := range []struct {
		release string
		edit    edit
		want    string
	}{
		{"v1.33.5", prefix, `"iif cali*"`},
		{"v1.33.6", prefix, ""},
		{"v1.34.1", bridge, `"iif br9"`},
		{"v1.34.2", bridge, ""},
		{"v1.36.0", long, "has 129 bytes, and nft takes 128"},
		{"v1.37.0", long, ""},
		{"v1.30.4", func(*topology.Cluster) {}, "want v1.31 or newer"},
	} {
		_, err := kubeproxy.Tables(small(row.edit), "node-1", kubeproxy.Options{Release: row.release})
		if row.want == "" {
			require.NoError(t, err, row.release)
			continue
		}
		require.ErrorContains(t, err, row.want)
	}
	c := small()
	c.KubeProxy.Mode = topology.ModeNFTables
	_, err := kubeproxy.Rules(c, "node-1", kubeproxy.Options{})
	require.ErrorIs(t, err, kubeproxy.ErrMode)
}

// What kube-proxy writes as objects change: the chains of what changed, elements that differ, and chains that are wanted no more first
// emptied, then deleted a moment later.
func TestSyncsOfNFTablesMode(t *testing.T) {
	t.Parallel()
	var process kubeproxy.Process
	var live nftables.Table
	at := time.Unix(0, 0)
	step := func(release string, edits ...edit) string {
		at = at.Add(2 * time.Second)
		all, err := process.Sync(small(edits...), "node-1", kubeproxy.Options{Release: release}, live, at)
		require.NoError(t, err)
		text := ""
		for _, tx := range all {
			live = tx.Apply(live)
			text += tx.String() + "--\n"
		}
		return text
	}
	require.Contains(t, step("v1.37.2"), "delete chain ip kube-proxy nat-output\n", "base chains are made anew")
	require.Empty(t, step("v1.37.2"))
	require.Empty(t, step("v1.37.2", func(c *topology.Cluster) { c.ServiceCIDRs = []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12")} }))
	none := step("v1.37.2", behind())
	require.Contains(t, none, "delete element ip kube-proxy service-ips { 10.96.0.20 . tcp . 80 }\n")
	require.Contains(t, none, `add element ip kube-proxy no-endpoint-services { 10.96.0.20 . tcp . 80 comment "default/web:p" : goto reject-chain }`)
	require.NotContains(t, none, "nat-output")
	require.NotContains(t, none, "delete chain")
	later := step("v1.37.2", behind())
	require.Contains(t, later, "delete chain ip kube-proxy service-")
	require.Empty(t, step("v1.37.2", behind()))
	process.Failed()
	require.Contains(t, step("v1.37.2", behind()), "add table ip kube-proxy", "after a failure everything is written")
	moved := func(c *topology.Cluster) {
		c.Nodes[0].Labels = map[string]string{"disk": "ssd", "topology.kubernetes.io/zone": "a"}
	}
	require.Empty(t, step("v1.37.2", behind(), moved), "a label that tells no place")
	require.Contains(t, step("v1.33.6", behind()), "add table ip kube-proxy", "which counted before 1.34")
	// A restart keeps the elements that are right, and until 1.32 flushes them.
	process = kubeproxy.Process{}
	restart := step("v1.37.2", behind())
	require.NotContains(t, restart, "add element ip kube-proxy no-endpoint-services")
	process = kubeproxy.Process{}
	require.Contains(t, step("v1.32.0", behind()), "flush map ip kube-proxy no-endpoint-services\n")
	want, err := kubeproxy.Tables(small(behind()), "node-1", kubeproxy.Options{Release: "v1.37.2"})
	require.NoError(t, err)
	process, live = kubeproxy.Process{}, nftables.Table{}
	step("v1.37.2", behind())
	require.Equal(t, want.String(), nftables.Ruleset{Tables: []nftables.Table{live}}.String())
}
