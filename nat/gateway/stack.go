package gateway

import (
	"encoding/binary"
	"net/netip"
	"time"

	"natlab/nat"
	"natlab/nat/conntrack"
	"natlab/nat/packet"
)

// deliver gives a packet to a process of the node, or answers for the node's stack.
func (g *Gateway) deliver(p *passage) {
	if g.listens(p.view.Tuple) {
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

// listens reports whether a socket of the node takes a packet. None ever has port 0, to which a rule may translate.
func (g *Gateway) listens(t nat.Tuple) bool {
	if t.Dst().Port() == 0 && (t.Proto() == nat.TCP || t.Proto() == nat.UDP || t.Proto() == nat.UDPLite) {
		return false
	}
	return g.options.Listens == nil || g.options.Listens(t)
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
	settings := &g.host.settings
	if !p.pkt.Whole() || !p.pkt.ChecksumOK() || p.group && settings.ignoreGroups {
		return
	}
	f := packet.Fields{TTL: settings.ttl, TOS: p.pkt.TOS(), Type: g.icmp().echoReply, Rest: uint32(binary.BigEndian.Uint16(h[6:]))}
	switch {
	case kind == g.icmp().echo && settings.ignoreEcho:
		return
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
	back, q := p.view.Tuple.Reply(), &passage{}
	if from, dst := back.Src().Addr(), back.Dst().Addr(); p.group || !g.host.isLocal(from) && from.Is6() {
		if from.Is6() {
			q.by = g.devices[p.came]
		}
		from, ok := g.specific(p)
		if !ok {
			return
		}
		back = back.WithSrc(netip.AddrPortFrom(from, back.Src().Port()))
	} else if dst.Is6() && (dst.IsLinkLocalUnicast() || dst.IsMulticast()) {
		q.by = g.devices[p.came]
	}
	q.pkt = *packet.Build(back, f)
	g.answer(p, q, false)
}

// specific is the node's own address for an answer to what was for many (fib_compute_spec_dst); in IPv6 that of the way back by
// the device that it came in by (icmpv6_echo_reply).
func (g *Gateway) specific(p *passage) (netip.Addr, bool) {
	src := p.view.Tuple.Src().Addr()
	if came := g.devices[p.came]; src.Is6() {
		if came == nil {
			return netip.Addr{}, false
		}
		next, why := g.host.lookupBy(came, src)
		return g.host.source(next), why == ""
	}
	if next, why := g.host.lookup(src); why == "" && !src.IsUnspecified() {
		return g.host.source(next), true
	}
	d := g.devices[p.came]
	if d == nil {
		return netip.Addr{}, false
	}
	return g.host.deviceAddr(nextHop{dev: d, via: src, dst: src}), true
}
