// Package nft programs a lab's nodes as kube-proxies in nftables mode would: with the same transactions, by the nft program. What they
// write is nat/kubeproxy's.
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

	config  topology.KubeProxy
	process kubeproxy.Process
}

// Sync has a node's kube-proxy follow a cluster. With anew it is started again first, as it is where its configuration is another: then
// it writes everything, and registers its base chains anew.
func (p *Proxies) Sync(ctx context.Context, ns dataplane.Namespace, c topology.Cluster, node string, anew bool) error {
	one := p.of(node)
	one.Lock()
	defer one.Unlock()
	if anew || !reflect.DeepEqual(one.config, c.KubeProxy) {
		one.config, one.process = c.KubeProxy, kubeproxy.Process{}
	}
	all, err := Tables(ctx, ns)
	if err != nil {
		return err
	}
	live, _ := all.Table(nftables.IP, kubeproxy.NFTTable)
	transactions, err := one.process.Sync(c, node, kubeproxy.Options{Family: nat.IPv4}, live, time.Now())
	if err != nil {
		return err
	}
	for _, tx := range transactions {
		if err := dataplane.RunNFT(ctx, ns, tx.String()); err != nil {
			one.process.Failed()
			return err
		}
	}
	return nil
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

// Tables reads the tables of nf_tables' own that packets of IPv4 meet in a namespace, but for those of iptables-nft, which are
// dataplane.DumpAll's, and natlab's own.
func Tables(ctx context.Context, ns dataplane.Namespace) (nftables.Ruleset, error) {
	var out nftables.Ruleset
	for _, f := range read {
		text, err := dataplane.ListNFT(ctx, ns, string(f))
		if err != nil {
			return nftables.Ruleset{}, err
		}
		all, err := nftables.ParseText(text)
		if err != nil {
			return nftables.Ruleset{}, fmt.Errorf("nft list ruleset %s: %w", f, err)
		}
		out = out.And(all)
	}
	return out.Without(func(t *nftables.Table) bool {
		return t.Managed || t.Family == nftables.IP && slices.Contains(managed, t.Name) || strings.HasPrefix(t.Name, "natlab")
	}), nil
}

// read are the families of tables that packets of IPv4 meet.
var read = []nftables.Family{nftables.IP, nftables.Inet}

// managed are the names of iptables-nft's tables.
var managed = []string{"raw", "mangle", "nat", "filter", "security"}

// Known reports whether a line of dataplane.Foreign is of a table that Tables reads, or of kube-proxy's for IPv6, which no packet of a lab in
// nftables mode meets.
func Known(line string) bool {
	for _, f := range read {
		if strings.HasPrefix(line, "nft table "+string(f)+" ") {
			return true
		}
	}
	return strings.HasPrefix(line, "nft table ip6 "+kubeproxy.NFTTable+":")
}

// Forget empties the sets into which the rules of kube-proxy's table put who was served by whom.
func Forget(ctx context.Context, ns dataplane.Namespace) error {
	all, err := Tables(ctx, ns)
	if err != nil {
		return err
	}
	table, _ := all.Table(nftables.IP, kubeproxy.NFTTable)
	var flush strings.Builder
	for i := range table.Sets {
		if table.Sets[i].Has("dynamic") && len(table.Sets[i].Elements) > 0 {
			fmt.Fprintf(&flush, "flush set ip %s %s\n", table.Name, table.Sets[i].Name)
		}
	}
	if flush.Len() == 0 {
		return nil
	}
	return dataplane.RunNFT(ctx, ns, flush.String())
}
