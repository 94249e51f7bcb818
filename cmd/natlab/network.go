package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/behaviour"
	"natlab/nat/bundle"
	"natlab/nat/diagnosis"
	"natlab/nat/gateway"
	"natlab/nat/ipset"
	"natlab/nat/iptables"
	"natlab/nat/kubeproxy"
	"natlab/nat/nftables"
	"natlab/nat/portmap"
	"natlab/nat/twin"
	"natlab/topology"
)

// clusterNetwork is a cluster with kube-proxy's rules on every node and a server behind every endpoint. A node of --bundle is as its own programs
// tell it: its devices, addresses, routes, sysctls, rules and sets. --rules replace the rules of nodes, each by NODE=FILE; several for one node are
// those of several backends.
func (p *program) clusterNetwork(c topology.Cluster, e *explainFlags, f gateway.Facts) (*gateway.Network, map[string]*bundle.Node, error) {
	c, plan, dumped, err := p.dumpedCluster(c, e.bundle)
	if err != nil {
		return nil, nil, err
	}
	if f.NAT, err = behaviour.Parse(c.NAT); err != nil {
		return nil, nil, fmt.Errorf("spec.nat of the Lab document: %w", err)
	}
	rules, sets, native := map[string]gateway.Rules{}, map[string]ipset.Sets{}, map[string]nftables.Ruleset{}
	for node, n := range dumped {
		rules[node], _ = n.Rules(nat.IPv4)
		sets[node], native[node] = n.Facts.Sets, n.Facts.NFT
	}
	given := map[string]bool{}
	for _, text := range e.rules {
		node, file, ok := strings.Cut(text, "=")
		if _, known := c.Node(node); !ok || !known {
			return nil, nil, fmt.Errorf("--rules %q: want NODE=FILE, with a node of the cluster", text)
		}
		kept, err := p.anyRules(file)
		if err != nil {
			return nil, nil, err
		}
		rs := kept.rules
		if !given[node] {
			given[node] = true
			rules[node], native[node] = nil, nftables.Ruleset{}
		}
		native[node] = native[node].And(kept.native)
		if len(rs) > 1 { // of both families: a cluster's packets are those of IPv4
			rs = slices.DeleteFunc(rs, func(rs iptables.Ruleset) bool { return rs.Family != nat.IPv4 })
		}
		rules[node] = append(rules[node], rs...)
	}
	others := func(node string) (gateway.Rules, error) {
		if len(native[node].Tables) > 0 || dumped[node] != nil {
			return nil, nil
		}
		rs, err := kubeproxy.Rules(c, node, kubeproxy.Options{})
		if err != nil {
			return nil, fmt.Errorf("rules: %w", err)
		}
		return gateway.Rules{portmap.Add(rs, c, node)}, nil
	}
	p.hostPortNote(c)
	servers := append(topology.Servers(c), topology.ProxyServers(c)...)
	network, err := gateway.NewNetwork(gateway.Setup{Plan: plan, Rules: rules, RulesOf: others, Servers: servers, Facts: f, SetsOf: sets, NFTOf: native})
	return network, dumped, err
}

// dumpedCluster is a cluster's plan, with the nodes of --bundle as they were dumped: that of the lab which natlab up --bundle would build.
func (p *program) dumpedCluster(c topology.Cluster, bundles []string) (topology.Cluster, topology.Plan, map[string]*bundle.Node, error) {
	var nodes []*bundle.Node
	for _, text := range bundles {
		node, _, ok := strings.Cut(text, "=")
		if _, known := c.Node(node); !ok || !known {
			return c, topology.Plan{}, nil, fmt.Errorf("--bundle %q: want NODE=FILE, with a node of the cluster", text)
		}
		n, err := p.readBundle(text)
		if err != nil {
			return c, topology.Plan{}, nil, err
		}
		nodes = append(nodes, n)
	}
	if len(nodes) == 0 {
		plan, err := topology.NewPlan(c)
		return c, plan, nil, err
	}
	t, err := twin.New(c, nodes)
	if err != nil {
		return c, topology.Plan{}, nil, fmt.Errorf("--bundle: %w", err)
	}
	for _, note := range t.Notes {
		p.logf("note: %s", note)
	}
	return t.Cluster, t.Plan, t.Nodes, nil
}

// doubted is an answer that depends on what natlab does not follow of a dumped node which the packet or its answer comes to.
func doubted(a diagnosis.Answer, nodes map[string]*bundle.Node, p nat.Prediction) diagnosis.Answer {
	if a.Verdict == diagnosis.Unknown || a.Verdict == diagnosis.Depends {
		return a
	}
	for _, name := range slices.Sorted(maps.Keys(nodes)) {
		c := diagnosis.Case{Namespace: nodes[name].Namespace, Facts: nodes[name].Facts, Doubts: nodes[name].Doubts}
		c.Namespace.Member = name
		if what, ok := c.DoubtOn(p); ok {
			a.Why = fmt.Sprintf("on %s, of %s; without that it is %s: %s", what, name, a.Verdict, a.Why)
			a.Verdict = diagnosis.Depends
			return a
		}
	}
	return a
}
