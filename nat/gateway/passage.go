package gateway

import (
	"cmp"
	"net/netip"

	"natlab/nat"
	"natlab/nat/conntrack"
	"natlab/nat/ipset"
	"natlab/nat/iptables"
	"natlab/nat/packet"
	"natlab/nat/rules"
	"natlab/topology"
)

// What one packet can bring about in the node, one because of the other, is bounded.
const (
	maxDepth = 8
	maxLoops = 256 // the TTL ends what goes round
)

// receive is a packet that came in by a device: PREROUTING, routing, then in or onwards (ip_rcv).
func (g *Gateway) receive(p *passage, d *device) {
	p.came = d.Name
	if _, own := g.host.localTable(p.sent); own != "" && g.host.family == nat.IPv6 { // ip6_rcv_core notes whose address was asked
		p.came = own
	}
	p.in, p.view.In, p.view.Out = d, d.Name, ""
	p.view.Sender = rules.Sender{Socket: rules.NoSocket}
	p.look()
	if why := g.unwelcome(p, d); why != "" {
		g.lost("", why)
		return
	}
	if p.pkt.Fragment() && g.host.tracks && !p.looped && !g.assemble(p, partsIn) { // nf_defrag_ipv4: in front of raw
		return
	}
	g.tap(p, nat.TapPreRaw, d.Name)
	s := &g.stages[nat.PreRouting]
	if !g.run(s.raw, nat.PreRouting, p) {
		return
	}
	if !p.looped && !g.connect(p, nat.PreRouting) {
		return
	}
	if !g.run(s.mangle, nat.PreRouting, p) || !g.translate(p, nat.PreRouting) {
		return
	}
	g.tap(p, nat.TapPreNAT, d.Name)
	in := g.inbound(d, p)
	p.group = in.group
	switch {
	case in.why != "":
		g.unroutable(p, &in)
	case in.next.local(), in.group:
		g.input(p)
	default:
		g.forward(p, d, in.next)
	}
}

// inbound routes a packet that came in; one that the node sent to itself has its route.
func (g *Gateway) inbound(d *device, p *passage) inbound {
	switch {
	case p.sent.IsValid() && p.sent == p.view.Tuple.Dst().Addr():
		if p.onward {
			return inbound{next: nextHop{kind: routeUnicast, dev: p.out, via: p.via, dst: p.sent}}
		}
		return inbound{next: nextHop{kind: routeLocal, dev: d, dst: p.sent}, group: p.group}
	case g.host.family == nat.IPv6:
		return g.inbound6(d, p)
	}
	return g.inbound4(d, p)
}

// unwelcome says why a packet is not let in at all, before any hook (ip6_rcv_core; IPv4 asks behind PREROUTING).
func (g *Gateway) unwelcome(p *passage, d *device) string {
	src, dst := p.view.Tuple.Src().Addr(), p.view.Tuple.Dst().Addr()
	switch {
	case g.host.family == nat.IPv4:
	case src.IsMulticast():
		return "martian source " + src.String()
	case dst.IsMulticast() && (scope(dst) == 0 || scope(dst) == 1 && d.Name != "lo" && !p.looped && !p.sent.IsValid()):
		return dst.String() + " is no group beyond a node"
	case (src.IsLoopback() || dst.IsLoopback()) && d.Name != "lo":
		return "::1 on " + d.Name
	}
	return ""
}

// forward is ip_forward, or ip6_forward.
func (g *Gateway) forward(p *passage, in *device, next nextHop) {
	if p.pkt.TTL() <= 1 {
		g.lost("forwarding", "TTL exceeded")
		g.error(p, g.icmp().timeExceeded, 0, 0)
		return
	}
	if g.host.family == nat.IPv6 && next.dev.Name != p.came && !g.forwardable(p) {
		return
	}
	if g.tooLong(p, next.dev) {
		return
	}
	p.pkt.DecrementTTL()
	p.view.TTL = p.pkt.TTL()
	p.view.In, p.view.Out = in.Name, next.dev.Name
	p.leave(&next)
	p.echoes, p.group, p.onward = false, false, true // what is broadcast beyond the link is like the rest (bc_forwarding)
	s := &g.stages[nat.Forward]
	if g.run(s.mangle, nat.Forward, p) && g.run(s.filter, nat.Forward, p) && g.run(s.security, nat.Forward, p) {
		g.postrouting(p)
	}
}

