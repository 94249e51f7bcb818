package gateway

import (
	"sync"

	"natlab/nat/xt"
	"natlab/topology"
)

// laterRules are the rules of a node of a Network, which are made ready once a packet comes there: few packets come to many nodes.
type laterRules struct {
	once sync.Once
	give func() (Rules, error)
	err  error
}

// rulesOf are the rules of a namespace, nil where it has none.
func (s *Setup) rulesOf(ns *topology.Namespace) *laterRules {
	if rules := s.Rules[ns.Member].of(s.Family); len(rules) > 0 {
		return &laterRules{give: func() (Rules, error) { return rules, nil }}
	}
	if s.Rules[ns.Member] != nil || s.RulesOf == nil || ns.Kind != topology.KindNode {
		return nil
	}
	give, family, member := s.RulesOf, s.Family, ns.Member
	return &laterRules{give: func() (Rules, error) {
		rules, err := give(member)
		return rules.of(family), err
	}}
}

// furnish gives a node its rules, unless it has them.
func (n *Network) furnish(g *Gateway) error {
	later := n.later[g]
	if later == nil {
		return nil
	}
	later.once.Do(func() {
		var rules Rules
		if rules, later.err = later.give(); later.err == nil {
			g.adopt(rules)
		}
	})
	return later.err
}

// adopt gives a Gateway without rules its rules.
func (g *Gateway) adopt(rules Rules) {
	g.rules = rules
	g.host.tracks = g.host.tracks || rules.any(xt.Tracks)
	g.hooks = newHooks(rules, g.options.natives(g.options.Family), g.host.tracks, g.options.Family)
	g.conns.Settings.Accounts = g.conns.Settings.Accounts || rules.any(counts)
}
