// Package nft programs a lab's nodes as kube-proxies in nftables mode would: with the same transactions, by the nft program. What they
// write is nat/kubeproxy's.
package nft

import (
	"context"
	"fmt"
	"reflect"
	"slices"
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

// Tables reads the IPv4 tables of nf_tables' own in a namespace, but for those of iptables-nft: they are dataplane.DumpAll's.
func Tables(ctx context.Context, ns dataplane.Namespace) (nftables.Ruleset, error) {
	text, err := dataplane.ListNFT(ctx, ns, nat.IPv4)
	if err != nil {
		return nftables.Ruleset{}, err
	}
	all, err := nftables.ParseText(text)
	if err != nil {
		return nftables.Ruleset{}, fmt.Errorf("nft list ruleset: %w", err)
	}
	all.Tables = slices.DeleteFunc(all.Tables, func(t nftables.Table) bool { return t.Managed || slices.Contains(managed, t.Name) })
	return all, nil
}

// managed are the names of iptables-nft's tables.
var managed = []string{"raw", "mangle", "nat", "filter", "security"}
