package gateway

import (
	"natlab/nat"
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

func newNode(ns *topology.Namespace, rules Rules, family nat.Family, kernel nat.Kernel) (*node, error) {
	h, err := newHost(ns, rules, family, kernel)
	if err != nil {
		return nil, err
	}
	n := &node{host: h, devices: map[string]*device{}, rules: rules, hooks: newHooks(rules, h.tracks)}
	for _, d := range h.devices {
		n.devices[d.Name] = d
	}
	return n, nil
}
