package gateway

import (
	"net/netip"
	"slices"

	"natlab/nat"
)

// inbound is what the route of a packet that came in decides.
type inbound struct {
	next  nextHop
	why   string // not empty: it goes no further, and next.kind is of the route that ends it
	group bool   // it is for the node and others: broadcast or multicast
	quiet bool   // nobody is told of it
}

// drop is a packet that ends in silence.
func drop(why string) inbound { return inbound{why: why, quiet: true} }

// inbound4 routes an IPv4 packet that came in (ip_route_input_slow). in is the zero one.
func (v *visit) inbound4(d *device, p *passage, in *inbound) {
	_, from, to := p.view.Tuple.Parts()
	src, dst := from.Addr(), to.Addr()
	switch why := martian4(d, src, dst); {
	case dst.IsMulticast():
		*in = v.multicast4(d, p)
		return
	case why != "":
		*in = drop(why)
		return
	case dst == limitedBroadcast, dst.IsUnspecified():
		*in = v.broadcast4(p, d, src, nextHop{kind: routeBroadcast, dst: dst})
		return
	}
	if v.host.rules == nil { // it is the usual case, and a route is much to hand on
		in.why = v.host.find(dst, &in.next)
	} else {
		in.next, in.why = v.route(p, d, dst)
	}
	out := in.next.dev
	switch {
	case in.why == "" && in.next.kind == routeBroadcast && !d.settings.bcForwarding:
		*in = v.broadcast4(p, d, src, in.next)
		return
	case in.why == "" && in.next.kind == routeBroadcast:
	case in.why == "" && in.next.local():
		out = nil
	case !d.settings.forwarding:
		*in = drop("not for this host, and forwarding is off")
		return
	case in.why != "":
		in.quiet = in.next.kind == routeBlackhole
		return
	}
	in.why, in.quiet = v.martianSource(p, d, src, out), true
}

// localnetOff ends why a packet with an address of loopback's goes nowhere.
const localnetOff = ": route_localnet is 0"

// martian4 is why no host takes a packet of such addresses by a device, whatever its routes; "" where one may.
func martian4(d *device, src, dst netip.Addr) string {
	switch {
	case src.IsMulticast(), src == limitedBroadcast:
		return "martian source " + src.String()
	case dst == limitedBroadcast, src.IsUnspecified() && dst.IsUnspecified():
	case src.IsUnspecified():
		return "martian source " + src.String()
	case dst.IsUnspecified():
		return "martian destination " + dst.String()
	case dst.IsLoopback() && !d.settings.localnet:
		return "martian destination " + dst.String() + " on " + d.Name + localnetOff
	case src.IsLoopback() && !dst.IsLoopback() && !d.settings.localnet:
		return "martian source " + src.String() + " on " + d.Name + localnetOff
	}
	return ""
}

// broadcast4 is a packet for all on the link, which the node is one of.
func (v *visit) broadcast4(p *passage, d *device, src netip.Addr, next nextHop) inbound {
	in := inbound{next: next, group: true, quiet: true}
	if !src.IsUnspecified() {
		in.why = v.martianSource(p, d, src, nil)
	}
	return in
}

// multicast4 is a packet for a group (ip_route_input_mc, ip_mc_validate_source). Every device is in that of all hosts; which others
// processes have joined is not known.
func (v *visit) multicast4(d *device, p *passage) inbound {
	h, src, dst := v.host, p.view.Tuple.Src().Addr(), p.view.Tuple.Dst().Addr()
	in := inbound{next: nextHop{kind: routeLocal, dst: dst}, group: true, quiet: true}
	switch {
	case !h.joined(d, dst):
		return h.unjoined(dst)
	case src.IsMulticast(), src == limitedBroadcast:
		return drop("martian source " + src.String())
	case src.IsLoopback() && !d.settings.localnet:
		return drop("martian source " + src.String() + " on " + d.Name + localnetOff)
	case !src.IsUnspecified():
		in.why = v.martianSource(p, d, src, nil)
	case !localGroup(dst) && p.view.Tuple.Proto() != igmp:
		return drop("martian source " + src.String())
	}
	return in
}

// localGroup reports whether a group's packets stay on their link: 224.0.0.0/24 (ipv4_is_local_multicast).
func localGroup(a netip.Addr) bool {
	return a.Is4() && a.As4()[0] == 224 && a.As4()[1] == 0 && a.As4()[2] == 0
}

// multicast6 is IPv6's route to a group: by any device that has an address, or by this one.
func (h *host) multicast6(dst netip.Addr, by *device) (next nextHop, why string) {
	for _, d := range h.devices {
		if len(d.addrs) > 0 && d.Name != "lo" && (by == nil || by == d) {
			return nextHop{kind: routeMulticast, dev: d, via: dst, dst: dst}, ""
		}
	}
	return nextHop{}, NoRoute
}

