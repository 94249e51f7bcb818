package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/iptables"
	"natlab/nat/kubeproxy"
	"natlab/topology"
)

// nodeFlags say which node packets are followed through: one of a cluster, or one in words.
type nodeFlags struct {
	node      string
	addresses []string
	routes    []string
	sysctls   []string
	sets      []string
	kernel    string
}

func (n *nodeFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&n.node, "node", "", "the node of the cluster (-f) whose devices, addresses and routes count")
	f.StringArrayVar(&n.addresses, "address", nil, "without --node: an address of the node, DEVICE=ADDRESS/LENGTH; may be repeated")
	f.StringArrayVar(&n.routes, "route", nil, "without --node: a route as ip(8) prints it, '10.244.1.0/24 via 192.168.1.2 dev eth0'; may be repeated")
	f.StringArrayVar(&n.sets, "ipset", nil, "the output of ipset save: the sets that rules ask for; may be repeated")
	f.StringVar(&n.kernel, "kernel", "", "the Linux version that the node runs, such as 5.10: conntrack and NAT differ a little; without it the newest")
	f.StringArrayVar(&n.sysctls, "sysctl", nil, "without --node: a setting that is not the kernel's own, net.ipv4.conf.all.rp_filter=1; forwarding is on")
}

// alone reports whether the node is described in words.
func (n *nodeFlags) alone() bool { return n.node == "" }

// described reports whether the flags tell of one node at all.
func (n *nodeFlags) described() bool { return !n.alone() || n.inWords() }

func (n *nodeFlags) inWords() bool { return len(n.addresses)+len(n.routes)+len(n.sysctls) > 0 }

// namespace is the node in words: its devices are those that the addresses and routes name, or eth0 with a default route.
func (n *nodeFlags) namespace() (topology.Namespace, error) {
	ns := topology.Namespace{Name: "node", Member: "node", Kind: topology.KindNode, Sysctls: []topology.Sysctl{
		{Key: "net/ipv4/ip_forward", Value: "1"}, {Key: "net/ipv6/conf/all/forwarding", Value: "1"},
	}}
	for _, text := range n.addresses {
		dev, address, _ := strings.Cut(text, "=")
		prefix, err := netip.ParsePrefix(address)
		if err != nil || dev == "" {
			return ns, fmt.Errorf("--address %q: want DEVICE=ADDRESS/LENGTH, such as eth0=192.168.1.10/24", text)
		}
		ns.Addresses = append(ns.Addresses, topology.Address{Device: dev, Prefix: prefix})
	}
	for _, text := range n.routes {
		r, err := parseRoute(text)
		if err != nil {
			return ns, fmt.Errorf("--route %q: %w", text, err)
		}
		if r.Device == "" && r.Type == topology.Unicast {
			if r.Device = deviceTowards(ns.Addresses, r.Via); r.Device == "" {
				return ns, fmt.Errorf("--route %q: no --address is in one network with %s: say dev DEVICE", text, r.Via)
			}
		}
		ns.Routes = append(ns.Routes, r)
	}
	if len(ns.Addresses)+len(ns.Routes) == 0 {
		for _, any := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
			ns.Routes = append(ns.Routes, topology.Route{Dst: netip.PrefixFrom(any, 0), Device: "eth0"})
		}
	}
	for _, text := range n.sysctls {
		key, value, ok := strings.Cut(text, "=")
		if !ok {
			return ns, fmt.Errorf("--sysctl %q: want KEY=VALUE, such as net.ipv4.conf.all.rp_filter=1", text)
		}
		ns.Sysctls = append(ns.Sysctls, topology.Sysctl{Key: strings.ReplaceAll(key, ".", "/"), Value: value})
	}
	var names []string
	for _, a := range ns.Addresses {
		names = append(names, a.Device)
	}
	for _, r := range ns.Routes {
		names = append(names, r.Device)
	}
	for _, name := range names {
		if name != "" && name != "lo" && !slices.ContainsFunc(ns.Devices, func(d topology.Device) bool { return d.Name == name }) {
			ns.Devices = append(ns.Devices, topology.Device{Name: name, Kind: topology.Veth})
		}
	}
	return ns, nil
}

func deviceTowards(addresses []topology.Address, via netip.Addr) string {
	for _, a := range addresses {
		if a.Prefix.Masked().Contains(via) {
			return a.Device
		}
	}
	return ""
}

