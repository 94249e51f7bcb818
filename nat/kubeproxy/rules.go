package kubeproxy

import (
	"net/netip"
	"slices"
	"strings"

	ipt "natlab/nat/iptables"
	"natlab/nat/xt"

	"natlab/nat"
	"natlab/topology"
)

// Options are for which kube-proxy the rules are.
type Options struct {
	Release string // one of topology.Releases, or a patch release of one; "" is the cluster's
	Family  nat.Family
	// NodeAddresses are addresses of the node's devices that the cluster does not name. kube-proxy looks at the
	// devices themselves, for nodePortAddresses.
	NodeAddresses []netip.Addr
	// NodeDevices are the names of the node's devices, as far as they are known: old releases in nftables mode need them (iif).
	NodeDevices []string
	// NoCounters: the kernel has no nfacct objects, so that kube-proxy leaves out what counts in them (since 1.31).
	NoCounters bool
}

// Rules returns the rules that kube-proxy has on a node, as iptables-save prints them after a sync: the tables mangle,
// filter and nat, the built-in chains first, then kube-proxy's by name. Where kube-proxy itself leaves the order of
// rules to chance (KUBE-SERVICES, KUBE-NODEPORTS, KUBE-EXTERNAL-SERVICES, KUBE-PROXY-FIREWALL), they follow the
// Services as the cluster lists them. Errors are ErrRelease, ErrExits, ErrMode and an unknown node.
func Rules(c topology.Cluster, node string, o Options) (ipt.Ruleset, error) {
	if err := checkMode(&c); err != nil {
		return ipt.Ruleset{}, err
	}
	g, err := newGenerator(c, node, o)
	if err != nil {
		return ipt.Ruleset{}, err
	}
	g.write(nil)
	return g.ruleset(), nil
}

// write writes all rules, and shows each Service port once its own are there; wrote does not keep it.
func (g *generator) write(wrote func(*port)) {
	g.jumps()
	g.marks()
	g.martians()
	var p port // one for all: it is large
	for i := range g.cluster.Services {
		for j := range g.cluster.Services[i].Ports {
			var ok bool
			if p, ok = g.port(&g.cluster.Services[i], &g.cluster.Services[i].Ports[j]); !ok {
				continue
			}
			g.servicePort(&p)
			if wrote != nil {
				wrote(&p)
			}
		}
	}
	g.nodePortsLast()
	g.forward()
}

// ServingEndpoints returns the endpoints that a node sends packets for a Service port to.
func ServingEndpoints(c topology.Cluster, node string, o Options, s topology.Service, p topology.ServicePort) (Serving, error) {
	d, err := newDecider(c, node, o)
	if err != nil {
		return Serving{}, err
	}
	name, protocol := PortName(s.Namespace, s.Name, p.Name), lower(p.Protocol)
	return d.categorize(&s, d.sorted(name, protocol, &p), d.policies(&s, &p)).exported(), nil
}

// largeCluster is the number of endpoints above which kube-proxy leaves out the comments of the endpoints' rules
// (largeClusterEndpointsThreshold).
const largeCluster = 1000

// generator writes one node's rules. It is used once.
type generator struct {
	*decider

	local     []xt.Match // hold for packets from pods of this node
	notLocal  xt.Match   // holds for other packets; nil where nothing tells them apart
	localhost bool       // node ports serve on 127.0.0.0/8
	large     bool

	toMarkMasq  xt.Target  // -j KUBE-MARK-MASQ, made once for all
	shares      []xt.Match // 1/n, by n
	filter, nat table
}

func newGenerator(c topology.Cluster, node string, o Options) (*generator, error) {
	d, err := newDecider(c, node, o)
	if err != nil {
		return nil, err
	}
	d.chainOf = EndpointChain
	g := &generator{decider: d}
	g.detectLocal()
	g.localhost = d.release.LocalhostNodePorts && d.config.LocalhostNodePorts && d.family == nat.IPv4 && d.nodePorts.loopback
	endpoints := g.endpoints()
	g.large = endpoints > largeCluster
	g.toMarkMasq = xt.Jump{Chain: chainMarkMasq}
	g.filter, g.nat = newTable("INPUT", "FORWARD", "OUTPUT"), newTable("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING")
	g.nat.chains = slices.Grow(g.nat.chains, endpoints+2*len(c.Services))
	return g, nil
}

