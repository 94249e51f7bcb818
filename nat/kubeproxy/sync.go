package kubeproxy

import (
	"slices"
	"strings"

	ipt "natlab/nat/iptables"
)

// Sync returns what a node holds after kube-proxy has synced rules that held live: its own chains are as want has them,
// those of Services that want no longer names are gone, and what other agents have stays, their rules in built-in chains
// among them. A rule of kube-proxy's that is missing in a built-in chain comes to its head (EnsureRule with Prepend).
func Sync(live, want ipt.Ruleset) ipt.Ruleset {
	out := live.Clone()
	out.Family = want.Family
	for _, t := range want.Tables {
		i := slices.IndexFunc(out.Tables, func(l ipt.Table) bool { return l.Name == t.Name })
		if i < 0 {
			out.Tables = append(out.Tables, t)
			continue
		}
		out.Tables[i] = syncTable(out.Tables[i], t)
	}
	return out
}

func syncTable(live, want ipt.Table) ipt.Table {
	out := ipt.Table{Name: live.Name}
	for _, c := range live.Chains {
		w, wanted := want.Chain(c.Name)
		switch {
		case !wanted && ofService(c.Name):
			continue
		case wanted && !c.BuiltIn():
			c.Rules = w.Rules
		case wanted:
			c.Rules = append(missing(c.Rules, w.Rules), c.Rules...)
		}
		out.Chains = append(out.Chains, c)
	}
	for _, w := range want.Chains {
		if _, there := live.Chain(w.Name); !there {
			out.Chains = append(out.Chains, w)
		}
	}
	return out
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
func ofService(chain string) bool {
	for _, prefix := range []string{"KUBE-SVC-", "KUBE-SVL-", "KUBE-SEP-", "KUBE-FW-", "KUBE-EXT-"} {
		if strings.HasPrefix(chain, prefix) {
			return true
		}
	}
	return false
}
