package kubeproxy

import (
	"reflect"
	"slices"
	"strings"

	ipt "natlab/nat/iptables"
	"natlab/topology"
)

// Update is one sync of kube-proxy on a node: the rules that it wants, and what of the node's it does not look at.
type Update struct {
	Want ipt.Ruleset
	// Partial: chains of Services that did not change, and kube-proxy's rules in built-in chains, are taken to be there
	// (kubernetes#110268, on by default since 1.27).
	Partial bool
	// Large: the cluster has more than 1,000 endpoints of the family, and chains of Services that no rule calls any more are
	// deleted by the first sync after iptables.syncPeriod only. Until then they stay, in every release.
	Large bool

	changed  map[string]bool // where Partial: the chains of Services that did change
	prefixes []string        // of the chains that are deleted once no Service calls for them
}

// NewUpdate is the sync that follows a change from the cluster before to the one after. Without a cluster before it is a
// full one, as kube-proxy's first is, the one after another configuration or another label of the node, and the one after
// somebody deleted a canary. Errors are those of Rules.
func NewUpdate(before *topology.Cluster, after topology.Cluster, node string, o Options) (Update, error) {
	if err := checkMode(&after); err != nil {
		return Update{}, err
	}
	g, err := newGenerator(after, node, o)
	if err != nil {
		return Update{}, err
	}
	u := Update{Large: g.large, prefixes: []string{"KUBE-SVC-", "KUBE-SVL-", "KUBE-SEP-", "KUBE-FW-", "KUBE-EXT-"}}
	if g.release.DeletesXLB {
		u.prefixes = append(u.prefixes, "KUBE-XLB-")
	}
	if before == nil || !g.gates.partialSync || !alikeFor(node, before, &after) {
		g.write(nil)
		u.Want = g.ruleset()
		return u, nil
	}
	u.Partial, u.changed = true, map[string]bool{}
	same := unchanged(before, &after)
	g.write(func(p *port) {
		if same[p.service] {
			return
		}
		for _, name := range []string{p.svc, p.svl, p.ext, p.fw} {
			u.changed[name] = true
		}
		for _, e := range p.serving.all {
			u.changed[e.chain] = true
		}
	})
	u.Want = g.ruleset()
	return u, nil
}

// alikeFor reports whether a node's kube-proxy runs on as it did before a change.
func alikeFor(node string, before, after *topology.Cluster) bool {
	a, _ := before.Node(node)
	b, _ := after.Node(node)
	return reflect.DeepEqual(a, b) && reflect.DeepEqual(before.KubeProxy, after.KubeProxy)
}

// unchanged are the Services of after that were the same before, with their endpoints.
func unchanged(before, after *topology.Cluster) map[*topology.Service]bool {
	type name struct{ namespace, name string }
	old := make(map[name]*topology.Service, len(before.Services))
	for i := range before.Services {
		s := &before.Services[i]
		old[name{s.Namespace, s.Name}] = s
	}
	out := make(map[*topology.Service]bool, len(after.Services))
	for i := range after.Services {
		s := &after.Services[i]
		if was := old[name{s.Namespace, s.Name}]; was != nil && reflect.DeepEqual(*was, *s) {
			out[s] = true
		}
	}
	return out
}

// Stale is what a sync does with chains of Services that it does not want.
type Stale uint8

// The ways. KeepStale is that of a Large cluster within iptables.syncPeriod.
const (
	DeleteStale Stale = iota
	KeepStale
)

// Apply returns what a node holds after the sync of rules that held live: kube-proxy's own chains are as it wants them,
// and what other agents have stays, their rules in built-in chains among them. A rule of kube-proxy's that is missing in
// a built-in chain comes to its head (EnsureRule with Prepend).
func (u Update) Apply(live ipt.Ruleset, stale Stale) ipt.Ruleset {
	out := live.Clone()
	out.Family = u.Want.Family
	for _, t := range u.Want.Tables {
		i := slices.IndexFunc(out.Tables, func(l ipt.Table) bool { return l.Name == t.Name })
		if i < 0 {
			out.Tables = append(out.Tables, t)
			continue
		}
		out.Tables[i] = u.table(out.Tables[i], t, stale)
	}
	return out
}

func (u Update) table(live, want ipt.Table, stale Stale) ipt.Table {
	out := ipt.Table{Name: live.Name}
	wanted, there := want.ByName(), live.ByName()
	for _, c := range live.Chains {
		w := wanted[c.Name]
		switch {
		case w == nil && u.ofService(c.Name) && stale == DeleteStale:
			continue
		case w == nil || u.leaves(w):
		case c.BuiltIn():
			c.Rules = append(missing(c.Rules, w.Rules), c.Rules...)
		default:
			c.Rules = w.Rules
		}
		out.Chains = append(out.Chains, c)
	}
	for _, w := range want.Chains {
		if there[w.Name] == nil {
			out.Chains = append(out.Chains, w)
		}
	}
	return out
}

// leaves reports whether a sync takes a chain that is there as it is. KUBE-FIREWALL without a rule of its own, and the
// canary, it only makes sure of (EnsureChain).
func (u Update) leaves(w *ipt.Chain) bool {
	if len(w.Rules) == 0 && (w.Name == chainKubeletFirewall || w.Name == chainCanary) {
		return true
	}
	return u.Partial && (w.BuiltIn() || u.ofService(w.Name) && !u.changed[w.Name])
}

// missing are the rules of want that are not among those of live.
func missing(live, want []ipt.Rule) []ipt.Rule {
	have := make(map[string]bool, len(live))
	for _, r := range live {
		have[r.Spec()] = true
	}
	var out []ipt.Rule
	for _, r := range want {
		if !have[r.Spec()] {
			out = append(out, r)
		}
	}
	return out
}

// ofService reports whether kube-proxy deletes a chain once no Service calls for it (isServiceChainName).
func (u Update) ofService(chain string) bool {
	return slices.ContainsFunc(u.prefixes, func(p string) bool { return strings.HasPrefix(chain, p) })
}

// StaleChains are the chains of Services in a table of a node that kube-proxy does not want and that no rule calls, but
// such as are stale themselves: what a Large cluster keeps for a while. They do nothing to packets.
func (u Update) StaleChains(live ipt.Table) map[string]bool {
	want, _ := u.Want.Table(live.Name)
	stale, wanted := map[string]bool{}, want.ByName()
	for _, c := range live.Chains {
		if wanted[c.Name] == nil && u.ofService(c.Name) {
			stale[c.Name] = true
		}
	}
	for called := true; called; { // what a chain calls that is not stale is not stale either
		called = false
		for _, c := range live.Chains {
			if stale[c.Name] {
				continue
			}
			for _, r := range c.Rules {
				if r.Target != nil && stale[r.Target.Name()] {
					delete(stale, r.Target.Name())
					called = true
				}
			}
		}
	}
	return stale
}
