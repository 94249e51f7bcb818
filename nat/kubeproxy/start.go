package kubeproxy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"natlab/nat"
	"natlab/topology"
	"natlab/topology/near"
)

// ErrExits is the class of a configuration that kube-proxy does not start with.
var ErrExits = errors.New("kube-proxy does not start with this configuration")

// ErrMode is the class of a cluster whose kube-proxy runs in another mode than that of the rules that are asked for.
var ErrMode = errors.New("the configuration has another mode")

// checkMode refuses iptables rules of a kube-proxy in another mode.
func checkMode(c *topology.Cluster) error {
	switch mode := c.KubeProxy.Mode; mode {
	case "", topology.ModeIPTables:
		return nil
	default:
		return fmt.Errorf("kube-proxy's iptables rules: %w: %s; set mode: iptables to see what that would do", ErrMode, mode)
	}
}

// check refuses what kube-proxy would not start with, and what could break out of a rule's text. topology.Load lets no
// such name through, but a Cluster can be made by hand.
func (d *decider) check() error {
	for _, err := range []error{
		d.release.checkGates(d.config.FeatureGates), d.checkClusterCIDR(), d.checkPodCIDRs(), d.checkNodePortAddresses(), d.checkNames(),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

// checkClusterCIDR wants one range, or one of each family.
func (d *decider) checkClusterCIDR() error {
	cidrs := d.config.ClusterCIDRs
	used := d.config.DetectLocalMode == "" || d.config.DetectLocalMode == "ClusterCIDR"
	if !used && !d.release.ClusterCIDRAlways || len(cidrs) < 2 || len(cidrs) == 2 && cidrs[0].Addr().Is4() != cidrs[1].Addr().Is4() {
		return nil
	}
	return exits(&d.release, "clusterCIDR must be a single CIDR or a dual-stack pair").remedy("give one range a family")
}

// primaryFamily is the family of the address that kube-proxy takes for the node's first: --bind-address, else the Node's.
func (d *decider) primaryFamily() nat.Family {
	first := d.config.BindAddress
	if !first.IsValid() || first.IsUnspecified() {
		if len(d.node.Addresses) == 0 {
			return nat.IPv4
		}
		first = d.node.Addresses[0]
	}
	if first.Is6() {
		return nat.IPv6
	}
	return nat.IPv4
}

// checkPodCIDRs wants podCIDRs in detectLocalMode NodeCIDR, and one of the node's first family (checkBadIPConfig).
func (d *decider) checkPodCIDRs() error {
	if d.config.DetectLocalMode != "NodeCIDR" {
		return nil
	}
	cidrs := d.node.PodCIDRs
	if len(cidrs) == 0 {
		return fmt.Errorf("node %q: it has no spec.podCIDR, and with detectLocalMode NodeCIDR kube-proxy waits for one", d.node.Name)
	}
	primary := d.primaryFamily()
	other := func(p netip.Prefix) bool { return !ofFamily(p.Addr(), primary) }
	if !d.release.ChecksFamilies || slices.ContainsFunc(cidrs, func(p netip.Prefix) bool { return !other(p) }) {
		return nil
	}
	name := map[nat.Family][2]string{nat.IPv4: {"IPv4", "IPv6"}, nat.IPv6: {"IPv6", "IPv4"}}[primary]
	return exits(&d.release, "cluster is %s-primary but node.spec.podCIDRs contains only %s addresses", name[0], name[1]).
		remedy(fmt.Sprintf("give node %q a podCIDR of the family of its first address, or set bindAddress", d.node.Name))
}

// checkNodePortAddresses wants the words that the release knows.
func (d *decider) checkNodePortAddresses() error {
	list := d.config.NodePortAddresses
	for i, s := range list {
		switch {
		case strings.Contains(s, "/") || d.release.Keywords == AllKeywords:
			continue
		case d.release.Keywords == NoKeywords || s != "primary":
			return exits(&d.release, "nodePortAddresses[%d]: %q must be a valid CIDR", i, s).remedy("write CIDRs")
		case len(list) > 1:
			return exits(&d.release, "nodePortAddresses[%d]: can't use both 'primary' and CIDRs", i).remedy("write CIDRs, or primary alone")
		}
	}
	return nil
}

// checkNames refuses names that could break out of a rule.
func (d *decider) checkNames() error {
	for _, device := range []string{d.config.BridgeInterface, d.config.InterfacePrefix} {
		if !word(device) {
			return fmt.Errorf("device %q of detectLocal cannot stand in a rule", device)
		}
	}
	for i := range d.cluster.Services {
		s := &d.cluster.Services[i]
		for j := range s.Ports {
			p := &s.Ports[j]
			if !word(s.Namespace) || !word(s.Name) || !word(p.Name) {
				return fmt.Errorf("service %q: its name cannot stand in a rule", PortName(s.Namespace, s.Name, p.Name))
			}
			if !slices.Contains([]string{"", "TCP", "UDP", "SCTP"}, p.Protocol) {
				return fmt.Errorf("service %q: protocol %q: want TCP, UDP or SCTP", PortName(s.Namespace, s.Name, p.Name), p.Protocol)
			}
		}
	}
	return nil
}

// word reports whether s is made of what names have: printable, no blank, quote or backslash.
func word(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '\'' || c == '\\' {
			return false
		}
	}
	return true
}

func known(node string, nodes []topology.Node) string {
	if len(nodes) == 0 {
		return "no Node is described at all"
	}
	names := make([]string, len(nodes))
	for i, n := range nodes {
		names[i] = n.Name
	}
	return near.There(node, names)
}
