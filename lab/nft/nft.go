// Package nft programs a lab's nodes as kube-proxies in nftables mode would: with the same transactions, by netlink. What they write is
// nat/kubeproxy's.
package nft

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"natlab/lab/dataplane"
	"natlab/nat"
	"natlab/nat/kubeproxy"
	"natlab/nat/nftables"
	"natlab/nat/nftnl"
	"natlab/topology"
)

// Proxies are what the nodes' kube-proxies remember. The zero value remembers nothing: each starts with its first sync.
type Proxies struct {
	mu   sync.Mutex
	last map[string]*proxy // by node; under mu
}

// proxy is one node's.
type proxy struct {
	sync.Mutex

	config    topology.KubeProxy
	processes map[nat.Family]*kubeproxy.Process
}

// Sync is what nodes' kube-proxies are to follow.
type Sync struct {
	Cluster  topology.Cluster
	Families []nat.Family // whose tables they write
	// Anew has a kube-proxy start again first, as it does where its configuration is another: then it writes everything, and registers
	// its base chains anew.
	Anew bool
}

// Sync has a node's kube-proxy follow a cluster. The table of a family of which something is refused is as it was, and nothing of those
// behind it is written.
func (p *Proxies) Sync(ctx context.Context, ns dataplane.Namespace, node string, s Sync) error {
	one := p.of(node)
	one.Lock()
	defer one.Unlock()
	if s.Anew || !reflect.DeepEqual(one.config, s.Cluster.KubeProxy) {
		one.config, one.processes = s.Cluster.KubeProxy, map[nat.Family]*kubeproxy.Process{}
	}
	all, err := Tables(ctx, ns, s.Families...)
	if err != nil {
		return err
	}
	for _, family := range s.Families {
		live, _ := all.Table(nftables.FamilyOf(family), kubeproxy.NFTTable)
		live.Family = nftables.FamilyOf(family)
		if err := one.sync(ns, node, s.Cluster, live); err != nil {
			return fmt.Errorf("%s: %w", family, err)
		}
	}
	return nil
}

// sync writes one family's table, which is live.
func (p *proxy) sync(ns dataplane.Namespace, node string, c topology.Cluster, live nftables.Table) error {
	family := nat.IPv4
	if live.Family == nftables.IP6 {
		family = nat.IPv6
	}
	process := p.processes[family]
	if process == nil {
		process = &kubeproxy.Process{}
		p.processes[family] = process
	}
	transactions, err := process.Sync(c, node, kubeproxy.Options{Family: family}, live, time.Now())
	if err != nil {
		return err
	}
	for _, tx := range transactions {
		if err := dataplane.WriteNFT(ns, written(tx, live.Sets)); err != nil {
			process.Failed()
			return err
		}
	}
	return nil
}

// written is a transaction on a table that has sets.
func written(tx kubeproxy.Transaction, live []nftables.Set) nftnl.Transaction {
	out := nftnl.Transaction{Family: tx.Family, Table: kubeproxy.NFTTable, Live: live, Commands: make([]nftnl.Command, len(tx.Commands))}
	for i, c := range tx.Commands {
		verb := map[kubeproxy.Verb]nftnl.Verb{kubeproxy.Add: nftnl.Add, kubeproxy.Flush: nftnl.Flush, kubeproxy.Delete: nftnl.Delete}[c.Verb]
		out.Commands[i] = nftnl.Command{
			Verb: verb, Table: c.Table, Chain: c.Chain, Set: c.Set, Object: c.Object, Rule: c.Rule, Element: c.Element, In: c.In,
		}
	}
	return out
}

func (p *Proxies) of(node string) *proxy {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == nil {
		p.last = map[string]*proxy{}
	}
	if p.last[node] == nil {
		p.last[node] = &proxy{}
	}
	return p.last[node]
}

// Tables reads the tables of nf_tables' own that packets of the families meet in a namespace, but for those of iptables-nft, which are
// dataplane.DumpAll's, and natlab's own. Those of one family come before those of the next, and tables of inet behind all.
func Tables(ctx context.Context, ns dataplane.Namespace, families ...nat.Family) (nftables.Ruleset, error) {
	var out nftables.Ruleset
	for _, f := range metBy(families) {
		all, err := dataplane.NFTTables(ctx, ns, f)
		if err != nil {
			return nftables.Ruleset{}, err
		}
		out = out.And(all)
	}
	return out.Without(func(t *nftables.Table) bool {
		return t.Managed || t.Family != nftables.Inet && slices.Contains(managed, t.Name) || strings.HasPrefix(t.Name, "natlab")
	}), nil
}

// metBy are the families of tables that packets of addresses of some families meet.
func metBy(families []nat.Family) (out []nftables.Family) {
	for _, f := range families {
		out = append(out, nftables.FamilyOf(f))
	}
	return append(out, nftables.Inet)
}

// managed are the names of iptables-nft's tables.
var managed = []string{"raw", "mangle", "nat", "filter", "security"}

// Known reports whether a line of dataplane.Foreign is of a table that Tables reads for the families, or of kube-proxy's for IPv6: a real
// kube-proxy writes that where no packet of the lab meets it, too.
func Known(line string, families ...nat.Family) bool {
	for _, f := range metBy(families) {
		if strings.HasPrefix(line, "nft table "+string(f)+" ") {
			return true
		}
	}
	return strings.HasPrefix(line, "nft table ip6 "+kubeproxy.NFTTable+":")
}

// Forget empties the sets into which the rules of kube-proxy's tables put who was served by whom.
func Forget(ns dataplane.Namespace, families ...nat.Family) error {
	remembers := func(t *nftables.Table, s *nftables.Set) bool { return t.Name == kubeproxy.NFTTable && s.Has("dynamic") }
	for _, family := range metBy(families) {
		all, err := dataplane.ReadNFTSets(ns, family, remembers)
		if err != nil {
			return err
		}
		for i := range all.Tables {
			t := &all.Tables[i]
			flush := nftnl.Transaction{Family: t.Family, Table: t.Name}
			for k := range t.Sets {
				if s := &t.Sets[k]; remembers(t, s) && len(s.Elements) > 0 {
					flush.Commands = append(flush.Commands, nftnl.Command{Verb: nftnl.Flush, Set: s})
				}
			}
			if len(flush.Commands) == 0 {
				continue
			}
			if err := dataplane.WriteNFT(ns, flush); err != nil {
				return err
			}
		}
	}
	return nil
}
