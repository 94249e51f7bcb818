package lab

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/lab/dataplane"
	"natlab/nat"
	"natlab/topology"
)

// A change takes away the chains of a Service that is gone; in a cluster of more than 1,000 endpoints they stay until
// iptables.syncPeriod is over, although no rule calls them.
func TestStaleChainsStayInALargeCluster(t *testing.T) {
	c := reference(t)
	c.KubeProxy.SyncPeriod = time.Hour
	l := raise(t, c)
	const node, gone = "vms105", "KUBE-SVC-K6NOPV6C6M2DHO7B" // velero/minio:console
	has := func(chain string) bool {
		h, err := l.Handle(node)
		require.NoError(t, err)
		plane, err := dataplane.New(l.Backend())
		require.NoError(t, err)
		rs, err := plane.Dump(t.Context(), h, nat.IPv4)
		require.NoError(t, err)
		table, _ := rs.Table("nat")
		_, ok := table.Chain(chain)
		return ok
	}
	require.True(t, has(gone))
	without := func(c topology.Cluster) topology.Cluster {
		services := c.Services
		c.Services = nil
		for _, s := range services {
			if s.Namespace != "velero" {
				c.Services = append(c.Services, s)
			}
		}
		return c
	}
	big := c
	big.Services = append(append([]topology.Service(nil), c.Services...), many(t, c, 1001))

	require.NoError(t, l.Change(t.Context(), big, node))
	require.NoError(t, l.Change(t.Context(), without(big), node))
	require.True(t, has(gone), "within syncPeriod")
	require.NoError(t, l.Sync(t.Context(), without(big), node))
	require.True(t, has(gone), "a full sync leaves it too")
	last, ok := l.syncs.of(node)
	require.True(t, ok)
	l.syncs.remember(node, synced{last.cluster, time.Now().Add(-2 * time.Hour)})
	require.NoError(t, l.Change(t.Context(), without(big), node))
	require.False(t, has(gone), "syncPeriod is over")

	require.NoError(t, l.Sync(t.Context(), big, node))
	require.True(t, has(gone))
	restarted := without(big)
	restarted.KubeProxy.MasqueradeAll = true
	require.NoError(t, l.Change(t.Context(), restarted, node))
	require.False(t, has(gone), "a kube-proxy that starts deletes what it does not want")

	require.NoError(t, l.Sync(t.Context(), big, node))
	require.True(t, has(gone))
	require.NoError(t, l.Change(t.Context(), without(c), node))
	require.False(t, has(gone), "the cluster is small again")
}

// many is a Service of so many ports with one endpoint each, which is a pod that is there.
func many(t *testing.T, c topology.Cluster, n int) topology.Service {
	t.Helper()
	s := topology.Service{Namespace: "big", Name: "big", ClusterIPs: []netip.Addr{c.Services[0].ClusterIPs[0].Next()}}
	e := c.Services[0].Ports[0].Endpoints[0]
	for i := range n {
		s.Ports = append(s.Ports, topology.ServicePort{Name: fmt.Sprintf("p%d", i), Protocol: "TCP", Port: uint16(i + 1), Endpoints: []topology.Endpoint{e}})
	}
	return s
}
