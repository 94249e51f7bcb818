package gateway

import (
	"net/netip"

	"natlab/nat"
	"natlab/nat/rules"
	"natlab/topology"
)

// receive is a packet that came in by a device: PREROUTING, routing, then in or onwards (ip_rcv).
func (v *visit) receive(p *passage, d *device) {
	p.came = d.Name
	if v.host.family == nat.IPv6 { // ip6_rcv_core notes whose address was asked
		if _, own := v.host.localTable(p.sent); own != "" {
			p.came = own
		}
	}
	p.in, p.view.In, p.view.Out = d, d.Name, ""
	p.view.Sender = rules.Sender{Socket: rules.NoSocket}
	p.read()
	if why := v.unwelcome(p, d); why != "" {
		v.lost("", why)
		return
	}
	_, src, dst := p.view.Tuple.Parts()
	asked := dst.Addr()
	if p.origin = src.Addr(); p.port == nil && p.origin == v.prediction.behind {
		p.port = v.prediction.port
	}
	if v.switches(p, d) {
		return
	}
	if !p.bridged && !v.hopByHop(p) || !v.hook(nat.PreRouting, p) || v.crosses(p, d, asked) {
		return
	}
	var in inbound
	v.inbound(d, p, &in)
	p.group = in.group
	switch {
	case in.why != "":
		if _, what := readOptions(p.pkt.Options()); what != "" {
			v.unmodelled("IPv4 options of a packet without a route are not modelled")
			return
		}
		v.unroutable(p, &in)
	case !v.optionsIn(p):
	case in.next.local(), in.group:
		v.input(p)
	default:
		v.forward(p, d, &in.next)
	}
}

// inbound routes a packet that came in; one that the node sent to itself has its route, whatever other rules than NAT's wrote into it
// (skb_valid_dst).
func (v *visit) inbound(d *device, p *passage, in *inbound) {
	switch {
	case p.keeps() && p.onward:
		in.next = nextHop{kind: routeUnicast, dev: p.out, via: p.via, dst: p.sent}
	case p.keeps() && p.sent.Is4() && p.sent.IsMulticast() && !v.host.joined(d, p.sent): // dst_discard, of a route that is not RTCF_LOCAL (__mkroute_output)
		*in = v.host.unjoined(p.sent)
	case p.keeps():
		in.next, in.group = nextHop{kind: routeLocal, dev: d, dst: p.sent}, p.group
	case v.host.family == nat.IPv6:
		*in = v.inbound6(d, p)
	default:
		v.inbound4(d, p, in)
	}
}

// unwelcome is why a packet is not let in at all, before any hook (ip6_rcv_core; IPv4 asks behind PREROUTING).
func (v *visit) unwelcome(p *passage, d *device) string {
	if v.host.family == nat.IPv4 {
		return ""
	}
	src, dst := p.view.Tuple.Src().Addr(), p.view.Tuple.Dst().Addr()
	switch {
	case src.IsMulticast():
		return "martian source " + src.String()
	case dst.IsMulticast() && (scope(dst) == 0 || scope(dst) == 1 && d.Name != "lo" && !p.looped && !p.sent.IsValid()):
		return dst.String() + " is no group beyond a node"
	case (src.IsLoopback() || dst.IsLoopback()) && d.Name != "lo":
		return "::1 on " + d.Name
	}
	return ""
}

// forward is ip_forward, or ip6_forward.
func (v *visit) forward(p *passage, in *device, next *nextHop) {
	if p.pkt.TTL() <= 1 {
		v.lost("forwarding", "TTL exceeded")
		v.error(p, v.icmp().timeExceeded, 0, 0)
		return
	}
	if v.host.family == nat.IPv6 && next.dev.Name != p.came && !v.forwardable(p) {
		return
	}
	if v.tooLong(p, next.dev) {
		return
	}
	p.pkt.DecrementTTL()
	p.view.TTL = p.pkt.TTL()
	p.view.In, p.view.Out, p.view.Came = in.Name, next.dev.Name, ""
	if !v.options.Kernel.Before(5, 7) {
		p.view.Came = in.Name
	}
	p.leave(next)
	p.echoes, p.group, p.onward = false, false, true // what is broadcast beyond the link is like the rest (bc_forwarding)
	if v.hook(nat.Forward, p) {
		v.postrouting(p)
	}
}

