package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

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
	differ  []string    // the nodes that do not hold exactly what they should
}

// readRules computes what each node should hold and reads what it does hold, and what else there is in the members.
func readRules(ctx context.Context, l *lab.Lab, intent topology.Cluster, members []string) (nodeRules, error) {
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
	network, err := l.NetworkOf(ctx, members)
	if err := errors.Join(group.Wait(), err); err != nil {
		return nodeRules{}, err
	}
	for i, node := range r.nodes {
		r.intent[node] = intents[i]
	}
	r.network = network
	r.differ = r.otherwise()
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
	intents, lives := map[string]*openChains{}, map[string]*openChains{}
	var out proof.Chains
	for _, node := range r.nodes {
		intents[node] = &openChains{sets: []iptables.Ruleset{r.intent[node]}}
		live, full := &openChains{}, 0
		for _, in := range r.network.Held[node] {
			live.sets = append(live.sets, in.Rules)
			if !empty(in.Rules) {
				full++
			}
		}
		lives[node] = live
		switch {
		case full > 1:
			out.Twice = append(out.Twice, node)
		case len(r.network.Held[node]) > 1:
			out.Spare = append(out.Spare, node)
		}
	}
	out.Intent = func(c proof.ChainRef) ([]nat.Met, bool) { return intents[c.Node].chain(c) }
	out.Live = func(c proof.ChainRef) ([]nat.Met, bool) { return lives[c.Node].chain(c) }
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

// openChains are the chains of a node's rule sets as a proof reads them: each is laid open when it is first asked for, since a proof
// asks for few of them.
type openChains struct {
	sets []iptables.Ruleset

	mu   sync.Mutex
	open map[proof.ChainRef]*[]nat.Met // under mu; nil: there is no such chain
}

func (o *openChains) chain(ref proof.ChainRef) ([]nat.Met, bool) {
	if o == nil {
		return nil, false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	rules, known := o.open[ref]
	if !known {
		if o.open == nil {
			o.open = map[proof.ChainRef]*[]nat.Met{}
		}
		rules = o.lay(ref)
		o.open[ref] = rules
	}
	if rules == nil {
		return nil, false
	}
	return *rules, true
}

func (o *openChains) lay(ref proof.ChainRef) *[]nat.Met {
	var out *[]nat.Met
	for _, rs := range o.sets {
		t, _ := rs.Table(ref.Table)
		c, has := t.Chain(ref.Chain)
		if !has {
			continue
		}
		if out == nil {
			out = &[]nat.Met{}
		}
		for _, rule := range c.Rules {
			*out = append(*out, rule.Met(c.Name))
		}
	}
	return out
}

// of lists every rule that nodes hold.
func (r nodeRules) of(nodes []string) []proof.RuleRef {
	var out []proof.RuleRef
	for _, node := range nodes {
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
// kube-proxy's own rules do not.
func (r nodeRules) bySourcePort() bool {
	return slices.ContainsFunc(r.of(r.differ), func(rule proof.RuleRef) bool {
		return strings.Contains(rule.Text, "sport") || strings.Contains(rule.Text, " --ports ")
	})
}

// otherwise are the nodes that do not hold exactly what they should, counters aside.
func (r nodeRules) otherwise() []string {
	var out []string
	for _, node := range r.nodes {
		var held []iptables.Ruleset
		for _, in := range r.network.Held[node] {
			if !empty(in.Rules) {
				held = append(held, in.Rules)
			}
		}
		if len(held) != 1 || !r.intent[node].Same(held[0]) {
			out = append(out, node)
		}
	}
	return out
}
