package kubeproxy_test

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/kubeproxy"
	"natlab/topology"
)

// web is the Service of web's port: default/web:p, tcp 80.
const web = "446JGJO3FXDO7OFC"

// small is a cluster of node-1, in zone a, and node-2 with one Service default/web of type NodePort, to which each edit
// does something.
func small(edits ...func(*topology.Cluster)) topology.Cluster {
	s := topology.Service{
		Namespace: "default", Name: "web", Type: topology.NodePort, ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.0.20"), netip.MustParseAddr("fd00:96::20")},
		Ports: []topology.ServicePort{{Name: "p", Protocol: "TCP", Port: 80, NodePort: 30080, Endpoints: endpoints("10.244.1.5 node-1", "10.244.2.5 node-2")}},
	}
	c := topology.Cluster{
		Nodes: []topology.Node{
			{Name: "node-1", Labels: map[string]string{"topology.kubernetes.io/zone": "a"}, Addresses: []netip.Addr{netip.MustParseAddr("192.168.26.10"), netip.MustParseAddr("fd00:26::10")}},
			{Name: "node-2", Addresses: []netip.Addr{netip.MustParseAddr("192.168.26.20")}},
		},
		Services:  []topology.Service{s},
		KubeProxy: topology.KubeProxy{MasqueradeBit: -1, LocalhostNodePorts: true, ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}},
	}
	for _, edit := range edits {
		edit(&c)
	}
	return c
}

// endpoints reads a line each: address, node, and words: "gone" (terminating and not serving), "leaving" (terminating, serving),
// "zone=Z", "for=N" (a node hint), "slice=N".
func endpoints(lines ...string) []topology.Endpoint {
	var out []topology.Endpoint
	for _, line := range lines {
		words := strings.Fields(line)
		e := topology.Endpoint{Addr: netip.AddrPortFrom(netip.MustParseAddr(words[0]), 8080), Node: words[1], Ready: true, Serving: true}
		for _, w := range words[2:] {
			key, value, _ := strings.Cut(w, "=")
			switch key {
			case "gone", "leaving":
				e.Ready, e.Serving, e.Terminating = false, key == "leaving", true
			case "zone":
				e.ZoneHints = append(e.ZoneHints, value)
			case "for":
				e.NodeHints = append(e.NodeHints, value)
			case "slice":
				e.Slice, _ = strconv.Atoi(value)
			}
		}
		out = append(out, e)
	}
	return out
}

type edit = func(*topology.Cluster)

func service(change func(*topology.Service)) edit {
	return func(c *topology.Cluster) { change(&c.Services[0]) }
}

func behind(lines ...string) edit {
	return service(func(s *topology.Service) { s.Ports[0].Endpoints = endpoints(lines...) })
}

// twice gives the Service's port endpoints of which some have one address.
func twice(lines ...string) edit {
	return service(func(s *topology.Service) { s.Ports[0].Endpoints, s.Ports[0].Listed = nil, endpoints(lines...) })
}

func config(change func(*topology.KubeProxy)) edit {
	return func(c *topology.Cluster) { change(&c.KubeProxy) }
}

func nodePorts(list ...string) edit {
	return config(func(k *topology.KubeProxy) { k.NodePortAddresses = list })
}

func set(gate string, on bool) edit {
	return config(func(k *topology.KubeProxy) { k.FeatureGates = map[string]bool{gate: on} })
}

func balancer(ranges ...string) edit {
	return service(func(s *topology.Service) {
		s.Type, s.Ingress = topology.LoadBalancerType, []topology.Ingress{{IP: netip.MustParseAddr("203.0.113.1")}}
		for _, r := range ranges {
			s.SourceRanges = append(s.SourceRanges, netip.MustParsePrefix(r))
		}
	})
}

