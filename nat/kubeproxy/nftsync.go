package kubeproxy

import (
	"maps"
	"reflect"
	"slices"
	"time"

	nft "natlab/nat/nftables"
	"natlab/topology"
)

// Process is what a kube-proxy in nftables mode remembers of a node's table of one family from one sync to the next. The zero value is
// one that starts. A new one stands for a restart.
type Process struct {
	last       *topology.Cluster // of the last sync that was carried out
	synced     time.Time         // when everything was written last
	containers []*container
	stale      map[string]time.Time // chains that nothing leads to, by when they were emptied
	again      bool                 // the last transaction failed: everything is written next time
}

// fullSyncs is how often kube-proxy writes everything though nothing has failed (proxyutil.FullSyncPeriod).
const fullSyncs = time.Hour

// staleFor is how long an emptied chain stays. Kernels before 6.2 take a moment to see that no element of a map leads there.
const staleFor = time.Second

// Sync returns the transactions with which kube-proxy follows a cluster at a time, in their order, for a node whose table is live:
// the zero Table where there is none. They are taken to be carried out, unless Failed is called. None is returned where kube-proxy
// does not write: where only ServiceCIDRs changed, it waits for the next sync of everything. Errors are those of Tables.
func (m *Process) Sync(c topology.Cluster, node string, o Options, live nft.Table, at time.Time) ([]Transaction, error) {
	w, err := newNFTWriter(c, node, o)
	if err != nil {
		return nil, err
	}
	w.starts = m.last == nil
	w.full = w.starts || m.again || at.Sub(m.synced) > fullSyncs || w.moved(m.last, w.node)
	var out []Transaction
	if tx, live2 := m.deleteStale(w, live, at); len(tx.Commands) > 0 {
		out, live = append(out, tx), live2
	}
	w.live = live
	if w.starts {
		m.containers = w.newContainers()
	}
	w.containers = m.containers
	for _, k := range w.containers {
		k.begin()
	}
	tx, err := w.sync(w.unchangedSince(m.last))
	if err != nil {
		m.again = m.last != nil
		return nil, err
	}
	m.remember(w, tx, at)
	m.last, m.again = &c, false
	if w.full {
		m.synced = at
	}
	if len(tx.Commands) > 0 {
		out = append(out, tx)
	}
	return out, nil
}

// Failed tells that nft refused the last transaction: everything is written next time.
func (m *Process) Failed() {
	m.again = true
	clear(m.stale)
}

// remember notes which chains the transaction emptied for good.
func (m *Process) remember(w *nftWriter, tx Transaction, at time.Time) {
	if m.stale == nil {
		m.stale = map[string]time.Time{}
	}
	for i := range tx.Commands {
		if c := tx.Commands[i].Chain; c != nil && tx.Commands[i].Verb == Flush && ofServicePort(c.Name) && !w.chains[c.Name] {
			m.stale[c.Name] = at
		}
	}
	maps.DeleteFunc(m.stale, func(name string, _ time.Time) bool { return w.chains[name] })
}

// deleteStale deletes the chains that were emptied long enough ago, and returns what the table then is.
func (m *Process) deleteStale(w *nftWriter, live nft.Table, at time.Time) (Transaction, nft.Table) {
	tx := Transaction{Family: nft.FamilyOf(w.family)}
	for _, name := range slices.Sorted(maps.Keys(m.stale)) {
		if at.Sub(m.stale[name]) > staleFor {
			tx.Commands = append(tx.Commands, Command{Verb: Delete, Chain: &nft.Chain{Name: name}})
			delete(m.stale, name)
		}
	}
	if len(tx.Commands) == 0 {
		return tx, live
	}
	return tx, tx.Apply(live)
}

// moved reports whether a node has other labels than kube-proxy knows, for which it writes everything: since 1.34 the one of its zone
// alone.
func (w *nftWriter) moved(last *topology.Cluster, now topology.Node) bool {
	was, _ := last.Node(now.Name)
	if w.shape.ZoneAlone {
		return was.Labels[zoneLabel] != now.Labels[zoneLabel]
	}
	return !reflect.DeepEqual(was.Labels, now.Labels)
}

// unchangedSince returns the test for Service ports of which nothing changed; nil where everything is written.
func (w *nftWriter) unchangedSince(last *topology.Cluster) func(*decided) bool {
	if w.full {
		return nil
	}
	same := unchanged(last, w.cluster)
	return func(p *decided) bool { return same[p.service] }
}
