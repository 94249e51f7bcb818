package gateway

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/rules"
	"natlab/topology"
)

// Linux bridges: what is for another host behind the same bridge is for that host's hardware address, and the node's routes never see
// it (br_handle_frame_finish). Where br_netfilter is there and net.bridge.bridge-nf-call-iptables is 1, it meets PREROUTING, FORWARD and
// POSTROUTING on its way from port to port (br_netfilter_hooks.c); else no rule at all. Which port a host is behind is told by its
// address: hosts of two addresses are behind two ports.

// isBridge reports whether a device is a bridge. Where nothing tells, both answers are followed.
func (v *visit) isBridge(d *device) bool {
	if d.KindFrom == topology.KindOpen {
		return v.Unknown(d.Name + " is a bridge")
	}
	return d.Kind == topology.Bridge
}

// mayBridge reports whether a device is a bridge for all that is known.
func (d *device) mayBridge() bool {
	return d.Kind == topology.Bridge || d.KindFrom == topology.KindOpen
}

// bridgeCalls reports whether what a bridge carries meets the IP tables: where there is a setting of br_netfilter at all, the bridge's
// own is as good as the node's.
func (v *visit) bridgeCalls(d *device) bool {
	own := d.Calls
	if v.host.family == nat.IPv6 {
		own = d.Calls6
	}
	if calls := v.host.settings.bridgeCalls; calls != topology.SwitchOpen {
		return calls == topology.SwitchOn || own == topology.SwitchOn
	}
	return v.Unknown(strings.ReplaceAll(bridged[v.host.family], "/", ".") + " is 1")
}

// beside reports whether two addresses are of hosts that reach each other on a device's link, without the node: both are of one network
// that the node's routes have on that device, and neither is the node's own.
func (h *host) beside(d *device, a, b netip.Addr) bool {
	if d == nil || d.Name == "lo" || a == b {
		return false
	}
	one, why := h.onLink(a)
	other, why2 := h.onLink(b)
	return why == "" && why2 == "" && one.kind == routeUnicast && other.kind == routeUnicast && one.dev == d && other.dev == d &&
		one.via == a && other.via == b && one.net == other.net && one.net.Bits() > 0
}

// onLink is the way to a host on a link of the node: who is on one the table main tells, whatever rules of routing do with packets for it.
func (h *host) onLink(a netip.Addr) (next nextHop, why string) {
	if h.rules != nil && h.find(a, &next) == "" && next.kind == routeUnicast && next.via == a {
		return next, ""
	}
	return h.lookup(a)
}

// switches hands a packet that a bridge carries from port to port, without any rule, to its device; true: that is where it went. One
// that meets the rules on its way is noted.
func (v *visit) switches(p *passage, d *device) bool {
	if p.looped || p.sent.IsValid() || d == nil || !d.mayBridge() {
		return false
	}
	t := p.view.Tuple
	if !v.host.beside(d, t.Src().Addr(), t.Dst().Addr()) || !v.isBridge(d) {
		return false
	}
	if p.bridged = v.bridgeCalls(d); p.bridged {
		return false
	}
	v.switched = d.Name
	v.outs = append(v.outs, Out{Dev: d.Name, Via: t.Dst().Addr(), Packet: p.pkt.Bytes(), Mark: p.view.Mark})
	return true
}

// crosses takes a packet over a bridge, behind PREROUTING (br_nf_pre_routing_finish): one that the bridge carries anyway, and one that
// was translated to a host behind the bridge that it came in by, which the bridge hands on then without the node's routes. true: it
// is on its way, or lost. What was translated to somebody else is the node's from here on. asked is whom it came for.
func (v *visit) crosses(p *passage, d *device, asked netip.Addr) bool {
	_, _, to := p.view.Tuple.Parts()
	dst := to.Addr()
	if dst == asked {
		if p.bridged {
			v.cross(p, &nextHop{kind: routeUnicast, dev: d, via: dst, dst: dst})
		}
		return p.bridged
	}
	if p.looped || p.sent.IsValid() || !d.mayBridge() {
		return false
	}
	var in inbound
	v.inbound(d, p, &in)
	if in.why != "" && v.host.family == nat.IPv4 && !d.settings.forwarding { // bridged-and-DNAT'ed traffic needs no forwarding
		in.next, in.why = v.host.lookup(dst)
	}
	switch {
	case in.why == "" && in.next.kind == routeUnicast && in.next.dev == d && (p.bridged || v.isBridge(d) && v.bridgeCalls(d)):
		v.cross(p, &in.next)
		return true
	case in.why != "" && p.bridged:
		v.lost("routing", in.why)
		return true
	}
	p.bridged = false
	return false
}

