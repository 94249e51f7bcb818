package kubeproxy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	nft "natlab/nat/nftables"
	"natlab/topology"
)

// Tables returns the table that kube-proxy in nftables mode has on a node, of o's family, as `nft list ruleset` prints it after a
// sync. The chains and sets of Services follow those as the cluster lists them, where kube-proxy itself leaves the order to chance.
// Errors are ErrRelease, ErrExits, ErrRefused and an unknown node. The cluster's own mode does not count.
func Tables(c topology.Cluster, node string, o Options) (nft.Ruleset, error) {
	w, err := newNFTWriter(c, node, o)
	if err != nil {
		return nft.Ruleset{}, err
	}
	w.starts, w.full, w.containers = true, true, w.newContainers()
	tx, err := w.sync(nil)
	if err != nil {
		return nft.Ruleset{}, err
	}
	return nft.Ruleset{Tables: []nft.Table{tx.Apply(nft.Table{})}}, nil
}

// nftWriter writes one sync of one node. It is used once.
type nftWriter struct {
	*decider
	words

	shape   nftShape
	reject  []string  // the protocols of node ports that are rejected on localhost, by the gate
	gate    bool      // KubeProxyNFTablesLocalhostNodePorts
	devices []string  // that the node has, as far as is known
	starts  bool      // kube-proxy's first sync
	full    bool      // everything is written, not only what changed
	live    nft.Table // what is there

	commands     []Command
	refused      error // why nft refuses them
	containers   []*container
	chains, sets map[string]bool // those of Service ports that are wanted
}

func newNFTWriter(c topology.Cluster, node string, o Options) (*nftWriter, error) {
	version := cmp.Or(o.Release, c.KubeProxy.Version, c.KubeProxy.Release)
	release, err := ParseRelease(version)
	if err != nil {
		return nil, err
	}
	shape, err := release.nftShape(version)
	if err != nil {
		return nil, err
	}
	c.KubeProxy.Mode = topology.ModeNFTables
	if len(c.KubeProxy.NodePortAddresses) == 0 {
		c.KubeProxy.NodePortAddresses = []string{"primary"} // since 1.31
	}
	d, err := newDecider(c, node, o)
	if err != nil {
		return nil, err
	}
	w := &nftWriter{
		decider: d, words: wordsOf(d.family), shape: shape, chains: map[string]bool{}, sets: map[string]bool{},
		devices: o.NodeDevices,
	}
	w.localhostGate()
	return w, nil
}

// newContainers are the sets and maps that all Services share, with nothing in them.
func (w *nftWriter) newContainers() (out []*container) {
	names := []string{clusterIPsSet, serviceIPsMap, firewallIPsMap, noEndpointServices, noEndpointNodePorts, serviceNodePortsMap}
	if !w.shape.EndpointChains {
		names = append(names, hairpinSet)
	}
	if w.gate {
		names = append(names, localhostRejectPorts)
	}
	for _, name := range names {
		out = append(out, newContainer(name))
	}
	return out
}

// localhostGate finds which node ports are rejected on localhost: with the gate those that kube-proxy does not serve there itself,
// which it does for TCP where a loopback network is among nodePortAddresses.
func (w *nftWriter) localhostGate() {
	w.gate = w.shape.LocalhostGate && w.release.enabled("KubeProxyNFTablesLocalhostNodePorts", w.config.FeatureGates)
	if !w.gate {
		return
	}
	w.reject = []string{"tcp", "udp", "sctp"}
	if w.nodePorts.onLoopback {
		w.reject = w.reject[1:]
	}
}

// nftCommentLength is how long a comment nft takes (NFTNL_UDATA_COMMENT_MAXLEN).
const nftCommentLength = 128

// sync writes a sync; skip tells of which Service ports nothing changed, nil for none.
func (w *nftWriter) sync(skip func(*decided) bool) (Transaction, error) {
	if w.full {
		w.commands = make([]Command, 0, w.estimate())
		w.setup()
	}
	for i := range w.cluster.Services {
		for j := range w.cluster.Services[i].Ports {
			p, ok := w.decide(&w.cluster.Services[i], &w.cluster.Services[i].Ports[j])
			if ok {
				w.servicePort(&nftPort{decided: p, skip: skip != nil && skip(&p)})
			}
		}
	}
	w.dropStale()
	for _, c := range w.containers {
		w.commands = append(w.commands, c.leftovers()...)
	}
	if w.refused != nil {
		return Transaction{}, w.refused
	}
	return Transaction{Family: nft.FamilyOf(w.family), Commands: w.commands}, nil
}

// estimate is about how many commands write everything.
func (w *nftWriter) estimate() int {
	n := 100
	for i := range w.cluster.Services {
		for j := range w.cluster.Services[i].Ports {
			n += 8 + 2*len(w.cluster.Services[i].Ports[j].Endpoints)
		}
	}
	return n
}

// refuse notes why nft refuses the transaction.
func (w *nftWriter) refuse(format string, args ...any) {
	if w.refused == nil {
		w.refused = fmt.Errorf("kube-proxy %s: %w: %s", w.release.Name, ErrRefused, fmt.Sprintf(format, args...))
	}
}

// add appends commands to the transaction.
func (w *nftWriter) chain(v Verb, c nft.Chain) {
	w.commands = append(w.commands, Command{Verb: v, Chain: &c})
}

func (w *nftWriter) set(v Verb, s nft.Set) {
	w.commands = append(w.commands, Command{Verb: v, Set: &s})
}

func (w *nftWriter) rule(chain, comment string, statements ...nft.Statement) {
	w.commands = append(w.commands, Command{In: chain, Rule: &nft.Rule{Statements: statements, Comment: comment}})
}

// anew adds a chain, and empties one that was there.
func (w *nftWriter) anew(c nft.Chain) {
	w.commands = append(w.commands, Command{Chain: &c}, Command{Verb: Flush, Chain: &c})
}

// element puts an element into one of the node's sets or maps.
func (w *nftWriter) element(in string, e nft.Element) {
	i := slices.IndexFunc(w.containers, func(c *container) bool { return c.name == in })
	w.commands = w.containers[i].ensure(w.commands, &e)
}

// dropStale empties the chains of Service ports that are wanted no more, and deletes such sets. Chains are deleted later: kernels
// before 6.2 take a while to see that no element of a map leads there.
func (w *nftWriter) dropStale() {
	for _, c := range w.live.Chains {
		if ofServicePort(c.Name) && !w.chains[c.Name] {
			w.chain(Flush, nft.Chain{Name: c.Name})
		}
	}
	for _, s := range w.live.Sets {
		if strings.HasPrefix(s.Name, affinityPrefix) && !w.sets[s.Name] {
			w.set(Delete, nft.Set{Name: s.Name})
		}
	}
}
