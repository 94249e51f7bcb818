package gateway

import (
	"net/netip"

	"natlab/nat"
	"natlab/nat/conntrack"
	"natlab/nat/packet"
	"natlab/nat/rules"
)

// The bits of TCP's flag byte.
const (
	tcpFIN = 1
	tcpSYN = 2
	tcpRST = 4
	tcpACK = 16
)

// icmpNumbers are a family's ICMP types and codes (RFC 792, RFC 4443), and what else its errors differ in.
type icmpNumbers struct {
	proto                       nat.Proto
	echo, echoReply             uint8
	unreachable                 uint8
	noRoute, portUnreachable    uint8 // codes of it
	hostUnreachable, prohibited uint8 //
	notNeighbour                uint8 // what is of another link, of IPv6
	timeExceeded                uint8
	tooBig, tooBigCode          uint8
	protoUnknown, unknownCode   uint8
	quoted                      int // how much of the packet an error holds at most
	timestamp, timestampReplied uint8
}

var icmpOf = [...]icmpNumbers{
	nat.IPv4: {
		proto: nat.ICMP, echo: 8, unreachable: 3, portUnreachable: 3, hostUnreachable: 1, prohibited: 13, timeExceeded: 11, tooBig: 3, tooBigCode: 4,
		protoUnknown: 3, unknownCode: 2, timestamp: 13, timestampReplied: 14,
		quoted: 576 - 20 - 8, // RFC 1812, 4.3.2.3
	},
	nat.IPv6: {
		proto: nat.ICMPv6, echo: 128, echoReply: 129, unreachable: 1, portUnreachable: 4, prohibited: 1, notNeighbour: 2, timeExceeded: 3, tooBig: 2,
		protoUnknown: 4, unknownCode: 1,
		quoted: 1280 - 40 - 8, // RFC 4443, 2.4 (c)
	},
}

func (v *visit) icmp() *icmpNumbers { return &icmpOf[v.host.family] }

// icmpPrecedence is the type of service of IPv4's errors: IPTOS_PREC_INTERNETCONTROL.
const icmpPrecedence = 0xc0

// rejectCodes are the codes of --reject-with's types; an unknown one counts as the network, or the route.
var rejectCodes = map[string]uint8{
	"icmp-net-unreachable": 0, "icmp-host-unreachable": 1, "icmp-proto-unreachable": 2, "icmp-port-unreachable": 3,
	"icmp-net-prohibited": 9, "icmp-host-prohibited": 10, "icmp-admin-prohibited": 13,
	"icmp6-no-route": 0, "icmp6-adm-prohibited": 1, "icmp6-addr-unreachable": 3, "icmp6-port-unreachable": 4, "icmp6-policy-fail": 5, "icmp6-reject-route": 6,
}

// reject is a REJECT rule's answer (nf_reject_ipv4.c).
func (v *visit) reject(p *passage, r *rules.Rejection) {
	if v.wire && !p.copy {
		p.group = v.forMany(p)
	}
	if r.Unrouted {
		var ok bool
		if p, ok = v.routedBack(p, r.With); !ok {
			return
		}
	}
	if r.With == "tcp-reset" {
		if t, ok := p.pkt.TCP(); ok && t.Flags&tcpRST == 0 && (p.valid && !p.onward || v.rejectable(p)) { // what is forwarded is summed again (skb_forward_csum)
			v.reset(p, &t, 0, true)
		}
		return
	}
	if p.valid || v.rejectable(p) {
		v.unreachable(p, rejectCodes[r.With])
	}
}

// rejectable reports whether REJECT answers a packet as far as its checksum goes that conntrack has not found right before.
func (v *visit) rejectable(p *passage) bool {
	return p.sound || v.copying && p.summed || p.pkt.Rejectable(v.options.Kernel)
}

