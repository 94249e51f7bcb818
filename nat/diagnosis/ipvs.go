package diagnosis

import (
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/xt"
	"natlab/topology"
)

// dummies are the devices that hold the addresses of virtual servers: kube-proxy's in IPVS mode, and kube-router's.
var dummies = []string{"kube-ipvs0", "kube-dummy-if"}

// virtual is that a packet comes to a process of the node while IPVS is in use there, which may take it first: ip_vs sees what is delivered to the
// node, and what it sends (NF_INET_LOCAL_IN, NF_INET_LOCAL_OUT), in front of any socket, and which virtual servers it has no rule tells.
func (c Case) virtual(p nat.Prediction) (string, bool) {
	if c.VirtualTold {
		return "", false
	}
	here := slices.ContainsFunc(p, func(o nat.Outcome) bool {
		return o.End == nat.EndRefused || strings.HasPrefix(o.Server, "a process of ")
	})
	if !here {
		return "", false
	}
	to := c.Ask.Tuple.Dst()
	for _, a := range c.Namespace.Addresses {
		if slices.Contains(dummies, a.Device) && a.Prefix.Addr() == to.Addr() {
			return "where IPVS sends the packet, whose virtual servers " + a.Device + " has the addresses of (ipvsadm -Ln)", true
		}
	}
	if by, ok := c.virtualServers(); ok {
		return "whether IPVS has a virtual server for " + to.String() + " (ipvsadm -Ln): the node uses it, by " + by, true
	}
	return "", false
}

// virtualServers is what tells that the node uses IPVS.
func (c Case) virtualServers() (string, bool) {
	i := slices.IndexFunc(c.Namespace.Addresses, func(a topology.Address) bool { return slices.Contains(dummies, a.Device) })
	if i >= 0 {
		return "its device " + c.Namespace.Addresses[i].Device, true
	}
	for _, rs := range c.Rules {
		for _, t := range rs.Tables {
			for _, chain := range t.Chains {
				if strings.HasPrefix(chain.Name, "KUBE-IPVS-") {
					return "chain " + chain.Name, true
				}
				for i, r := range chain.Rules {
					if slices.ContainsFunc(r.Matches, asksIPVS) {
						return Rule{Table: t.Name, Chain: chain.Name, Rule: i + 1, Line: r.Line, Text: r.Text(chain.Name)}.String(), true
					}
				}
			}
		}
	}
	return "", false
}

// asksIPVS reports whether a match asks what only IPVS, or kube-proxy in its mode, makes.
func asksIPVS(m xt.Match) bool {
	set, is := m.(xt.Set)
	return is && set.Set == "KUBE-CLUSTER-IP" || m.Name() == "ipvs"
}
