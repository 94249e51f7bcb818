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
		p.view.Pull(tcpHeader)
	}
	return true
}

// Bytes that the kernel wants in one place: early demultiplexing and NAT of a TCP header, conntrack and NAT of SCTP's, NAT of DCCP's, and NAT of an ICMP error with the
// header that it is about. Of others it wants eight, which each first fragment has.
const (
	tcpHeader              = 20
	sctpHeader, dccpHeader = 12, 12
	quotation              = 28
)

// translated is how many of them NAT wants of a packet's header (the manip_pkt functions of nf_nat_proto.c).
func (v *visit) translated(p *passage) int {
	switch p.view.Tuple.Proto() {
	case nat.TCP:
		return tcpHeader
	case nat.SCTP:
		return sctpHeader
	case nat.DCCP:
		if !v.options.Kernel.Has(nat.DCCPForgotten) {
			return dccpHeader
		}
	}
	return 0
}

// eaten are the sizes of pieces when so many bytes have come to the first one out of those behind it (__pskb_pull_tail).
func eaten(pieces []int, pulled int) []int {
	if len(pieces) == 0 || pieces[0] >= pulled {
		return pieces
	}
	short := pulled - pieces[0]
	out := []int{pulled}
	for _, n := range pieces[1:] {
		if short < n {
			out = append(out, n-short)
		}
		short = max(short-n, 0)
	}
	return out
}
