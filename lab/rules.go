package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"

	"natlab/lab/dataplane"
	"natlab/lab/nft"
	"natlab/lab/proxy"
	"natlab/lab/realise"
	"natlab/lab/replay"
	"natlab/nat"
	"natlab/nat/bundle"
	"natlab/nat/iptables"
	"natlab/nat/kubeproxy"
	"natlab/nat/portmap"
	"natlab/nat/twin"
	"natlab/topology"
)

// installRules gives each node the rules that kube-proxy would have written there, and CNI's portmap plugin for hostPorts.
func (l *Lab) installRules(ctx context.Context, p *progress) error {
	plane, err := l.plane()
	if err != nil {
		return err
	}
	if l.record.KubeProxy != "" {
		return l.startProxies(ctx, plane, p)
	}
	if l.nftables() {
		return l.startNFT(ctx, plane, p)
	}
	return each(ctx, l.cluster.Nodes, func(n topology.Node) error {
		defer p.done("rules")
		if l.twin != nil && l.twin.Nodes[n.Name] != nil {
			return l.replay(ctx, n.Name)
		}
		for _, family := range l.Families() {
			rs, err := kubeproxy.Rules(l.cluster, n.Name, kubeproxy.Options{Family: family})
			if err == nil {
				err = plane.Install(ctx, l.handles[n.Name], portmap.Add(rs, l.cluster, n.Name))
			}
			if err != nil {
				return fmt.Errorf("node %s: rules of %s: %w", n.Name, family, err)
			}
		}
		l.syncs.remember(n.Name, synced{l.cluster, time.Now()})
		return nil
	})
}

// Proxied reports whether a real kube-proxy in each node writes its rules.
func (l *Lab) Proxied() bool { return l.record.KubeProxy != "" }

// nftables reports whether the nodes' kube-proxies run in nftables mode.
func (l *Lab) nftables() bool { return l.Cluster().KubeProxy.Mode == topology.ModeNFTables }

// startNFT gives each node the table of kube-proxy's nftables mode, behind what CNI's portmap plugin has written there.
func (l *Lab) startNFT(ctx context.Context, plane dataplane.Dataplane, p *progress) error {
	return each(ctx, l.cluster.Nodes, func(n topology.Node) error {
		defer p.done("rules")
		h := l.handles[n.Name]
		for _, family := range l.Families() {
			if rs := portmap.Add(iptables.Ruleset{Family: family}, l.cluster, n.Name); len(rs.Tables) > 0 {
				if err := plane.Install(ctx, h, rs); err != nil {
					return fmt.Errorf("node %s: rules of %s: %w", n.Name, family, err)
				}
			}
		}
		if err := l.proxies.Sync(ctx, h, n.Name, nft.Sync{Cluster: l.cluster, Families: l.Families(), Anew: true}); err != nil {
			return fmt.Errorf("node %s: rules of %w", n.Name, err)
		}
		return nil
	})
}

// syncNFT has nodes' kube-proxies in nftables mode follow a cluster.
func (l *Lab) syncNFT(ctx context.Context, c topology.Cluster, nodes []string, anew bool) error {
	return each(ctx, nodes, func(name string) error {
		h, err := l.Handle(name)
		if err == nil {
			err = l.proxies.Sync(ctx, h, name, nft.Sync{Cluster: c, Families: l.Families(), Anew: anew})
		}
		if err != nil {
			return fmt.Errorf("node %s: rules of %w", name, err)
		}
		return nil
	})
}

// startProxies starts a kube-proxy in each node, behind what CNI's portmap plugin has written there.
func (l *Lab) startProxies(ctx context.Context, plane dataplane.Dataplane, p *progress) error {
	for _, n := range l.cluster.Nodes {
		for _, family := range l.Families() {
			rs := portmap.Add(iptables.Ruleset{Family: family}, l.cluster, n.Name)
			if len(rs.Tables) == 0 {
				continue
			}
			if err := plane.Install(ctx, l.handles[n.Name], rs); err != nil {
				return fmt.Errorf("node %s: rules of hostPorts of %s: %w", n.Name, family, err)
			}
		}
	}
	if l.cluster.KubeProxy.Mode == topology.ModeIPVS && len(l.cluster.Nodes) > 0 {
		if err := realise.IPVS(l.handles[l.cluster.Nodes[0].Name]); err != nil {
			return err
		}
	}
	o := proxy.Options{Binary: l.record.KubeProxy, Backend: "legacy", Dir: l.own.state.file(proxyDir)}
	if l.Backend() == dataplane.NFT {
		o.Backend = "nft"
	}
	var err error
	if l.own.proxies, err = proxy.Open(ctx, l.cluster, l.handles, o); err != nil {
		return err
	}
	for range l.cluster.Nodes {
		p.done("kube-proxy")
	}
	return nil
}