// detectLocal sets the matches for packets from the node's own pods, and for others.
func (g *generator) detectLocal() {
	of := g.detected
	switch {
	case of.prefix.IsValid():
		g.local, g.notLocal = []xt.Match{ipt.Source{Prefix: of.prefix}}, ipt.Source{Not: true, Prefix: of.prefix}
		if of.prefix.Bits() == 0 {
			g.local = nil // iptables-save prints no source that is everything
		}
	case of.tells():
		name := of.device
		if of.begins {
			name += "+"
		}
		g.local, g.notLocal = []xt.Match{ipt.InInterface{Device: name}}, ipt.InInterface{Not: true, Device: name}
	}
}

// endpoints counts those of the family behind Service ports that the family has, to tell a large cluster: ready or not,
// each address of a port once.
func (g *generator) endpoints() int {
	n := 0
	for i := range g.cluster.Services {
		s := &g.cluster.Services[i]
		if !g.clusterIP(s).IsValid() {
			continue
		}
		for j := range s.Ports {
			p := &s.Ports[j]
			if len(p.Listed) > 0 {
				n += len(g.distinct(p))
				continue
			}
			for k := range p.Endpoints {
				if g.sees(&p.Endpoints[k]) {
					n++
				}
			}
		}
	}
	return n
}

// ruleset puts the tables together as iptables-save prints them.
func (g *generator) ruleset() ipt.Ruleset {
	mangle := newTable("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
	for _, t := range []*table{&mangle, &g.filter, &g.nat} {
		t.chain(chainCanary)
	}
	return ipt.Ruleset{Family: g.family, Tables: []ipt.Table{mangle.sorted("mangle"), g.filter.sorted("filter"), g.nat.sorted("nat")}}
}

// table collects chains.
type table struct {
	chains []ipt.Chain
	index  map[string]int // the chains that every node has, by name
	fixed  int            // the built-in ones, which come first
}

func newTable(builtIn ...string) table {
	t := table{index: make(map[string]int, 16), fixed: len(builtIn)}
	for _, name := range builtIn {
		t.index[name] = len(t.chains)
		t.chains = append(t.chains, ipt.Chain{Name: name, Policy: "ACCEPT"})
	}
	return t
}

// chain makes sure that a chain that every node has is there.
func (t *table) chain(name string) *ipt.Chain {
	i, ok := t.index[name]
	if !ok {
		i = len(t.chains)
		t.index[name] = i
		t.chains = append(t.chains, ipt.Chain{Name: name, Policy: "-"})
	}
	return &t.chains[i]
}

// add appends a rule to a chain that every node has.
func (t *table) add(name string, target xt.Target, matches ...xt.Match) {
	c := t.chain(name)
	c.Rules = append(c.Rules, ipt.Rule{Matches: matches, Target: target})
}

// own adds a chain of one Service port.
func (t *table) own(name string, rules []ipt.Rule) {
	t.chains = append(t.chains, ipt.Chain{Name: name, Policy: "-", Rules: rules})
}

// sorted is the table with its user chains by name. The names are sorted apart from the chains, which are large.
func (t *table) sorted(name string) ipt.Table {
	type key struct {
		name string
		at   int
	}
	keys := make([]key, 0, len(t.chains)-t.fixed)
	for i := t.fixed; i < len(t.chains); i++ {
		keys = append(keys, key{t.chains[i].Name, i})
	}
	slices.SortFunc(keys, func(a, b key) int { return strings.Compare(a.name, b.name) })
	chains := append(make([]ipt.Chain, 0, len(t.chains)), t.chains[:t.fixed]...)
	for _, k := range keys {
		chains = append(chains, t.chains[k.at])
	}
	return ipt.Table{Name: name, Chains: chains}
}
