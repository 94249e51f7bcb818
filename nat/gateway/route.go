package gateway

import (
	"net/netip"

	"natlab/nat"
	"natlab/topology"
)

// route is an entry of a namespace's main table, or one that the kernel makes for an address.
type route struct {
	topology.Route
	dev *device // that Route.Device names; nil where it is none of the namespace
}

// routeKind is what a lookup finds (rtm_type).
type routeKind uint8

// The kinds. The zero one is that there is no route.
const (
	routeNone routeKind = iota
	routeUnicast
	routeLocal     // to this namespace itself
	routeBroadcast // of a network of this namespace, or of all
	routeMulticast
	routeAnycast // of IPv6: for any router of a network, so for this namespace, too
	routeBlackhole
	routeUnreachable
	routeProhibit
)

// nextHop is where a packet goes next.
type nextHop struct {
	kind routeKind
	dev  *device
	via  netip.Addr // the address to ask for on the link: the gateway's, or the destination's own
	src  netip.Addr // the route's preferred source, invalid where it has none
	dst  netip.Addr
	net  netip.Prefix // that a route of kind routeUnicast is to
}

// echoes reports whether the node hears what it sends there itself (ip_mc_output): what is broadcast, and what is for a group
// that it is in.
func (n *nextHop) echoes() bool {
	return n.dev.Name != "lo" && (n.kind == routeBroadcast || n.kind == routeMulticast && n.dev.host.joined(n.dev, n.dst))
}

// group reports whether the packet is for many.
func (n *nextHop) group() bool { return n.kind == routeBroadcast || n.kind == routeMulticast }

// local reports whether the packet is for this namespace itself.
func (n *nextHop) local() bool { return n.kind == routeLocal || n.kind == routeAnycast }

// anycast reports whether IPv6 takes the destination for that of any router: the address of a network that the node is on.
func (n *nextHop) anycast() bool {
	return n.kind == routeAnycast || n.kind == routeUnicast && n.dst.Is6() && n.via == n.dst && n.net.Bits() < 127 && n.net.Addr() == n.dst
}

// isLocal reports whether an address is one of the namespace's own, 127.0.0.0/8 included (the table "local").
func (h *host) isLocal(a netip.Addr) bool {
	kind, _ := h.localTable(a)
	return kind == routeLocal
}

// localTable looks an address up in the table "local": the namespace's addresses, the whole of 127.0.0.0/8, the last address of
// each network, and before Linux 5.14 the first one too. dev has the address, or is on the network.
func (h *host) localTable(a netip.Addr) (kind routeKind, dev string) {
	if own, ok := h.own(a); ok {
		return own.kind, own.dev
	}
	if a.IsLoopback() {
		return routeLocal, "lo"
	}
	return routeNone, ""
}

// lookup finds the route for a destination: the local table, then the longest prefix of the main one
// (fib_table_lookup). why names what is wrong where the packet goes nowhere, of what kind is known then.
func (h *host) lookup(dst netip.Addr) (next nextHop, why string) {
	if h.rules != nil {
		return h.route(dst, routingKey{})
	}
	why = h.find(dst, &next)
	return next, why
}

// find is lookup where there are no rules of routing. next is the zero one.
func (h *host) find(dst netip.Addr, next *nextHop) (why string) {
	if kind, _ := h.localTable(dst); kind != routeNone {
		*next, _ = h.ownRoute(dst)
		return ""
	}
	if h.family == nat.IPv6 && dst.IsMulticast() {
		*next, why = h.multicast6(dst, nil)
		return why
	}
	switch r, ok := h.main.Lookup(dst); {
	case ok && r.Type == topology.Unicast:
		r.lead(next, r.dev, dst)
		return ""
	case ok:
		*next, why = h.take(r, dst)
		return why
	}
	return NoRoute
}

// ownRoute is the route to what is the namespace's own, by the table "local"; ok is false for what is not.
func (h *host) ownRoute(dst netip.Addr) (next nextHop, ok bool) {
	kind, dev := h.localTable(dst)
	switch kind {
	case routeLocal, routeAnycast:
		src, own := h.preferred[dst]
		switch {
		case kind == routeAnycast:
			src = h.sourceAddr(nextHop{dev: h.device(dev), dst: dst})
		case !own:
			src = h.loopback()
		}
		return nextHop{kind: kind, dev: h.device("lo"), via: dst, src: src, dst: dst}, true
	case routeBroadcast:
		return nextHop{kind: kind, dev: h.device(dev), via: dst, src: h.broadcasts[dst].Prefix.Addr(), dst: dst}, true
	case routeNone, routeUnicast, routeMulticast, routeBlackhole, routeUnreachable, routeProhibit:
	}
	return nextHop{}, false
}

// take is what a route does with a packet to a destination.
func (h *host) take(r *route, dst netip.Addr) (next nextHop, why string) {
	kind := routeUnicast
	switch r.Type {
	case topology.Unicast:
		return r.hop(r.dev, dst), ""
	case topology.Blackhole:
		kind = routeBlackhole
	case topology.Unreachable:
		kind = routeUnreachable
	case topology.Prohibit:
		kind = routeProhibit
	case topology.Throw:
		return nextHop{}, NoRoute + ": " + r.Type.String() + " route " + r.Dst.String()
	}
	return nextHop{kind: kind}, r.Type.String() + " route " + r.Dst.String()
}