// What changed with which release: a piece of the rules that is there from a release on, up to one, or both. Each row
// is asked of every release, so on both sides of each change.
func TestWhatChangedWithWhichRelease(t *testing.T) {
	t.Parallel()
	local := service(func(s *topology.Service) {
		s.InternalPolicy, s.Type, s.Ports[0].NodePort = topology.PolicyLocal, topology.ClusterIP, 0
	})
	annotated := func(key, value string) edit {
		return service(func(s *topology.Service) { s.Annotations = map[string]string{"service.kubernetes.io/" + key: value} })
	}
	hinted := behind("10.244.1.5 node-1 zone=a", "10.244.2.5 node-2 zone=b")
	only := "-A KUBE-SVC-" + web + ` -m comment --comment "default/web:p -> 10.244.1.5:8080" -j KUBE-SEP-`
	forNode := behind("10.244.1.5 node-1 for=node-1", "10.244.2.5 node-2 for=node-2")
	external := service(func(s *topology.Service) {
		s.Type, s.Ports[0].NodePort, s.ExternalPolicy = topology.ClusterIP, 0, topology.PolicyLocal
		s.ExternalIPs = []netip.Addr{netip.MustParseAddr("203.0.113.9")}
	})
	fromNode := "-A KUBE-FW-" + web + ` -s 203.0.113.1/32 -m comment --comment "default/web:p loadbalancer IP" -j KUBE-EXT-` + web
	served := "-A KUBE-SERVICES -d 10.96.0.20/32 -p tcp"
	for _, row := range []struct {
		name        string
		edits       []edit
		family      nat.Family
		text        string
		from, until int // minor releases; 0 for the oldest and the newest
	}{
		// terminating endpoints, and the gate
		{"terminating endpoints serve", []edit{behind("10.244.1.5 node-1 leaving")}, nat.IPv4, "-> 10.244.1.5:8080", 26, 0},
		// internalTrafficPolicy
		{"internalTrafficPolicy counts", []edit{local}, nat.IPv4, "-A KUBE-SVL-" + web, 0, 0},
		// localhost and node ports
		{"localhostNodePorts: false", []edit{config(func(k *topology.KubeProxy) { k.LocalhostNodePorts = false })}, nat.IPv4, "-A KUBE-SERVICES ! -d 127.0.0.0/8", 26, 0},
		{"localhostNodePorts: false, by CIDR", []edit{nodePorts("127.0.0.0/8"), config(func(k *topology.KubeProxy) { k.LocalhostNodePorts = false })}, nat.IPv4, "-A KUBE-SERVICES -d 127.0.0.1/32", 0, 25},
		{"[::1] is none of the node ports'", nil, nat.IPv6, "-A KUBE-SERVICES ! -d ::1/128", 26, 0},
		{"[::1] by CIDR", []edit{nodePorts("::1/128")}, nat.IPv6, "-A KUBE-SERVICES -d ::1/128", 0, 25},
		// KUBE-FIREWALL and KUBE-FW
		{"martians", nil, nat.IPv4, "-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8", 27, 0},
		{"KUBE-FIREWALL is called", nil, nat.IPv6, "-A INPUT -j KUBE-FIREWALL", 27, 0},
		{"note", []edit{balancer("10.0.0.0/8")}, nat.IPv4, "-A KUBE-FW-" + web + ` -m comment --comment "other traffic to default/web:p will be dropped by KUBE-PROXY-FIREWALL"`, 27, 0},
		// node ports without an address
		{"node ports where no address is theirs", []edit{nodePorts("172.16.0.0/12")}, nat.IPv4, "--dport 30080 -j KUBE-EXT-" + web, 27, 0},
		{"node ports at their addresses", []edit{nodePorts("192.168.0.0/16")}, nat.IPv4, "--dport 30080 -j KUBE-EXT-" + web, 0, 0},
		// hints
		{"topology-aware-hints: Auto", []edit{hinted, annotated("topology-aware-hints", "Auto")}, nat.IPv4, only, 0, 0},
		{"topology-aware-hints: other", []edit{hinted, annotated("topology-aware-hints", "other")}, nat.IPv4, only, 27, 0},
		{"topology-mode: Auto", []edit{hinted, annotated("topology-mode", "Auto")}, nat.IPv4, only, 27, 0},
		{"topology-mode: Disabled", []edit{hinted, annotated("topology-mode", "Disabled")}, nat.IPv4, only, 31, 0},
		{"hints whatever the annotation", []edit{hinted}, nat.IPv4, only, 31, 0},
		{"node hints", []edit{forNode}, nat.IPv4, only, 34, 0},
		// the node's own address: 192.168.26.10, or 127.0.0.1 or 0.0.0.0 where it is not found
		{"node's address from the Node", []edit{balancer("192.168.26.0/24")}, nat.IPv4, fromNode, 28, 0},
		{"none is 0.0.0.0", []edit{balancer("0.0.0.0/8")}, nat.IPv4, fromNode, 0, 27},
		{"an address for each family", []edit{balancer("fd00:26::/64"), service(func(s *topology.Service) {
			s.Ingress[0].IP, s.Ports[0].Endpoints = netip.MustParseAddr("2001:db8::1"), endpoints("fd00:244:1::5 node-1")
		})}, nat.IPv6, "-A KUBE-FW-" + web + " -s 2001:db8::1/128", 29, 0},
		// conntrack and accounting
		{"INVALID is dropped where conntrack is liberal", []edit{config(func(k *topology.KubeProxy) { k.TCPBeLiberal = true })}, nat.IPv4, "-A KUBE-FORWARD -m conntrack --ctstate INVALID", 0, 28},
		{"INVALID is dropped", nil, nat.IPv4, "-A KUBE-FORWARD -m conntrack --ctstate INVALID", 0, 0},
		{"INVALID is counted", nil, nat.IPv4, "--nfacct-name  ct_state_invalid_dropped_pkts", 31, 0},
		{"localhost node ports are counted", nil, nat.IPv4, "-A KUBE-NODEPORTS -d 127.0.0.0/8 -p tcp", 31, 0},
		// externalTrafficPolicy of a ClusterIP Service
		{"eTP Local counts with externalIPs", []edit{external}, nat.IPv4, "-A KUBE-EXT-" + web + " -j KUBE-SVL-" + web, 29, 0},
		// ipMode
		{"ipMode Proxy", []edit{balancer(), service(func(s *topology.Service) { s.Ingress[0].IPMode = "Proxy" })}, nat.IPv4, "-A KUBE-SERVICES -d 203.0.113.1/32", 0, 29},
		{"ipMode VIP", []edit{balancer(), service(func(s *topology.Service) { s.Ingress[0].IPMode = "VIP" })}, nat.IPv4, "-A KUBE-SERVICES -d 203.0.113.1/32", 0, 0},
		// how endpoints are written
		{"as the slice spells it", []edit{behind("10.244.1.5 node-1"), service(func(s *topology.Service) { s.Ports[0].Endpoints[0].Written = "010.244.1.5" })}, nat.IPv4, "-> 010.244.1.5:8080", 0, 30},
		{"as addresses are written", []edit{behind("10.244.1.5 node-1"), service(func(s *topology.Service) { s.Ports[0].Endpoints[0].Written = "010.244.1.5" })}, nat.IPv4, "-> 10.244.1.5:8080", 31, 0},
		// /0
		{"a source range of everything is none", []edit{balancer("0.0.0.0/0")}, nat.IPv4, "-A KUBE-FW-" + web, 0, 33},
		{"a range of everything is every address", []edit{nodePorts("10.0.0.0/0")}, nat.IPv4, "this must be the last rule in this chain\" -m addrtype --dst-type LOCAL", 34, 0},
		{"0.0.0.0/0 is", []edit{nodePorts("0.0.0.0/0")}, nat.IPv4, "this must be the last rule in this chain\" -m addrtype --dst-type LOCAL", 0, 0},
		// labels
		{"headless by label", []edit{service(func(s *topology.Service) { s.HeadlessLabel = true })}, nat.IPv4, served, 36, 0},
		{"slices of another proxy", []edit{service(func(s *topology.Service) { s.Ports[0].Endpoints[0].OtherProxy = true })}, nat.IPv4, "-> 10.244.1.5:8080", 36, 0},
		// an address that stands twice (kubernetes#135266)
		{"the first stays, and serves nobody", []edit{twice("10.244.1.5 node-2 gone", "10.244.1.5 node-3")}, nat.IPv4, "has no endpoints", 0, 35},
		{"the running one counts", []edit{twice("10.244.1.5 node-2 gone", "10.244.1.5 node-3")}, nat.IPv4, "-> 10.244.1.5:8080", 36, 0},
		{"one of this node counts, running or not", []edit{twice("10.244.1.5 node-2", "10.244.1.5 node-1 gone")}, nat.IPv4, "has no endpoints", 0, 35},
		{"of two that run the last counts", []edit{local, twice("10.244.1.5 node-1", "10.244.1.5 node-2")}, nat.IPv4, "has no local endpoints", 36, 0},
		{"until then the first, of this node", []edit{local, twice("10.244.1.5 node-1", "10.244.1.5 node-2")}, nat.IPv4, "-A KUBE-SVL-" + web, 0, 35},
		{"or a later one of this node", []edit{local, twice("10.244.1.5 node-2", "10.244.1.5 node-1")}, nat.IPv4, "-A KUBE-SVL-" + web, 0, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c := small(row.edits...)
			for i, r := range kubeproxy.Releases() {
				rs, err := kubeproxy.Rules(c, "node-1", kubeproxy.Options{Release: r.Name, Family: row.family})
				require.NoError(t, err, "%s %s", row.name, r.Name)
				minor := 25 + i
				want := minor >= row.from && (row.until == 0 || minor <= row.until)
				require.Equal(t, want, strings.Contains(rs.String(), row.text), "%s %s: %q in\n%s", row.name, r.Name, row.text, rs.String())
			}
		})
	}
}

