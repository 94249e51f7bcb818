// Package topologytest makes clusters for tests and benchmarks: large ones, and such as chance chooses.
package topologytest

import (
	"fmt"
	"net/netip"

	"natlab/topology"
)

// ManyServices is a cluster of ClusterIP Services with three endpoints each, on two nodes.
func ManyServices(n int) topology.Cluster {
	c := topology.Cluster{
		Nodes: []topology.Node{{Name: "node-1", Addresses: []netip.Addr{netip.MustParseAddr("192.168.26.10")}}},
		KubeProxy: topology.KubeProxy{
			Release: "v1.37", ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, MasqueradeBit: -1, LocalhostNodePorts: true,
		},
	}
	for i := range n {
		s := topology.Service{
			Namespace: fmt.Sprintf("namespace-%d", i%100), Name: fmt.Sprintf("service-%d", i),
			ClusterIPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})},
		}
		port := topology.ServicePort{Name: "http", Protocol: "TCP", Port: 80}
		for j := range 3 {
			at := netip.AddrFrom4([4]byte{10, 128 + byte(j), byte(i >> 8), byte(i)})
			port.Endpoints = append(port.Endpoints, topology.Endpoint{
				Addr: netip.AddrPortFrom(at, 8080), Node: fmt.Sprintf("node-%d", j%2+1), Ready: true, Serving: true,
			})
		}
		s.Ports = []topology.ServicePort{port}
		c.Services = append(c.Services, s)
	}
	return c
}
