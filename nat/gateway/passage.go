package gateway

import (
	"net/netip"

	"natlab/nat/conntrack"
	"natlab/nat/packet"
	"natlab/nat/rules"
)

// passage is a packet on its way through the node.
type passage struct {
	pkt  packet.Packet
	view rules.Packet // what rules see of it
	ref  conntrack.Ref
	in   *device // it came in by; nil for the node's own
	came string  // whose address it came for: that device, or of IPv6 the one that has the node's own
	out  *device // that it leaves by
	via  netip.Addr

	origin  netip.Addr // who sent it, before any translation: a bridge's port is told by that
	port    *device    // of a bridge, that it came in by; nil where that is not told
	bridged bool       // a bridge carries it, and it is not for the node's own hardware address

	looped   bool       // it came back by lo with its connection
	sent     netip.Addr // where the node sent it, when it came back
	kind     routeKind  // of the route that it was sent by
	astray   bool       // NAT has given it another destination since: its route does not lead there
	shared   bool       // its bytes are also those of the packet that leaves (skb_clone)
	onward   bool       // it is forwarded
	group    bool       // it is for the node and others: broadcast or multicast
	echoes   bool       // the node hears it, too
	echo     bool       // it is what the node hears of it
	sound    bool       // its checksum counts as right where it comes back to the node (skb_csum_unnecessary)
	valid    bool       // conntrack found its checksum right when it came in, which REJECT believes whatever rules change since (csum_valid)
	summed   bool       // conntrack found its checksum wrong when it came in: of a copy that leaves nobody sums it again (CHECKSUM_COMPLETE, nf_checksum)
	answer   bool       // the node's own, because of another
	copy     bool       // it is TEE's
	judged   bool       // and has been through the rules, on the wire
	uncopied bool       // it is sent because of a copy, in the middle of that
	strange  bool       // nor does conntrack know yet what it tells of
	raw      bool       // a process gave it as it is
	by       *device    // it has to leave by this device
	routed   uint32     // the mark that its route was asked for with
	anew     bool       // which was after rules changed it
	toward   *device    // that this route leads to
	held     bool       // on the wire it has that mark until POSTROUTING, and not its own

	sourceless packet.Packet // a copy from 0.0.0.0 as it leaves; zero: any other

	pieces  []int // data of the fragments that it came in; nil: it came whole
	laid    []int // data of the fragments that the stack laid an answer out in
	longest int   // of these, with its header
}

func (p *passage) reset() {
	*p = passage{}
	p.view.State = rules.Invalid
}

// keeps reports whether a packet came back by lo with its route, which is one to the node itself wherever other rules than NAT's have it go
// since.
func (p *passage) keeps() bool { return p.sent.IsValid() && !p.astray }

// home reports whether that route is to an address of the node's own, and not to one for any router (ipv6_unicast_destination).
func (p *passage) home() bool {
	return p.keeps() && p.kind == routeLocal && !p.sent.IsUnspecified()
}

// read brings what rules see up to date with the bytes.
func (p *passage) read() {
	p.view.Tuple, p.view.TTL = p.pkt.Tuple(), p.pkt.TTL()
	p.view.Later = p.pkt.Later()
	p.view.TCPFlags = p.pkt.TCPFlags()
	p.view.ICMPType, p.view.ICMPCode, _ = p.pkt.ICMP()
	p.view.Wire = &p.pkt
}

// leave notes where a packet goes.
func (p *passage) leave(next *nextHop) {
	p.out, p.via, p.kind, p.echoes, p.group = next.dev, next.via, next.kind, next.echoes(), next.group()
}
