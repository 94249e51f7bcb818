package kubeproxy_test

import (
	"fmt"
	"net/netip"
	"testing"

	"natlab/nat/iptables"
	"natlab/nat/kubeproxy"
	"natlab/topology"
)

// manyServices is a cluster of ClusterIP Services with three endpoints each, on two nodes.
func manyServices(n int) topology.Cluster {
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

// The figure of the issue: 10,000 Services with 3 endpoints each in at most 0.1 s.
func BenchmarkRules10000(b *testing.B) {
	c := manyServices(10_000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := kubeproxy.Rules(c, "node-1", kubeproxy.Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPrint10000(b *testing.B) {
	rs, err := kubeproxy.Rules(manyServices(10_000), "node-1", kubeproxy.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(rs.String())))
	b.ReportAllocs()
	for b.Loop() {
		if len(rs.String()) == 0 {
			b.Fatal("nothing printed")
		}
	}
}

func BenchmarkParse10000(b *testing.B) {
	rs, err := kubeproxy.Rules(manyServices(10_000), "node-1", kubeproxy.Options{})
	if err != nil {
		b.Fatal(err)
	}
	text := rs.String()
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := iptables.ParseString(text, rs.Family); err != nil {
			b.Fatal(err)
		}
	}
}
