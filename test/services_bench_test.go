package test

import (
	"strings"
	"testing"

	"natlab/nat/audit"
	"natlab/nat/iptables"
	"natlab/nat/kubeproxy"
	"natlab/nat/nftnl"
	"natlab/topology"
	"natlab/topology/topologytest"
)

// The figure of the issue: 10,000 Services with 3 endpoints each in at most 0.1 s.
func BenchmarkRules10000(b *testing.B) {
	c := topologytest.ManyServices(10_000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := kubeproxy.Rules(c, "node-1", kubeproxy.Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

// The same in nftables mode, and as the messages that the kernel takes.
func BenchmarkTables10000(b *testing.B) {
	c := topologytest.ManyServices(10_000)
	c.KubeProxy.Mode = topology.ModeNFTables
	b.ReportAllocs()
	for b.Loop() {
		if _, err := kubeproxy.Tables(c, "node-1", kubeproxy.Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMessages10000(b *testing.B) {
	c := topologytest.ManyServices(10_000)
	c.KubeProxy.Mode = topology.ModeNFTables
	rs, err := kubeproxy.Tables(c, "node-1", kubeproxy.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := nftnl.Encode(nftnl.Whole(&rs.Tables[0])); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPrint10000(b *testing.B) {
	rs, err := kubeproxy.Rules(topologytest.ManyServices(10_000), "node-1", kubeproxy.Options{})
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
	rs, err := kubeproxy.Rules(topologytest.ManyServices(10_000), "node-1", kubeproxy.Options{})
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

// What a node holds of 5,000 Services on 20 nodes is compared with what kube-proxy would have written.
func BenchmarkAudit5000(b *testing.B) {
	c, _, err := topology.LoadForRules(topology.Source{Name: "large", Reader: strings.NewReader(topologytest.Large(5_000, 20))})
	if err != nil {
		b.Fatal(err)
	}
	rs, err := kubeproxy.Rules(c, "n3", kubeproxy.Options{})
	if err != nil {
		b.Fatal(err)
	}
	node := audit.Node{Cluster: c, Name: "n3", Held: []audit.Held{{Backend: "iptables-legacy", Rules: rs}}}
	b.ReportAllocs()
	for b.Loop() {
		if found, err := audit.Check(node); err != nil || len(found) > 0 {
			b.Fatal(found, err)
		}
	}
}
