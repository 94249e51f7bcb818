package gateway

import (
	"net/netip"

	"natlab/nat"
	"natlab/nat/conntrack"
	"natlab/nat/iptables"
	"natlab/nat/rules"
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
	if v.wire && (v.segments || q.pkt.Len() <= mtuOf(q.out)) { // else the kernel takes none to send, nor tells of it
		v.emitCopy(q, c)
		return
	}
	hits, why, where, rejected, sending := v.hits, v.why, v.where, v.rejected, v.process
	v.copying, v.hits, v.process = true, nil, false
	dev := q.out.Name // which is skb->dev
	if v.hook(nat.Output, q) {
		if !v.options.Kernel.Before(5, 7) {
			q.view.Came = dev
		}
		v.postrouting(q)
	}
	v.copying, v.hits, v.process, v.ruled = false, hits, sending, of
	if v.rejected = rejected; !v.open {
		v.why, v.where = why, where
	}
}

// emitCopy has the kernel send the copy, which takes another route for it than to its destination, by no mark, as nf_dup_ipv4_route and nf_dup_ipv6_route do: it
// comes to OUTPUT with none, and has its own all the same.
func (v *visit) emitCopy(q *passage, c rules.Copy) {
	if v.unsummed {
		q.pkt.Seal()
	}
	v.answers = append(v.answers, Answer{Packet: q.pkt.Bytes(), Via: c.Via, Dev: c.Out})
	v.awaits(q)
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
