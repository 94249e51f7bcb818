package gateway

import (
	"natlab/nat/conntrack"
	"natlab/nat/rules"
	"natlab/topology"
)

// tooLong answers a packet that is too long for a device and must not be split. One that came in pieces may be cut to
// pieces as long as these.
func (v *visit) tooLong(p *passage, d *device) bool {
	mtu := mtuOf(d)
	if p.pkt.Len() <= mtu || !p.pkt.DontFragment() || p.pieces != nil && p.longest <= mtu {
		return false
	}
	v.lost("", "the packet is longer than the MTU of "+d.Name+" and must not be split")
	v.error(p, v.icmp().tooBig, v.icmp().tooBigCode, uint32(mtu))
	return true
}

func mtuOf(d *device) int {
	switch {
	case d.MTU != 0:
		return d.MTU
	case d.Kind == topology.Loopback:
		return 65536
	}
	return 1500
}

// echo hands the node what it sends to many itself; false: nobody else gets it.
func (v *visit) echo(p *passage) bool {
	q := *p
	q.pkt = p.pkt.Clone()
	q.read()
	q.echoes, q.echo, q.group, q.shared = false, true, true, true
	q.view.Sender = rules.Sender{Socket: rules.NoSocket} // a copy has none (__skb_clone)
	v.postrouting(&q)
	if p.echoes = false; v.process {
		v.hear()
	}
	if p.pkt.TTL() == 0 && p.view.Tuple.Dst().Addr().IsMulticast() {
		v.lost("", "multicast with a TTL of 0 stays in the node")
		return false
	}
	return true
}

// transmit hands a packet to its device, in pieces where it is too long or came in pieces (ip_finish_output).
func (v *visit) transmit(p *passage) {
	out := Out{Dev: p.out.Name, Via: p.via, Packet: p.pkt.Bytes(), Mark: p.view.Mark, Answer: p.answer}
	limit := mtuOf(p.out)
	switch {
	case p.pkt.Len() <= limit && p.pieces == nil:
		v.outs = append(v.outs, out)
		return
	case v.tooLong(p, p.out):
		return
	case len(p.pkt.Options()) > 0:
		v.unmodelled("fragments with options of IPv4 are not modelled")
		return
	case p.pieces != nil:
		limit = min(limit, p.longest)
	}
	pieces := eaten(p.pieces, p.view.Pulled)
	if p.laid != nil {
		pieces = p.laid
	}
	for _, piece := range p.pkt.Split(limit, pieces) {
		out.Packet = piece
		v.outs = append(v.outs, out)
	}
}

// loop is a packet that the node sends to itself: it comes in again by lo, with its mark and its connection, when all
// that goes on at the moment is done (loopback_xmit, netif_rx). What came in pieces leaves in pieces by lo, too, and each of them comes in for itself where
// conntrack has seen it (ip_finish_output, ipv4_conntrack_defrag).
func (v *visit) loop(p *passage) {
	if p.pieces != nil {
		v.unmodelled("fragments that the node sends to itself are not modelled")
		return
	}
	if v.loops++; v.loops > maxLoops {
		v.lost("lo", "the packet went in a loop")
		return
	}
	q := *p
	q.echo, q.sound = false, p.echo || p.sound // dev_loopback_xmit
	q.sent, q.raw = p.view.Tuple.Dst().Addr(), false
	q.looped = p.ref.Conn != nil || p.ref.Info == conntrack.InfoUntracked
	v.pending = append(v.pending, &q)
}

// hear takes in what comes back by lo to a process that is sending, before what it sends goes on (do_softirq, when bottom halves are let in
// again): its copies and groups, and the errors about them.
func (v *visit) hear() {
	why, where := v.why, v.where
	v.drainLoopback()
	v.process = true
	if !v.open {
		v.why, v.where = why, where
	}
}

// drainLoopback takes in what came back to the node meanwhile.
func (v *visit) drainLoopback() {
	v.process = false
	for len(v.pending) > 0 {
		p := v.pending[0]
		v.pending = v.pending[1:]
		v.receive(p, p.out)
	}
}
