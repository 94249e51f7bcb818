package gateway

import (
	"maps"
	"net/netip"
	"slices"

	"natlab/nat"
	"natlab/nat/conntrack"
	"natlab/nat/packet"
	"natlab/nat/rules"
)

// translate is a NAT hook (nf_nat_inet_fn): rules for what has no translation yet, until one settles it; then the
// translation itself. false: the packet goes no further.
func (v *visit) translate(p *passage, hook nat.Hook) bool {
	c := p.ref.Conn
	if c == nil {
		return true
	}
	m := conntrack.ManipOf(hook)
	related := p.ref.Info == conntrack.InfoRelated
	if proto := p.pkt.Proto(); related && (proto == nat.ICMP || proto == nat.ICMPv6) {
		p.view.Pull(quotation)
		if !v.verified(p, hook) {
			v.lost("NAT", "the ICMP error's checksum is wrong")
			return false
		}
		if !v.translateError(p, m) {
			v.lost("NAT", "the packet that the ICMP error is about is cut too short to be translated")
			return false
		}
		return true
	}
	if hook == nat.PostRouting && p.ref.Dir == nat.Original && c.Out != "" && c.Out != p.view.Out && c.Initialized(m) { // nf_nat_oif_changed
		v.conns.Delete(c)
		v.lost("NAT", "its connection was masqueraded out of "+c.Out+", and ends since the packet leaves by "+p.view.Out)
		return false
	}
	if (related || p.ref.Info == conntrack.InfoNew) && !c.Initialized(m) {
		for i := range v.hooks.nat[hook] {
			before := p.view
			effect, ok := v.asked(&v.hooks.nat[hook][i], p)
			if v.prediction.older && !p.answer && (effect != nil || p.view.Mark != before.Mark) && !v.Take(0.5) {
				p.view = before // no NAT rule was asked
				continue
			}
			if !ok {
				return false
			}
			if _, queued := effect.(*rules.Queued); queued {
				return true
			}
			if to, translates := effect.(*rules.Translation); translates && !v.applyNAT(p, hook, to) {
				if n := len(v.trace); n > 0 { // the target's own verdict
					v.trace[n-1].Verdict = nat.Drop
				}
				v.abandon(p)
				return false
			}
			if c.Initialized(m) {
				break
			}
		}
		if !c.Initialized(m) && !v.bindUnasked(p, hook, m) {
			return false
		}
	}
	if to, ok := c.Target(m, p.ref.Dir); ok {
		if !rewritable(&p.pkt, m) {
			v.lost("NAT", "the packet's transport header is cut too short to be translated, or of an unknown version")
			return false
		}
		p.view.Pull(v.translated(p))
		v.rewrite(&p.pkt, m, to)
		p.view.Tuple = p.pkt.Tuple()
	}
	p.view.State |= natStates(c)
	return true
}

// verified reports whether the checksum of an ICMP error is right, which is looked at once (nf_nat_icmp_reply_translation, nf_ip6_checksum): of
// what came in by conntrack, if it does so.
func (v *visit) verified(p *passage, hook nat.Hook) bool {
	looked := p.sound || hook == nat.PreRouting && !p.looped && v.conns.Settings.Checksum
	p.sound = looked || p.pkt.ChecksumOK()
	return p.sound
}

// translateOutput is the NAT hook for a packet of the node itself, which goes another way where its connection has another destination, whatever
// the packet had before (nf_nat_ipv4_local_fn, nf_nat_ipv6_local_fn).
func (v *visit) translateOutput(p *passage) bool {
	if !v.translate(p, nat.Output) {
		return false
	}
	c, dir := p.ref.Conn, p.ref.Dir
	return c == nil || c.Tuple(dir).Dst().Addr() == c.Tuple(1-dir).Src().Addr() || v.reroute(p)
}

// translateInbound takes the route of a packet that came back by lo away where it gets another destination (nf_nat_ipv4_pre_routing,
// nf_nat_ipv6_in).
func (v *visit) translateInbound(p *passage) bool {
	_, _, was := p.view.Tuple.Parts()
	ok := v.translate(p, nat.PreRouting)
	_, _, is := p.view.Tuple.Parts()
	p.astray = is.Addr() != was.Addr()
	return ok
}

// translateError translates an ICMP error and the packet inside it (nf_nat_icmp_reply_translation). false: it cannot,
// and the packet is dropped.
func (v *visit) translateError(p *passage, m conntrack.Manip) bool {
	to, ok := p.ref.Conn.Target(m, p.ref.Dir)
	if !ok {
		return true
	}
	inside, is := p.pkt.Inside()
	if !is || !rewritable(&inside, 1-m) {
		return false
	}
	if m == conntrack.ManipSource {
		v.rewrite(&inside, conntrack.ManipDestination, to)
		p.pkt.SealInside()
		p.pkt.SetSrc(netip.AddrPortFrom(to.Addr(), 0))
	} else {
		v.rewrite(&inside, conntrack.ManipSource, to)
		p.pkt.SealInside()
		p.pkt.SetDst(netip.AddrPortFrom(to.Addr(), 0))
	}
	p.view.Tuple = p.pkt.Tuple()
	return true
}

