package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/ipset"
	"natlab/nat/iptables"
	"natlab/nat/kubeproxy"
	"natlab/nat/nftables"
	"natlab/nat/portmap"
	"natlab/topology"
)

// nodeFlags choose which node packets are followed through: one of a cluster, or one in words.
type nodeFlags struct {
	node      string
	links     []string
	addresses []string
	routes    []string
	sysctls   []string
	rules     []string
	sets      []string
	kernel    string
}

func (n *nodeFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&n.node, "node", "", "the node of the cluster (-f) whose devices, addresses and routes count")
	f.StringArrayVar(&n.links, "link", nil, "without --node: a file with the output of ip -d link, ip -d addr or bridge -d link, or with -j: the node's devices, bridges with their ports, and addresses; may be repeated")
	f.StringArrayVar(&n.addresses, "address", nil, "without --node: an address of the node, DEVICE=ADDRESS/LENGTH; may be repeated")
	f.StringArrayVar(&n.routes, "route", nil, "without --node: a route as ip(8) prints it, '10.244.1.0/24 via 192.168.1.2 dev eth0', or all that it prints; may be repeated")
	f.StringArrayVar(&n.rules, "rule", nil, "without --node: a rule of routing of IPv4 as ip rule prints it, '100: from 10.0.0.0/8 lookup 7'; the kernel's own are added where none leads to the table local; may be repeated")
	f.StringArrayVar(&n.sets, "ipset", nil, "the output of ipset save or ipset list: the sets that rules ask for; may be repeated")
	f.StringVar(&n.kernel, "kernel", "", "the Linux version that the node runs, such as 5.10: conntrack and NAT differ a little; without it the newest")
	f.StringArrayVar(&n.sysctls, "sysctl", nil, "without --node: a setting that is not the kernel's own, net.ipv4.conf.all.rp_filter=1; forwarding is on")
}

// alone reports whether the node is described in words.
func (n *nodeFlags) alone() bool { return n.node == "" }

// described reports whether the flags tell of one node at all.
func (n *nodeFlags) described() bool { return !n.alone() || n.inWords() }

func (n *nodeFlags) inWords() bool {
	return len(n.links)+len(n.addresses)+len(n.routes)+len(n.sysctls)+len(n.rules) > 0
}

// namespace is the node in words. The routes that it does not use are told on standard error.
func (p *program) namespace(n *nodeFlags) (topology.Namespace, error) {
	words := topology.NodeWords{Addresses: n.addresses, Routes: n.routes, Sysctls: n.sysctls, Rules: n.rules}
	for _, file := range n.links {
		text, err := os.ReadFile(file) // #nosec G304 -- the user names it
		if err != nil {
			return topology.Namespace{}, err
		}
		words.Links = append(words.Links, string(text))
	}
	ns, notes, err := words.Node()
	if err != nil {
		return ns, fmt.Errorf("--%w", err) // it begins with the flag's name
	}
	for _, note := range notes {
		p.logf("--%s", note)
	}
	return ns, nil
}

// place is the node that packets are followed through: as it is in the cluster with the rules that kube-proxy writes for
// it, or in words, with none.
func (p *program) place(in *inputFlags, n *nodeFlags) (topology.Namespace, gateway.Rules, error) {
	if n.alone() {
		ns, err := p.namespace(n)
		return ns, nil, err
	}
	if n.inWords() {
		return topology.Namespace{}, nil, errors.New("--node takes addresses and routes from the cluster: leave --link, --address, --route and --sysctl out")
	}
	c, err := p.cluster(in, topology.Load)
	if err != nil {
		return topology.Namespace{}, nil, err
	}
	plan, err := topology.NewPlan(c)
	if err != nil {
		return topology.Namespace{}, nil, err
	}
	var nodes []string
	for _, ns := range plan.Namespaces {
		if ns.Kind != topology.KindNode {
			continue
		}
		if nodes = append(nodes, ns.Member); ns.Member == n.node {
			rs, err := kubeproxy.Rules(c, n.node, kubeproxy.Options{})
			p.hostPortNote(c)
			return ns, gateway.Rules{portmap.Add(rs, c, n.node)}, err
		}
	}
	return topology.Namespace{}, nil, fmt.Errorf("--node %s: the cluster has %s", n.node, strings.Join(nodes, ", "))
}

