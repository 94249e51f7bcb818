package service_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/service"
	"natlab/topology"
)

// text is an answer in one line: an ending for each endpoint, a or b, with as whom the server sees the client.
func text(a service.Answer) string {
	if len(a.Endings) == 0 {
		return "no Service"
	}
	var out []string
	for _, e := range a.Endings {
		words := []string{e.End.String()}
		if e.Endpoint.IsValid() {
			name := map[string]string{webA: "A", webB: "B", webHost: "H"}[e.Endpoint.String()]
			words = append(words, name)
			for _, c := range e.Client {
				words = append(words, c.String())
			}
			if e.Masqueraded {
				words = append(words, "masqueraded")
			}
		}
		out = append(out, strings.Join(words, " "))
	}
	return a.Node + ": " + strings.Join(out, ", ")
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	const (
		cip, np, lb, ext = "10.70.0.1:80", ":30080", "172.20.0.100:80", "203.0.113.9:80"
		none             = "no Service"
	)
	for _, row := range []struct {
		name     string
		change   change
		from, to string
		want     string
	}{
		// who is masqueraded by the cluster IP: everybody but pods, and a pod that is sent to itself
		{"a pod", nil, "d/idle-a", cip, "a: answered A 10.60.1.11, answered B 10.60.1.11"},
		{"a pod that is an endpoint", nil, "d/web-a", cip, "a: answered A 172.20.0.1 10.60.1.0 masqueraded, answered B 10.60.1.10"},
		{"a node", nil, "a", cip, "a: answered A 172.20.0.1 10.60.1.0 masqueraded, answered B 10.60.1.0 masqueraded"},
		{"a host-network pod", nil, "d/host-c", cip, "c: answered A 10.60.3.0 masqueraded, answered B 10.60.3.0 masqueraded"},
		{"masqueradeAll", kubeProxy(func(kp *topology.KubeProxy) { kp.MasqueradeAll = true }), "d/idle-c", cip, "c: answered A 10.60.3.0 masqueraded, answered B 10.60.3.0 masqueraded"},
		{"without a tunnel", func(c *topology.Cluster, _ *topology.Service, _ []topology.Endpoint) {
			c.PodNetwork.Overlay = topology.None
		}, "b", cip, "b: answered A 172.20.0.2 masqueraded, answered B 172.20.0.2 masqueraded"},
		{"nothing tells pods", kubeProxy(func(kp *topology.KubeProxy) { kp.ClusterCIDRs = nil }), "b", cip, "b: answered A 172.20.0.2, answered B 172.20.0.2"},
		{"NodeCIDR", kubeProxy(func(kp *topology.KubeProxy) { kp.DetectLocalMode = "NodeCIDR" }), "d/idle-a", cip, "a: answered A 10.60.1.11, answered B 10.60.1.11"},
		{"another's bridge", kubeProxy(func(kp *topology.KubeProxy) { kp.DetectLocalMode, kp.BridgeInterface = "BridgeInterface", "cbr0" }), "d/idle-c", cip, "c: answered A 10.60.3.0 masqueraded, answered B 10.60.3.0 masqueraded"},
		{"by device", kubeProxy(func(kp *topology.KubeProxy) { kp.DetectLocalMode, kp.InterfacePrefix = "InterfaceNamePrefix", "cali" }), "d/idle-c", cip, "c: answered A 10.60.3.10, answered B 10.60.3.10"},
		{"by device, a node", kubeProxy(func(kp *topology.KubeProxy) { kp.DetectLocalMode, kp.InterfacePrefix = "InterfaceNamePrefix", "cali" }), "c", cip, "c: answered A 10.60.3.0 masqueraded, answered B 10.60.3.0 masqueraded"},
		{"an endpoint on the host, from itself", endpoints(ready(webHost, "c")), "c", cip, "c: answered H 172.20.0.3 10.60.3.0 masqueraded"},
		{"an endpoint on the host, from elsewhere", endpoints(ready(webHost, "c")), "a", cip, "a: answered H 172.20.0.1 masqueraded"},
		// external addresses
		{"a node port", nil, "near", "172.20.0.3" + np, "c: answered A 10.60.3.0 masqueraded, answered B 10.60.3.0 masqueraded"},
		{"a node port, local pod", nil, "near", "172.20.0.1" + np, "a: answered A 172.20.0.1 10.60.1.0 masqueraded, answered B 10.60.1.0 masqueraded"},
		{"a node port of another node", nil, "d/idle-c", "172.20.0.1" + np, "a: answered A 172.20.0.1 10.60.1.0 masqueraded, answered B 10.60.1.0 masqueraded"},
		{"a server on the node itself", endpoints(ready(webHost, "c")), "near", "172.20.0.3" + np, "c: answered H 172.20.0.200"},
		{"loopback", nil, "a", "127.0.0.1" + np, "a: answered A 172.20.0.1 10.60.1.0 masqueraded, answered B 10.60.1.0 masqueraded"},
		{"a load balancer", nil, "far", lb, "a: answered A 172.20.0.1 10.60.1.0 masqueraded, answered B 10.60.1.0 masqueraded"},
		{"an external IP", nil, "d/idle-c", ext, "c: answered A 10.60.3.0 masqueraded, answered B 10.60.3.0 masqueraded"},
		{"an external IP by its node", nil, "far", ext, "b: answered A 10.60.2.0 masqueraded, answered B 172.20.0.2 10.60.2.0 masqueraded"},
		// what is no address of a Service
		{"another port", nil, "d/idle-a", "10.70.0.1:81", none},
		{"a node port by the cluster IP", nil, "d/idle-a", "10.70.0.1:30080", none},
		{"the cluster IP from outside", nil, "near", cip, none},
		{"a node's port", nil, "near", "172.20.0.3:80", none},
		// externalTrafficPolicy Local
		{"Local, served here", externalLocal, "far", "172.20.0.1" + np, "a: answered A 198.51.100.7"},
		{"Local, not here", externalLocal, "far", "172.20.0.3" + np, "c: lost"},
		{"Local, the node itself", externalLocal, "c", "172.20.0.3" + np, "c: answered A 10.60.3.0 masqueraded, answered B 10.60.3.0 masqueraded"},
		{"Local, another node", externalLocal, "b", "172.20.0.3" + np, "c: lost"},
		{"Local, a pod by the load balancer", externalLocal, "d/idle-c", lb, "c: answered A 10.60.3.10, answered B 10.60.3.10"},
		{"Local, a pod by another node", externalLocal, "d/idle-a", "172.20.0.3" + np, "c: answered A 10.60.1.11, lost A 10.60.1.11, answered B 10.60.1.11, lost B 10.60.1.11"},
		{"Local, a pod by the server's node", externalLocal, "d/idle-c", "172.20.0.2" + np, "b: answered A 10.60.3.10, lost A 10.60.3.10, answered B 10.60.3.10"},
		{"Local by the cluster IP", externalLocal, "d/idle-c", cip, "c: answered A 10.60.3.10, answered B 10.60.3.10"},
		{"Local of a ClusterIP Service until 1.28", release("v1.28", externalLocal, func(_ *topology.Cluster, s *topology.Service, _ []topology.Endpoint) { s.Type = topology.ClusterIP }), "far", ext, "b: answered A 10.60.2.0 masqueraded, answered B 172.20.0.2 10.60.2.0 masqueraded"},
		{"Local of a ClusterIP Service since 1.29", release("v1.29", externalLocal, func(_ *topology.Cluster, s *topology.Service, _ []topology.Endpoint) { s.Type = topology.ClusterIP }), "far", ext, "b: answered B 198.51.100.7"},
		// internalTrafficPolicy Local
		{"internal Local", internalLocal, "d/idle-a", cip, "a: answered A 10.60.1.11"},
		{"internal Local, not here", internalLocal, "d/idle-c", cip, "c: lost"},
		{"internal Local by a node port", internalLocal, "near", "172.20.0.3" + np, "c: answered A 10.60.3.0 masqueraded, answered B 10.60.3.0 masqueraded"},
		{"internal Local without its gate", release("v1.25", internalLocal, gate("ServiceInternalTrafficPolicy", false)), "d/idle-c", cip, "c: answered A 10.60.3.10, answered B 10.60.3.10"},
		// which endpoints serve
		{"none", endpoints(), "d/idle-a", cip, "a: rejected"},
		{"none by a node port", endpoints(), "near", "172.20.0.3" + np, "c: rejected"},
		{"none by an external IP, a pod", endpoints(), "d/idle-a", ext, "a: rejected"},
		{"none by an external IP, a node", endpoints(), "a", ext, "a: rejected, lost"},
		{"none by an external IP, a node in nftables mode", all(nftables, endpoints()), "a", ext, "a: rejected"},
		{"none by a node port, the node itself", endpoints(), "a", "172.20.0.1" + np, "a: rejected"},
		{"none, and Local", all(endpoints(), internalLocal, externalLocal), "near", "172.20.0.3" + np, "c: rejected"},
		{"one not ready", func(_ *topology.Cluster, _ *topology.Service, e []topology.Endpoint) { e[0].Ready = false }, "d/idle-a", cip, "a: answered B 10.60.1.11"},
		{"one terminates", func(_ *topology.Cluster, _ *topology.Service, e []topology.Endpoint) { terminating(e[:1]) }, "d/idle-a", cip, "a: answered B 10.60.1.11"},
		{"all terminate", allTerminating, "d/idle-a", cip, "a: answered A 10.60.1.11, answered B 10.60.1.11"},
		{"all terminate in 1.25", release("v1.25", allTerminating), "d/idle-a", cip, "a: rejected"},
		{"all terminate in 1.25 with AllAlpha", release("v1.25", allTerminating, gate("AllAlpha", true)), "d/idle-a", cip, "a: answered A 10.60.1.11, answered B 10.60.1.11"},
		{"all terminate in 1.26 without AllBeta", release("v1.26", allTerminating, gate("AllBeta", false)), "d/idle-a", cip, "a: rejected"},
		{"all terminate and do not serve", func(_ *topology.Cluster, _ *topology.Service, e []topology.Endpoint) {
			terminating(e)
			e[0].Serving, e[1].Serving = false, false
		}, "d/idle-a", cip, "a: rejected"},
		{"the local one terminates", all(externalLocal, func(_ *topology.Cluster, _ *topology.Service, e []topology.Endpoint) { terminating(e[:1]) }), "far", "172.20.0.1" + np, "a: answered A 198.51.100.7"},
		{"of another proxy in 1.35", release("v1.35", func(_ *topology.Cluster, _ *topology.Service, e []topology.Endpoint) { e[0].OtherProxy = true }), "d/idle-a", cip, "a: answered B 10.60.1.11"},
		{"of another proxy in 1.36", release("v1.36", func(_ *topology.Cluster, _ *topology.Service, e []topology.Endpoint) { e[0].OtherProxy = true }), "d/idle-a", cip, "a: answered A 10.60.1.11, answered B 10.60.1.11"},
		{"headless by label in 1.35", release("v1.35", func(_ *topology.Cluster, s *topology.Service, _ []topology.Endpoint) { s.HeadlessLabel = true }), "d/idle-a", cip, none},
		// hints
		{"zones", zones("east", "west"), "d/idle-a", cip, "a: answered A 10.60.1.11"},
		{"zones, incomplete", zones("east", ""), "d/idle-a", cip, "a: answered A 10.60.1.11, answered B 10.60.1.11"},
		{"zones, none for here", zones("west", "west"), "d/idle-a", cip, "a: answered A 10.60.1.11, answered B 10.60.1.11"},
		{"zones in 1.28", release("v1.28", zones("east", "west")), "d/idle-a", cip, "a: answered A 10.60.1.11, answered B 10.60.1.11"},
		{"zones in 1.28, asked for", release("v1.28", zones("east", "west"), annotated("topology-mode", "PreferZone")), "d/idle-a", cip, "a: answered A 10.60.1.11"},
		{"zones in 1.26, asked for", release("v1.26", zones("east", "west"), annotated("topology-aware-hints", "auto")), "d/idle-a", cip, "a: answered A 10.60.1.11"},
		{"zones in 1.26, by a word of 1.27", release("v1.26", zones("east", "west"), annotated("topology-mode", "Auto")), "d/idle-a", cip, "a: answered A 10.60.1.11, answered B 10.60.1.11"},
		{"zones do not narrow what terminates", all(allTerminating, zones("east", "west")), "d/idle-a", cip, "a: answered A 10.60.1.11, answered B 10.60.1.11"},
		{"nodes", nodeHints, "b", cip, "b: answered B 172.20.0.2 10.60.2.0 masqueraded"},
		{"nodes, none for here", nodeHints, "d/idle-c", cip, "c: answered A 10.60.3.10, answered B 10.60.3.10"},
		{"nodes in 1.33", release("v1.33", nodeHints), "b", cip, "b: answered A 10.60.2.0 masqueraded, answered B 172.20.0.2 10.60.2.0 masqueraded"},
		{"zones do not narrow Local", all(externalLocal, zones("east", "east")), "far", "172.20.0.2" + np, "b: answered B 198.51.100.7"},
		// loadBalancerSourceRanges
		{"in a range", ranges("198.51.100.0/24"), "far", lb, "a: answered A 172.20.0.1 10.60.1.0 masqueraded, answered B 10.60.1.0 masqueraded"},
		{"in no range", ranges("192.0.2.0/24", "172.20.0.0/30"), "far", lb, "a: lost"},
		{"in no range, and no endpoint", all(endpoints(), ranges("192.0.2.0/24")), "far", lb, "a: rejected"},
		{"in no range, and no endpoint, in nftables mode", all(nftables, endpoints(), ranges("192.0.2.0/24")), "far", lb, "a: lost"},
		{"in a range, and no endpoint, in nftables mode", all(nftables, endpoints(), ranges("198.51.100.0/24")), "far", lb, "a: rejected"},
		{"ranges of the other family", ranges("fd00::/8"), "far", lb, "a: answered A 172.20.0.1 10.60.1.0 masqueraded, answered B 10.60.1.0 masqueraded"},
		{"ranges are for the load balancer", ranges("192.0.2.0/24"), "far", ext, "b: answered A 10.60.2.0 masqueraded, answered B 172.20.0.2 10.60.2.0 masqueraded"},
		// in ipvs mode Local is for whoever asks, where the node has an endpoint
		{"Local in ipvs mode, a pod", all(ipvs, externalLocal), "d/idle-a", "172.20.0.1" + np, "a: answered A 10.60.1.11"},
		{"Local in ipvs mode, the node itself", all(ipvs, externalLocal), "a", "172.20.0.1" + np, "a: answered A 172.20.0.1 10.60.1.0 masqueraded"},
		{"Local in ipvs mode, a pod of a node without one", all(ipvs, externalLocal), "d/idle-c", "172.20.0.3" + np, "c: answered A 10.60.3.10, answered B 10.60.3.10"},
		// in ipvs mode each node answers ARP for what Services have on the underlay, and who is heard first gets the packet
		{"whoever takes it in ipvs mode", ipvs, "near", lb, "a: answered A 172.20.0.1 10.60.1.0 10.60.2.0 10.60.3.0 masqueraded, answered B 10.60.1.0 172.20.0.2 10.60.2.0 10.60.3.0 masqueraded"},
		{"by the router, of whom all are heard, too", ipvs, "far", lb, "a: answered A 172.20.0.1 10.60.1.0 10.60.2.0 10.60.3.0 masqueraded, answered B 10.60.1.0 172.20.0.2 10.60.2.0 10.60.3.0 masqueraded"},
		{"an endpoint of one of them", all(ipvs, endpoints(ready(webHost, "c"))), "near", lb, "a: answered H 172.20.0.1 172.20.0.2 172.20.0.200 masqueraded"},
		{"and Local", all(ipvs, externalLocal), "near", lb, "a: unknown"},
		{"a pod's own node is no other", ipvs, "d/idle-c", lb, "c: answered A 10.60.3.0 masqueraded, answered B 10.60.3.0 masqueraded"},
		{"with strictARP", strictARP, "near", lb, "a: answered A 172.20.0.1 10.60.1.0 masqueraded, answered B 10.60.1.0 masqueraded"},
		{"with strictARP, and Local", all(strictARP, externalLocal), "near", lb, "a: answered A 172.20.0.200"},
		{"to where the router routes in ipvs mode", ipvs, "far", ext, "b: answered A 10.60.2.0 masqueraded, answered B 172.20.0.2 10.60.2.0 masqueraded"},
		{"a node port in ipvs mode", ipvs, "near", "172.20.0.1" + np, "a: answered A 172.20.0.1 10.60.1.0 masqueraded, answered B 10.60.1.0 masqueraded"},
		// ipMode
		{"ipMode Proxy", func(_ *topology.Cluster, s *topology.Service, _ []topology.Endpoint) { s.Ingress[0].IPMode = "Proxy" }, "far", lb, none},
		{"ipMode Proxy in 1.29", release("v1.29", func(_ *topology.Cluster, s *topology.Service, _ []topology.Endpoint) { s.Ingress[0].IPMode = "Proxy" }), "d/idle-c", lb, "c: answered A 10.60.3.0 masqueraded, answered B 10.60.3.0 masqueraded"},
		{"no external IPs", gate("AllowServiceExternalIPs", false), "d/idle-c", ext, none},
		// nodePortAddresses
		{"not here", nodePortsAt("192.0.2.0/24"), "near", "172.20.0.3" + np, none},
		{"of the other family", nodePortsAt("fd00::/8"), "near", "172.20.0.3" + np, "c: answered A 10.60.3.0 masqueraded, answered B 10.60.3.0 masqueraded"},
		{"primary", nodePortsAt("primary"), "near", "172.20.0.3" + np, "c: answered A 10.60.3.0 masqueraded, answered B 10.60.3.0 masqueraded"},
		{"primary, not the tunnel's", nodePortsAt("primary"), "c", "10.60.3.0" + np, none},
		{"localhost", nodePortsAt("localhost"), "c", "127.0.0.1" + np, "c: answered A 10.60.3.0 masqueraded, answered B 10.60.3.0 masqueraded"},
		{"no address in nftables mode is the primary one", nftables, "near", "172.20.0.3" + np, "c: answered A 10.60.3.0 masqueraded, answered B 10.60.3.0 masqueraded"},
		{"not the tunnel's, in nftables mode", nftables, "c", "10.60.3.0" + np, none},
		{"nor localhost, in nftables mode", all(nftables, nodePortsAt("localhost")), "c", "127.0.0.1" + np, none},
		{"nor localhost, in ipvs mode", ipvs, "c", "127.0.0.1" + np, none},
		{"all addresses in ipvs mode", ipvs, "c", "10.60.3.0" + np, "c: answered A 10.60.3.0 masqueraded, answered B 10.60.3.0 masqueraded"},
		{"localhost has one address", nodePortsAt("localhost"), "c", "127.0.0.2" + np, none},
		{"localhost alone", nodePortsAt("localhost"), "near", "172.20.0.3" + np, none},
		{"no localhostNodePorts", kubeProxy(func(kp *topology.KubeProxy) { kp.LocalhostNodePorts = false }), "c", "127.0.0.1" + np, none},
		{"no localhostNodePorts in 1.25", release("v1.25", kubeProxy(func(kp *topology.KubeProxy) { kp.LocalhostNodePorts = false })), "c", "127.0.0.1" + np, "c: answered A 10.60.3.0 masqueraded, answered B 10.60.3.0 masqueraded"},
		{"length 0 in 1.27", release("v1.27", nodePortsAt("10.0.0.0/0")), "near", "172.20.0.3" + np, none},
		{"length 0 in 1.28", release("v1.28", nodePortsAt("10.0.0.0/0")), "near", "172.20.0.3" + np, "c: answered A 10.60.3.0 masqueraded, answered B 10.60.3.0 masqueraded"},
		// an endpoint that is itself an address of a Service
		{"a Service behind a Service", endpoints(ready("172.20.0.3:30080", "c")), "d/idle-a", cip, "a: unknown  10.60.1.11"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c := cluster()
			if s := &c.Services[0]; row.change != nil {
				row.change(&c, s, s.Ports[0].Endpoints)
			}
			m, err := service.New(c)
			require.NoError(t, err)
			a, err := m.Ask(flow(c, row.from, row.to))
			require.NoError(t, err)
			require.Equal(t, row.want, text(a))
			for _, e := range a.Endings {
				require.NotEmpty(t, e.Why)
				require.True(t, e.Limit != "" || e.End != nat.EndUnknown && (e.End != nat.EndLost || !e.Endpoint.IsValid()))
			}
		})
	}
}

