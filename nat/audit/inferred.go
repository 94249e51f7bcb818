package audit

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"natlab/nat/iptables"
	"natlab/nat/xt"
	"natlab/topology"
)

// Infer takes over from the rules that a node holds how its kube-proxy tells packets of local pods from others, where the input
// has no KubeProxyConfiguration to tell it: the condition of the rules that masquerade a Service's clients. It returns what it took
// for granted, in words; "" where it took nothing.
func (n *Node) Infer() string {
	if n.Cluster.KubeProxy.Configured {
		return ""
	}
	if what := n.inferMode(); what != "" {
		return what
	}
	a := auditor{node: *n}
	found := map[detection]int{}
	for _, t := range a.own().Rules.Tables {
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				if d, ok := detectionOf(c.Name, r); ok && t.Name == "nat" {
					found[d]++
				}
			}
		}
	}
	if len(found) == 0 {
		return ""
	}
	var d detection
	for each, times := range found { // most of the rules are right
		if times > found[d] || times == found[d] && cmp.Compare(each.String(), d.String()) < 0 {
			d = each
		}
	}
	n.Cluster.KubeProxy = d.configure(n.Cluster.KubeProxy)
	return fmt.Sprintf("the input has no KubeProxyConfiguration: by the rules of %s kube-proxy has %s", n.Name, d)
}

// detection is what stands in kube-proxy's rules for "not from a local pod": ! -s CIDR, or ! -i DEVICE (LocalTrafficDetector).
type detection struct {
	cidr   netip.Prefix
	device string // "cni0", or "veth+" for a prefix
}

func (d detection) String() string {
	prefix, all := strings.CutSuffix(d.device, "+")
	switch {
	case all:
		return "detectLocalMode InterfaceNamePrefix, detectLocal.interfaceNamePrefix " + prefix
	case d.device != "":
		return "detectLocalMode BridgeInterface, detectLocal.bridgeInterface " + d.device
	}
	return "clusterCIDR " + d.cidr.String()
}

func (d detection) configure(k topology.KubeProxy) topology.KubeProxy {
	prefix, all := strings.CutSuffix(d.device, "+")
	switch {
	case all:
		k.DetectLocalMode, k.InterfacePrefix = "InterfaceNamePrefix", prefix
	case d.device != "":
		k.DetectLocalMode, k.BridgeInterface = "BridgeInterface", d.device
	default:
		k.DetectLocalMode = "ClusterCIDR"
		if !slices.Contains(k.ClusterCIDRs, d.cidr) {
			k.ClusterCIDRs = append(slices.Clip(k.ClusterCIDRs), d.cidr)
		}
	}
	return k
}

// detectionOf reads it off the rule of a Service's chain that marks what comes from elsewhere.
func detectionOf(chain string, r iptables.Rule) (d detection, ok bool) {
	if !strings.HasPrefix(chain, "KUBE-SVC-") && !strings.HasPrefix(chain, "KUBE-SVL-") || r.Target != (xt.Jump{Chain: "KUBE-MARK-MASQ"}) {
		return d, false
	}
	for _, m := range r.Matches {
		switch m := m.(type) {
		case iptables.Source:
			if m.Not {
				d.cidr, ok = m.Prefix, true
			}
		case iptables.InInterface:
			if m.Not {
				d.device, ok = m.Device, true
			}
		}
	}
	return d, ok
}
