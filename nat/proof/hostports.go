package proof

import (
	"fmt"
	"net/netip"
	"slices"

	"natlab/topology"
)

// hostPorts asks each hostPort of a Pod at the addresses of its node that it has: from outside, from the node, from its neighbour in
// the list, from the Pod itself, whose answer comes back by the hairpin, from another pod of the node and from one elsewhere, and
// where nodes have route_localnet by the node's loopback.
func (l *lister) hostPorts(p topology.Pod) {
	at := slices.IndexFunc(l.cluster.Nodes, func(n topology.Node) bool { return n.Name == p.Node })
	if at < 0 || len(p.HostPorts) == 0 || !l.first(p.IPs).IsValid() {
		return
	}
	node := l.cluster.Nodes[at]
	as := topology.ServicePort{Endpoints: []topology.Endpoint{{Pod: p.Member(), Node: p.Node}}} // the Pod is to its hostPort what an endpoint is to a Service
	nodes := l.nodes(as)
	who := append(l.outside(netip.Addr{}), nodes[at], nodes[(at+1)%len(nodes)])
	others := map[Vantage]bool{}
	for _, pod := range l.pods(as) {
		if pod.name == p.Member() || !others[pod.vantage] {
			others[pod.vantage] = true
			who = append(who, pod)
		}
	}
	for _, h := range p.HostPorts {
		proto, ok := askable(h.Protocol)
		if !ok {
			continue
		}
		f := Flow{Name: p.Member(), Type: ByHostPort, Protocol: proto}
		for _, ip := range l.hostAddresses(node, p, h) {
			f.Target = netip.AddrPortFrom(ip, h.Port)
			l.addAll(who, f, l.called(node, ip))
		}
		if l.byLoopback(p, h) {
			self := nodes[at]
			self.source, self.vantage = l.loopback(), FromLoopback
			f.Target = netip.AddrPortFrom(self.source, h.Port)
			l.add(self, f, self.source.String())
		}
	}
}

// anyAddress reports whether a hostPort is at all addresses of its node that are of the family.
func (l *lister) anyAddress(h topology.HostPort) bool {
	return !h.IP.IsValid() || l.of(h.IP) && h.IP.IsUnspecified()
}

// hostAddresses are a node's addresses of the family at which a hostPort is, loopback aside: that which it names, or all. What a Pod on
// the host network binds besides its own address is not known.
func (l *lister) hostAddresses(n topology.Node, p topology.Pod, h topology.HostPort) []netip.Addr {
	switch {
	case p.HostNetwork:
		return l.among(p.IPs)
	case l.anyAddress(h):
		return l.among(n.Addresses)
	case l.of(h.IP) && !h.IP.IsLoopback():
		return []netip.Addr{h.IP}
	}
	return nil
}

// byLoopback reports whether a hostPort is reached by its node's 127.0.0.1, which needs route_localnet there. IPv6 has no such thing.
func (l *lister) byLoopback(p topology.Pod, h topology.HostPort) bool {
	here := l.anyAddress(h) || h.IP == l.loopback()
	return l.family == topology.IPv4 && here && !p.HostNetwork && l.cluster.KubeProxy.LocalhostNodePorts
}

// noHostAddress is the reason for a hostPort of loopback on nodes without route_localnet.
const noHostAddress = "no client reaches its address: the node has no route_localnet"

// unaskedHostPorts lists the hostPorts that no flow asks: of a family, of a protocol, of an address.
func unaskedHostPorts(c topology.Cluster) (out []NotAsked) {
	for _, p := range c.Pods {
		for _, h := range p.HostPorts {
			out = append(out, unaskedHostPort(c, p, h)...)
		}
	}
	return out
}

func unaskedHostPort(c topology.Cluster, p topology.Pod, h topology.HostPort) (out []NotAsked) {
	node, _ := c.Node(p.Node)
	add := func(at netip.Addr, reason string) {
		if h.IP.IsValid() {
			at = h.IP
		}
		out = append(out, NotAsked{
			Type: ByHostPort, Target: netip.AddrPortFrom(at, h.Port).String(), Protocol: h.Protocol, Reason: fmt.Sprintf("Pod %s: %s", p.Member(), reason),
		})
	}
	for _, any := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		l := &lister{cluster: c, family: topology.FamilyOf(any)}
		switch {
		case h.IP.IsValid() && !l.of(h.IP), !h.IP.IsValid() && !l.first(p.IPs).IsValid(): // it is of the other family
		case !c.Has(any):
			add(any, noFamily(any))
		case len(l.hostAddresses(node, p, h)) == 0 && !l.byLoopback(p, h):
			add(any, noHostAddress)
		}
	}
	return out
}
