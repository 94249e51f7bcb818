package gateway

import (
	"encoding/binary"
	"net/netip"
	"time"

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
	timeExceeded                uint8
	tooBig, tooBigCode          uint8
	protoUnknown, unknownCode   uint8
	quoted                      int // how much of the packet an error holds at most
	timestamp, timestampReplied uint8
}

var icmpOf = [...]icmpNumbers{
	nat.IPv4: {
		proto: nat.ICMP, echo: 8, unreachable: 3, portUnreachable: 3, timeExceeded: 11, tooBig: 3, tooBigCode: 4,
		protoUnknown: 3, unknownCode: 2, timestamp: 13, timestampReplied: 14,
		quoted: 576 - 20 - 8, // RFC 1812, 4.3.2.3
	},
	nat.IPv6: {
		proto: nat.ICMPv6, echo: 128, echoReply: 129, unreachable: 1, portUnreachable: 4, timeExceeded: 3, tooBig: 2,
		protoUnknown: 4, unknownCode: 1,
		quoted: 1280 - 40 - 8, // RFC 4443, 2.4 (c)
	},
}

func (g *Gateway) icmp() *icmpNumbers { return &icmpOf[g.host.family] }

// icmpPrecedence is the type of service of IPv4's errors: IPTOS_PREC_INTERNETCONTROL.
const icmpPrecedence = 0xc0

// rejectCodes are the codes of --reject-with's types; an unknown one counts as the network, or the route.
var rejectCodes = map[string]uint8{
	"icmp-net-unreachable": 0, "icmp-host-unreachable": 1, "icmp-proto-unreachable": 2, "icmp-port-unreachable": 3,
	"icmp-net-prohibited": 9, "icmp-host-prohibited": 10, "icmp-admin-prohibited": 13,
	"icmp6-no-route": 0, "icmp6-adm-prohibited": 1, "icmp6-addr-unreachable": 3, "icmp6-port-unreachable": 4, "icmp6-policy-fail": 5, "icmp6-reject-route": 6,
}

// reject is a REJECT rule's answer (nf_reject_ipv4.c).
func (g *Gateway) reject(p *passage, r *rules.Rejection) {
	if r.With == "tcp-reset" {
		if t, ok := p.pkt.TCP(); ok && t.Flags&tcpRST == 0 && p.pkt.Rejectable(g.options.Kernel) {
			g.reset(p, &t, 0, true)
		}
		return
	}
	if p.pkt.Rejectable(g.options.Kernel) {
		g.unreachable(p, rejectCodes[r.With])
	}
}

// reset answers a TCP segment with an RST. That of a REJECT rule belongs to the segment's connection.
func (g *Gateway) reset(p *passage, t *packet.TCP, tos uint8, attached bool) {
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
	q := &passage{pkt: *packet.Build(p.view.Tuple.Reply(), packet.Fields{TTL: 64, TOS: tos, DF: true, TCP: back})}
	if !attached && p.view.Tuple.Src().Addr().Is4() { // ip_send_unicast_reply; IPv6 and nf_send_reset go without a socket
		q.view.Sender.Socket = rules.KernelSocket
	}
	if to := p.view.Tuple.Src().Addr(); !attached && to.Is6() && to.IsLoopback() {
		// An RST to ::1 leaves by the device whose address was asked, and so is lost (rt6_need_strict in
		// tcp_v6_send_response, with the device that ip6_rcv_core notes).
		q.by = g.host.owner(p.view.Tuple.Dst().Addr())
	}
	if attached && p.ref.Conn != nil { // before it is sent: a connection that this RST confirms stays as it is
		g.conns.SetClosing(p.ref.Conn)
	}
	g.answer(p, q, attached)
}

// unreachable is an ICMP error of that type.
func (g *Gateway) unreachable(p *passage, code uint8) { g.error(p, g.icmp().unreachable, code, 0) }

// error sends an ICMP error about a packet to its source (icmp_send): from the address that the packet was for where it
// is the node's own, else from the one that the route to the source prefers. There are no errors about errors, nor
// about later fragments, nor about ICMP that the node's stack is sending at the moment (icmp_xmit_lock).
func (g *Gateway) error(p *passage, kind, code uint8, rest uint32) {
	proto := g.icmp().proto
	if about, _, ok := p.pkt.ICMP(); g.icmpBusy || p.pkt.Later() || ok && p.view.Tuple.Proto() == proto && !g.complains(about) {
		return
	}
	src, dst := p.view.Tuple.Src().Addr(), p.view.Tuple.Dst().Addr()
	next, why := g.host.lookup(src)
	if why != "" {
		return
	}
	from := dst
	if !g.host.isLocal(dst) {
		from = g.host.source(next)
	}
	quote := p.pkt.Bytes()
	quote = quote[:min(len(quote), g.icmp().quoted)]
	t := nat.TupleOf(proto, netip.AddrPortFrom(from, 0), netip.AddrPortFrom(src, 0))
	tos := uint8(0)
	if proto == nat.ICMP {
		tos = p.pkt.TOS()&0x1e | icmpPrecedence
	}
	q := &passage{pkt: *packet.Build(t, packet.Fields{
		TOS: tos, Type: kind, Code: code, Rest: rest, Payload: quote,
	})}
	g.answer(p, q, true)
}

