package test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/lab/dataplane"
	"natlab/nat"
	"natlab/topology"
)

// TestBothFamiliesAreProved proves the dual-stack twin of the reference cluster: every flow of IPv6 in a lab of that alone, and in one of
// both families what an endpoint asks, by the other backend and VXLAN. Nothing of its Services is left out.
func TestBothFamiliesAreProved(t *testing.T) {
	rows := []struct {
		name    string
		release string
		backend dataplane.Backend
		overlay topology.Overlay
		narrow  func(topology.Cluster) topology.Cluster
		from    string // whose flows are asked; "" for all
		flows   map[nat.Family]int
		unasked int // addresses
	}{
		{"both", "v1.25", dataplane.NFT, topology.VXLAN, func(c topology.Cluster) topology.Cluster { return c }, "velero/minio-b6d98746c-m7rzc", map[nat.Family]int{nat.IPv4: 43, nat.IPv6: 49}, 0},
		{"natlab's own NAT", "v1.37", dataplane.Userspace, topology.VXLAN, func(c topology.Cluster) topology.Cluster { return c }, "vms101", map[nat.Family]int{nat.IPv4: 30, nat.IPv6: 29}, 0},
		{"IPv6 alone", "v1.28", dataplane.Legacy, topology.None, func(c topology.Cluster) topology.Cluster { return c.Narrowed(topology.IPv6) }, "", map[nat.Family]int{nat.IPv6: 389}, 10},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			c, err := topology.DualStack()
			require.NoError(t, err)
			c.KubeProxy.Release = row.release
			c.PodNetwork.Overlay, c.PodNetwork.Overlay6 = row.overlay, row.overlay
			r := proveFrom(t, row.narrow(c), row.backend, row.from)
			flows := map[nat.Family]int{}
			for _, cert := range r.Flows {
				flows[nat.FamilyOf(cert.Target.Addr())]++
			}
			require.Equal(t, row.flows, flows)
			require.Len(t, r.NotAsked, row.unasked, "%v", r.NotAsked)
		})
	}
}