// routedBack is a packet without a route as one that has the route to its source, which the kernel takes for the packet's own then
// (nf_reject_fill_skb_dst, nf_reject6_fill_skb_dst): IPv4 answers from the address that was asked what has a source of the node's own alone,
// and of that by an ICMP error only what is for the node.
func (v *visit) routedBack(p *passage, with string) (back *passage, ok bool) {
	if p.keeps() { // it came back by lo with its route
		return p, true
	}
	t := p.view.Tuple
	next, why := v.host.outbound(netip.Addr{}, t.Src().Addr(), routingKey{})
	q := *p
	if q.group = next.group(); t.Src().Addr().Is6() {
		q.group = t.Dst().Addr().IsMulticast()
		return &q, why == ""
	}
	q.copy, q.kind, q.came = true, next.kind, ""
	foreign := with != "tcp-reset" && next.kind == routeLocal && !v.host.isLocal(t.Dst().Addr()) && !t.Dst().Addr().IsUnspecified()
	return &q, why == "" && !foreign
}

// reset answers a TCP segment with an RST. That of a REJECT rule belongs to the segment's connection.
func (v *visit) reset(p *passage, t *packet.TCP, tos uint8, attached bool) {
	if p.group || p.pkt.V6() && !v.resets(p, attached) {
		return
	}
	back := packet.TCP{Flags: tcpRST}
	if t.Flags&tcpACK != 0 {
		back.Seq = t.Ack
	} else {
		back.Flags |= tcpACK
		back.Ack = t.Seq + uint32(t.Length)
		for _, one := range []uint8{tcpSYN, 1} { // SYN and FIN take a number each
			if t.Flags&one != 0 {
				back.Ack++
			}
		}
	}
	ofStack := !attached && p.view.Tuple.Src().Addr().Is4() // ip_send_unicast_reply; IPv6 and nf_send_reset go without a socket
	q := &passage{pkt: *packet.Build(p.view.Tuple.Reply(), packet.Fields{TTL: v.host.settings.ttl, TOS: tos, DF: true, TCP: back, ZeroSum: ofStack})}
	q.sound = p.pkt.V6() // tcp_v6_send_response and nf_send_reset6 leave the checksum to the device; no device of IPv4's has to
	if ofStack {
		q.view.Sender.Socket = rules.KernelSocket
	}
	if to := p.view.Tuple.Src().Addr(); !attached && to.Is6() && (to.IsLoopback() || to.IsLinkLocalUnicast() || to.IsMulticast()) {
		// It leaves by the device that the segment came in by (rt6_need_strict in tcp_v6_send_response), which for the node's own is
		// the one whose address was asked: an RST to ::1 is lost then.
		q.by = v.devices[p.came]
	}
	if attached && p.ref.Conn != nil && v.leads(p, q) { // before it is sent: a connection that this RST confirms stays as it is
		v.conns.SetClosing(p.ref.Conn)
	}
	v.reply(p, q, attached)
}

// leads reports whether an RST has a route: without one its connection stays open (ip_route_me_harder in nf_send_reset, nf_send_reset6).
func (v *visit) leads(p, q *passage) bool {
	if v.wire && !q.pkt.Tuple().Src().Addr().IsLoopback() {
		return true
	}
	q.read()
	if v.host.settings.reflectMark {
		q.view.Mark = p.view.Mark
	}
	_, why := v.way(q)
	return why == ""
}

// resets reports whether an IPv6 segment is answered with an RST as far as its addresses go: by a rule between those of single
// nodes (nf_send_reset6), else only for an address of the node itself (tcp_v6_send_reset).
func (v *visit) resets(p *passage, attached bool) bool {
	src, dst := p.view.Tuple.Src().Addr(), p.view.Tuple.Dst().Addr()
	single := func(a netip.Addr) bool { return !a.IsMulticast() && !a.IsUnspecified() }
	return attached && single(src) && single(dst) || !attached && (v.host.isLocal(dst) || p.home() || dst.IsUnspecified())
}

