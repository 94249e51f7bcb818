package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"natlab/lab"
	"natlab/lab/dataplane"
	"natlab/lab/witness"
	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/kubeproxy"
	"natlab/nat/portmap"
	"natlab/nat/proof"
	"natlab/topology"
)

// nodeRules are the rules of all nodes, as they should be and as they are.
type nodeRules struct {
	nodes   []string
	intent  map[string]iptables.Ruleset
	network lab.Network // what the nodes hold is in Held
}

// readRules computes what each node should hold and reads what it does hold.
func readRules(ctx context.Context, l *lab.Lab, intent topology.Cluster) (nodeRules, error) {
	r := nodeRules{nodes: l.Nodes(), intent: map[string]iptables.Ruleset{}}
	intents := make([]iptables.Ruleset, len(r.nodes))
	var group errgroup.Group
	for i, node := range r.nodes {
		group.Go(func() (err error) {
			rs, err := kubeproxy.Rules(intent, node, kubeproxy.Options{})
			if err != nil {
				return fmt.Errorf("the rules that node %s should hold: %w", node, err)
			}
			intents[i] = portmap.Add(rs, intent, node)
			return nil
		})
	}
	network, err := l.Network(ctx)
	if err := errors.Join(group.Wait(), err); err != nil {
		return nodeRules{}, err
	}
	for i, node := range r.nodes {
		r.intent[node] = intents[i]
	}
	r.network = network
	return r, nil
}

// witnessed is what the witness of a node needs to know of its rules.
func (r nodeRules) witnessed(node string) witness.Known {
	var w witness.Known
	for _, in := range r.network.Held[node] {
		switch in.Backend {
		case dataplane.Legacy:
			w.Legacy = in.Rules
		case dataplane.NFT:
			w.NFT = in.Rules
		}
	}
	return w
}

// chains lays both rule sets open for the proof.
func (r nodeRules) chains() proof.Chains {
	out := proof.Chains{Intent: map[proof.ChainRef][]nat.Met{}, Live: map[proof.ChainRef][]nat.Met{}}
	for _, node := range r.nodes {
		addChains(out.Intent, node, r.intent[node])
		for _, in := range r.network.Held[node] {
			addChains(out.Live, node, in.Rules)
		}
		full := 0
		for _, in := range r.network.Held[node] {
			if !empty(in.Rules) {
				full++
			}
		}
		switch {
		case full > 1:
			out.Twice = append(out.Twice, node)
		case len(r.network.Held[node]) > 1:
			out.Spare = append(out.Spare, node)
		}
	}
	return out
}

// empty reports whether a rule set touches no packet: no rules, and policies that accept. ip_tables has no way to take
// a table away while its namespace lives.
func empty(rs iptables.Ruleset) bool {
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			if len(c.Rules) > 0 || c.Policy == "DROP" {
				return false
			}
		}
	}
	return true
}

func addChains(to map[proof.ChainRef][]nat.Met, node string, rs iptables.Ruleset) {
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			ref := proof.ChainRef{Node: node, Table: t.Name, Chain: c.Name}
			rules := to[ref]
			if rules == nil {
				rules = []nat.Met{}
			}
			for _, rule := range c.Rules {
				rules = append(rules, rule.Met(c.Name))
			}
			to[ref] = rules
		}
	}
}

// all lists every rule that the nodes hold, for the coverage.
func (r nodeRules) all() []proof.RuleRef {
	var out []proof.RuleRef
	for _, node := range r.nodes {
		for _, in := range r.network.Held[node] {
			for _, t := range in.Rules.Tables {
				for _, c := range t.Chains {
					for i, rule := range c.Rules {
						out = append(out, proof.RuleRef{Node: node, Table: t.Name, Chain: c.Name, Rule: i + 1, Text: rule.Text(c.Name)})
					}
				}
			}
		}
	}
	return out
}

// bySourcePort reports whether a rule of a node looks at the port that a client has: then a prediction for one holds for no other.
func (r nodeRules) bySourcePort() bool {
	return slices.ContainsFunc(r.all(), func(rule proof.RuleRef) bool {
		return strings.Contains(rule.Text, "sport") || strings.Contains(rule.Text, " --ports ")
	})
}

// asWanted reports whether every node holds exactly what it should, counters aside: then one prediction does for both.
func (r nodeRules) asWanted(chains proof.Chains) bool {
	return len(chains.Twice) == 0 && len(r.otherwise(chains)) == 0
}

// otherwise are the nodes that do not hold exactly what they should.
func (r nodeRules) otherwise(chains proof.Chains) []string {
	var out []string
	for _, node := range r.nodes {
		same := func(a, b map[proof.ChainRef][]nat.Met) bool {
			for ref, rules := range a {
				if other, ok := b[ref]; ref.Node == node && (!ok || !slices.Equal(rules, other)) {
					return false
				}
			}
			return true
		}
		if !same(chains.Intent, chains.Live) || !same(chains.Live, chains.Intent) {
			out = append(out, node)
		}
	}
	return out
}
