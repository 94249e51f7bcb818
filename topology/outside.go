package topology

import (
	"net/netip"
	"slices"
)

// near reports whether a client hangs on the underlay. Of one with two addresses Load sees to it that both do, or none.
func (b *planner) near(cl Client) bool {
	return slices.ContainsFunc(cl.Addresses, b.c.Underlay.holds)
}

// router is the nodes' default gateway. It knows the way to clients behind it, to addresses that a node announces
// outside of the underlay, and to the pods, whose answers to a host outside may come back by it.
func (b *planner) router() Namespace {
	ns := b.namespace(KindRouter, memberRouter)
	b.outer(&ns, outerDevice, b.c.Underlay.Gateways)
	b.setOf4(&ns, outerDevice, "net/ipv4/conf/%s/rp_filter", "0")
	b.setOf4(&ns, outerDevice, "net/ipv4/conf/%s/send_redirects", "0")
	for _, cl := range b.c.Clients {
		if b.near(cl) {
			continue
		}
		dev := portName(cl.Name)
		ns.Devices = append(ns.Devices, Device{
			Name: dev, Kind: Veth, MTU: b.c.Underlay.MTU, MAC: hashMAC(ns.Name, dev),
			Peer: Peer{Namespace: b.c.namespaceName(cl.Name), Device: outerDevice}, Create: true,
		})
		if cl.Address(IPv4).IsValid() {
			ns.Addresses = append(ns.Addresses, Address{Device: dev, Prefix: host(nextHop4()), Scope: ScopeLink})
		}
		b.linkLocal(&ns, dev, hashMAC(ns.Name, dev))
		for _, a := range b.has(cl.Addresses) {
			ns.Routes = append(ns.Routes, Route{Dst: host(a), Device: dev, Scope: onLink(a)})
		}
		b.setOf4(&ns, dev, "net/ipv4/conf/%s/rp_filter", "0")
		b.setOf4(&ns, dev, "net/ipv4/conf/%s/send_redirects", "0")
	}
	for _, f := range b.families {
		b.routerWays(&ns, f)
	}
	return ns
}

// routerWays are the router's routes of a family to what is behind the nodes.
func (b *planner) routerWays(ns *Namespace, f Family) {
	for _, lb := range b.c.LoadBalancers {
		if n, ok := b.c.Node(lb.AnnouncedBy); ok && FamilyOf(lb.Address) == f && !b.c.Underlay.holds(lb.Address) {
			ns.Routes = append(ns.Routes, Route{Dst: host(lb.Address), Via: n.Address(f), Device: outerDevice})
		}
	}
	for _, n := range b.c.Nodes {
		for _, dst := range b.rangesOf(n, f) {
			ns.Routes = append(ns.Routes, Route{Dst: dst, Via: n.Address(f), Device: outerDevice})
		}
	}
	// The world beyond does not answer. Without the route the router would report that it knows no way, but only five
	// times at once and then once a second, whatever icmp_ratelimit is (ip_error).
	ns.Routes = append(ns.Routes, Route{Type: Blackhole, Dst: f.any()})
}

// behind gives a namespace addresses of its own, one a family, and a way out: of IPv4 by 169.254.1.1, of IPv6 by the address that the
// other end of the link makes of its MAC.
func (b *planner) behind(ns *Namespace, mac string, addrs []netip.Addr, peer string) {
	b.linkLocal(ns, outerDevice, mac)
	for _, f := range b.families {
		a := f.first(addrs)
		if !a.IsValid() {
			continue
		}
		via := eui64(peer)
		if f == IPv4 {
			via = nextHop4()
			ns.Routes = append(ns.Routes, Route{Dst: host(via), Device: outerDevice, Scope: ScopeLink})
		}
		ns.Addresses = append(ns.Addresses, Address{Device: outerDevice, Prefix: host(a)})
		ns.Routes = append(ns.Routes, Route{Dst: f.any(), Via: via, Device: outerDevice})
	}
	b.setOf4(ns, outerDevice, "net/ipv4/conf/%s/rp_filter", "0")
}

// client is a host outside of the cluster: on the underlay, or behind the router by a link of its own.
func (b *planner) client(cl Client) Namespace {
	ns := b.namespace(KindClient, cl.Name)
	if b.near(cl) {
		b.outer(&ns, outerDevice, cl.Addresses)
		b.defaultRoutes(&ns, outerDevice, cl.Addresses)
		b.setOf4(&ns, outerDevice, "net/ipv4/conf/%s/rp_filter", "0")
		return ns
	}
	mac := macOf(0x0a, 0x58, b.primary(cl.Addresses))
	ns.Devices = append(ns.Devices, Device{
		Name: outerDevice, Kind: Veth, MTU: b.c.Underlay.MTU, MAC: mac,
		Peer: Peer{Namespace: b.c.namespaceName(memberRouter), Device: portName(cl.Name)},
	})
	b.behind(&ns, mac, cl.Addresses, hashMAC(b.c.namespaceName(memberRouter), portName(cl.Name)))
	return ns
}
