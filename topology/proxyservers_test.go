package topology_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/topology"
)

// A node's kube-proxy listens at all addresses of the node, with the health check node ports where node ports are open; what a pod of the host
// network has already is the pod's.
func TestProxyServers(t *testing.T) {
	t.Parallel()
	first, second := netip.MustParseAddr("172.20.0.1"), netip.MustParseAddr("192.0.2.1")
	c := topology.Cluster{
		Nodes: []topology.Node{{Name: "a", Addresses: []netip.Addr{first, second}}},
		Services: []topology.Service{
			{Type: topology.LoadBalancerType, ExternalPolicy: topology.PolicyLocal, HealthCheckNodePort: 31002},
			{Type: topology.LoadBalancerType, HealthCheckNodePort: 31003},
			{Type: topology.NodePort, ExternalPolicy: topology.PolicyLocal},
		},
	}
	for _, row := range []struct {
		addresses []string
		want      []string
	}{
		{nil, []string{"172.20.0.1:10256", "172.20.0.1:31002", "192.0.2.1:10256", "192.0.2.1:31002"}},
		{[]string{"192.0.2.0/24"}, []string{"172.20.0.1:10256", "192.0.2.1:10256", "192.0.2.1:31002"}},
		{[]string{"primary"}, []string{"172.20.0.1:10256", "172.20.0.1:31002", "192.0.2.1:10256"}},
	} {
		c.KubeProxy.NodePortAddresses = row.addresses
		var got []string
		for _, s := range topology.ProxyServers(c) {
			require.Equal(t, topology.KubeProxyServer, s.Name)
			require.Equal(t, "a", s.Member)
			got = append(got, s.Addr.String())
		}
		require.Equal(t, row.want, got)
	}
	c.KubeProxy.NodePortAddresses = nil
	c.Pods = []topology.Pod{{Namespace: "d", Name: "host", Node: "a", HostNetwork: true, IPs: []netip.Addr{first}}}
	c.Services = append(c.Services, topology.Service{Ports: []topology.ServicePort{{Protocol: "TCP", Endpoints: []topology.Endpoint{{Addr: netip.AddrPortFrom(first, 10256), Node: "a", Ready: true, Pod: "d/host"}}}}})
	for _, s := range topology.ProxyServers(c) {
		require.NotEqual(t, netip.AddrPortFrom(first, 10256), s.Addr)
	}
}