// cross takes a packet from a bridge's port to another one, through FORWARD and POSTROUTING. It does not leave by the port that it came
// in by, but in hairpin mode (should_deliver, br_forward.c).
func (v *visit) cross(p *passage, next *nextHop) {
	if p.bridged = true; next.via == p.origin && !v.hairpin(p, next) {
		v.lost(next.dev.Name, fmt.Sprintf("the bridge sends nothing out of the port that it came in by, since the port of %s is not in hairpin mode", next.via))
		return
	}
	p.view.In, p.view.Out = next.dev.Name, next.dev.Name
	p.leave(next)
	p.echoes, p.group, p.onward = false, false, true
	if v.hook(nat.Forward, p) {
		v.postrouting(p)
	}
}

// hairpin reports whether the port that a packet came in by is in hairpin mode: what all ports of the bridge have, where it is not told which.
func (v *visit) hairpin(p *passage, next *nextHop) bool {
	var modes []topology.Switch
	for _, d := range v.host.devices {
		if d.Master == next.dev.Name && slices.Contains(d.Behind, next.via) && d.Hairpin != topology.SwitchOpen {
			return d.Hairpin == topology.SwitchOn
		}
	}
	for _, d := range v.host.devices {
		if d.Master == next.dev.Name && (p.port == nil || p.port == d) && !slices.Contains(modes, d.Hairpin) {
			modes = append(modes, d.Hairpin)
		}
	}
	if len(modes) == 1 && modes[0] != topology.SwitchOpen {
		return modes[0] == topology.SwitchOn
	}
	return v.Unknown(fmt.Sprintf("the port of %s that %s is behind is in hairpin mode", next.dev.Name, next.via))
}

// BridgePorts are empty for a packet that came in by no bridge. Whether a bridge's packets go through the IP tables with its
// ports, net.bridge.bridge-nf-call-iptables decides; the ports themselves are known where the packet came in by one by name, and stays
// with the node.
func (v *visit) BridgePorts(p *rules.Packet) (rules.BridgePorts, bool) {
	in := v.devices[p.In]
	if in == nil && v.ruled != nil {
		in = v.ruled.in
	}
	if in == nil || in.Kind != topology.Bridge && in.KindFrom != topology.KindOpen {
		return rules.BridgePorts{}, true
	}
	own := in.Calls
	if v.host.family == nat.IPv6 {
		own = in.Calls6
	}
	switch calls := v.host.settings.bridgeCalls; {
	case calls == topology.SwitchOff && own != topology.SwitchOn:
		return rules.BridgePorts{}, true
	case calls == topology.SwitchOpen || v.ruled == nil || v.ruled.port == nil || v.ruled.bridged:
		return rules.BridgePorts{}, false
	}
	return rules.BridgePorts{In: v.ruled.port.Name}, true
}

// entry is the device that a packet which comes in by one comes to the node by: a bridge for a port of it, which is told then.
func (g *Gateway) entry(name string) (d, port *device) {
	d = g.devices[name]
	if d != nil && d.Master != "" {
		if bridge := g.devices[d.Master]; bridge != nil && bridge.Kind == topology.Bridge {
			return bridge, d
		}
	}
	return d, nil
}

// entryName is the name of that device, "" for none.
func (g *Gateway) entryName(name string) string {
	if d, _ := g.entry(name); d != nil {
		return d.Name
	}
	return name
}

// past is why an answer never comes to the node, though the packet that it answers did: who answers and who asked are on one link, and
// reach each other without the node, or a router between them may know a shorter way; "" where it comes. asked is the answer that who
// asked waits for.
func (v *visit) past(d *device, t, asked nat.Tuple) string {
	a, b := t.Src().Addr(), t.Dst().Addr()
	beside := v.host.beside(d, a, b)
	if router := v.host.besideRouter(d, a, b); router != "" && t != asked {
		if why := fmt.Sprintf("%s answers %s by way of %s and not by the node, being on one link with both", a, b, router); v.Unknown(why) {
			return why
		}
		return ""
	}
	if router := v.host.around(d, a, b); router != "" && t != asked {
		if why := fmt.Sprintf("%s, which %s is behind, hands the answer to %s without the node", router, a, b); v.Unknown(why) {
			return why
		}
		return ""
	}
	switch {
	case !beside && (t == asked || !v.host.maybeBeside(d, a, b)), d.Kind == topology.PointToPoint:
		return ""
	case v.isBridge(d):
		if !beside && !v.bridgeCalls(d) && v.besideAnyway(a, b) {
			v.switched = d.Name
			return v.carried()
		}
		return ""
	case !beside && !v.besideAnyway(a, b):
		return ""
	case beside && d.KindFrom == topology.KindOpen && v.Unknown("what is behind "+d.Name+" reaches one another through the node alone"):
		return ""
	}
	return fmt.Sprintf("%s and %s are on one link, behind %s, and the answer goes from the one to the other without the node", a, b, d.Name)
}