func rewritable(p *packet.Packet, m conntrack.Manip) bool {
	if m == conntrack.ManipDestination {
		return p.DstRewritable()
	}
	return p.Rewritable()
}

// rewrite gives one end of a packet another address and port (nf_nat_manip_pkt).
func (v *visit) rewrite(p *packet.Packet, m conntrack.Manip, to netip.AddrPort) {
	known := v.conns.Settings.Knows(p.Proto())
	switch {
	case known && m == conntrack.ManipSource:
		p.SetSrc(to)
	case known:
		p.SetDst(to)
	case m == conntrack.ManipSource:
		p.SetSrcAddr(to.Addr())
	default:
		p.SetDstAddr(to.Addr())
	}
}

// applyNAT carries a NAT target out; false: it has no address or port to use, and the packet is dropped.
func (v *visit) applyNAT(p *passage, hook nat.Hook, t *rules.Translation) bool {
	m := conntrack.ManipOf(hook)
	r := rangeOf(t.Range)
	switch t.Kind {
	case rules.DNAT, rules.SNAT:
		return v.bind(p, m, &r)
	case rules.Masquerade:
		r.Min = v.host.deviceAddr(nextHop{dev: p.out, via: p.via, dst: p.view.Tuple.Dst().Addr()})
		if r.Min.IsValid() {
			p.ref.Conn.Out = p.view.Out
		}
	case rules.Redirect:
		r.Min = v.host.loopback()
		if hook == nat.PreRouting {
			r.Min = v.primary(v.devices[p.view.In], p.view.Tuple.Dst().Addr())
		}
	case rules.NetMap:
		was := p.view.Tuple.Dst().Addr()
		if m == conntrack.ManipSource {
			was = p.view.Tuple.Src().Addr()
		}
		r.Min = mapped(t.Range, was)
	}
	if !r.Min.IsValid() {
		v.lost("NAT", "no address to translate to")
		if v.options.NoAddresses {
			v.unmodelled("the address to translate to is not known: none of the node's is told")
		}
		return false
	}
	r.Max = r.Min
	return v.bind(p, m, &r)
}

// note remembers a port that chance chose in a prediction.
func (v *visit) note(c *conntrack.Conn, m conntrack.Manip) {
	u, ok := v.conns.Chance.(*unforeseen)
	if !ok || !u.asked {
		return
	}
	u.asked = false
	if m == conntrack.ManipSource {
		v.prediction.chosen = append(v.prediction.chosen, c.Reply.Dst())
	} else {
		v.prediction.chosen = append(v.prediction.chosen, c.Reply.Src())
	}
}

// mapped is an address with the bits that are alike in the range's first and last address taken from there.
func mapped(r rules.NATRange, a netip.Addr) netip.Addr {
	low, high, out := r.MinAddr.AsSlice(), r.MaxAddr.AsSlice(), a.AsSlice()
	for i := range out {
		mask := ^(low[i] ^ high[i])
		out[i] = out[i]&^mask | low[i]&mask
	}
	mapped, _ := netip.AddrFromSlice(out)
	return mapped
}

// primary is the address of a device that REDIRECT takes: the first one, of IPv6 the youngest, and where the destination is of the
// link or the site one that is, too (nf_nat_redirect_ipv6_usable).
func (v *visit) primary(d *device, dst netip.Addr) netip.Addr {
	switch {
	case d == nil:
		return netip.Addr{}
	case dst.Is6() && reach(dst) != reachGlobal:
		for _, a := range slices.SortedFunc(maps.Keys(v.host.local), netip.Addr.Compare) {
			if v.host.local[a] == d.Name && reach(a) == reach(dst) {
				return a
			}
		}
		return netip.Addr{}
	case len(d.addrs) == 0 && d.Name == "lo": // what the kernel gives it itself
		return v.host.loopback()
	case len(d.addrs) == 0:
		return netip.Addr{}
	case dst.Is6():
		return d.addrs[len(d.addrs)-1].Addr()
	}
	return d.addrs[0].Addr()
}

// What an IPv6 address reaches (IPV6_ADDR_SCOPE_MASK).
const (
	reachGlobal = iota
	reachNode
	reachLink
	reachSite
	reachCompatible // ::/96, which the kernel tells apart here, too
)

// reach is that of an address or a group (ipv6_addr_scope).
func reach(a netip.Addr) int {
	b := a.As16()
	switch {
	case a.IsLoopback(), a.IsInterfaceLocalMulticast():
		return reachNode
	case a.IsLinkLocalUnicast(), a.IsLinkLocalMulticast():
		return reachLink
	case b[0] == 0xfe && b[1]&0xc0 == 0xc0, a.IsMulticast() && scope(a) == 5:
		return reachSite
	case [12]byte(b[:12]) == [12]byte{} && !a.IsUnspecified():
		return reachCompatible
	}
	return reachGlobal
}

func rangeOf(r rules.NATRange) conntrack.Range {
	return conntrack.Range{
		Min: r.MinAddr, Max: r.MaxAddr, MinPort: r.MinPort, MaxPort: r.MaxPort, BasePort: r.BasePort,
		Ports: r.HasPorts(), Shifted: r.BasePort != 0,
		Random: r.Random, FullyRandom: r.FullyRandom, Persistent: r.Persistent,
	}
}