// forwardable looks at the source of an IPv6 packet that leaves by another device than it came in by (ip6_forward).
func (v *visit) forwardable(p *passage) bool {
	switch src := p.view.Tuple.Src().Addr(); {
	case src.IsUnspecified(), src.IsLoopback():
		v.lost("forwarding", "a packet from "+src.String()+" is not forwarded")
	case src.IsLinkLocalUnicast():
		v.lost("forwarding", src.String()+" is of another link")
		v.unreachable(p, v.icmp().notNeighbour)
	default:
		return true
	}
	return false
}

// scope is that of an IPv6 group (IPV6_ADDR_MC_SCOPE): 1 for a node, 2 for a link.
func scope(group netip.Addr) byte { b := group.As16(); return b[1] & 15 }

// input is a packet for the node itself (ip_local_deliver).
func (v *visit) input(p *passage) {
	if p.pkt.Fragment() && !v.assemble(p, partsDelivered) {
		return
	}
	if v.hook(nat.Input, p) {
		v.deliver(p)
	}
}

// send is a packet of the node itself: a route, OUTPUT, and out (ip_local_out).
func (v *visit) send(p *passage) {
	if v.wire {
		if p.pkt.Tuple().Src().Addr().IsLoopback() { // of a packet that is given to it the kernel asks no route for the source
			if _, why := v.way(p); why != "" {
				v.lost("routing", why)
				return
			}
		}
		v.emit(p)
		return
	}
	p.read()
	next, why := v.way(p)
	if why != "" {
		v.lost("routing", why)
		return
	}
	if mtu := mtuOf(next.dev); p.raw && p.pkt.Len() > mtu {
		v.lost("", "the packet is longer than the MTU of "+next.dev.Name)
		return
	}
	if mtu := mtuOf(next.dev); p.answer && p.pkt.Len() > mtu && !p.pkt.DontFragment() { // ip_append_data
		p.laid = p.pkt.Pieces(mtu)
	}
	p.leave(&next)
	p.view.In, p.view.Out = "", next.dev.Name
	if v.hook(nat.Output, p) {
		v.postrouting(p)
	}
}

// way is the route of a packet of the node itself; why tells that there is none.
func (v *visit) way(p *passage) (next nextHop, why string) {
	src, dst := p.pkt.Tuple().Src().Addr(), p.pkt.Tuple().Dst().Addr()
	switch {
	case p.by != nil:
		return v.host.lookupBy(p.by, dst)
	case p.raw:
		src = netip.Addr{}
	}
	return v.host.outbound(src, dst, v.key(p, nil))
}

// reroute finds another route for a packet of the node itself that rules changed (ip_route_me_harder); the hook's out device
// stays what it was. false: there is none. On the wire the kernel takes the route, for the packet that comes back with another address or mark (nf_reroute).
func (v *visit) reroute(p *passage) bool {
	next, why := v.routeAnew(p)
	if why != "" {
		v.lost("rerouting after OUTPUT", why)
		return false
	}
	p.toward = next.dev
	if p.routed, p.anew = p.view.Mark, true; !v.wire || p.copy {
		p.leave(&next)
	}
	return true
}

// routeAnew is the route that a packet of the node itself has as it is now; why there is none.
func (v *visit) routeAnew(p *passage) (next nextHop, why string) {
	dst := p.view.Tuple.Dst().Addr()
	next, why = v.host.outbound(v.host.named(p.view.Tuple.Src().Addr()), dst, v.key(p, nil))
	if dst.Is6() && (dst.IsLinkLocalUnicast() || dst.IsMulticast()) { // what is of a link stays on it
		next, why = v.host.lookupBy(p.out, dst)
	}
	return next, why
}

// postrouting is the last hook, and then the device. What is for many goes to the node itself first, by the device that it
// leaves by: in IPv4 before it meets the hook (ip_mc_output), in IPv6 behind it (ip6_finish_output2).
func (v *visit) postrouting(p *passage) {
	if p.echoes && v.host.family == nat.IPv4 && !v.echo(p) {
		return
	}
	p.view.In, p.view.Out = "", p.out.Name
	if !v.hook(nat.PostRouting, p) {
		return
	}
	if p.out.Kind == topology.Loopback || p.echo {
		v.loop(p)
		return
	}
	if p.echoes && !v.echo(p) {
		return
	}
	if v.host.family == nat.IPv6 {
		if dst := p.view.Tuple.Dst().Addr(); dst.Is6() && dst.IsMulticast() && scope(dst) <= 1 {
			v.lost("", dst.String()+" is no group beyond a node")
			return
		}
	}
	v.transmit(p)
}
