package proof

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/topology"
)

func addrs(list ...string) (out []netip.Addr) {
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

// small is two nodes with an endpoint on the first, a stranger and a host-network pod on the second, and a Service
// with every kind of address.
func small() topology.Cluster {
	return topology.Cluster{
		Nodes: []topology.Node{
			{Name: "n1", Addresses: addrs("10.0.0.1", "fd00::1", "10.9.0.1")},
			{Name: "n2", Addresses: addrs("10.0.0.2")},
		},
		Pods: []topology.Pod{
			{Namespace: "d", Name: "web", Node: "n1", IPs: addrs("10.244.1.2")},
			{Namespace: "d", Name: "a", Node: "n2", IPs: addrs("10.244.2.2")},
			{Namespace: "d", Name: "b", Node: "n2", IPs: addrs("10.244.2.3")},
			{Namespace: "d", Name: "host", Node: "n2", IPs: addrs("10.0.0.2"), HostNetwork: true},
		},
		Clients:       []topology.Client{{Name: "c", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.100")}}},
		LoadBalancers: []topology.LoadBalancer{{Address: netip.MustParseAddr("10.0.0.200"), AnnouncedBy: "n2"}},
		KubeProxy:     topology.KubeProxy{LocalhostNodePorts: true},
		Services: []topology.Service{{
			Namespace: "d", Name: "web", ClusterIPs: addrs("10.96.0.1", "fd00:96::1"), HealthCheckNodePort: 31000,
			Ingress:     []topology.Ingress{{IP: netip.MustParseAddr("10.0.0.200")}, {IP: netip.MustParseAddr("10.0.0.201"), IPMode: "Proxy"}},
			ExternalIPs: addrs("203.0.113.1", "10.0.0.200"),
			Ports: []topology.ServicePort{
				{Name: "http", Protocol: "TCP", Port: 80, NodePort: 30080, Endpoints: []topology.Endpoint{
					{Addr: netip.MustParseAddrPort("10.244.1.2:8080"), Node: "n1", Pod: "d/web", Ready: true},
				}},
				{Name: "s", Protocol: "SCTP", Port: 80},
			},
		}},
	}
}

func TestFlows(t *testing.T) {
	want := []struct {
		name string
		from Vantage
	}{
		// the cluster IP, from every node and from a pod of every kind
		{"n1 -> ClusterIP 10.96.0.1:80 tcp d/web:http", FromEndpointNode},
		{"n2 -> ClusterIP 10.96.0.1:80 tcp d/web:http", FromOtherNode},
		{"d/web -> ClusterIP 10.96.0.1:80 tcp d/web:http", FromEndpointItself},
		{"d/a -> ClusterIP 10.96.0.1:80 tcp d/web:http", FromPodElsewhere},
		{"d/host -> ClusterIP 10.96.0.1:80 tcp d/web:http", FromHostNetworkedPod},
		// the node port, at every address of every node
		{"c -> NodePort n1:30080 tcp d/web:http", FromOutside},
		{"n1 -> NodePort n1:30080 tcp d/web:http", FromEndpointNode},
		{"n2 -> NodePort n1:30080 tcp d/web:http", FromOtherNode},
		{"d/web -> NodePort n1:30080 tcp d/web:http", FromEndpointItself},
		{"d/a -> NodePort n1:30080 tcp d/web:http", FromPodElsewhere},
		{"c -> NodePort 10.9.0.1:30080 tcp d/web:http", FromOutside},
		{"n1 -> NodePort 10.9.0.1:30080 tcp d/web:http", FromEndpointNode},
		{"n2 -> NodePort 10.9.0.1:30080 tcp d/web:http", FromOtherNode},
		{"d/web -> NodePort 10.9.0.1:30080 tcp d/web:http", FromEndpointItself},
		{"d/a -> NodePort 10.9.0.1:30080 tcp d/web:http", FromPodElsewhere},
		{"n1 -> NodePort 127.0.0.1:30080 tcp d/web:http", FromLoopback},
		{"c -> NodePort n2:30080 tcp d/web:http", FromOutside},
		{"n2 -> NodePort n2:30080 tcp d/web:http", FromOtherNode},
		{"n1 -> NodePort n2:30080 tcp d/web:http", FromEndpointNode},
		{"d/a -> NodePort n2:30080 tcp d/web:http", FromPodElsewhere},
		{"d/web -> NodePort n2:30080 tcp d/web:http", FromEndpointItself},
		{"n2 -> NodePort 127.0.0.1:30080 tcp d/web:http", FromLoopback},
		// the load balancer's address, from outside because a node answers for it
		{"c -> LoadBalancer 10.0.0.200:80 tcp d/web:http", FromOutside},
		{"n1 -> LoadBalancer 10.0.0.200:80 tcp d/web:http", FromEndpointNode},
		{"n2 -> LoadBalancer 10.0.0.200:80 tcp d/web:http", FromOtherNode},
		{"d/web -> LoadBalancer 10.0.0.200:80 tcp d/web:http", FromEndpointItself},
		{"d/a -> LoadBalancer 10.0.0.200:80 tcp d/web:http", FromPodElsewhere},
		{"d/host -> LoadBalancer 10.0.0.200:80 tcp d/web:http", FromHostNetworkedPod},
		// an external IP that no node answers for; the other one is the load balancer's, asked already
		{"n1 -> ExternalIP 203.0.113.1:80 tcp d/web:http", FromEndpointNode},
		{"n2 -> ExternalIP 203.0.113.1:80 tcp d/web:http", FromOtherNode},
		{"d/web -> ExternalIP 203.0.113.1:80 tcp d/web:http", FromEndpointItself},
		{"d/a -> ExternalIP 203.0.113.1:80 tcp d/web:http", FromPodElsewhere},
		{"d/host -> ExternalIP 203.0.113.1:80 tcp d/web:http", FromHostNetworkedPod},
		// ports where nobody listens
		{"c -> health check n1:31000 tcp d/web", FromOutside},
		{"c -> health check n2:31000 tcp d/web", FromOutside},
		// the same of SCTP
		{"n1 -> ClusterIP 10.96.0.1:80 sctp d/web:s", FromOtherNode},
		{"n2 -> ClusterIP 10.96.0.1:80 sctp d/web:s", FromOtherNode},
		{"d/web -> ClusterIP 10.96.0.1:80 sctp d/web:s", FromPodElsewhere},
		{"d/a -> ClusterIP 10.96.0.1:80 sctp d/web:s", FromPodElsewhere},
		{"d/host -> ClusterIP 10.96.0.1:80 sctp d/web:s", FromHostNetworkedPod},
		{"c -> LoadBalancer 10.0.0.200:80 sctp d/web:s", FromOutside},
		{"n1 -> LoadBalancer 10.0.0.200:80 sctp d/web:s", FromOtherNode},
		{"n2 -> LoadBalancer 10.0.0.200:80 sctp d/web:s", FromOtherNode},
		{"d/web -> LoadBalancer 10.0.0.200:80 sctp d/web:s", FromPodElsewhere},
		{"d/a -> LoadBalancer 10.0.0.200:80 sctp d/web:s", FromPodElsewhere},
		{"d/host -> LoadBalancer 10.0.0.200:80 sctp d/web:s", FromHostNetworkedPod},
		{"n1 -> ExternalIP 203.0.113.1:80 sctp d/web:s", FromOtherNode},
		{"n2 -> ExternalIP 203.0.113.1:80 sctp d/web:s", FromOtherNode},
		{"d/web -> ExternalIP 203.0.113.1:80 sctp d/web:s", FromPodElsewhere},
		{"d/a -> ExternalIP 203.0.113.1:80 sctp d/web:s", FromPodElsewhere},
		{"d/host -> ExternalIP 203.0.113.1:80 sctp d/web:s", FromHostNetworkedPod},
		{"c -> no Service n1:32767 tcp", FromOutside},
		{"c -> no Service n2:32767 tcp", FromOutside},
	}
	got := Flows(small(), Selector{})
	names := map[string]bool{}
	for i, f := range got {
		require.Less(t, i, len(want), "one more: %s", f.Name)
		assert.Equal(t, want[i].name, f.Name)
		assert.Equal(t, want[i].from, f.Vantage, f.Name)
		assert.False(t, names[f.Name], "twice: %s", f.Name)
		assert.True(t, f.Source.Is4() && f.Target.Addr().Is4(), f.Name)
		names[f.Name] = true
	}
	assert.Len(t, got, len(want))
	var unasked []string
	for _, n := range Unasked(small(), Selector{}) {
		unasked = append(unasked, n.String()+": "+n.Reason)
	}
	assert.Equal(t, []string{
		"d/web:http ClusterIP [fd00:96::1]:80 TCP: the lab has no IPv6",
		"d/web:http LoadBalancer 10.0.0.201:80 TCP: ipMode Proxy: kube-proxy leaves the address to the load balancer",
		"d/web:http NodePort [::]:30080 TCP: the lab has no IPv6",
		"d/web:s ClusterIP [fd00:96::1]:80 SCTP: the lab has no IPv6",
		"d/web:s LoadBalancer 10.0.0.201:80 SCTP: ipMode Proxy: kube-proxy leaves the address to the load balancer",
	}, unasked)
}

func TestSelector(t *testing.T) {
	rows := []struct {
		s    Selector
		want int
	}{
		{Selector{Service: "d/web:http"}, 33},
		{Selector{Service: "d/web"}, 51},
		{Selector{Service: "d/we"}, 0},
		{Selector{From: "c"}, 9},
		{Selector{From: "d/host"}, 6},
		{Selector{From: "n2", Service: "d/web:http"}, 10}, // its host-network pod asks from it too
	}
	for _, row := range rows {
		assert.Len(t, Flows(small(), row.s), row.want, "%+v", row.s)
	}
	for _, f := range Flows(small(), Selector{}) {
		assert.Contains(t, Flows(small(), Selector{To: f.Target.String(), From: f.Client}), f)
		assert.Contains(t, Flows(small(), Selector{To: f.Target.Addr().String()}), f)
		assert.NotContains(t, Flows(small(), Selector{To: "192.0.2.1"}), f)
	}
}

func TestUnfinished(t *testing.T) {
	f := fixtureFlow
	g := f
	g.From, g.Client = "vms101", "vms101"
	h := f
	h.Target, h.Protocol = netip.MustParseAddrPort("10.96.0.1:53"), nat.UDP
	got := Unfinished([]Flow{f, h, g}, "interrupted")
	require.Len(t, got, 2)
	assert.Equal(t, "velero/minio:console NodePort 192.168.26.100:30450 TCP", got[0].String())
	assert.Equal(t, "interrupted, from 2 clients", got[0].Reason)
	assert.Equal(t, "velero/minio:console NodePort 10.96.0.1:53 UDP", got[1].String())
	assert.Equal(t, "interrupted, from one client", got[1].Reason)
	assert.Empty(t, Unfinished(nil, "interrupted"))
	h.Service, h.Type = "", ByNothing
	assert.Equal(t, "no Service 10.96.0.1:53 UDP", Unfinished([]Flow{h}, "interrupted")[0].String())
}

func TestAProofThatEndedEarlyIsNotProved(t *testing.T) {
	r := Report{Flows: []Certificate{{Verdict: Proved}}}
	assert.Equal(t, Proved, r.Outcome())
	r.Ended = "interrupted"
	assert.Equal(t, Inconclusive, r.Outcome())
	r.Flows = append(r.Flows, Certificate{Verdict: Disproved})
	assert.Equal(t, Disproved, r.Outcome())
}

// Every flow is of one shard, the same each time, whatever else is asked for.
func TestShards(t *testing.T) {
	t.Parallel()
	c, err := topology.Reference()
	require.NoError(t, err)
	all := Flows(c, Selector{})
	seen := map[string]int{}
	for shard := 1; shard <= 5; shard++ {
		part := Flows(c, Selector{Shard: shard, Shards: 5})
		require.NotEmpty(t, part)
		require.Less(t, len(part), len(all)/2)
		for _, f := range part {
			require.Zero(t, seen[f.Name])
			seen[f.Name] = shard
		}
	}
	require.Len(t, seen, len(all))
	for _, f := range Flows(c, Selector{Shard: 2, Shards: 5, From: "outside"}) {
		require.Equal(t, 2, seen[f.Name])
	}
	require.Equal(t, all, Flows(c, Selector{Shard: 1, Shards: 1}))
}
