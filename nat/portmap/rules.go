package portmap

import (
	"crypto/sha512"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/rules"
	"natlab/nat/xt"
	"natlab/topology"
)

// The chains that all Pods of a node share (portmap_iptables.go), and the mark that has the third of them masquerade: the plugin's
// default, bit 13.
const (
	chainDNAT    = "CNI-HOSTPORT-DNAT"
	chainSetMark = "CNI-HOSTPORT-SETMARK"
	chainMasq    = "CNI-HOSTPORT-MASQ"
	markMasq     = 1 << 13
)

// mostPorts is how many ports multiport takes.
const mostPorts = 15

// loopback is whom a node's own hostPort clients on localhost come from.
var loopback = netip.PrefixFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 32)

// Add returns a node's rules with those of the plugin for the node's Pods that have a hostPort, behind kube-proxy's in PREROUTING and
// OUTPUT and in front of them in POSTROUTING, where the plugin puts them. Without such a Pod they are what they were.
//
// Two things are not known: the chain of a Pod has the name that the plugin gives it, but of the Pod's name and not of its container's
// id; and a Pod's network counts as its address alone, as Calico's and Amazon's IPAM have it. Where host-local's has the node's whole
// podCIDR, what other Pods of the node send to the hostPort is masqueraded, too.
func Add(rs iptables.Ruleset, c topology.Cluster, node string) iptables.Ruleset {
	var pods []topology.Pod
	for _, p := range c.Pods {
		if p.Node == node && !p.HostNetwork && addressOf(p, rs.Family).IsValid() && len(portsOf(p, rs.Family)) > 0 {
			pods = append(pods, p)
		}
	}
	if len(pods) == 0 {
		return rs
	}
	out := rs.Clone()
	at := slices.IndexFunc(out.Tables, func(t iptables.Table) bool { return t.Name == "nat" })
	if at < 0 {
		out.Tables = append(out.Tables, iptables.Table{Name: "nat"})
		at = len(out.Tables) - 1
	}
	t := &out.Tables[at]
	shared(t)
	for _, p := range pods {
		addPod(t, p, rs.Family)
	}
	return out
}

// shared adds the chains that all Pods share, and what leads to them.
func shared(t *iptables.Table) {
	local := iptables.Rule{Matches: []xt.Match{xt.AddrType{Destination: xt.AddrLocal}}, Target: xt.Jump{Chain: chainDNAT}}
	for _, hook := range []nat.Hook{nat.PreRouting, nat.Output} {
		c := chain(t, hook.String(), "ACCEPT")
		c.Rules = append(c.Rules, local)
	}
	post := chain(t, nat.PostRouting.String(), "ACCEPT")
	post.Rules = slices.Insert(post.Rules, 0, iptables.Rule{
		Matches: []xt.Match{xt.Comment{Text: "CNI portfwd requiring masquerade"}}, Target: xt.Jump{Chain: chainMasq},
	})
	chain(t, chainDNAT, "-")
	set := chain(t, chainSetMark, "-")
	set.Rules = []iptables.Rule{{
		Matches: []xt.Match{xt.Comment{Text: "CNI portfwd masquerade mark"}}, Target: xt.SetMark{Value: markMasq, Mask: markMasq},
	}}
	masq := chain(t, chainMasq, "-")
	masq.Rules = []iptables.Rule{{Matches: []xt.Match{xt.Mark{Value: markMasq, Mask: markMasq}}, Target: xt.Masquerade{}}}
}

// addPod adds a Pod's chain, and the rules that lead to it: one for each protocol and fifteen ports, in front of those of Pods before.
func addPod(t *iptables.Table, p topology.Pod, family nat.Family) {
	name := chainName(p)
	ports := portsOf(p, family)
	var entries []iptables.Rule
	for _, proto := range []string{"sctp", "tcp", "udp"} {
		var ranges []xt.PortRange
		for _, port := range ports {
			if strings.EqualFold(port.Protocol, proto) {
				ranges = append(ranges, xt.PortRange{Low: port.Port, High: port.Port})
			}
		}
		for some := range slices.Chunk(ranges, mostPorts) {
			entries = append(entries, iptables.Rule{
				Matches: []xt.Match{
					iptables.Protocol{Protocol: proto}, xt.Comment{Text: fmt.Sprintf("dnat name: %q id: %q", "cni", p.Member())}, xt.MultiPort{Ports: some},
				},
				Target: xt.Jump{Chain: name},
			})
		}
	}
	top := chain(t, chainDNAT, "-")
	slices.Reverse(entries)
	top.Rules = slices.Concat(entries, top.Rules)
	own := chain(t, name, "-")
	for _, port := range ports {
		own.Rules = append(own.Rules, forward(port, addressOf(p, family))...)
	}
}

// forward are the rules of one port: what comes from the Pod itself or from localhost is marked for masquerading, and all is sent to the
// container.
func forward(port topology.HostPort, to netip.Addr) []iptables.Rule {
	proto := strings.ToLower(port.Protocol)
	base := []xt.Match{iptables.Protocol{Protocol: proto}, xt.Ports{Protocol: proto, Destination: &xt.PortRange{Low: port.Port, High: port.Port}}}
	if port.IP.IsValid() && !port.IP.IsUnspecified() {
		base = append([]xt.Match{iptables.Destination{Prefix: netip.PrefixFrom(port.IP, port.IP.BitLen())}}, base...)
	}
	from := func(p netip.Prefix) iptables.Rule {
		return iptables.Rule{Matches: append([]xt.Match{iptables.Source{Prefix: p}}, base...), Target: xt.Jump{Chain: chainSetMark}}
	}
	out := []iptables.Rule{from(netip.PrefixFrom(to, to.BitLen()))}
	if to.Is4() {
		out = append(out, from(loopback))
	}
	return append(out, iptables.Rule{Matches: base, Target: xt.DNAT{Range: rules.NATRange{
		MinAddr: to, MaxAddr: to, MinPort: port.Container, MaxPort: port.Container,
	}}})
}

// portsOf are a Pod's hostPorts of a family: one with an address of the node is of that address's.
func portsOf(p topology.Pod, family nat.Family) (out []topology.HostPort) {
	for _, port := range p.HostPorts {
		if !port.IP.IsValid() || nat.FamilyOf(port.IP) == family {
			out = append(out, port)
		}
	}
	return out
}

// addressOf is a Pod's address of a family, not valid where it has none.
func addressOf(p topology.Pod, family nat.Family) netip.Addr {
	for _, a := range p.IPs {
		if nat.FamilyOf(a) == family {
			return a
		}
	}
	return netip.Addr{}
}

// chainName is as long as the plugin's: CNI-DN- and as much of a hash as 28 letters leave room for.
func chainName(p topology.Pod) string {
	const length = 28
	return fmt.Sprintf("CNI-DN-%x", sha512.Sum512([]byte(p.Member())))[:length]
}

// chain finds or adds a chain of a table.
func chain(t *iptables.Table, name, policy string) *iptables.Chain {
	for i := range t.Chains {
		if t.Chains[i].Name == name {
			return &t.Chains[i]
		}
	}
	t.Chains = append(t.Chains, iptables.Chain{Name: name, Policy: policy})
	return &t.Chains[len(t.Chains)-1]
}
