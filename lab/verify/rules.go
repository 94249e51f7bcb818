package verify

import (
	"fmt"
	"runtime"
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
	"natlab/nat/nftables"
	"natlab/nat/portmap"
	"natlab/nat/proof"
	"natlab/topology"
)

// nodeRules are the rules of all nodes, as they should be and as they are.
type nodeRules struct {
	nodes   []string
	intent  map[string]iptables.Ruleset
	native  map[string]nftables.Ruleset // of kube-proxy's nftables mode, beside intent: as they should be; nil in another mode
	network lab.Network                 // what the nodes hold is in Held, and in NFTOf
	differ  []string                    // the nodes that do not hold exactly what they should
	dumped  []string                    // the nodes that hold what was dumped of real ones
}

// rulesOf computes what each node should hold, and holds that against what it does.
func rulesOf(network lab.Network, nodes []string, intent topology.Cluster) (nodeRules, error) {
	r := nodeRules{nodes: nodes, network: network, intent: map[string]iptables.Ruleset{}}
	r.network.NFTOf = forgetful(network.NFTOf)
	for i := range network.Plan.Namespaces {
		if ns := &network.Plan.Namespaces[i]; ns.Dumped {
			r.dumped = append(r.dumped, ns.Member)
		}
	}
	if intent.KubeProxy.Mode == topology.ModeIPVS { // nobody knows what they should hold
		for node, held := range network.Held {
			if len(held) > 0 {
				r.intent[node] = held[0].Rules
			}
		}
		return r, nil
	}
	if intent.KubeProxy.Mode == topology.ModeNFTables {
		r.native = map[string]nftables.Ruleset{}
	}
	var mu sync.Mutex // for r
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for _, node := range r.nodes {
		group.Go(func() error {
			rs, native, err := rulesFor(intent, node, network.Family)
			if err != nil {
				return fmt.Errorf("the rules that node %s should hold: %w", node, err)
			}
			should, differs := r.shouldHold(node, portmap.Add(rs, intent, node))
			native, differsNative := r.shouldHoldNative(node, native)
			mu.Lock()
			defer mu.Unlock()
			if r.native != nil {
				r.native[node] = native
			}
			if r.intent[node] = should; differs || differsNative {
				r.differ = append(r.differ, node)
			}
			return nil
		})
	}
	err := group.Wait()
	slices.SortFunc(r.differ, func(a, b string) int { return slices.Index(r.nodes, a) - slices.Index(r.nodes, b) })
	return r, err
}

// rulesFor are the rules that kube-proxy writes in a node, in one of the two languages.
func rulesFor(c topology.Cluster, node string, f nat.Family) (rs iptables.Ruleset, native nftables.Ruleset, err error) {
	o := kubeproxy.Options{Family: f}
	if c.KubeProxy.Mode == topology.ModeNFTables {
		native, err = kubeproxy.Tables(c, node, o)
		return iptables.Ruleset{Family: f}, native, err // of iptables the plugins' alone
	}
	rs, err = kubeproxy.Rules(c, node, o)
	return rs, native, err
}

// shouldHold is what a node should hold: the rules that it does hold where they are the same, counters aside, so that one copy of
// them is kept; else differs.
func (r nodeRules) shouldHold(node string, wanted iptables.Ruleset) (should iptables.Ruleset, differs bool) {
	var held []iptables.Ruleset
	for _, in := range r.network.Held[node] {
		if !empty(in.Rules) {
			held = append(held, in.Rules)
		}
	}
	if r.native != nil {
		wanted = withBuiltIn(wanted)
	}
	if len(held) == 0 && empty(wanted) {
		return wanted, false
	}
	if len(held) == 1 && wanted.Same(held[0]) {
		return held[0], false
	}
	return wanted, true
}

// withBuiltIn are rules with all chains that their tables are born with, as whoever writes some of them gets.
func withBuiltIn(rs iptables.Ruleset) iptables.Ruleset {
	rs = rs.Clone()
	for i := range rs.Tables {
		t := &rs.Tables[i]
		for _, hook := range nat.TableHooks(t.Name) {
			if _, has := t.Chain(hook.String()); !has {
				t.Chains = append(t.Chains, iptables.Chain{Name: hook.String(), Policy: "ACCEPT"})
			}
		}
	}
	return rs
}

// witnessed is what the witness of a node needs to know of its rules.
func (r nodeRules) witnessed(node string) witness.Known {
	w := witness.Known{Native: r.network.NFTOf[node]}
	for _, in := range r.network.Held[node] {
		switch in.Backend {
		case dataplane.Legacy:
			w.Legacy = in.Rules
		case dataplane.NFT:
			w.NFT = in.Rules
		case dataplane.Userspace: // its gateway tells them itself
		}
	}
	return w
}

// chains lays both rule sets open for the proof.
func (r nodeRules) chains() proof.Chains {
	intents, lives := map[string]*openChains{}, map[string]*openChains{}
	var out proof.Chains
	for _, node := range r.nodes {
		intents[node] = &openChains{sets: []iptables.Ruleset{r.intent[node]}, native: r.native[node]}
		live, full := &openChains{native: r.network.NFTOf[node]}, 0
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
		case len(r.network.Held[node]) > 1, len(r.network.NFTOf[node].Tables) > 0 && (r.native == nil || len(r.network.Held[node]) > 0):
			out.Spare = append(out.Spare, node)
		}
	}
	out.Native = r.native != nil
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
	sets   []iptables.Ruleset
	native nftables.Ruleset

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
	for i := range o.native.Tables {
		t := &o.native.Tables[i]
		switch rules, has := t.Laid(ref.Chain); {
		case t.FullName() != ref.Table:
		case ref.Chain == "":
			return new(t.Declared())
		case has:
			return &rules
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
						out = append(out, proof.RuleRef{Node: node, Family: topology.Family(r.network.Family), Table: t.Name, Chain: c.Name, Rule: i + 1, Text: rule.Text(c.Name)})
					}
				}
			}
		}
		if r.native != nil {
			out = append(out, nativeRules(node, r.network.NFTOf[node])...)
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