// program has the nodes' kube-proxies take a cluster in: as a change, or by starting anew, when they write all their rules.
func (o *owned) program(ctx context.Context, c topology.Cluster, how Sync, nodes []string) error {
	if o.proxies == nil {
		return errors.New("no kube-proxy runs in the nodes")
	}
	if err := o.proxies.Set(ctx, c); err != nil || how == Partial {
		return err
	}
	return o.proxies.Restart(ctx, nodes...)
}

// KubeProxies are the nodes' real kube-proxies, of a lab that the calling process serves: it may start and halt them. They end with the lab.
func (l *Lab) KubeProxies() (*proxy.Set, error) {
	if l.own == nil || l.own.proxies == nil {
		return nil, errors.New("no kube-proxy of this process runs in the nodes")
	}
	return l.own.proxies, nil
}

// Families are those that the lab has, the primary one first.
func (l *Lab) Families() []nat.Family {
	out := make([]nat.Family, len(l.plan.Families))
	for i, f := range l.plan.Families {
		out[i] = nat.Family(f)
	}
	return out
}

// Install gives a node tables in place of those that it holds, by whatever its rules reach it; those that rs does not list stay.
func (l *Lab) Install(ctx context.Context, node string, rs iptables.Ruleset) error {
	plane, err := l.plane()
	if err != nil {
		return err
	}
	h, err := l.Handle(node)
	if err != nil {
		return err
	}
	return plane.Install(ctx, h, rs)
}

// synced is what a node's kube-proxy remembers of its last sync.
type synced struct {
	cluster topology.Cluster
	cleaned time.Time // when it last deleted chains that nothing calls
}

// syncs is what the nodes' kube-proxies remember, while the lab is open. The zero value remembers nothing, as a
// kube-proxy that starts.
type syncs struct {
	mu   sync.Mutex
	last map[string]synced // by node; under mu
}

func (s *syncs) of(node string) (synced, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last, ok := s.last[node]
	return last, ok
}

func (s *syncs) remember(node string, last synced) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil {
		s.last = map[string]synced{}
	}
	s.last[node] = last
}

// Sync gives nodes kube-proxy's rules for a cluster anew, all of them, as after a canary is gone; no node named means all. Real kube-proxies all hear
// of the cluster, and those of the nodes are started anew.
// What other agents have in the nodes stays, and so does all else of the lab. In a cluster of more than 1,000 endpoints
// chains that no rule calls any more stay until iptables.syncPeriod is over.
func (l *Lab) Sync(ctx context.Context, c topology.Cluster, nodes ...string) error {
	return l.sync(ctx, c, nodes, func(synced) *topology.Cluster { return nil })
}

// Change gives nodes what kube-proxy writes after a change of the cluster's Services and endpoints; no node named means
// all. Since 1.27 those are the chains of what changed, and those that all Services share: what somebody else did to the
// others stays until the next Sync.
func (l *Lab) Change(ctx context.Context, c topology.Cluster, nodes ...string) error {
	return l.sync(ctx, c, nodes, func(last synced) *topology.Cluster { return &last.cluster })
}

func (l *Lab) sync(ctx context.Context, c topology.Cluster, nodes []string, since func(synced) *topology.Cluster) error {
	if l.record.KubeProxy != "" {
		how := Partial
		if since(synced{}) == nil {
			how = Full
		}
		if l.own != nil {
			return l.own.program(ctx, c, how, nodes)
		}
		_, err := l.call(ctx, request{Do: doSync, Cluster: &c, Full: how == Full, Nodes: nodes})
		return err
	}
	plane, err := l.plane()
	if err != nil {
		return err
	}
	if len(nodes) == 0 {
		nodes = l.Nodes()
	}
	if c.KubeProxy.Mode == topology.ModeNFTables {
		return l.syncNFT(ctx, c, nodes, since(synced{}) == nil)
	}
	return each(ctx, nodes, func(name string) error {
		last, ok := l.syncs.of(name)
		if !reflect.DeepEqual(last.cluster.KubeProxy, c.KubeProxy) {
			last, ok = synced{}, false // another configuration is another process, which remembers nothing
		}
		var before *topology.Cluster
		if ok {
			before = since(last)
		}
		next := synced{c, last.cleaned}
		for _, family := range l.Families() {
			u, err := kubeproxy.NewUpdate(before, c, name, kubeproxy.Options{Family: family})
			if err == nil {
				next, err = l.syncNode(ctx, plane, update{u, name, family}, synced{c, last.cleaned})
			}
			if err != nil {
				return fmt.Errorf("node %s: rules of %s: %w", name, family, err)
			}
		}
		l.syncs.remember(name, next)
		return nil
	})
}

