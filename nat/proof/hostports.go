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
	if at < 0 || len(p.HostPorts) == 0 || len(ipv4s(p.IPs)) == 0 {
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
		for _, ip := range hostAddresses(node, p, h) {
			name := ip.String()
			if ips := ipv4s(node.Addresses); len(ips) > 0 && ips[0] == ip {
				name = node.Name
			}
			f.Target = netip.AddrPortFrom(ip, h.Port)
			l.addAll(who, f, name)
		}
		if l.byLoopback(p, h) {
			self := nodes[at]
			self.source, self.vantage = netip.AddrFrom4([4]byte{127, 0, 0, 1}), FromLoopback
			f.Target = netip.AddrPortFrom(self.source, h.Port)
			l.add(self, f, self.source.String())
		}
	}
}

// anyAddress reports whether a hostPort is at all IPv4 addresses of its node.
func anyAddress(h topology.HostPort) bool { return !h.IP.IsValid() || h.IP == netip.IPv4Unspecified() }

// hostAddresses are a node's IPv4 addresses at which a hostPort is, loopback aside: that which it names, or all. What a Pod on the host
// network binds besides its own address is not known.
func hostAddresses(n topology.Node, p topology.Pod, h topology.HostPort) []netip.Addr {
	switch {
	case p.HostNetwork:
		return ipv4s(p.IPs)
	case anyAddress(h):
		return ipv4s(n.Addresses)
	case h.IP.Is4() && !h.IP.IsLoopback():
		return []netip.Addr{h.IP}
	}
	return nil
}

// byLoopback reports whether a hostPort is reached by its node's 127.0.0.1, which needs route_localnet there.
func (l *lister) byLoopback(p topology.Pod, h topology.HostPort) bool {
	here := anyAddress(h) || h.IP == netip.AddrFrom4([4]byte{127, 0, 0, 1})
	return here && !p.HostNetwork && l.cluster.KubeProxy.LocalhostNodePorts
}

// noHostAddress is the reason for a hostPort of loopback on nodes without route_localnet.
const noHostAddress = "no client reaches its address: the node has no route_localnet"

// unaskedHostPorts lists the hostPorts that no flow asks: of a family, of a protocol, of an address.
func unaskedHostPorts(c topology.Cluster) (out []NotAsked) {
	l := &lister{cluster: c}
	for _, p := range c.Pods {
		node, _ := c.Node(p.Node)
		six := slices.ContainsFunc(p.IPs, netip.Addr.Is6)
		for _, h := range p.HostPorts {
			add := func(at netip.Addr, reason string) {
				if h.IP.IsValid() {
					at = h.IP
				}
				out = append(out, NotAsked{
					Type: ByHostPort, Target: netip.AddrPortFrom(at, h.Port).String(), Protocol: h.Protocol, Reason: fmt.Sprintf("Pod %s: %s", p.Member(), reason),
				})
			}
			_, driven := askable(h.Protocol)
			switch {
			case !driven:
				add(netip.IPv4Unspecified(), notProto)
			case h.IP.Is6():
				add(h.IP, notIPv6)
			case len(hostAddresses(node, p, h)) == 0 && !l.byLoopback(p, h):
				add(h.IP, noHostAddress)
			case six && !h.IP.IsValid():
				add(netip.IPv6Unspecified(), notIPv6)
			}
		}
	}
	return out
}
