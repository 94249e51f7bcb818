package topology

import (
	"crypto/sha1"
	"encoding/hex"
	"net/netip"
	"strings"
)

// Names and numbers that Calico has on every node.
const (
	ipipDevice   = "tunl0"
	vxlanDevice  = "vxlan.calico"
	vxlanDevice6 = "vxlan-v6.calico"
	vxlanVNI     = 4096
	vxlanPort    = 4789
	birdRoutes   = "bird"              // the routing protocol of Calico's routes, RTPROT_BIRD
	caliMAC      = "ee:ee:ee:ee:ee:ee" // of the node's end of every pod's veth
)

// nextHop4 is the next hop of every pod (Calico), which no device has: the node answers ARP for it because of
// proxy_arp. The router uses it as its address towards a client behind it.
func nextHop4() netip.Addr { return netip.AddrFrom4([4]byte{169, 254, 1, 1}) }

// eui64 is the link-local address that a device makes of its MAC (RFC 4291, appendix A). Of the node's end of a pod's link it is the pod's
// next hop in IPv6 (Calico): fe80::ecee:eeff:feee:eeee.
func eui64(mac string) netip.Addr {
	b, err := hex.DecodeString(strings.ReplaceAll(mac, ":", ""))
	if err != nil || len(b) != 6 {
		return netip.Addr{}
	}
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: b[0] ^ 2, 9: b[1], 10: b[2], 11: 0xff, 12: 0xfe, 13: b[3], 14: b[4], 15: b[5]})
}

// Device is the node's tunnel device of a family; "" for None, which has none.
func (o Overlay) Device(f Family) string {
	switch o {
	case IPIP:
		return ipipDevice
	case VXLAN:
		if f == IPv6 {
			return vxlanDevice6
		}
		return vxlanDevice
	case None:
		return ""
	}
	return ""
}

// overhead is how many bytes of a packet on the underlay the overlay's own headers take: 20 for IPv4 in IPv4;
// 50 for VXLAN (IPv4, UDP, VXLAN and the inner Ethernet header), 70 where the outer header is IPv6's.
func (o Overlay) overhead(f Family) int {
	switch o {
	case IPIP:
		return 20
	case VXLAN:
		if f == IPv6 {
			return 70
		}
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

// overlayOf gives a node its tunnel device of a family and the routes to the pods of every other node.
func (b *planner) overlayOf(ns *Namespace, n Node, f Family) {
	overlay := b.c.PodNetwork.Of(f)
	dev := overlay.Device(f)
	mtu := b.c.Underlay.MTU - overlay.overhead(f)
	switch overlay {
	case IPIP:
		ns.Devices = append(ns.Devices, Device{Name: dev, Kind: TunnelIPIP, MTU: mtu, Local: n.Address(f)})
	case VXLAN:
		ns.Devices = append(ns.Devices, Device{
			Name: dev, Kind: TunnelVXLAN, MTU: mtu, MAC: tunnelMAC(n, f), VNI: vxlanVNI, Port: vxlanPort,
			Parent: b.c.Underlay.Interface, Local: n.Address(f),
		})
	case None:
	}
	if dev != "" {
		ns.Addresses = append(ns.Addresses, Address{Device: dev, Prefix: host(n.Tunnel(f))})
	}
	if dev == vxlanDevice6 {
		b.linkLocal(ns, dev, tunnelMAC(n, f))
	}
	for _, block := range f.networks(n.PodBlocks) {
		ns.Routes = append(ns.Routes, Route{Type: Blackhole, Dst: block, Protocol: birdRoutes})
	}
	for _, peer := range b.c.Nodes {
		if peer.Name == n.Name {
			continue
		}
		for _, dst := range b.rangesOf(peer, f) {
			ns.Routes = append(ns.Routes, b.overlayRoute(dst, peer))
		}
		if overlay == VXLAN {
			mac := tunnelMAC(peer, f)
			ns.Neighbours = append(ns.Neighbours,
				Neighbour{Device: dev, IP: peer.Tunnel(f), MAC: mac},
				Neighbour{Device: dev, MAC: mac, FDB: true, Remote: peer.Address(f)})
		}
	}
}

// overlayRoute is the route to pods of another node.
func (b *planner) overlayRoute(dst netip.Prefix, peer Node) Route {
	f := FamilyOf(dst.Addr())
	switch o := b.c.PodNetwork.Of(f); o {
	case IPIP:
		return Route{Dst: dst, Via: peer.Address(f), Device: ipipDevice, Protocol: birdRoutes, Onlink: true}
	case VXLAN:
		return Route{Dst: dst, Via: peer.Tunnel(f), Device: o.Device(f), Onlink: true}
	case None:
	}
	return Route{Dst: dst, Via: peer.Address(f), Device: b.c.Underlay.Interface, Protocol: birdRoutes}
}

// rangesOf is what of a family is reached by way of a node: its blocks, its tunnel address where no block of its has it,
// and each of its pods that is in none of them ("borrowed" addresses, as Calico calls them). Pods of the nodes' own network need no
// route: their node answers for them.
func (b *planner) rangesOf(n Node, f Family) []netip.Prefix {
	out := f.networks(n.PodBlocks)
	if b.c.PodNetwork.Of(f) != None && !inAny(n.PodBlocks, n.Tunnel(f)) {
		out = append(out, host(n.Tunnel(f)))
	}
	for _, p := range b.podsOf[n.Name] {
		if a := p.Address(f); a.IsValid() && !inAny(n.PodBlocks, a) && !b.c.Underlay.holds(a) {
			out = append(out, host(a))
		}
	}
	return out
}

// podMTU is the largest packet a pod may send: what the overlays leave of the underlay's.
func (b *planner) podMTU() int { return b.c.podMTU() }

func (c Cluster) podMTU() int {
	most := 0
	for _, f := range c.Families() {
		most = max(most, c.PodNetwork.Of(f).overhead(f))
	}
	return c.Underlay.MTU - most
}

// tunnelMAC is the address of a node's VXLAN device of a family, made of its tunnel address so that every node knows it.
func tunnelMAC(n Node, f Family) string { return macOf(0x66, 0x00, n.Tunnel(f)) }