// update is what a sync writes in a node, of one family.
type update struct {
	kubeproxy.Update
	node   string
	family nat.Family
}

// syncNode applies a sync to what a node holds. The time of the last deletion is that of the sync before until it deletes.
func (l *Lab) syncNode(ctx context.Context, plane dataplane.Dataplane, u update, s synced) (synced, error) {
	h, err := l.Handle(u.node)
	if err != nil {
		return s, err
	}
	live, err := plane.Dump(ctx, h, u.family)
	if err != nil {
		return s, err
	}
	stale := kubeproxy.DeleteStale
	if now := time.Now(); u.Large && now.Sub(s.cleaned) <= cmp.Or(s.cluster.KubeProxy.SyncPeriod, syncPeriod) {
		stale = kubeproxy.KeepStale
	} else {
		s.cleaned = now
	}
	return s, plane.Install(ctx, h, u.Apply(live, stale))
}

// syncPeriod is kube-proxy's iptables.syncPeriod where there is no configuration.
const syncPeriod = 30 * time.Second

// Bundle is what the script of natlab collect printed on a node.
type Bundle struct {
	Node string `json:"node"` // the cluster's name for it; "" where the bundle's own is that
	Text string `json:"text"`
}

// prepareTwin plans a lab some of whose nodes are dumped.
func prepareTwin(c topology.Cluster, bundles []Bundle) (*Lab, error) {
	if dataplane.Backend(c.KubeProxy.Backend) == dataplane.Userspace {
		return nil, errors.New("nodes that hold what was dumped of them have their kernel's NAT: leave --dataplane userspace out")
	}
	t, err := twinOf(c, bundles)
	if err != nil {
		return nil, err
	}
	return &Lab{cluster: t.Cluster, plan: t.Plan, twin: t, record: record{Bundles: true, Notes: t.Notes}}, nil
}

func twinOf(c topology.Cluster, bundles []Bundle) (*twin.Twin, error) {
	nodes, err := readBundles(bundles)
	if err != nil {
		return nil, err
	}
	return twin.New(c, nodes)
}

// Objects are a cluster's objects as far as its nodes' bundles alone tell of them, as topology.Load reads them.
func Objects(bundles []Bundle) (string, error) {
	nodes, err := readBundles(bundles)
	if err != nil {
		return "", err
	}
	return twin.Objects(nodes)
}

func readBundles(bundles []Bundle) (nodes []*bundle.Node, err error) {
	for _, b := range bundles {
		n, err := bundle.Read(strings.NewReader(b.Text))
		if err != nil {
			return nil, fmt.Errorf("bundle of node %q: %w", b.Node, err)
		}
		if b.Node != "" {
			n.Name, n.Namespace.Name, n.Namespace.Member = b.Node, b.Node, b.Node
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// keepBundles writes down what the lab's nodes are dumped as.
func (l *Lab) keepBundles(bundles []Bundle) error {
	if l.twin == nil {
		return nil
	}
	return l.own.state.write(bundlesFile, bundles)
}

// reopenTwin reads what the lab was made from. Its cluster is the one that the dumps settled, and they settle the same of it again.
func (l *Lab) reopenTwin(s *stateDir) error {
	var bundles []Bundle
	if err := s.readFile(bundlesFile, &bundles); err != nil {
		return err
	}
	t, err := twinOf(l.cluster, bundles)
	if err != nil {
		return fmt.Errorf("lab %s: %w", s.lab, err)
	}
	l.twin, l.plan, l.cluster = t, t.Plan, t.Cluster
	return nil
}

// replay gives a dumped node its sets and rules.
func (l *Lab) replay(ctx context.Context, node string) error {
	notes, err := replay.Node(ctx, l.handles[node], l.twin.Nodes[node], replay.Options{First: l.Backend(), Families: l.Families()})
	l.mu.Lock()
	l.record.Notes = append(l.record.Notes, notes...)
	l.mu.Unlock()
	if err != nil {
		return fmt.Errorf("node %s: %w", node, err)
	}
	return nil
}

// Dumped are the nodes that hold what was dumped of them, by name; none of a lab that is all natlab's.
func (l *Lab) Dumped() map[string]*bundle.Node {
	if l.twin == nil {
		return nil
	}
	return l.twin.Nodes
}