// parseRoute reads a route as ip(8) prints it: "default via 10.0.0.1 dev eth0 src 10.0.0.2", "blackhole 10.1.0.0/16". What
// does not say where a packet goes (proto, metric, scope, onlink) is passed over.
func parseRoute(text string) (r topology.Route, err error) {
	words := strings.Fields(text)
	if len(words) > 0 && words[0] == "blackhole" {
		r.Type, words = topology.Blackhole, words[1:]
	}
	if len(words) == 0 {
		return r, errors.New("want a destination, such as 10.244.1.0/24, and via ADDRESS or dev DEVICE")
	}
	switch dst := words[0]; {
	case dst == "default":
		r.Dst = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	case strings.Contains(dst, "/"):
		if r.Dst, err = netip.ParsePrefix(dst); err != nil {
			return r, err
		}
	default:
		a, err := netip.ParseAddr(dst)
		if err != nil {
			return r, err
		}
		r.Dst = netip.PrefixFrom(a, a.BitLen())
	}
	for i := 1; i < len(words); i++ {
		if words[i] == "onlink" {
			r.Onlink = true
			continue
		}
		if i+1 == len(words) {
			return r, fmt.Errorf("%s is not followed by anything", words[i])
		}
		switch i++; words[i-1] {
		case "via":
			r.Via, err = netip.ParseAddr(words[i])
		case "src":
			r.Src, err = netip.ParseAddr(words[i])
		case "dev":
			r.Device = words[i]
		case "proto", "scope", "metric", "table", "mtu":
		default:
			err = fmt.Errorf("%q is not known", words[i-1])
		}
		if err != nil {
			return r, err
		}
	}
	if words[0] == "default" && r.Via.Is6() {
		r.Dst = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	if r.Type == topology.Unicast && r.Device == "" && !r.Via.IsValid() {
		return r, errors.New("want via ADDRESS or dev DEVICE")
	}
	return r, nil
}

// place is the node that packets are followed through: as it is in the cluster with the rules that kube-proxy writes for
// it, or in words, with none.
func (p *program) place(in *input, n *nodeFlags) (topology.Namespace, gateway.Rules, error) {
	if n.alone() {
		ns, err := n.namespace()
		return ns, nil, err
	}
	if n.inWords() {
		return topology.Namespace{}, nil, errors.New("--node takes addresses and routes from the cluster: leave --address, --route and --sysctl out")
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
			return ns, gateway.Rules{rs}, err
		}
	}
	return topology.Namespace{}, nil, fmt.Errorf("--node %s: the cluster has %s", n.node, strings.Join(nodes, ", "))
}

// facts are what the flags tell of the node besides its namespace.
func (p *program) facts(n *nodeFlags) (f gateway.Facts, err error) {
	if n.kernel != "" {
		if f.Kernel, err = nat.ParseKernel(n.kernel); err != nil {
			return f, fmt.Errorf("--kernel: %w", err)
		}
	}
	f.Sets, err = p.ipsets(n.sets)
	return f, err
}

// ipsets reads the sets of addresses and networks that ipset save printed. Entries of other kinds make a set that
// nothing is known of.
func (p *program) ipsets(files []string) (gateway.Sets, error) {
	sets := gateway.Sets{}
	for _, file := range files {
		text, err := os.ReadFile(file) // #nosec G304 -- the user names it
		if err != nil {
			return nil, err
		}
		other := map[string]bool{}
		number := 0
		for line := range strings.Lines(string(text)) {
			number++
			words := strings.Fields(line)
			switch {
			case len(words) == 0 || words[0][0] == '#':
			case len(words) >= 3 && words[0] == "create":
				sets[words[1]] = nil
				other[words[1]] = words[2] != "hash:ip" && words[2] != "hash:net"
			case len(words) >= 3 && words[0] == "add":
				n, err := prefixOf(words[2])
				if err != nil && !other[words[1]] {
					return nil, fmt.Errorf("%s: line %d: set %s: %w", file, number, words[1], err)
				}
				sets[words[1]] = append(sets[words[1]], n)
			default:
				return nil, fmt.Errorf("%s: line %d: %q: want create or add, as ipset save prints them", file, number, strings.TrimSpace(line))
			}
		}
		for name, yes := range other {
			if yes {
				delete(sets, name)
			}
		}
	}
	return sets, nil
}

// prefixOf reads an address or a network.
func prefixOf(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	return netip.ParsePrefix(text)
}

// savedRules reads the output of iptables-save or ip6tables-save; - is standard input.
func (p *program) savedRules(file string) (iptables.Ruleset, error) {
	r := p.in
	if file != "-" {
		f, err := os.Open(file) // #nosec G304 -- the user names it
		if err != nil {
			return iptables.Ruleset{}, err
		}
		defer f.Close() //nolint:errcheck // it was only read
		r = f
	}
	text, err := io.ReadAll(r)
	if err != nil {
		return iptables.Ruleset{}, fmt.Errorf("%s: %w", file, err)
	}
	rs, err := parseSaved(string(text))
	if err != nil {
		return rs, fmt.Errorf("%s: %w", file, err)
	}
	return rs, nil
}

// parseSaved reads rules of the family that the line says which ip6tables-save begins with, or that their addresses
// have.
func parseSaved(text string) (iptables.Ruleset, error) {
	switch {
	case strings.Contains(text, "# Generated by ip6tables"):
		return iptables.ParseString(text, nat.IPv6)
	case strings.Contains(text, "# Generated by iptables"):
		return iptables.ParseString(text, nat.IPv4)
	}
	rs, err := iptables.ParseString(text, nat.IPv4)
	if err == nil {
		return rs, nil
	}
	if six, failed := iptables.ParseString(text, nat.IPv6); failed == nil {
		return six, nil
	}
	return rs, err
}
