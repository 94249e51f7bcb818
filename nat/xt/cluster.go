package xt

import (
	"fmt"
	"math"
	"net/netip"

	"natlab/nat"
	"natlab/nat/rules"
)

// Cluster is -m cluster: a hash of who opened the connection belongs to this node of several (xt_cluster.c).
type Cluster struct {
	Not   bool
	Nodes uint32 // how many there are, at most 32
	Mask  uint32 // which of them this one is: bit 0 for the first
	Seed  uint32 // of the hash
}

// clusterTop is how many nodes there can be (XT_CLUSTER_NODES_MAX).
const clusterTop = 32

var clusterRow = Extension{
	Name: "cluster",
	Options: []Option{
		{Name: "--cluster-total-nodes", Values: 1},
		{Name: "--cluster-local-node", Values: 1, Not: true},
		{Name: "--cluster-local-nodemask", Values: 1, Not: true},
		{Name: "--cluster-hash-seed", Values: 1},
	},
	Examples: []string{
		"--cluster-local-nodemask 0x00000002 --cluster-total-nodes 2 --cluster-hash-seed 0xfeedcafe",
		"! --cluster-local-nodemask 0x0000001f --cluster-total-nodes 32 --cluster-hash-seed 0x00000000",
	},
	Parse:  parseCluster,
	Listed: listedCluster,
	// struct xt_cluster_match_info { __u32 total_nodes, node_mask, hash_seed, flags; };
	Layouts: layouts(layout(0, 16,
		func(d []byte, _ *Env) (Cluster, bool) {
			flags := order.Uint32(d[12:])
			return Cluster{flags&1 != 0, order.Uint32(d), order.Uint32(d[4:]), order.Uint32(d[8:])}, flags <= 1
		},
		func(m Cluster, d []byte, _ *Env) error {
			order.PutUint32(d, m.Nodes)
			order.PutUint32(d[4:], m.Mask)
			order.PutUint32(d[8:], m.Seed)
			order.PutUint32(d[12:], uint32(flagByte(m.Not)))
			return nil
		})),
	Tracks: true,
}

func parseCluster(a *Args) Value {
	var m Cluster
	a.Once()
	a.Need("--cluster-total-nodes")
	a.Need("--cluster-hash-seed")
	a.Need("--cluster-local-node", "--cluster-local-nodemask")
	a.Exclusive("--cluster-local-node", "--cluster-local-nodemask")
	for g := range a.Options {
		switch g.Name() {
		case "--cluster-total-nodes":
			m.Nodes = uint32(g.Within(1, clusterTop))
		case "--cluster-local-node":
			m.Not, m.Mask = g.Not, 1<<(g.Within(1, clusterTop)-1)
		case "--cluster-local-nodemask": // the program takes 32 at most, but prints what it does not take
			m.Not, m.Mask = g.Not, uint32(g.Within(1, math.MaxUint32))
		case "--cluster-hash-seed":
			m.Seed = uint32(g.Uint(32))
		}
	}
	if uint64(m.Mask) >= 1<<m.Nodes {
		a.Fail("this node is none of %d", m.Nodes)
	}
	return m
}

func listedCluster(l *Listing) bool {
	if !l.Take("cluster ") {
		return false
	}
	not := l.Bang()
	return l.Value("node_mask=", "--cluster-local-nodemask", not) && l.Value("total_nodes=", "--cluster-total-nodes", false) &&
		l.Value("hash_seed=", "--cluster-hash-seed", false)
}

// Name is "cluster".
func (Cluster) Name() string { return "cluster" }

// Save prints the mask, the number of nodes and the seed.
func (m Cluster) Save(p *Printer) {
	p.Not(m.Not)
	p.Textf(" --cluster-local-nodemask 0x%08x --cluster-total-nodes %d --cluster-hash-seed 0x%08x", m.Mask, m.Nodes, m.Seed)
}

// List prints the same as iptables -L does.
func (m Cluster) List(p *Printer) {
	p.Textf(" cluster %snode_mask=0x%08x total_nodes=%d hash_seed=0x%08x", bang(m.Not), m.Mask, m.Nodes, m.Seed)
}

// Holds asks which node the connection's original source belongs to.
func (m Cluster) Holds(v *rules.Visit) rules.Answer {
	if !v.Tracked() {
		return rules.No
	}
	c, ok := connOf(v)
	if !ok {
		return rules.Unknown
	}
	return rules.Is(m.Mask&(1<<m.node(c.Original.Src().Addr())) != 0, m.Not)
}

// node is the number of the node that a source belongs to, from 0. Of an IPv6 address the kernel hashes the first 32 bits
// alone (xt_cluster_hash_ipv6 takes NF_CT_TUPLE_L3SIZE, which counts words, for bytes).
func (m Cluster) node(source netip.Addr) uint32 {
	return scaled(nat.JHash(addrWords(source)[:1], m.Seed), m.Nodes)
}

// scaled maps a hash to a number below n (reciprocal_scale).
func scaled(hash, n uint32) uint32 { return uint32(uint64(hash) * uint64(n) >> 32) }

// addrWords are an address's words as the machine reads them.
func addrWords(a netip.Addr) (out []uint32) {
	b := a.AsSlice()
	for ; len(b) >= 4; b = b[4:] {
		out = append(out, order.Uint32(b))
	}
	return out
}

// Actual is the node that the connection belongs to.
func (m Cluster) Actual(v *rules.Visit) string {
	if !v.Tracked() {
		return "no connection"
	}
	c, ok := connOf(v)
	if !ok {
		return "the connection is not known"
	}
	return fmt.Sprintf("node %d of %d", m.node(c.Original.Src().Addr())+1, m.Nodes)
}
