package gateway

import (
	"slices"

	"natlab/nat"
	"natlab/nat/nftables"
	"natlab/topology"
)

// node is what a Gateway is, whatever comes to it: its namespace, its rules, and what netfilter calls at which hook. Nothing of it
// changes once it is made, so that all Gateways that were made fresh of one share it.
type node struct {
	host    *host
	devices map[string]*device
	rules   Rules
	hooks   hooks
}

func newNode(ns *topology.Namespace, rules Rules, family nat.Family, facts *Facts) (*node, error) {
	h, err := newHost(ns, rules, family, facts.Kernel)
	if err != nil {
		return nil, err
	}
	native := facts.natives(family)
	h.tracks = h.tracks || slices.ContainsFunc(facts.NFT.Tables, func(t nftables.Table) bool { return t.Tracks(family) })
	n := &node{host: h, devices: map[string]*device{}, rules: rules, hooks: newHooks(rules, native, h.tracks, family)}
	for _, d := range h.devices {
		n.devices[d.Name] = d
	}
	return n, nil
}