// unreachable is an ICMP error of that type.
func (v *visit) unreachable(p *passage, code uint8) { v.error(p, v.icmp().unreachable, code, 0) }

// error sends an ICMP error about a packet to its source (icmp_send): from the address that the packet was for where it
// is the node's own, else from the one that the route to the source prefers. There are no errors about errors, nor
// about later fragments of IPv4, nor about ICMP that the node's stack is sending at the moment (icmp_xmit_lock).
func (v *visit) error(p *passage, kind, code uint8, rest uint32) {
	proto := v.icmp().proto
	if p.group { // nobody complains of what is for many
		return
	}
	about, _, ok := p.pkt.ICMP()
	if v.icmpBusy || p.pkt.Later() && !p.pkt.V6() || ok && p.view.Tuple.Proto() == proto && !v.complains(about) {
		return
	}
	src, dst := p.view.Tuple.Src().Addr(), p.view.Tuple.Dst().Addr()
	if src.Is6() && !v.single(src) || src.Is4() && v.options.Kernel.Has(nat.NoErrorToAll) && v.forAll(src) {
		return
	}
	from := dst
	if !v.answersFrom(p, dst) {
		var ok bool
		if from, ok = v.errorSource(p, src); !ok {
			return
		}
	}
	quote := p.pkt.Bytes()
	quote = quote[:min(len(quote), v.icmp().quoted)]
	t := nat.TupleOf(proto, netip.AddrPortFrom(from, 0), netip.AddrPortFrom(src, 0))
	tos := uint8(0)
	if proto == nat.ICMP {
		tos = p.pkt.TOS()&0x1e | icmpPrecedence
	}
	q := &passage{pkt: *packet.Build(t, packet.Fields{
		TTL: v.host.settings.ttl, TOS: tos, Type: kind, Code: code, Rest: rest, Payload: quote,
	})}
	if src.Is6() && src.IsLinkLocalUnicast() {
		if q.by = v.devices[p.came]; p.copy { // skb->dev (icmp6_iif)
			q.by = p.out
		}
	}
	v.reply(p, q, true)
}

// answersFrom reports whether an error about a packet comes from the address that it was for: one of the node's own, ::1 only of what
// the node sent itself (ipv6_chk_addr_and_flags).
func (v *visit) answersFrom(p *passage, dst netip.Addr) bool {
	if dst.Is6() && dst.IsLoopback() {
		return p.in == nil || p.in.Name == "lo"
	}
	if p.copy && dst.Is4() { // RTCF_LOCAL, of the route to TEE's neighbour
		return p.kind == routeLocal
	}
	kind, _ := v.host.localTable(dst)
	return kind == routeLocal || kind == routeAnycast || dst.Is4() && dst.IsUnspecified()
}

// single reports whether an IPv6 source is that of one node, which is told of errors (icmp6_send).
func (v *visit) single(src netip.Addr) bool {
	next, why := v.host.lookup(src)
	return !src.IsUnspecified() && !src.IsMulticast() && (why != "" || !next.anycast())
}

// forAll reports whether an address is for all on a link of the node's.
func (v *visit) forAll(a netip.Addr) bool {
	kind, _ := v.host.localTable(a)
	return kind == routeBroadcast
}

// errorSource is the address that an error about a packet for another host comes from.
func (v *visit) errorSource(p *passage, to netip.Addr) (from netip.Addr, ok bool) {
	if d := v.devices[p.came]; v.host.settings.byInbound && d != nil {
		if d.Name == "lo" && d.settings.localnet { // 127.0.0.1 counts as an address of the link then
			return v.host.loopback(), true
		}
		from = v.host.deviceAddr(nextHop{dev: d, via: to, dst: to})
		return from, from.IsValid()
	}
	next, why := v.host.outbound(netip.Addr{}, to, routingKey{})
	if why != "" {
		return netip.Addr{}, false
	}
	if d := v.devices[p.came]; d != nil && v.host.family == nat.IPv6 { // of the device that it came in by, if that has any (icmp6_send)
		next.dev = d
		if next.kind == routeLocal { // which prefers no source
			next.src = netip.Addr{}
		}
	}
	from = v.host.source(next)
	return from, from.IsValid() // of a node without addresses, or of which none is told
}

