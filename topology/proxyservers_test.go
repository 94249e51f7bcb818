package topology_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/topology"
)

// A node's kube-proxy listens at all addresses of the node and on loopback, with the health check node ports where node ports are open; what a
// pod of the host network has already is the pod's.
func TestProxyServers(t *testing.T) {
	t.Parallel()
	first, second := netip.MustParseAddr("172.20.0.1"), netip.MustParseAddr("192.0.2.1")
	c := topology.Cluster{
		Nodes: []topology.Node{{Name: "a", Addresses: []netip.Addr{first, second}}},
		Services: []topology.Service{
			{Type: topology.LoadBalancerType, ExternalPolicy: topology.PolicyLocal, HealthCheckNodePort: 31002, ClusterIPs: []netip.Addr{netip.MustParseAddr("10.70.0.1")}},
			{Type: topology.LoadBalancerType, HealthCheckNodePort: 31003},
			{Type: topology.NodePort, ExternalPolicy: topology.PolicyLocal},
		},
	}
	for _, row := range []struct {
		addresses []string
		want      []string
	}{
		{nil, []string{"172.20.0.1:10256", "172.20.0.1:31002", "192.0.2.1:10256", "192.0.2.1:31002", "127.0.0.1:10256", "127.0.0.1:31002"}},
		{[]string{"192.0.2.0/24"}, []string{"172.20.0.1:10256", "192.0.2.1:10256", "192.0.2.1:31002", "127.0.0.1:10256"}},
		{[]string{"primary"}, []string{"172.20.0.1:10256", "172.20.0.1:31002", "192.0.2.1:10256", "127.0.0.1:10256"}},
		{[]string{"127.0.0.0/8"}, []string{"172.20.0.1:10256", "192.0.2.1:10256", "127.0.0.1:10256", "127.0.0.1:31002"}},
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

// Since 1.36 each family's proxier listens for its own Services; before, one socket took what either brought.
func TestProxyServersOfBothFamilies(t *testing.T) {
	t.Parallel()
	c := topology.Cluster{
		Underlay: topology.Underlay{CIDRs: []netip.Prefix{netip.MustParsePrefix("172.20.0.0/24"), netip.MustParsePrefix("fd00::/64")}},
		Nodes:    []topology.Node{{Name: "a", Addresses: []netip.Addr{netip.MustParseAddr("172.20.0.1"), netip.MustParseAddr("fd00::1")}}},
		Services: []topology.Service{{Type: topology.LoadBalancerType, ExternalPolicy: topology.PolicyLocal, HealthCheckNodePort: 31002, ClusterIPs: []netip.Addr{netip.MustParseAddr("10.70.0.1")}}},
	}
	for _, row := range []struct {
		release string
		want    []string
	}{
		{"v1.35", []string{"172.20.0.1", "fd00::1", "127.0.0.1", "::1"}},
		{"v1.36", []string{"172.20.0.1", "127.0.0.1"}},
	} {
		release, err := topology.ParseRelease(row.release)
		require.NoError(t, err)
		c.KubeProxy.Release = release
		var got []string
		for _, s := range topology.ProxyServers(c) {
			if s.Addr.Port() == 31002 {
				got = append(got, s.Addr.Addr().String())
			}
		}
		require.Equal(t, row.want, got, row.release)
	}
}