// lookupBy finds the route for a destination by one device (RT6_LOOKUP_F_IFACE).
func (h *host) lookupBy(d *device, dst netip.Addr) (next nextHop, why string) {
	if _, dev := h.localTable(dst); dev == d.Name {
		return h.lookup(dst)
	}
	if h.family == nat.IPv6 && dst.IsMulticast() {
		return h.multicast6(dst, d)
	}
	for _, all := range [][]route{h.routes, h.others} {
		for _, r := range all {
			if r.Device == d.Name && r.Dst.Contains(dst) {
				return r.hop(d, dst), ""
			}
		}
	}
	return nextHop{}, NoRoute
}

func (r *route) hop(d *device, dst netip.Addr) (next nextHop) {
	r.lead(&next, d, dst)
	return next
}

// lead makes next the hop by this route.
func (r *route) lead(next *nextHop, d *device, dst netip.Addr) {
	next.kind, next.dev, next.via, next.src, next.dst, next.net = routeUnicast, d, r.Via, r.Src, dst, r.Dst
	if !next.via.IsValid() {
		next.via = dst
	}
}

// outbound is the route of a packet of the node itself (ip_route_output_key_hash_rcu, __mkroute_output): out of it goes none
// from 127.0.0.0/8 where route_localnet is 0, what is for many has no gateway, and what is for no address is for the node
// itself. src is not valid where the sender names none to the routes; rules of routing see k.
func (h *host) outbound(src, dst netip.Addr, k routingKey) (next nextHop, why string) {
	group := dst.IsMulticast() || dst == limitedBroadcast
	kind, dev := h.localTable(src)
	switch {
	case h.family == nat.IPv6 && (src.IsValid() || !dst.IsUnspecified()):
		return h.route(dst, k)
	case dst.IsUnspecified():
		return nextHop{kind: routeLocal, dev: h.device("lo"), via: h.loopback(), src: h.loopback(), dst: dst}, ""
	case group && kind == routeLocal:
		next = nextHop{dev: h.device(dev), src: src, dst: dst}
	default:
		if next, why = h.route(dst, k); why != "" {
			return next, why
		}
	}
	switch {
	case src.IsLoopback() && next.dev.Name != "lo" && !next.dev.settings.localnet:
		return nextHop{}, "martian source " + src.String() + " out of " + next.dev.Name + localnetOff
	case dst.IsMulticast():
		next.kind, next.via = routeMulticast, dst
	case group:
		next.kind, next.via = routeBroadcast, dst
	}
	return next, ""
}

// named is a source as far as routes are asked with it again (ip_route_me_harder): not that of many.
func (h *host) named(src netip.Addr) netip.Addr {
	if kind, _ := h.localTable(src); kind == routeBroadcast || src.IsMulticast() || src == limitedBroadcast || src.IsUnspecified() {
		return netip.Addr{}
	}
	return src
}

// NoRoute is why a packet goes no further that no route of the node leads anywhere.
const NoRoute = "no route to the destination"

// source is the address that the namespace uses for a packet of its own to a destination, where nothing else chose
// one: the route's preferred source, else one of the out device (fib_result_prefsrc).
func (h *host) source(next nextHop) netip.Addr {
	if next.src.IsValid() {
		return next.src
	}
	return h.deviceAddr(next)
}

// deviceAddr is an address of the out device, for a device without addresses one of the first device that has any; one
// whose network holds the next hop before others (inet_select_addr).
func (h *host) deviceAddr(next nextHop) netip.Addr {
	if h.family == nat.IPv6 {
		return h.sourceAddr(next)
	}
	for _, p := range next.dev.addrs {
		if p.Contains(next.via) {
			return p.Addr()
		}
	}
	for _, d := range append([]*device{next.dev}, h.devices...) {
		if len(d.addrs) > 0 {
			return d.addrs[0].Addr()
		}
	}
	return netip.Addr{}
}

// routingType is what addrtype calls an address (inet_dev_addr_type): of IPv4 only the table "local" is asked, so that a
// blackhole is UNICAST; of IPv6 where a packet would go. A device limits the question to what is of that device.
func (h *host) routingType(a netip.Addr, dev string) string {
	switch {
	case a.IsMulticast():
		return "MULTICAST"
	case a.Is4() && a.IsUnspecified(), a == limitedBroadcast:
		return "BROADCAST"
	}
	kind, own := h.localTable(a)
	if dev != "" && own != dev {
		kind = routeNone
	}
	switch {
	case kind == routeLocal:
		return "LOCAL"
	case kind == routeBroadcast:
		return "BROADCAST"
	case kind == routeAnycast:
		return "ANYCAST"
	case h.family == nat.IPv6:
		return h.routingType6(a, dev)
	}
	return "UNICAST"
}

// routingType6 is the type of an address that is not the namespace's own, as match_lookup_rt6 finds it: the address of a
// network of the namespace counts as any router's, whether it is one or not (ipv6_anycast_destination).
func (h *host) routingType6(a netip.Addr, dev string) string {
	next, why := h.lookup(a)
	if d := h.device(dev); d != nil {
		next, why = h.lookupBy(d, a)
	}
	switch {
	case why != "":
		return "UNREACHABLE"
	case next.anycast():
		return "ANYCAST"
	}
	return "UNICAST"
}

// limitedBroadcast is what no router passes on.
var limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// lastOf is an IPv4 prefix's last address.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		b[bit/8] |= 1 << (7 - bit%8)
	}
	return netip.AddrFrom4(b)
}