// A range of everything that is written another way: the node's addresses one by one, none of them in 1.27, all at once
// since 1.34. It has 127.0.0.0/8 in it in each of them, so that martians are kept out.
func TestRangeOfEverything(t *testing.T) {
	t.Parallel()
	for i, r := range kubeproxy.Releases() {
		rs, err := kubeproxy.Rules(small(nodePorts("10.0.0.0/0")), "node-1", kubeproxy.Options{Release: r.Name})
		require.NoError(t, err)
		text, minor := rs.String(), 25+i
		require.Equal(t, minor != 27 && minor < 34, strings.Contains(text, "-A KUBE-SERVICES -d 192.168.26.10/32"), r.Name)
		require.Equal(t, minor >= 34, strings.Contains(text, "-m addrtype --dst-type LOCAL -j KUBE-NODEPORTS"), r.Name)
		require.Equal(t, minor >= 27, strings.Contains(text, "-A KUBE-FIREWALL ! -s 127.0.0.0/8"), r.Name)
	}
}

// What a kube-proxy exits on has no rules, and what it does not exit on has.
func TestWhatReleasesExitOn(t *testing.T) {
	t.Parallel()
	nodeCIDR := func(address string, cidrs ...string) edit {
		return func(c *topology.Cluster) {
			c.KubeProxy.DetectLocalMode = "NodeCIDR"
			c.Nodes[0].Addresses = []netip.Addr{netip.MustParseAddr(address)}
			for _, s := range cidrs {
				c.Nodes[0].PodCIDRs = append(c.Nodes[0].PodCIDRs, netip.MustParsePrefix(s))
			}
		}
	}
	clusterCIDR := func(mode string, cidrs ...string) edit {
		return config(func(k *topology.KubeProxy) {
			k.DetectLocalMode, k.BridgeInterface, k.ClusterCIDRs = mode, "br0", nil
			for _, s := range cidrs {
				k.ClusterCIDRs = append(k.ClusterCIDRs, netip.MustParsePrefix(s))
			}
		})
	}
	bound := config(func(k *topology.KubeProxy) { k.BindAddress = netip.MustParseAddr("192.168.26.10") })
	for _, row := range []struct {
		name        string
		edits       []edit
		want        string // a part of the error
		from, until int
	}{
		// families
		{"podCIDRs of the other family", []edit{nodeCIDR("fd00:26::10", "10.244.1.0/24")}, "cluster is IPv6-primary but node.spec.podCIDRs contains only IPv4 addresses", 28, 0},
		{"the other way about", []edit{nodeCIDR("192.168.26.10", "fd00:244:1::/64")}, "cluster is IPv4-primary but node.spec.podCIDRs contains only IPv6 addresses", 28, 0},
		{"bindAddress is the first address", []edit{nodeCIDR("fd00:26::10", "10.244.1.0/24"), bound}, "", 99, 0},
		{"one of each", []edit{nodeCIDR("fd00:26::10", "10.244.1.0/24", "fd00:244:1::/64")}, "", 99, 0},
		{"three ranges", []edit{clusterCIDR("", "10.0.0.0/8", "fd00::/64", "11.0.0.0/8")}, "clusterCIDR must be a single CIDR or a dual-stack pair", 0, 0},
		{"two of one family", []edit{clusterCIDR("ClusterCIDR", "10.0.0.0/8", "11.0.0.0/8")}, "clusterCIDR must be a single CIDR or a dual-stack pair", 0, 0},
		{"which nobody asks for", []edit{clusterCIDR("BridgeInterface", "10.0.0.0/8", "11.0.0.0/8")}, "clusterCIDR must be a single CIDR or a dual-stack pair", 0, 30},
		// keywords
		{"primary", []edit{nodePorts("primary")}, `nodePortAddresses[0]: "primary" must be a valid CIDR`, 0, 30},
		{"primary and a CIDR", []edit{nodePorts("primary", "10.0.0.0/8")}, "nodePortAddresses[0]", 0, 36},
		{"a CIDR and primary", []edit{nodePorts("10.0.0.0/8", "primary")}, "nodePortAddresses[1]", 0, 36},
		{"localhost", []edit{nodePorts("localhost")}, `nodePortAddresses[0]: "localhost" must be a valid CIDR`, 0, 36},
		{"all", []edit{nodePorts("all")}, `nodePortAddresses[0]: "all" must be a valid CIDR`, 0, 36},
		// gates
		{"terminating off", []edit{set("ProxyTerminatingEndpoints", false)}, "ProxyTerminatingEndpoints", 28, 0},
		{"terminating on", []edit{set("ProxyTerminatingEndpoints", true)}, "unrecognized feature gate: ProxyTerminatingEndpoints", 30, 0},
		{"internal policy off", []edit{set("ServiceInternalTrafficPolicy", false)}, "ServiceInternalTrafficPolicy", 26, 0},
		{"external IPs", []edit{set("AllowServiceExternalIPs", false)}, "unrecognized feature gate: AllowServiceExternalIPs", 0, 35},
		{"a gate of another component", []edit{set("JobPodFailurePolicy", false)}, "JobPodFailurePolicy", 31, 0},
		{"a gate without the one that it needs", []edit{set("GracefulNodeShutdown", false)}, "depends on features that are disabled: [GracefulNodeShutdown]", 35, 0},
		{"all alpha gates", []edit{set("AllAlpha", true)}, "is enabled, but depends on features that are disabled", 37, 0},
		{"no gate", []edit{set("NoGateOfAnyRelease", true)}, "unrecognized feature gate: NoGateOfAnyRelease", 0, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c := small(row.edits...)
			for i, r := range kubeproxy.Releases() {
				_, err := kubeproxy.Rules(c, "node-1", kubeproxy.Options{Release: r.Name})
				minor := 25 + i
				if minor < row.from || row.until != 0 && minor > row.until {
					require.NoError(t, err, "%s %s", row.name, r.Name)
					continue
				}
				require.ErrorIs(t, err, kubeproxy.ErrExits, "%s %s", row.name, r.Name)
				require.ErrorContains(t, err, "kube-proxy "+r.Name+" exits: ", row.name)
				require.ErrorContains(t, err, row.want, row.name)
			}
		})
	}
}

