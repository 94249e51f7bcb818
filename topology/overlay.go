package topology

import (
	"crypto/sha1"
	"encoding/hex"
	"net/netip"
	"slices"
)

// Names and numbers that Calico has on every node.
const (
	ipipDevice  = "tunl0"
	vxlanDevice = "vxlan.calico"
	vxlanVNI    = 4096
	vxlanPort   = 4789
	birdRoutes  = "bird"              // the routing protocol of Calico's routes, RTPROT_BIRD
	caliMAC     = "ee:ee:ee:ee:ee:ee" // of the node's end of every pod's veth
)

// linkLocal is the next hop of every pod (Calico), which no device has: the node answers ARP for it because of
// proxy_arp. The router uses it as its address towards a client behind it.
func linkLocal() netip.Addr { return netip.AddrFrom4([4]byte{169, 254, 1, 1}) }

// Device is the node's tunnel device; "" for None, which has none.
func (o Overlay) Device() string {
	switch o {
	case IPIP:
		return ipipDevice
	case VXLAN:
		return vxlanDevice
	case None:
		return ""
	}
	return ""
}

// overhead is how many bytes of a packet on the underlay the overlay's own headers take: 20 for IPv4 in IPv4;
// 50 for VXLAN (IPv4, UDP, VXLAN and the inner Ethernet header).
func (o Overlay) overhead() int {
	switch o {
	case IPIP:
		return 20
	case VXLAN:
		return 50
	case None:
		return 0
	}
	return 0
}

// HostDevice is the name of the node's end of a pod's veth pair: cali and the first 11 hex digits of
// SHA-1("namespace.pod").
func (p Pod) HostDevice() string {
	sum := sha1.Sum([]byte(p.Namespace + "." + p.Name))
	return "cali" + hex.EncodeToString(sum[:])[:11]
}

// overlayOf gives a node its tunnel device and the routes to the pods of every other node.
func (b *planner) overlayOf(ns *Namespace, n Node) {
	dev := b.c.PodNetwork.Overlay.Device()
	mtu := b.podMTU()
	switch b.c.PodNetwork.Overlay {
	case IPIP:
		ns.Devices = append(ns.Devices, Device{Name: dev, Kind: TunnelIPIP, MTU: mtu, Local: n.IPv4()})
	case VXLAN:
		ns.Devices = append(ns.Devices, Device{
			Name: dev, Kind: TunnelVXLAN, MTU: mtu, MAC: tunnelMAC(n), VNI: vxlanVNI, Port: vxlanPort,
			Parent: b.c.Underlay.Interface, Local: n.IPv4(),
		})
	case None:
	}
	if dev != "" {
		ns.Addresses = append(ns.Addresses, Address{Device: dev, Prefix: host(n.TunnelAddress)})
	}
	for _, block := range n.PodBlocks {
		ns.Routes = append(ns.Routes, Route{Type: Blackhole, Dst: block, Protocol: birdRoutes})
	}
	for _, peer := range b.c.Nodes {
		if peer.Name == n.Name {
			continue
		}
		for _, dst := range b.rangesOf(peer) {
			ns.Routes = append(ns.Routes, b.overlayRoute(dst, peer))
		}
		if b.c.PodNetwork.Overlay == VXLAN {
			mac := tunnelMAC(peer)
			ns.Neighbours = append(ns.Neighbours,
				Neighbour{Device: dev, IP: peer.TunnelAddress, MAC: mac},
				Neighbour{Device: dev, MAC: mac, FDB: true, Remote: peer.IPv4()})
		}
	}
}

// overlayRoute is the route to pods of another node.
func (b *planner) overlayRoute(dst netip.Prefix, peer Node) Route {
	switch b.c.PodNetwork.Overlay {
	case IPIP:
		return Route{Dst: dst, Via: peer.IPv4(), Device: ipipDevice, Protocol: birdRoutes, Onlink: true}
	case VXLAN:
		return Route{Dst: dst, Via: peer.TunnelAddress, Device: vxlanDevice, Onlink: true}
	case None:
	}
	return Route{Dst: dst, Via: peer.IPv4(), Device: b.c.Underlay.Interface, Protocol: birdRoutes}
}

// rangesOf is what is reached by way of a node: its blocks, its tunnel address where no block of its has it,
// and each of its pods that is in none of them ("borrowed" addresses, as Calico calls them). Pods of the nodes' own network need no
// route: their node answers for them.
func (b *planner) rangesOf(n Node) []netip.Prefix {
	out := slices.Clone(n.PodBlocks)
	if b.c.PodNetwork.Overlay != None && !inAny(n.PodBlocks, n.TunnelAddress) {
		out = append(out, host(n.TunnelAddress))
	}
	for _, p := range b.podsOf[n.Name] {
		if !inAny(n.PodBlocks, p.IPv4()) && !b.flat(p) {
			out = append(out, host(p.IPv4()))
		}
	}
	return out
}

// podMTU is the largest packet a pod may send: what the overlay leaves of the underlay's.
func (b *planner) podMTU() int { return b.c.Underlay.MTU - b.c.PodNetwork.Overlay.overhead() }

// tunnelMAC is the address of a node's VXLAN device, made of its tunnel address so that every node knows it.
func tunnelMAC(n Node) string { return macOf(0x66, 0x00, n.TunnelAddress) }
