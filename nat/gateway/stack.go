package gateway

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"natlab/nat"
	"natlab/nat/conntrack"
	"natlab/nat/packet"
	"natlab/topology"
)

// deliver gives a packet to a process of the node, or answers for the node's stack.
func (v *visit) deliver(p *passage) {
	if !v.delivered6(p) || v.drifted(p) {
		return
	}
	if v.listens(p.view.Tuple) {
		v.outs = append(v.outs, Out{Packet: p.pkt.Bytes(), Mark: p.view.Mark, Answer: p.answer})
		return
	}
	switch p.view.Tuple.Proto() {
	case nat.TCP:
		v.lost("", "nothing listens at "+p.view.Tuple.Dst().String()+" in "+v.host.member)
		if t, ok := p.pkt.TCP(); ok && t.Flags&tcpRST == 0 && p.pkt.ChecksumOK() {
			v.reset(p, &t, p.pkt.TOS()&0xfc, false)
		}
	case nat.UDP, nat.UDPLite:
		if p.view.Tuple.Proto() == nat.UDPLite && v.options.Kernel.Has(nat.UDPLiteForgotten) {
			v.noProtocol(p)
			return
		}
		v.lost("", "nothing listens at "+p.view.Tuple.Dst().String()+" in "+v.host.member)
		if h := p.pkt.Transport(); p.pkt.V6() && p.pkt.Whole() && h[6]|h[7] == 0 {
			return // IPv6 wants a checksum (udp6_csum_zero_error)
		}
		if p.pkt.Whole() && p.pkt.ChecksumOK() {
			p.ref = conntrack.Ref{} // nf_reset_ct
			v.unreachable(p, v.icmp().portUnreachable)
		}
	case v.icmp().proto:
		v.pong(p)
	case noNextHeader:
		if v.host.family == nat.IPv4 {
			v.noProtocol(p)
			return
		}
		v.lost("", "there is nothing behind the packet's headers")
	case igmp, pim: // igmp_rcv, pim_rcv
		if p.view.Tuple.Proto() == igmp && v.host.family == nat.IPv6 {
			v.noProtocol(p)
			return
		}
		v.lost("", "the stack of "+v.host.member+" takes "+p.view.Tuple.Proto().String()+" itself")
	default:
		v.tunnelled(p)
	}
}

// tunnelled answers a packet of a protocol that the node's stack does not take. Where there are tunnels of IPIP, what they could carry
// has found none of them (tunnel4_rcv).
func (v *visit) tunnelled(p *passage) {
	least, carries := map[nat.Proto]int{nat.IPIP: 20, sixInFour: 40}[p.view.Tuple.Proto()]
	switch {
	case !carries || v.host.family == nat.IPv6 || !slices.ContainsFunc(v.host.devices, func(d *device) bool { return d.Kind == topology.TunnelIPIP }):
		v.noProtocol(p)
	case len(p.pkt.Transport()) < least:
		v.lost("", "the packet in the tunnel's is cut short")
	default:
		v.lost("", "no tunnel of "+v.host.member+" takes it")
		v.unreachable(p, v.icmp().portUnreachable)
	}
}

// listens reports whether a socket of the node takes a packet. None ever has port 0, to which a rule may translate.
func (v *visit) listens(t nat.Tuple) bool {
	if t.Dst().Port() == 0 && (t.Proto() == nat.TCP || t.Proto() == nat.UDP || t.Proto() == nat.UDPLite) {
		return false
	}
	if v.options.Listens != nil {
		return v.options.Listens(t)
	}
	return v.prediction.replying || v.options.listens(t)
}

// Protocols that a node's stack takes without an answer, whoever listens. IPv6 has ICMPv6 for IGMP.
const (
	igmp         nat.Proto = 2
	noNextHeader nat.Proto = 59 // of IPv6
	pim          nat.Proto = 103
	sixInFour    nat.Proto = 41 // IPv6 in a tunnel of IPv4
)

// noProtocol answers a packet of a protocol that the node's stack does not take.
func (v *visit) noProtocol(p *passage) {
	v.lost("", "no protocol "+p.view.Tuple.Proto().String())
	rest := uint32(0)
	if v.host.family == nat.IPv6 {
		rest = namedAt(&p.pkt)
	}
	v.error(p, v.icmp().protoUnknown, v.icmp().unknownCode, rest)
}

// pong answers an ICMP echo or timestamp request (icmp_echo, icmp_timestamp).
func (v *visit) pong(p *passage) {
	kind, _, _ := p.pkt.ICMP()
	h := p.pkt.Transport()
	settings := &v.host.settings
	if !p.pkt.Whole() || !p.sound && !p.pkt.ChecksumOK() || p.group && settings.ignoreGroups {
		return
	}
	f := packet.Fields{TTL: settings.ttl, TOS: p.pkt.TOS(), Type: v.icmp().echoReply, Rest: uint32(binary.BigEndian.Uint16(h[6:]))}
	switch {
	case kind == v.icmp().echo && settings.ignoreEcho:
		return
	case kind == v.icmp().echo:
		f.Payload = h[8:]
	case kind == v.icmp().timestamp && kind != 0 && len(h) >= 12:
		f.Type = v.icmp().timestampReplied
		now := uint32(v.at.UTC().Sub(v.at.UTC().Truncate(24 * time.Hour)).Milliseconds()) // since midnight, UTC
		f.Payload = binary.BigEndian.AppendUint32(append([]byte(nil), h[8:12]...), now)
		f.Payload = binary.BigEndian.AppendUint32(f.Payload, now)
	default:
		return
	}
	back, q := p.view.Tuple.Reply(), &passage{}
	if from, dst := back.Src().Addr(), back.Dst().Addr(); p.group || !v.host.isLocal(from) && !p.home() && from.Is6() {
		if from.Is6() && !dst.IsLoopback() {
			q.by = v.devices[p.came]
		}
		from, ok := v.specific(p)
		if !ok {
			return
		}
		back = back.WithSrc(netip.AddrPortFrom(from, back.Src().Port()))
	} else if dst.Is6() && (dst.IsLinkLocalUnicast() || dst.IsMulticast()) {
		q.by = v.devices[p.came]
	}
	q.pkt = *packet.Build(back, f)
	v.reply(p, q, false)
}

// specific is the node's own address for an answer to what was for many (fib_compute_spec_dst); in IPv6 that of the way back by
// the device that it came in by (icmpv6_echo_reply).
func (v *visit) specific(p *passage) (netip.Addr, bool) {
	src := p.view.Tuple.Src().Addr()
	if came := v.devices[p.came]; src.Is6() {
		if src.IsLoopback() { // which lo alone leads to
			return src, true
		}
		if came == nil {
			return netip.Addr{}, false
		}
		next, why := v.host.lookupBy(came, src)
		return v.host.source(next), why == ""
	}
	if next, why := v.host.lookup(src); why == "" && !src.IsUnspecified() {
		return v.host.source(next), true
	}
	d := v.devices[p.came]
	if d == nil {
		return netip.Addr{}, false
	}
	return v.host.deviceAddr(nextHop{dev: d, via: src, dst: src}), true
}