// around is the router that a host is behind, as far as the node's routes tell, where they lead to that router and to another host by one
// link: it may send what the one answers the other without the node. "" for none.
func (h *host) around(d *device, a, b netip.Addr) (router string) {
	one, why := h.lookup(a)
	other, why2 := h.lookup(b)
	if d == nil || why != "" || why2 != "" || one.kind != routeUnicast || other.kind != routeUnicast || one.dev != d {
		return ""
	}
	carrier := d
	switch tunnels := d.Tunnels(); {
	case tunnels:
		carrier = h.carrier(d, one.via)
	case one.via == a:
		return ""
	}
	switch {
	case carrier == nil || other.dev != carrier:
		return ""
	case one.via == a:
		return "the peer of " + d.Name
	}
	return one.via.String()
}

// besideRouter is the router that the node reaches a host by on whose link another host is: that one may have the router for its own next hop, too. "" for
// none. Who is alone on a link, or behind a bridge of the node, has the node.
func (h *host) besideRouter(d *device, a, b netip.Addr) (router string) {
	if d == nil || d.Kind != topology.Veth || d.Tunnels() {
		return ""
	}
	one, why := h.lookup(a)
	other, why2 := h.lookup(b)
	if why != "" || why2 != "" || one.kind != routeUnicast || other.kind != routeUnicast || one.dev != d || other.dev != d || one.via != a || other.via == b {
		return ""
	}
	if one.net.IsSingleIP() || one.net.Bits() == 0 || !one.net.Contains(other.via) {
		return ""
	}
	return other.via.String()
}

// carrier is the device that a tunnel's packets to a peer leave by: that of the way to the peer, or where the peer is in the tunnel's own
// network, of the default route.
func (h *host) carrier(tunnel *device, peer netip.Addr) *device {
	if next, why := h.lookup(peer); why == "" && next.kind == routeUnicast && next.dev != tunnel {
		return next.dev
	}
	for _, r := range h.routes {
		if r.Dst.Bits() == 0 && r.Type == topology.Unicast && r.Device != tunnel.Name {
			return h.device(r.Device)
		}
	}
	return nil
}

// maybeBeside reports whether two hosts, of which nothing is known but that all the world is behind a device, look like hosts of one
// network.
func (h *host) maybeBeside(d *device, a, b netip.Addr) bool {
	common := 24 // what addresses of a network have in common by custom
	if a.Is6() {
		common = 64
	}
	one, why := h.lookup(a)
	other, why2 := h.lookup(b)
	return d != nil && a != b && why == "" && why2 == "" && one.dev == d && other.dev == d && one.via == a && other.via == b &&
		one.net.Bits() == 0 && other.net.Bits() == 0 && netip.PrefixFrom(a, common).Masked().Contains(b)
}

// besideAnyway decides whether two such hosts reach each other without the node: both answers are followed.
func (v *visit) besideAnyway(a, b netip.Addr) bool {
	return v.Unknown(fmt.Sprintf("%s and %s reach each other without the node", a, b))
}

// carried is how a packet came by the rules.
func (v *visit) carried() string {
	by := ""
	if d := v.devices[v.switched]; d.KindFrom == topology.KindByName {
		by = ", a bridge by its name,"
	}
	return fmt.Sprintf("%s%s carries the answer from port to port without the rules, since %s is not 1",
		v.switched, by, strings.ReplaceAll(bridged[v.host.family], "/", "."))
}

// aside ends a way whose answer t went without the rules that translated the request, and so came as it was sent.
func aside(o *nat.Outcome, ask Ask, t nat.Tuple, why string) {
	o.End, o.ClientPeer, o.Why = nat.EndAnswered, t.Src(), why
	if t == ask.Tuple.Reply() {
		return
	}
	o.End = nat.EndLost
	o.Why += fmt.Sprintf(": %s asked %s, and drops what comes as %s", ask.Tuple.Src().Addr(), nat.EndText(ask.Tuple.Dst()), t)
}