// forwardable looks at the source of an IPv6 packet that leaves by another device than it came in by (ip6_forward).
func (g *Gateway) forwardable(p *passage) bool {
	switch src := p.view.Tuple.Src().Addr(); {
	case src.IsUnspecified(), src.IsLoopback():
		g.lost("forwarding", "a packet from "+src.String()+" is not forwarded")
	case src.IsLinkLocalUnicast():
		g.lost("forwarding", src.String()+" is of another link")
		g.unreachable(p, g.icmp().notNeighbour)
	default:
		return true
	}
	return false
}

// scope is that of an IPv6 group (IPV6_ADDR_MC_SCOPE): 1 for a node, 2 for a link.
func scope(group netip.Addr) byte { b := group.As16(); return b[1] & 15 }

// tooLong answers a packet that is too long for a device and must not be split. One that came in pieces may be cut to
// pieces as long as these.
func (g *Gateway) tooLong(p *passage, d *device) bool {
	mtu := mtuOf(d)
	if p.pkt.Len() <= mtu || !p.pkt.DontFragment() || p.pieces != nil && p.longest <= mtu {
		return false
	}
	g.lost("", "the packet is longer than the MTU of "+d.Name+" and must not be split")
	g.error(p, g.icmp().tooBig, g.icmp().tooBigCode, uint32(mtu))
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

// input is a packet for the node itself (ip_local_deliver).
func (g *Gateway) input(p *passage) {
	if p.pkt.Fragment() && !g.assemble(p, partsDelivered) {
		return
	}
	s := &g.stages[nat.Input]
	if !g.run(s.mangle, nat.Input, p) || !g.run(s.filter, nat.Input, p) || !g.run(s.security, nat.Input, p) {
		return
	}
	if !g.translate(p, nat.Input) || !g.confirm(p) {
		return
	}
	g.deliver(p)
}

// send is a packet of the node itself: a route, OUTPUT, and out (ip_local_out).
func (g *Gateway) send(p *passage) {
	p.look()
	src := p.view.Tuple.Src().Addr()
	if p.raw {
		src = netip.Addr{}
	}
	next, why := g.host.outbound(src, p.view.Tuple.Dst().Addr())
	if p.by != nil {
		next, why = g.host.lookupBy(p.by, p.view.Tuple.Dst().Addr())
	}
	if why != "" {
		g.lost("routing", why)
		return
	}
	if mtu := mtuOf(next.dev); p.raw && p.pkt.Len() > mtu {
		g.lost("", "the packet is longer than the MTU of "+next.dev.Name)
		return
	}
	if mtu := mtuOf(next.dev); p.answer && p.pkt.Len() > mtu && !p.pkt.DontFragment() { // ip_append_data
		p.laid = p.pkt.Pieces(mtu)
	}
	p.leave(&next)
	p.view.In, p.view.Out = "", next.dev.Name
	if p.pkt.Fragment() && g.host.tracks && !g.assemble(p, partsOut) {
		return
	}
	g.tap(p, nat.TapOutRaw, p.view.Out)
	s := &g.stages[nat.Output]
	if !g.run(s.raw, nat.Output, p) || p.ref.Conn == nil && !g.connect(p, nat.Output) {
		return
	}
	if len(s.mangle) > 0 { // ipt_mangle_out, nft_chain_route
		mark, tos := p.view.Mark, p.pkt.TOS()
		if !g.run(s.mangle, nat.Output, p) || (p.view.Mark != mark || p.pkt.TOS() != tos) && !g.reroute(p) {
			return
		}
	}
	dst := p.view.Tuple.Dst().Addr()
	if !g.translate(p, nat.Output) || p.view.Tuple.Dst().Addr() != dst && !g.reroute(p) {
		return
	}
	g.tap(p, nat.TapOutNAT, p.view.Out)
	if g.run(s.filter, nat.Output, p) && g.run(s.security, nat.Output, p) {
		g.postrouting(p)
	}
}

// reroute finds another route for a packet of the node itself that rules changed (ip_route_me_harder); the hook's out device
// stays what it was. false: there is none.
func (g *Gateway) reroute(p *passage) bool {
	dst := p.view.Tuple.Dst().Addr()
	next, why := g.host.outbound(g.host.named(p.view.Tuple.Src().Addr()), dst)
	if dst.Is6() && (dst.IsLinkLocalUnicast() || dst.IsMulticast()) { // what is of a link stays on it
		next, why = g.host.lookupBy(p.out, dst)
	}
	if why != "" {
		g.lost("rerouting after OUTPUT", why)
		return false
	}
	p.leave(&next)
	return true
}

// leave notes where a packet goes.
func (p *passage) leave(next *nextHop) {
	p.out, p.via, p.echoes, p.group = next.dev, next.via, next.echoes(), next.group()
}

// postrouting is the last hook, and then the device. What is for many goes to the node itself first, by the device that it
// leaves by: in IPv4 before it meets the hook (ip_mc_output), in IPv6 behind it (ip6_finish_output2).
func (g *Gateway) postrouting(p *passage) {
	if p.echoes && g.host.family == nat.IPv4 && !g.echo(p) {
		return
	}
	p.view.In, p.view.Out = "", p.out.Name
	if !g.run(g.stages[nat.PostRouting].mangle, nat.PostRouting, p) || !g.translate(p, nat.PostRouting) {
		return
	}
	g.tap(p, nat.TapPost, p.view.Out)
	if !g.confirm(p) {
		return
	}
	if p.out.Kind == topology.Loopback || p.echo {
		g.loop(p)
		return
	}
	if p.echoes && !g.echo(p) {
		return
	}
	if dst := p.view.Tuple.Dst().Addr(); dst.Is6() && dst.IsMulticast() && scope(dst) <= 1 {
		g.lost("", dst.String()+" is no group beyond a node")
		return
	}
	g.transmit(p)
}

// echo hands the node what it sends to many itself; false: nobody else gets it.
func (g *Gateway) echo(p *passage) bool {
	q := *p
	q.pkt = p.pkt.Clone()
	q.look()
	q.echoes, q.echo, q.group = false, true, true
	g.postrouting(&q)
	if p.echoes = false; g.process {
		g.settleDown()
		g.process = true
	}
	if p.ref.Conn != nil {
		p.view.ConnMark = p.ref.Conn.Mark
	}
	if p.pkt.TTL() == 0 && p.view.Tuple.Dst().Addr().IsMulticast() {
		g.lost("", "multicast with a TTL of 0 stays in the node")
		return false
	}
	return true
}

// transmit hands a packet to its device, in pieces where it is too long or came in pieces (ip_finish_output). What goes to
// the node itself stays whole.
func (g *Gateway) transmit(p *passage) {
	out := Out{Dev: p.out.Name, Via: p.via, Packet: p.pkt.Bytes(), Mark: p.view.Mark, Answer: p.answer}
	limit := mtuOf(p.out)
	switch {
	case p.pkt.Len() <= limit && p.pieces == nil:
		g.outs = append(g.outs, out)
		return
	case g.tooLong(p, p.out):
		return
	case p.pieces != nil:
		limit = min(limit, p.longest)
	}
	pieces := p.pieces
	if p.laid != nil {
		pieces = p.laid
	}
	for _, piece := range p.pkt.Split(limit, pieces) {
		out.Packet = piece
		g.outs = append(g.outs, out)
	}
}

// Where fragments wait for one another (enum ip_defrag_users).
const (
	partsIn        = iota // IP_DEFRAG_CONNTRACK_IN
	partsOut              // IP_DEFRAG_CONNTRACK_OUT
	partsDelivered        // IP_DEFRAG_LOCAL_DELIVER
)

// assemble makes a fragment the packet that it completes; false: others are missing, or it was thrown away.
func (g *Gateway) assemble(p *passage, where int) bool {
	if p.pkt.V6() {
		g.lost("", "fragments of IPv6 are not modelled")
		return false
	}
	w, ok := g.parts[where].Add(&p.pkt, g.at.UnixNano())
	if !ok {
		g.lost("", "a fragment waits for the others, or does not fit to them")
		return false
	}
	if err := p.pkt.Parse(w.Packet); err != nil {
		g.lost("", err.Error())
		return false
	}
	if where != partsDelivered {
		p.pieces, p.longest = w.Sizes, w.Max
	}
	p.look()
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

// loop is a packet that the node sends to itself: it comes in again by lo, with its mark and its connection, when all
// that goes on at the moment is done (loopback_xmit, netif_rx).
func (g *Gateway) loop(p *passage) {
	if g.loops++; g.loops > maxLoops {
		g.lost("lo", "the packet went in a loop")
		return
	}
	q := *p
	q.echo = false
	q.sent = p.view.Tuple.Dst().Addr()
	q.looped = p.ref.Conn != nil || p.ref.Info == conntrack.InfoUntracked
	g.pending = append(g.pending, &q)
}

// settleDown takes in what came back to the node meanwhile.
func (g *Gateway) settleDown() {
	g.process = false
	for len(g.pending) > 0 {
		p := g.pending[0]
		g.pending = g.pending[1:]
		g.receive(p, p.out)
	}
}

func (g *Gateway) tap(p *passage, tap nat.Tap, dev string) {
	if g.Tap != nil {
		g.answering = p.answer
		g.Tap(nat.Hop{Node: g.host.member, Tap: tap, Dev: dev, Tuple: p.view.Tuple, Mark: p.view.Mark})
	}
}

// run takes a packet through the tables of one place in a hook; false: it goes no further.
func (g *Gateway) run(tables []*iptables.Compiled, hook nat.Hook, p *passage) bool {
	for _, t := range tables {
		if _, ok := g.table(t, hook, p); !ok {
			return false
		}
	}
	return true
}

// table takes a packet through one table.
func (g *Gateway) table(t *iptables.Compiled, hook nat.Hook, p *passage) (rules.Effect, bool) {
	var hits *[]iptables.Hit
	if g.options.Trace {
		hits = &g.hits
		g.hits = g.hits[:0]
	}
	before := p.view.Tuple
	if g.look != nil {
		g.look(look{node: g.host.member, hook: hook, table: t.Name(), packet: p.view.Clone(), answer: p.answer})
	}
	g.visiting = p
	var v nat.Verdict
	var effect rules.Effect
	if g.choices == nil {
		v, effect = t.Run(hook, &p.view, g, hits)
	} else {
		v, effect = g.wayThrough(t, hook, p)
	}
	g.visiting = nil
	var steps nat.Trace
	if g.options.Trace {
		steps = t.Steps(g.host.member, hook, before, g.hits)
		g.trace = append(g.trace, steps...)
	}
	if g.met != nil {
		g.met(p.answer, steps)
	}
	if p.ref.Conn != nil {
		p.ref.Conn.Mark, p.ref.Conn.Labels = p.view.ConnMark, p.view.Labels
	}
	if o, is := effect.(*rules.Open); is {
		g.blame("not known behind ", t, steps)
		g.why, g.open = g.why+": "+o.Why, true
		g.abandon(p)
		return nil, false
	}
	switch v {
	case nat.Drop:
		g.blame("dropped by ", t, steps)
	case nat.Reject:
		g.blame("rejected by ", t, steps)
		g.rejected = true
		g.reject(p, effect.(*rules.Rejection))
	case nat.Queue:
		g.blame("queued by ", t, steps)
	case nat.Stolen:
	case nat.Continue, nat.Accept, nat.Return, nat.Jump, nat.Goto:
		return effect, true
	}
	g.abandon(p)
	return effect, false
}

// questioned names the packet, in this node, of which something is asked.
func (g *Gateway) questioned(p *passage) string {
	return g.host.member + " " + p.view.Tuple.String()
}

// wayThrough takes a packet through a table on one of the ways that it can go there.
func (g *Gateway) wayThrough(t *iptables.Compiled, hook nat.Hook, p *passage) (nat.Verdict, rules.Effect) {
	of := g.questioned(p)
	ways, cut := t.Ways(hook, &p.view, g, g.choices.of(of))
	g.choices.cut = g.choices.cut || cut
	if len(ways) == 0 {
		return nat.Drop, nil
	}
	w := g.choices.way(ways, of)
	p.pkt, p.view = *w.Packet.Wire, w.Packet
	p.view.Wire = &p.pkt
	if sets, changed := p.view.Sets.(*ipset.State); changed {
		g.sets, p.view.Sets = sets, nil
	}
	g.hits = append(g.hits[:0], w.Hits...)
	return w.Verdict, w.Effect
}

// blame names the rule that ended a packet's way, as far as the Gateway traces.
func (g *Gateway) blame(what string, t *iptables.Compiled, steps nat.Trace) {
	if len(steps) == 0 {
		g.lost("", what+"a rule of "+t.Name())
		return
	}
	last := steps[len(steps)-1]
	g.why = what + cmp.Or(last.Text, last.Why)
	g.where = last.Place()
}

// abandon forgets a connection whose first packet goes no further.
func (g *Gateway) abandon(p *passage) {
	if p.ref.Conn != nil && !p.echo { // of an echo the packet itself still has it
		g.conns.Drop(p.ref.Conn)
	}
}

// connect gives a packet its connection, as conntrack does at PREROUTING and OUTPUT.
func (g *Gateway) connect(p *passage, hook nat.Hook) bool {
	if !g.host.tracks {
		return true
	}
	if p.view.State == rules.Untracked {
		p.ref = conntrack.Ref{Info: conntrack.InfoUntracked}
		return true
	}
	if p.ref.Conn == nil {
		if p.pieces != nil && hook == nat.PreRouting && p.view.Tuple.Proto() == nat.SCTP && g.conns.Settings.Checksum { // sctp_error
			p.pull()
		}
		if !p.pkt.Trackable() {
			p.ref = conntrack.Ref{}
			p.state()
			return true
		}
		g.fill(&g.track, &p.pkt, hook)
		g.track.Zone, g.track.Policy = p.view.Template.Zone, p.view.Template.Policy
		var v nat.Verdict
		if p.ref, v = g.conns.Track(&g.track, g.at); v == nat.Drop {
			g.lost("conntrack", "the connection table is full")
			return false
		}
	}
	p.state()
	return true
}

// state brings what rules see of the connection up to date.
func (p *passage) state() {
	switch p.ref.Info {
	case conntrack.InfoInvalid:
		p.view.State = rules.Invalid
	case conntrack.InfoUntracked:
		p.view.State = rules.Untracked
	case conntrack.InfoNew:
		p.view.State = rules.New
	case conntrack.InfoRelated:
		p.view.State = rules.Related
	case conntrack.InfoEstablished:
		p.view.State = rules.Established
	}
	if p.ref.Conn != nil {
		p.view.State |= natStates(p.ref.Conn)
		p.view.ConnMark, p.view.Labels = p.ref.Conn.Mark, p.ref.Conn.Labels
	}
}

func natStates(c *conntrack.Conn) (s rules.State) {
	if c.SourceChanged() {
		s |= rules.SNATed
	}
	if c.DestinationChanged() {
		s |= rules.DNATed
	}
	return s
}

// fill is what conntrack reads of a packet.
func (g *Gateway) fill(c *conntrack.Packet, p *packet.Packet, hook nat.Hook) {
	read := g.conns.Settings.Read
	*c = conntrack.Packet{Hook: hook, Length: p.Len(), Malformed: !p.Whole()}
	c.Tuple, _ = read(p.Tuple())
	c.BadChecksum = hook == nat.PreRouting && !p.TrackedChecksumOK()
	switch c.Tuple.Proto() {
	case nat.TCP:
		t, _ := p.TCP()
		c.TCP = conntrack.Segment{Flags: t.Flags, Seq: t.Seq, Ack: t.Ack, Window: t.Window, Length: t.Length, Options: t.Options}
	case nat.SCTP:
		if h := p.Transport(); len(h) >= 12 {
			c.SCTP = conntrack.SCTP{Tag: uint32(h[4])<<24 | uint32(h[5])<<16 | uint32(h[6])<<8 | uint32(h[7]), Chunks: h[12:]}
		}
	case nat.ICMP, nat.ICMPv6:
		c.ICMPType, c.ICMPCode, _ = p.ICMP()
		c.Error = packet.IsError(c.Tuple.Proto(), c.ICMPType)
		if inside, ok := p.Inside(); ok && inside.Trackable() {
			c.Inside, _ = read(inside.Tuple())
			c.InsideType, c.InsideCode, _ = inside.ICMP()
		}
	}
}

// confirm puts a new connection into the table when its first packet leaves the node or reaches a socket (nf_confirm).
func (g *Gateway) confirm(p *passage) bool {
	c := p.ref.Conn
	if c == nil || p.ref.Dir != nat.Original || c.Has(nat.Confirmed) {
		return true
	}
	if g.conns.Confirm(c) {
		if g.confirmed != nil {
			g.confirmed(c)
		}
		return true
	}
	g.abandon(p)
	if g.conns.Resolve(&p.ref) == nat.Accept {
		return true
	}
	g.lost("conntrack", "another connection has the tuple: insert_failed")
	return false
}
