package gateway

import (
	"net/netip"

	"natlab/nat"
	"natlab/nat/conntrack"
	"natlab/nat/iptables"
	"natlab/nat/rules"
	"natlab/nat/xt"
	"natlab/topology"
)

// Duplicate sends a copy of the packet at the rules by a neighbour, as a packet of the node's own without a connection, before the rules go on
// (nf_dup_ipv4, nf_dup_ipv6): what a copy meets makes no copies. A prediction is of the packet alone, and has none.
func (v *visit) Duplicate(p *rules.Packet, at nat.Hook, c rules.Copy) {
	of := v.ruled
	if v.copying || of == nil || v.prediction.choices != nil {
		return
	}
	switch dst := p.Tuple.Dst().Addr(); {
	case v.wire:
	case of.pieces != nil:
		v.unmodelled("the copy that TEE makes of a packet which came in pieces is not modelled")
		return
	case dst.Is6() && dst.IsMulticast():
		v.unmodelled("the copy that TEE makes of a packet for a group is not modelled")
		return
	}
	q, ok := v.copied(of, at, c)
	if !ok {
		return
	}
	hits, why, where, rejected, sending := v.hits, v.why, v.where, v.rejected, v.process
	v.copying, v.hits, v.process = true, nil, false
	v.early = of.ref.Conn != nil && !of.ref.Conn.Has(nat.Confirmed)
	v.sendCopy(q, c)
	v.copying, v.hits, v.process, v.ruled = false, hits, sending, of
	if v.rejected = rejected; !v.open {
		v.why, v.where = why, where
	}
}

// sendCopy takes a copy through the hooks of what a node sends, in the middle of the rules that its packet is at: what they count, they count in that order. On the
// wire the kernel gets it as it leaves, by its own route, and it is let through there.
func (v *visit) sendCopy(q *passage, c rules.Copy) {
	dev, via := q.out, q.via // dev is skb->dev
	if !v.hook(nat.Output, q) {
		return
	}
	if !v.options.Kernel.Before(5, 7) {
		q.view.Came = dev.Name
	}
	if !v.wire || !v.segments && q.pkt.Len() > mtuOf(q.out) { // of which the kernel takes none to send, nor tells of it
		v.postrouting(q)
		return
	}
	q.view.In, q.view.Out = "", q.out.Name
	if !v.hook(nat.PostRouting, q) {
		return
	}
	a := Answer{Via: c.Via, Dev: c.Out}
	if q.out != dev || q.via != via { // the rules had it routed anew
		if a = (Answer{Dev: q.out.Name, Mark: q.view.Mark}); q.out.Kind == topology.Loopback { // in IPv6 the routes to the node's own addresses are of the devices that have them
			a.Dev = ""
		}
	}
	if v.unsummed {
		q.pkt.Seal()
	}
	if q.judged = true; !q.pkt.V6() && q.pkt.Tuple().Src().Addr().IsUnspecified() { // the kernel would fill it in (raw_send_hdrinc)
		if !v.Calls(nat.PostRouting) {
			return
		}
		q.sourceless = q.pkt.Clone()
		q.pkt.SetSrcAddr(v.host.standIn(q.out))
		q.read()
	}
	a.Packet = q.pkt.Bytes()
	v.answers = append(v.answers, a)
	v.awaits(q)
}

// copies reports whether a target makes copies.
func copies(v xt.Value, _ nat.Family) bool { return v.Name() == "TEE" }

// standIn is an address of the node's own that a packet may have at a device.
func (h *host) standIn(d *device) netip.Addr {
	for _, p := range d.addrs {
		if a := p.Addr(); a.Is4() == (h.family == nat.IPv4) {
			return a
		}
	}
	return h.loopback()
}

// pass lets a copy through that has been through the rules, as it left them.
func (p *passage) pass(hook nat.Hook) bool {
	if hook == nat.PostRouting && p.sourceless.IsValid() {
		p.pkt = p.sourceless
		p.read()
	}
	return true
}

// copied is the copy, with its route; false where there is none.
func (v *visit) copied(of *passage, at nat.Hook, c rules.Copy) (q *passage, ok bool) {
	q = &passage{copy: true, raw: of.raw, pkt: of.pkt.Clone(), ref: conntrack.Ref{Info: conntrack.InfoUntracked}}
	q.view = rules.Packet{Mark: of.view.Mark, State: rules.Untracked, Sender: rules.Sender{Socket: rules.NoSocket}}
	if came := at == nat.PreRouting || at == nat.Input; came {
		q.pkt.SetTTL(q.pkt.TTL() - 1)
		q.summed = of.summed
	}
	q.pkt.SetDontFragment()
	q.read()
	next, why := v.host.outbound(netip.Addr{}, c.Via, routingKey{})
	if d := v.devices[c.Out]; c.Out != "" {
		if d == nil {
			return nil, false
		}
		if next, why = v.host.lookupBy(d, c.Via); why == NoRoute && c.Via.Is4() { // it is taken for one on the link
			next, why = nextHop{kind: routeUnicast, dev: d, via: c.Via, dst: c.Via}, ""
		}
	}
	if why != "" {
		return nil, false
	}
	q.leave(&next)
	if q.view.Out = next.dev.Name; q.pkt.V6() { // IP6CB(skb)->iif
		q.came = of.came
	}
	return q, true
}

// walker takes packets through tables: one for each that is at the rules.
func (v *visit) walker() *iptables.Walk {
	if v.copying {
		return &iptables.Walk{}
	}
	return &v.walk
}