// flow is who asks what, by name.
func flow(c topology.Cluster, from, to string) service.Flow {
	f := service.Flow{From: from, Protocol: nat.TCP, Target: netip.MustParseAddrPort(to)}
	if n, ok := c.Node(from); ok {
		if f.Source = n.Addresses[0]; f.Target.Addr().IsLoopback() {
			f.Source = addr("127.0.0.1")
		}
		return f
	}
	if p, ok := c.Pod(from); ok {
		f.Source = p.IPs[0]
		return f
	}
	f.Source = c.Clients[slices.IndexFunc(c.Clients, func(cl topology.Client) bool { return cl.Name == from })].Address(topology.FamilyOf(f.Target.Addr()))
	return f
}

// IPv6 is judged by its own addresses and endpoints, and a Service without a cluster IP of it is none there.
func TestFamilies(t *testing.T) {
	t.Parallel()
	c := cluster()
	s := &c.Services[0]
	six := ready("[fd00:1::10]:8080", "a")
	s.Ports[0].Endpoints = append(s.Ports[0].Endpoints, six)
	c.Nodes[0].Addresses = append(c.Nodes[0].Addresses, addr("fd00::1"))
	c.KubeProxy.ClusterCIDRs = append(c.KubeProxy.ClusterCIDRs, netip.MustParsePrefix("fd00:1::/64"))
	f := service.Flow{From: "a", Protocol: nat.TCP, Source: addr("fd00::1"), Target: netip.MustParseAddrPort("[fd00::1]:30080")}
	ask := func() service.Answer {
		m, err := service.New(c)
		require.NoError(t, err)
		a, err := m.Ask(f)
		require.NoError(t, err)
		return a
	}
	require.Empty(t, ask().Endings)
	s.ClusterIPs = append(s.ClusterIPs, addr("fd00:70::1"))
	a := ask()
	require.Len(t, a.Endings, 1)
	require.Equal(t, six.Addr, a.Endings[0].Endpoint)
	require.Equal(t, []netip.Addr{addr("fd00::1")}, a.Endings[0].Client)
	f.Source, f.Target = addr("::1"), netip.MustParseAddrPort("[::1]:30080")
	require.Empty(t, ask().Endings, "a node port is not served at [::1]")
}