// complains reports whether there may be an error about an ICMP packet of this type (icmp_pointers, is_ineligible).
func (g *Gateway) complains(kind uint8) bool {
	if g.host.family == nat.IPv6 {
		return kind >= 128
	}
	return packet.Query(nat.ICMP, kind)
}

// answer sends a packet of the node's own because of another. attached says that it takes the other's connection, as
// one in the other direction (nf_ct_attach).
func (g *Gateway) answer(p, q *passage, attached bool) {
	if g.depth >= maxDepth {
		return
	}
	g.depth++
	why, where, busy := g.why, g.where, g.icmpBusy
	g.icmpBusy = busy || q.pkt.Tuple().Proto() == g.icmp().proto
	q.view.State, q.answer = rules.Invalid, true
	if q.view.Sender.Socket = max(q.view.Sender.Socket, rules.NoSocket); q.pkt.Tuple().Proto() == g.icmp().proto {
		q.view.Sender.Socket = rules.KernelSocket // icmp_sk
	}
	q.view.Attached = attached && p.ref.Info == conntrack.InfoUntracked
	if attached && p.ref.Conn != nil {
		q.ref = conntrack.Ref{Conn: p.ref.Conn, Dir: 1 - p.ref.Dir, Info: conntrack.InfoRelated}
		if p.ref.Dir == nat.Original {
			q.ref.Dir = nat.Reply
		}
		q.state()
	}
	g.send(q)
	if why != "" {
		g.why, g.where = why, where // of the packet that was handed in
	}
	g.icmpBusy = busy
	g.depth--
}

// deliver gives a packet to a process of the node, or answers for the node's stack.
func (g *Gateway) deliver(p *passage) {
	if g.options.Listens == nil || g.options.Listens(p.view.Tuple) {
		g.outs = append(g.outs, Out{Packet: p.pkt.Bytes(), Mark: p.view.Mark, Answer: p.answer})
		return
	}
	switch p.view.Tuple.Proto() {
	case nat.TCP:
		g.lost("", "nothing listens at "+p.view.Tuple.Dst().String()+" in "+g.host.member)
		if t, ok := p.pkt.TCP(); ok && t.Flags&tcpRST == 0 && p.pkt.ChecksumOK() {
			g.reset(p, &t, p.pkt.TOS()&0xfc, false)
		}
	case nat.UDP, nat.UDPLite:
		if p.view.Tuple.Proto() == nat.UDPLite && g.options.Kernel.Has(nat.UDPLiteForgotten) {
			g.noProtocol(p)
			return
		}
		g.lost("", "nothing listens at "+p.view.Tuple.Dst().String()+" in "+g.host.member)
		if h := p.pkt.Transport(); p.pkt.V6() && p.pkt.Whole() && h[6]|h[7] == 0 {
			return // IPv6 wants a checksum (udp6_csum_zero_error)
		}
		if p.pkt.Whole() && p.pkt.ChecksumOK() {
			p.ref = conntrack.Ref{} // nf_reset_ct
			g.unreachable(p, g.icmp().portUnreachable)
		}
	case g.icmp().proto:
		g.pong(p)
	case noNextHeader:
		if g.host.family == nat.IPv4 {
			g.noProtocol(p)
			return
		}
		g.lost("", "there is nothing behind the packet's headers")
	case igmp, pim: // igmp_rcv, pim_rcv
		if p.view.Tuple.Proto() == igmp && g.host.family == nat.IPv6 {
			g.noProtocol(p)
			return
		}
		g.lost("", "the stack of "+g.host.member+" takes "+p.view.Tuple.Proto().String()+" itself")
	default:
		g.noProtocol(p)
	}
}

// Protocols that a node's stack takes without an answer, whoever listens. IPv6 has ICMPv6 for IGMP.
const (
	igmp         nat.Proto = 2
	noNextHeader nat.Proto = 59 // of IPv6
	pim          nat.Proto = 103
)

// noProtocol answers a packet of a protocol that the node's stack does not take.
func (g *Gateway) noProtocol(p *passage) {
	g.lost("", "no protocol "+p.view.Tuple.Proto().String())
	rest := uint32(0)
	if g.host.family == nat.IPv6 {
		rest = 6 // where the next header stands, in a packet without extension headers
	}
	g.error(p, g.icmp().protoUnknown, g.icmp().unknownCode, rest)
}

// pong answers an ICMP echo or timestamp request (icmp_echo, icmp_timestamp).
func (g *Gateway) pong(p *passage) {
	kind, _, _ := p.pkt.ICMP()
	h := p.pkt.Transport()
	if !p.pkt.Whole() || !p.pkt.ChecksumOK() {
		return
	}
	f := packet.Fields{TOS: p.pkt.TOS(), Type: g.icmp().echoReply, Rest: uint32(binary.BigEndian.Uint16(h[6:]))}
	switch {
	case kind == g.icmp().echo:
		f.Payload = h[8:]
	case kind == g.icmp().timestamp && kind != 0 && len(h) >= 12:
		f.Type = g.icmp().timestampReplied
		now := uint32(g.at.UTC().Sub(g.at.UTC().Truncate(24 * time.Hour)).Milliseconds()) // since midnight, UTC
		f.Payload = binary.BigEndian.AppendUint32(append([]byte(nil), h[8:12]...), now)
		f.Payload = binary.BigEndian.AppendUint32(f.Payload, now)
	default:
		return
	}
	g.answer(p, &passage{pkt: *packet.Build(p.view.Tuple.Reply(), f)}, false)
}
