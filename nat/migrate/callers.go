package migrate

import (
	"fmt"
	"net/netip"
	"slices"

	"natlab/nat"
	"natlab/topology"
)

// outside are the clients that are not of the cluster.
func (a *asker) outside() (out []caller) {
	for _, c := range a.c.Clients {
		out = append(out, caller{c.Name, c.Address(topology.Family(a.family))})
	}
	return out
}

// nodes are one caller a node.
func (a *asker) nodes() (out []caller) {
	for _, n := range a.c.Nodes {
		out = append(out, caller{n.Name, n.Address(topology.Family(a.family))})
	}
	return out
}

// pods are of each node the first that is an endpoint of the port, and the first that is none. Those of the nodes' own network are the nodes.
func (a *asker) pods(port *topology.ServicePort) (out []caller) {
	type kind struct {
		node     string
		endpoint bool
	}
	taken := map[kind]bool{}
	for _, p := range a.c.Pods {
		k := kind{p.Node, port != nil && slices.ContainsFunc(port.Endpoints, func(e topology.Endpoint) bool { return e.Pod == p.Member() })}
		if at := p.Address(topology.Family(a.family)); !p.HostNetwork && at.IsValid() && !taken[k] {
			taken[k] = true
			out = append(out, caller{p.Member(), at})
		}
	}
	return out
}

// near are the pods of a node, and of those elsewhere the first of each kind.
func (a *asker) near(port *topology.ServicePort, node string) (out []caller) {
	elsewhere := map[bool]bool{}
	for _, w := range a.pods(port) {
		p, _ := a.c.Pod(w.member)
		endpoint := port != nil && slices.ContainsFunc(port.Endpoints, func(e topology.Endpoint) bool { return e.Pod == w.member })
		if p.Node == node || !elsewhere[endpoint] {
			out = append(out, w)
			elsewhere[endpoint] = elsewhere[endpoint] || p.Node != node
		}
	}
	return out
}

// withClients gives a cluster clients that the source ranges of its load balancers tell apart: one inside of each range that no client is
// in, and one that is in none.
func withClients(c topology.Cluster) topology.Cluster {
	c.Clients = slices.Clone(c.Clients)
	for _, s := range c.Services {
		for _, p := range s.SourceRanges {
			c = withClient(c, "in-range", inside(p), func(a netip.Addr) bool { return p.Contains(a) })
		}
	}
	for _, s := range c.Services {
		if len(s.SourceRanges) > 0 {
			out := func(a netip.Addr) bool {
				return !slices.ContainsFunc(s.SourceRanges, func(p netip.Prefix) bool { return p.Contains(a) })
			}
			for _, f := range c.Families() {
				c = withClient(c, "out-of-range", strangers[f], out)
			}
		}
	}
	return c
}

// strangers are addresses that hardly anybody has (RFC 5737, RFC 3849).
var strangers = [...]netip.Addr{topology.IPv4: netip.MustParseAddr("198.51.100.77"), topology.IPv6: netip.MustParseAddr("2001:db8:77::77")}

// inside is an address of a range that is hardly a network's or a router's own.
func inside(p netip.Prefix) netip.Addr {
	a := p.Masked().Addr()
	for range 77 {
		if next := a.Next(); p.Contains(next) {
			a = next
		}
	}
	return a
}

// withClient adds a client with an address, unless there is one of which the same holds, or the address is somebody's, or of a network that
// the cluster has.
func withClient(c topology.Cluster, name string, a netip.Addr, same func(netip.Addr) bool) topology.Cluster {
	if !slices.Contains(c.Families(), topology.FamilyOf(a)) || !same(a) || !a.IsGlobalUnicast() {
		return c
	}
	for _, cl := range c.Clients {
		if slices.ContainsFunc(cl.Addresses, func(x netip.Addr) bool { return nat.FamilyOf(x) == nat.FamilyOf(a) && same(x) }) {
			return c
		}
	}
	for _, p := range slices.Concat(c.Underlay.CIDRs, c.PodNetwork.CIDRs, c.ServiceCIDRs) {
		if p.Contains(a) {
			return c
		}
	}
	c.Clients = append(c.Clients, topology.Client{Name: fmt.Sprintf("%s-%d", name, len(c.Clients)), Addresses: []netip.Addr{a}})
	return c
}