// placeDevices makes the devices that rules name, and nobody else, lead to the networks that the rules tell to be behind them; those of which
// they tell nothing come back. What it takes from the rules is told on standard error.
func (p *program) placeDevices(ns *topology.Namespace, rules gateway.Rules) (unplaced []string) {
	has := func(name string) bool {
		return slices.ContainsFunc(ns.Devices, func(d topology.Device) bool { return d.Name == name })
	}
	var places []iptables.Place
	for _, rs := range rules {
		for _, place := range rs.Places() {
			if !has(place.Device) && !ns.Leads(place.Network.Addr()) {
				places = append(places, place)
			}
		}
	}
	slices.SortStableFunc(places, func(a, b iptables.Place) int { return a.Network.Bits() - b.Network.Bits() })
	for i, place := range places {
		within := func(p iptables.Place) bool {
			return p.Device == place.Device && p.Network.Contains(place.Network.Addr())
		}
		if slices.ContainsFunc(places[:i], within) {
			continue
		}
		ns.Place(place.Device, place.Network)
		p.logf("%s counts as what leads to %s, by line %d, %s: --route or --link FILE tells", place.Device, place.Network, place.Line, place.Rule)
	}
	for _, rs := range rules {
		for _, name := range rs.Devices() {
			if !has(name) && !slices.Contains(unplaced, name) {
				unplaced = append(unplaced, name)
			}
		}
	}
	return unplaced
}

// unplacedNative adds the devices that rules of nft's name, and the node has not.
func unplacedNative(ns topology.Namespace, rs nftables.Ruleset, unplaced []string) []string {
	for _, name := range rs.Devices() {
		there := slices.ContainsFunc(ns.Devices, func(d topology.Device) bool { return d.Name == name })
		if !there && name != "lo" && !slices.Contains(unplaced, name) {
			unplaced = append(unplaced, name)
		}
	}
	return unplaced
}

// hostPortNote tells whose rules are taken for those of hostPorts, where the cluster has any: no object tells of them.
func (p *program) hostPortNote(c topology.Cluster) {
	for _, pod := range c.Pods {
		if len(pod.HostPorts) > 0 && !pod.HostNetwork {
			p.logf("Pod %s has hostPort %d: hostPorts are followed as CNI's portmap plugin does it; where the cluster has another, give its rules by --rules", pod.Member(), pod.HostPorts[0].Port)
			return
		}
	}
}

// facts are what the flags tell of the node besides its namespace, which has no addresses where none were given.
func (p *program) facts(n *nodeFlags, ns topology.Namespace) (f gateway.Facts, err error) {
	if n.kernel != "" {
		if f.Kernel, err = nat.ParseKernel(n.kernel); err != nil {
			return f, fmt.Errorf("--kernel: %w", err)
		}
	}
	f.NoAddresses = n.alone() && len(ns.Addresses) == 0
	f.Sets, err = p.ipsets(n.sets)
	return f, err
}

// ipsets reads what ipset save or ipset list printed into the files. Where two have a set of one name, the last one's counts. Of
// what sets nothing is known is told on standard error.
func (p *program) ipsets(files []string) (ipset.Sets, error) {
	sets := ipset.Sets{}
	for _, file := range files {
		text, err := os.ReadFile(file) // #nosec G304 -- the user names it
		if err != nil {
			return nil, err
		}
		more, err := ipset.Parse(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		for _, unread := range more.Unread() {
			p.logf("%s: %s", file, unread)
		}
		maps.Copy(sets, more)
	}
	return sets, nil
}

// savedRules reads rules as people keep them (iptables.Read); - is standard input. What they leave open is told on standard
// error.
func (p *program) savedRules(file string) (gateway.Rules, error) {
	kept, err := p.anyRules(file)
	if err == nil && len(kept.native.Tables) > 0 {
		err = fmt.Errorf("%s: these are rules of nft's: natlab explain --rules follows packets through them, this command takes those of iptables", file)
	}
	return kept.rules, err
}

// keptRules are rules as somebody kept them: of iptables, or of nft's own.
type keptRules struct {
	rules  gateway.Rules
	native nftables.Ruleset
	beside []string // programs that print further rules of the node (iptables.Reading)
}

// anyRules is savedRules that takes what nft list ruleset and nft -j list ruleset print, too.
func (p *program) anyRules(file string) (keptRules, error) {
	kept, err := p.keptRules(file)
	for _, unread := range kept.native.Unread() {
		p.logf("%s: %s, and follows packets both ways", file, unread)
	}
	return kept, err
}

// keptRules does so, and leaves it to the caller to tell what of nft's is not read.
func (p *program) keptRules(file string) (keptRules, error) {
	r, err := p.reader(file)
	if err != nil {
		return keptRules{}, err
	}
	defer r.Close() //nolint:errcheck // it was only read
	text, err := io.ReadAll(r)
	if err != nil {
		return keptRules{}, fmt.Errorf("%s: %w", file, err)
	}
	if nftables.Sniff(string(text)) {
		native, err := nftables.Read(string(text))
		if err != nil {
			return keptRules{}, fmt.Errorf("%s: %w", file, err)
		}
		return keptRules{native: native}, nil
	}
	read, err := iptables.Read(string(text))
	if err != nil {
		return keptRules{}, fmt.Errorf("%s: %w", file, err)
	}
	p.readNotes(file, read.Notes)
	return keptRules{rules: read.Rulesets, beside: read.Beside}, nil
}

func (p *program) readNotes(file string, notes []iptables.Note) {
	for _, n := range notes {
		p.logf("%s: %s", file, n)
	}
}