func TestAffinity(t *testing.T) {
	t.Parallel()
	c := cluster()
	f := flow(c, "d/idle-a", "10.70.0.1:80")
	for _, row := range []struct {
		seconds int32
		after   string
		want    int
	}{{10800, webA, 1}, {10800, "10.60.9.9:8080", 2}, {0, webA, 2}} {
		c.Services[0].AffinitySeconds = row.seconds
		m, err := service.New(c)
		require.NoError(t, err)
		a, err := m.Ask(f)
		require.NoError(t, err)
		require.Len(t, a.Endings, 2)
		left := a.After(netip.MustParseAddrPort(row.after))
		require.Len(t, left.Endings, row.want)
		require.True(t, row.want == 2 || left.Endings[0].Endpoint.String() == row.after)
	}
}

// Of two Services with one address the first that can serve does; where none can, the first refuses.
func TestContention(t *testing.T) {
	t.Parallel()
	c := cluster()
	other := c.Services[0]
	other.Name, other.ClusterIPs = "other", []netip.Addr{addr("10.70.0.2")}
	other.Ports = slices.Clone(other.Ports)
	c.Services = append(c.Services, other)
	for _, row := range []struct {
		web, other []topology.Endpoint
		want       string
	}{
		{[]topology.Endpoint{ready(webA, "a")}, []topology.Endpoint{ready(webB, "b")}, "d/web:http a: answered A 172.20.0.1 10.60.1.0 masqueraded"},
		{nil, []topology.Endpoint{ready(webB, "b")}, "d/other:http a: answered B 10.60.1.0 masqueraded"},
		{nil, nil, "d/web:http a: rejected"},
	} {
		c.Services[0].Ports[0].Endpoints, c.Services[1].Ports[0].Endpoints = row.web, row.other
		m, err := service.New(c)
		require.NoError(t, err)
		a, err := m.Ask(flow(c, "far", "172.20.0.100:80"))
		require.NoError(t, err)
		require.Equal(t, row.want, a.Service+" "+text(a))
	}
	// A node port comes after all other addresses.
	c.Services[0].Ports[0].Endpoints, c.Services[1].Ports[0].Endpoints = []topology.Endpoint{ready(webA, "a")}, []topology.Endpoint{ready(webB, "b")}
	c.Services[1].ExternalIPs, c.Services[1].Ports[0].Port, c.Services[1].Ports[0].NodePort = []netip.Addr{addr("172.20.0.3")}, 30080, 0
	m, err := service.New(c)
	require.NoError(t, err)
	a, err := m.Ask(flow(c, "near", "172.20.0.3:30080"))
	require.NoError(t, err)
	require.Equal(t, "d/other:http c: answered B 10.60.3.0 masqueraded", a.Service+" "+text(a))
}

