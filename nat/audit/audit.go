package audit

import (
	"fmt"
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/kubeproxy"
	"natlab/nat/nftables"
	"natlab/nat/view"
	"natlab/nat/xt"
	"natlab/nat/xtables"
	"natlab/topology"
)

// Node is what an audit looks at: a node, one family of addresses.
type Node struct {
	Cluster topology.Cluster
	Name    string
	Options kubeproxy.Options
	Backend string // the backend that kube-proxy writes with; "" where nobody knows: then the one that has its chains
	Held    []Held
	Untold  string            // why the node may hold rules of iptables that Held has not; "" where it has all
	Native  nftables.Ruleset  // the tables of nf_tables' own
	First   string            // of two backends that hold rules, the one whose nat chains a packet meets first; "" where nobody knows
	Conns   []nat.Conn        // of the node's connection tracking, both families or one
	Sysctls []topology.Sysctl // the node's settings, as far as they are known
	Bridged bool              // its pods are behind a bridge
	// Namespace has the node's routes and its rules of routing, as far as they are known.
	Namespace topology.Namespace
	Tools     []view.Version // the versions of iptables that are used on the node to look at rules or to save them
}

// Held is what one backend holds.
type Held struct {
	Backend string // "iptables-legacy" or "iptables-nft"
	Rules   iptables.Ruleset
	Tables  []xtables.Table // the same in bytes
	Err     error           // set where it could not be read as iptables' rules
}

// legacy and nft are the names of the backends.
const (
	legacy = "iptables-legacy"
	nft    = "iptables-nft"
)

// auditor gathers findings.
type auditor struct {
	node     Node
	sync     kubeproxy.Update // that wrote kube-proxy's rules
	intent   iptables.Ruleset // which are these
	mark     uint32
	findings []Finding
}

// Check audits a node. What it finds comes in the same order for the same input. An error: kube-proxy's own
// rules cannot be told.
func Check(n Node) ([]Finding, error) {
	a := auditor{node: n, mark: markBit(n.Cluster.KubeProxy)}
	if n.Cluster.KubeProxy.Mode == topology.ModeNFTables {
		err := a.inNFTablesMode()
		return a.findings, err
	}
	own := a.own()
	if own.kube() == 0 && n.Untold != "" {
		a.untold()
		return a.findings, nil
	}
	a.node.Options.NoCounters = n.Options.NoCounters || own.kube() > 0 && !own.counts()
	var err error
	if a.sync, err = kubeproxy.NewUpdate(nil, n.Cluster, n.Name, a.node.Options); err != nil {
		return nil, fmt.Errorf("audit %s: %w", n.Name, err)
	}
	a.intent = a.sync.Want
	a.unreadable()
	a.compare(own)
	for _, h := range n.Held {
		if h.Backend != own.Backend {
			a.leftovers(h)
		}
		a.earlyVerdicts(h)
		a.marks(h)
		a.others(h)
		a.revisions(h)
	}
	a.nativeOthers()
	a.bothBackends(own)
	a.hints(own)
	a.settings()
	a.conns()
	return a.findings, nil
}

// markBit is kube-proxy's bit of the mark: 1 << masqueradeBit, 14 where it is not set.
func markBit(k topology.KubeProxy) uint32 {
	if k.MasqueradeBit < 0 || k.MasqueradeBit > 31 {
		return 1 << 14
	}
	return 1 << k.MasqueradeBit
}

func (a *auditor) found(f Finding) {
	f.Node, f.Family = a.node.Name, a.node.Options.Family.String()
	a.findings = append(a.findings, f)
}

func (a *auditor) unreadable() {
	for _, h := range a.node.Held {
		if h.Err != nil {
			a.found(Finding{
				Kind: Unreadable, Backend: h.Backend, What: h.Err.Error(),
				Why:    "rules that iptables did not write stand in its tables: they act all the same, and no iptables shows them",
				Remedy: "nft list ruleset shows them; move them to a table of another name",
			})
		}
	}
}

// untold finds that it is not known what kube-proxy wrote, and looks at all else.
func (a *auditor) untold() {
	a.found(Finding{
		Kind: Unreadable, What: "the rules of iptables are not known: " + a.node.Untold,
		Why:    "whether kube-proxy's rules are there, and are right, cannot be told",
		Remedy: "run the script of natlab collect as root, where iptables-save of the backend that kube-proxy writes with is: in kube-proxy's container, for one",
	})
	for _, h := range a.node.Held {
		a.others(h)
	}
	a.nativeOthers()
	a.settings()
}

// own is what the backend holds that kube-proxy writes with.
func (a *auditor) own() Held {
	name := a.node.Backend
	for _, h := range a.node.Held {
		if name == "" && hasChain(h.Rules, "nat", "KUBE-SERVICES") {
			name = h.Backend
		}
	}
	if name == "" {
		name = legacy
	}
	for _, h := range a.node.Held {
		if h.Backend == name {
			return h
		}
	}
	return Held{Backend: name, Rules: iptables.Ruleset{Family: a.node.Options.Family}}
}

func hasChain(rs iptables.Ruleset, table, chain string) bool {
	t, ok := rs.Table(table)
	if ok {
		_, ok = t.Chain(chain)
	}
	return ok
}

// kubeChain reports whether a chain bears a name of Kubernetes.
func kubeChain(name string) bool {
	return strings.HasPrefix(name, "KUBE-") && !slices.ContainsFunc(routerChains, func(other string) bool { return strings.HasPrefix(name, other) })
}

// routerChains are what the chains of kube-router begin with, whose network policies k3s and k0s bring, too.
var routerChains = []string{"KUBE-ROUTER-", "KUBE-POD-FW-", "KUBE-NWPLCY-", "KUBE-DST-", "KUBE-SRC-"}

// kubelets are the chains that kubelet makes, or made, beside kube-proxy.
var kubelets = map[string]bool{
	"KUBE-FIREWALL": true, "KUBE-MARK-DROP": true, "KUBE-KUBELET-CANARY": true, "KUBE-IPTABLES-HINT": true,
}

// populated reports whether a backend holds a rule, or a policy other than ACCEPT.
func (h Held) populated() bool {
	for _, t := range h.Rules.Tables {
		for _, c := range t.Chains {
			if len(c.Rules) > 0 || !c.BuiltIn() || c.Policy != "ACCEPT" {
				return true
			}
		}
	}
	return false
}

// counts reports whether a rule counts in an nfacct object. Where none does, the kernel has none, and kube-proxy leaves
// those conditions out.
func (h Held) counts() bool {
	for _, t := range h.Rules.Tables {
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				if slices.ContainsFunc(r.Matches, func(m xt.Match) bool { _, is := m.(xt.NFAcct); return is }) {
					return true
				}
			}
		}
	}
	return false
}

// kube counts the rules of chains that bear a name of Kubernetes.
func (h Held) kube() int {
	n := 0
	for _, t := range h.Rules.Tables {
		for _, c := range t.Chains {
			if kubeChain(c.Name) {
				n += len(c.Rules)
			}
		}
	}
	return n
}
