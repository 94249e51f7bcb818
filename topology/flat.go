package topology

import (
	"net/netip"
	"slices"
)

// Flat networks: pods have addresses of the nodes' own network, as those of Amazon's VPC CNI, of Azure CNI and of L2 networks have.
// Who asks for such an address on the underlay gets its node's answer; a lab's nodes answer ARP for their pods, where a cloud's network
// knows by itself which machine has them.

// deriveOverlay settles that there is no overlay of a family where pods have addresses of the underlay and nobody tells of one.
func (l *loader) deriveOverlay(f Family) {
	u := l.c.Underlay.CIDR(f)
	first, more := "", 0
	for _, p := range l.c.Pods {
		if ip := p.Address(f); ip.IsValid() && !p.HostNetwork && u.Contains(ip) {
			if more++; more == 1 {
				first = "Pod " + p.Member() + " has " + ip.String()
			}
		}
	}
	for _, n := range l.c.Nodes {
		for _, b := range n.PodBlocks {
			if u.Overlaps(b) && first == "" {
				first = "Node " + n.Name + " has " + b.String() + " for its Pods"
			}
		}
	}
	if first == "" {
		return
	}
	if !l.overlayGiven[f] {
		*l.overlay(f) = None
		l.warn(origin{}, "%s, of the nodes' own network %s: there is no overlay, and the nodes answer for their Pods", first, u)
	}
	l.flat[f] = l.c.PodNetwork.Of(f) == None
}

// overlay is where the overlay of a family stands.
func (l *loader) overlay(f Family) *Overlay {
	if f == IPv6 {
		return &l.c.PodNetwork.Overlay6
	}
	return &l.c.PodNetwork.Overlay
}

// checkFlat reports a Pod with an address of the underlay in a lab with an overlay.
func (l *loader) checkFlat(a netip.Addr, o origin) {
	f := FamilyOf(a)
	if overlay := l.c.PodNetwork.Of(f); overlay != None {
		l.fail(o, "status.podIPs", "%s is of the underlay %s, and the overlay is %s: is the Pod on the node's own network (hostNetwork: true), or is there no overlay (spec.podNetwork.overlay: none in a Lab document)?", a, l.c.Underlay.CIDR(f), overlay)
	}
}

// blockHolds is who has an address of a block that is of the underlay, and is no pod; "" for nobody.
func (l *loader) blockHolds(b netip.Prefix) string {
	for _, n := range l.c.Nodes {
		if slices.ContainsFunc(n.Addresses, b.Contains) {
			return "Node " + n.Name
		}
	}
	if slices.ContainsFunc(l.c.Underlay.Gateways, b.Contains) {
		return "the gateway"
	}
	return ""
}

// ofABlock reports whether an address is of a block of pods.
func (l *loader) ofABlock(a netip.Addr) bool {
	return slices.ContainsFunc(l.c.Nodes, func(n Node) bool { return inAny(n.PodBlocks, a) })
}

// answersFor makes a node answer ARP, or neighbour solicitations, on the underlay for an address, at once.
func (b *planner) answersFor(ns *Namespace, a netip.Addr) {
	dev := b.c.Underlay.Interface
	if !slices.ContainsFunc(ns.Neighbours, func(n Neighbour) bool { return n.Proxy && n.Device == dev && n.IP.Is4() == a.Is4() }) {
		if a.Is6() {
			ns.setOf(dev, "net/ipv6/conf/%s/proxy_ndp", "1")
			ns.setOf(dev, "net/ipv6/neigh/%s/proxy_delay", "0")
		} else {
			ns.setOf(dev, "net/ipv4/neigh/%s/proxy_delay", "0")
		}
	}
	ns.Neighbours = append(ns.Neighbours, Neighbour{Device: dev, IP: a, Proxy: true})
}