func TestErrors(t *testing.T) {
	t.Parallel()
	c := cluster()
	c.KubeProxy.Release = "v1.24"
	_, err := service.New(c)
	require.ErrorContains(t, err, `services of cluster "test": release "v1.24": want v1.25 to v1.37`)
	c = cluster()
	c.LoadBalancers[0].AnnouncedBy = "gone"
	m, err := service.New(c)
	require.NoError(t, err)
	_, err = m.Ask(flow(c, "far", "172.20.0.100:80"))
	require.ErrorIs(t, err, service.ErrNode)
}

// A health check counts a node's ready endpoints, each once, and only where the Service has a local policy.
func TestHealth(t *testing.T) {
	t.Parallel()
	local := func(e ...topology.Endpoint) change {
		return func(_ *topology.Cluster, s *topology.Service, _ []topology.Endpoint) {
			s.ExternalPolicy, s.HealthCheckNodePort, s.Ports[0].Endpoints = topology.PolicyLocal, 31002, e
		}
	}
	for _, row := range []struct {
		name   string
		change change
		at     string
		want   string
	}{
		{"an endpoint here", local(ready(webA, "a"), ready(webB, "b")), "172.20.0.1:31002", "200: 1 local endpoints of d/web"},
		{"the same twice", local(ready(webA, "a"), ready(webA, "a")), "172.20.0.1:31002", "200: 1 local endpoints of d/web"},
		{"elsewhere alone", local(ready(webA, "a")), "172.20.0.3:31002", "503: 0 local endpoints of d/web"},
		{"going away", local(topology.Endpoint{Addr: netip.MustParseAddrPort(webA), Node: "a", Serving: true, Terminating: true}), "172.20.0.1:31002", "503: 0 local endpoints of d/web"},
		{"another port", local(ready(webA, "a")), "172.20.0.1:31003", ""},
		{"no node's address", local(ready(webA, "a")), "10.60.1.10:31002", ""},
		{"the whole cluster serves", func(_ *topology.Cluster, s *topology.Service, _ []topology.Endpoint) { s.HealthCheckNodePort = 31002 }, "172.20.0.1:31002", ""},
	} {
		c := cluster()
		row.change(&c, &c.Services[0], nil)
		m, err := service.New(c)
		require.NoError(t, err)
		got := ""
		if h, ok := m.Health(netip.MustParseAddrPort(row.at)); ok {
			got = h.String()
		}
		require.Equal(t, row.want, got, row.name)
	}
}
