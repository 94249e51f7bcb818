package gateway

import "natlab/nat"

// Where fragments wait for one another (enum ip_defrag_users).
const (
	partsIn        = iota // IP_DEFRAG_CONNTRACK_IN
	partsOut              // IP_DEFRAG_CONNTRACK_OUT
	partsDelivered        // IP_DEFRAG_LOCAL_DELIVER
)

// defrag puts a packet together before conntrack looks at it (ipv4_conntrack_defrag); false: pieces are missing.
func (v *visit) defrag(p *passage, where int) bool {
	_, single := p.pkt.Header(headerFragment) // a fragment of IPv6 that is all there is loses its header
	return !p.pkt.Fragment() && !single || v.assemble(p, where)
}

// assemble makes a fragment the packet that it completes; false: others are missing, or it was thrown away.
func (v *visit) assemble(p *passage, where int) bool {
	if p.pkt.V6() {
		v.unmodelled("fragments of IPv6 are not modelled")
		return false
	}
	w, ok := v.parts[where].Add(&p.pkt, v.at.UnixNano())
	if !ok {
		v.lost("", "a fragment waits for the others, or does not fit to them")
		return false
	}
	if err := p.pkt.Parse(w.Packet); err != nil {
		v.lost("", err.Error())
		return false
	}
	if where != partsDelivered {
		p.pieces, p.longest = w.Sizes, w.Max
	}
	p.read()
	if where == partsIn && p.view.Tuple.Proto() == nat.TCP { // tcp_v4_early_demux
		p.pull()
	}
	return true
}

// pull is what happens to the pieces of a packet whose whole transport header is looked at in place: where the first one
// is shorter, they are no longer those that came in.
func (p *passage) pull() {
	headers := map[nat.Proto]int{nat.TCP: 20, nat.SCTP: 12}
	if len(p.pieces) > 0 && p.pieces[0] < headers[p.view.Tuple.Proto()] {
		p.pieces = p.pieces[:0]
	}
}