// Gates that can be set: to their default by default, else as they are set, by name or with all of their kind.
func TestGatesThatCanBeSet(t *testing.T) {
	t.Parallel()
	leaving := behind("10.244.1.5 node-1 leaving")
	hinted := behind("10.244.1.5 node-1 zone=a", "10.244.2.5 node-2 zone=b")
	forNode := behind("10.244.1.5 node-1 for=node-1", "10.244.2.5 node-2 for=node-2")
	local := service(func(s *topology.Service) {
		s.InternalPolicy, s.Type, s.Ports[0].NodePort = topology.PolicyLocal, topology.ClusterIP, 0
	})
	proxied := []edit{balancer(), service(func(s *topology.Service) { s.Ingress[0].IPMode = "Proxy" })}
	external := service(func(s *topology.Service) { s.ExternalIPs = []netip.Addr{netip.MustParseAddr("203.0.113.9")} })
	only := "-A KUBE-SVC-" + web + ` -m comment --comment "default/web:p -> 10.244.1.5:8080" -j KUBE-SEP-`
	for _, row := range []struct {
		release, gate string
		on            bool
		edits         []edit
		text          string
		want          bool
	}{
		{"v1.25", "ProxyTerminatingEndpoints", true, []edit{leaving}, "-> 10.244.1.5:8080", true},
		{"v1.25", "AllAlpha", true, []edit{leaving}, "-> 10.244.1.5:8080", true},
		{"v1.25", "AllBeta", false, []edit{leaving}, "-> 10.244.1.5:8080", false},
		{"v1.27", "ProxyTerminatingEndpoints", false, []edit{leaving}, "-> 10.244.1.5:8080", false},
		{"v1.27", "AllBeta", false, []edit{leaving}, "-> 10.244.1.5:8080", false},
		{"v1.28", "ProxyTerminatingEndpoints", true, []edit{leaving}, "-> 10.244.1.5:8080", true},
		{"v1.28", "AllBeta", false, []edit{leaving}, "-> 10.244.1.5:8080", true},
		{"v1.25", "ServiceInternalTrafficPolicy", false, []edit{local}, "KUBE-SVL-" + web, false},
		{"v1.30", "ServiceTrafficDistribution", true, []edit{hinted}, only, true},
		{"v1.31", "ServiceTrafficDistribution", false, []edit{hinted}, only, false},
		{"v1.32", "TopologyAwareHints", false, []edit{hinted}, only, false},
		{"v1.33", "TopologyAwareHints", true, []edit{hinted}, only, true},
		{"v1.33", "PreferSameTrafficDistribution", true, []edit{forNode}, only, true},
		{"v1.34", "PreferSameTrafficDistribution", false, []edit{forNode}, only, false},
		{"v1.29", "LoadBalancerIPMode", true, proxied, "-A KUBE-SERVICES -d 203.0.113.1/32", false},
		{"v1.31", "LoadBalancerIPMode", false, proxied, "-A KUBE-SERVICES -d 203.0.113.1/32", true},
		{"v1.36", "AllowServiceExternalIPs", false, []edit{external}, "-d 203.0.113.9/32", false},
		{"v1.36", "AllowServiceExternalIPs", true, []edit{external}, "-d 203.0.113.9/32", true},
	} {
		t.Run(row.release, func(t *testing.T) {
			t.Parallel()
			rs, err := kubeproxy.Rules(small(append(row.edits, set(row.gate, row.on))...), "node-1", kubeproxy.Options{Release: row.release})
			require.NoError(t, err, "%s %s", row.release, row.gate)
			require.Equal(t, row.want, strings.Contains(rs.String(), row.text), "%s %s=%t: %q in\n%s", row.release, row.gate, row.on, row.text, rs.String())
		})
	}
}