// The groups that every device is in: IGMP_ALL_HOSTS, and those of all nodes and all routers of IPv6 (ipv6_add_dev,
// dev_forward_change).
var (
	allHosts   = netip.AddrFrom4([4]byte{224, 0, 0, 1})
	allNodes   = []netip.Addr{netip.MustParseAddr("ff01::1"), netip.MustParseAddr("ff02::1")}
	allRouters = []netip.Addr{netip.MustParseAddr("ff01::2"), netip.MustParseAddr("ff02::2"), netip.MustParseAddr("ff05::2")}
)

// Unjoined is a part of why a packet for a group goes no further, which a process that joined it would get.
const Unjoined = " is known to have joined "

// joined reports whether a device is in a group, as far as the kernel itself joins some. Which others processes have joined is not
// known.
func (h *host) joined(d *device, group netip.Addr) bool {
	if h.family == nat.IPv4 {
		return group == allHosts
	}
	if slices.Contains(allNodes, group) || h.forwards6() && slices.Contains(allRouters, group) {
		return true
	}
	return slices.ContainsFunc(d.addrs, func(p netip.Prefix) bool { return solicited(p.Addr()) == group })
}

// unjoined is what becomes of a packet for a group of which the node is not known to be.
func (h *host) unjoined(group netip.Addr) inbound {
	return drop("no process of " + h.member + Unjoined + group.String())
}

// solicited is the group that a neighbour asks for an address (addrconf_addr_solict_mult).
func solicited(a netip.Addr) netip.Addr {
	b := a.As16()
	return netip.AddrFrom16([16]byte{0: 0xff, 1: 2, 11: 1, 12: 0xff, 13: b[13], 14: b[14], 15: b[15]})
}

// martianSource names what is wrong with the source of a packet that came in by dev and goes out by another device, nil for
// none (fib_validate_source), k being what rules of routing see of the way back: rp_filter with 1 wants the way back to leave by the same device, with 2 that there is one.
func (v *visit) martianSource(p *passage, dev *device, src netip.Addr, out *device) string {
	h := v.host
	mode := dev.settings.rpFilter
	if mode == "0" && h.rules == nil && (out != dev || !dev.settings.redirects) { // a short look at the addresses is enough
		if own, is := h.own(src); is && own.kind == routeLocal && !dev.settings.acceptLocal {
			return "martian source " + src.String() + " on " + dev.Name + ": it is an address of this host"
		}
		return ""
	}
	return h.wayBack(dev, src, mode, v.back(p, dev, out))
}

// wayBack is the whole check of a source (__fib_validate_source).
func (h *host) wayBack(dev *device, src netip.Addr, mode string, k routingKey) string {
	rp := mode != "0"
	back, why := h.route(src, k)
	switch {
	case why != "" && rp:
		return "rp_filter on " + dev.Name + ": " + why + " back to " + src.String()
	case why != "":
		return ""
	case back.local() && !dev.settings.acceptLocal:
		return "martian source " + src.String() + " on " + dev.Name + ": it is an address of this host"
	case !back.local() && back.kind != routeUnicast:
		return "martian source " + src.String() + " on " + dev.Name + ": it is a broadcast address"
	case back.kind == routeUnicast && back.dev == dev, back.local() && h.local[src] == dev.Name, h.leadsBy(dev, src, k):
		return ""
	case len(dev.addrs) == 0 && rp:
		return "rp_filter on " + dev.Name + ": the way back to " + src.String() + " is another, and the device has no address"
	case mode == "1":
		return "rp_filter on " + dev.Name + ": the way back to " + src.String() + " is " + back.dev.Name
	}
	return ""
}

// unroutable answers a packet that there is no way for (ip_error, ip6_pkt_drop).
func (v *visit) unroutable(p *passage, in *inbound) {
	v.lost("routing", in.why)
	var code uint8
	switch in.next.kind {
	case routeNone:
		code = v.icmp().noRoute
	case routeUnreachable:
		code = v.icmp().hostUnreachable
	case routeProhibit:
		code = v.icmp().prohibited
	case routeUnicast, routeLocal, routeBroadcast, routeMulticast, routeAnycast, routeBlackhole:
		return
	}
	if src := p.view.Tuple.Src().Addr(); !in.quiet && (src.Is6() || v.prediction.forgets || v.mayTell(src)) {
		v.unreachable(p, code)
	}
}

// inbound6 routes an IPv6 packet that came in (ip6_route_input).
func (v *visit) inbound6(d *device, p *passage) inbound {
	dst := p.view.Tuple.Dst().Addr()
	switch {
	case dst.IsMulticast() && !v.host.joined(d, dst):
		return v.host.unjoined(dst)
	case dst.IsMulticast():
		return inbound{next: nextHop{kind: routeLocal, dst: dst}, group: true, quiet: true}
	}
	next, why := v.route(p, d, dst)
	if dst.IsLinkLocalUnicast() || dst.IsLoopback() { // rt6_need_strict
		next, why = v.host.lookupBy(d, dst)
	}
	switch {
	case why == "" && next.local():
	case why == "" && !v.host.forwards6(): // ip6_forward comes behind the route
		return drop("not for this host, and forwarding is off")
	}
	return inbound{next: next, why: why, quiet: next.kind == routeBlackhole}
}