// complains reports whether there may be an error about an ICMP packet of this type (icmp_pointers, is_ineligible).
func (v *visit) complains(kind uint8) bool {
	if v.host.family == nat.IPv6 {
		return kind >= 128
	}
	return packet.Query(nat.ICMP, kind)
}

// reply sends a packet of the node's own because of another. attached: it takes the other's connection, as
// one in the other direction (nf_ct_attach).
func (v *visit) reply(p, q *passage, attached bool) {
	if v.depth >= maxDepth {
		return
	}
	why, where, busy := v.why, v.where, v.icmpBusy
	v.depth++
	defer func() { v.depth, v.icmpBusy = v.depth-1, busy }()
	v.icmpBusy = busy || q.pkt.Tuple().Proto() == v.icmp().proto
	q.view.State, q.answer = rules.Invalid, true
	if q.view.Sender.Socket = max(q.view.Sender.Socket, rules.NoSocket); q.pkt.Tuple().Proto() == v.icmp().proto {
		q.view.Sender.Socket = rules.KernelSocket // icmp_sk
	}
	if to := q.pkt.Tuple(); to.Dst().Addr().Is4() && to.Dst().Addr().IsMulticast() && (!attached || to.Proto() == nat.ICMP) {
		q.pkt.SetTTL(1) // of ip_select_ttl; who asked had another source when the packet came in
	}
	if reset := attached && q.pkt.Tuple().Proto() == nat.TCP; !reset && !v.complete(q) { // a REJECT rule's RST has the addresses as they were (nf_send_reset)
		return
	}
	if v.host.settings.reflectMark {
		q.view.Mark = p.view.Mark
	}
	q.view.Attached = attached && p.ref.Info == conntrack.InfoUntracked
	if attached && p.ref.Conn != nil {
		q.ref = conntrack.Ref{Conn: p.ref.Conn, Dir: 1 - p.ref.Dir, Info: conntrack.InfoRelated}
		if p.ref.Dir == nat.Original {
			q.ref.Dir = nat.Reply
		}
		q.state()
	}
	v.send(q)
	if why != "" {
		v.why, v.where = why, where // of the packet that was handed in
	}
}

// complete gives an answer to what was for 0.0.0.0 the source that its route prefers, and sends one to 0.0.0.0 to its own source
// (ip_route_output_key_hash_rcu). An RST's checksum was made before. false: there is no route.
func (v *visit) complete(q *passage) bool {
	src, dst := q.pkt.Tuple().Src(), q.pkt.Tuple().Dst()
	if !src.Addr().IsUnspecified() && (!dst.Addr().IsUnspecified() || dst.Addr().Is6()) {
		return true
	}
	from, to := src.Addr(), dst.Addr()
	if to.IsUnspecified() && to.Is4() {
		if to = from; to.IsUnspecified() {
			from, to = v.host.loopback(), v.host.loopback()
		}
	}
	if from.IsUnspecified() {
		next, why := v.host.outbound(netip.Addr{}, to, routingKey{})
		if to.Is6() && to.IsUnspecified() { // an address like others to ip6_route_output
			next, why = v.host.lookup(to)
		}
		if why != "" {
			return false
		}
		from = v.host.source(next)
	}
	if q.pkt.Tuple().Proto() == nat.TCP {
		q.pkt.SetSrcAddr(from)
		q.pkt.SetDstAddr(to)
		return true
	}
	q.pkt.SetSrc(netip.AddrPortFrom(from, src.Port()))
	q.pkt.SetDst(netip.AddrPortFrom(to, dst.Port()))
	return true
}
