package gateway

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"natlab/nat"
	"natlab/nat/conntrack"
	"natlab/nat/packet"
	"natlab/nat/rules"
	"natlab/topology"
)

// Seen is a packet that a kernel hands over at one of its hooks, and what it tells of it. The kernel routes, asks neighbours, splits and
// delivers; the Gateway does at each hook what the node's tables, conntrack and NAT do there.
type Seen struct {
	Hook    nat.Hook
	Packet  []byte // from the IP header on; it is rewritten in place
	In, Out string // devices; "" where the hook has none
	Mark    uint32
	MAC     []byte // the hardware address that it came from; nil where there is none
	// UID and GID are those of the process that sends it; not known where none does.
	UID, GID rules.ID
	// Unsummed: its transport checksum is for a device to complete (CHECKSUM_PARTIAL).
	Unsummed bool
	// Segments: it is several packets, which a device is to take apart (GSO).
	Segments bool
	// Cut: of its bytes only the first BeginLength are known, and behind them may be anything. See Gateway.Begins.
	Cut bool
	// Sound: nobody has to look at its checksum any more (skb_csum_unnecessary).
	Sound bool
	// Trace asks for the rules that the packet meets, in place of NodeOptions.Trace.
	Trace bool
	// Conn and Dir are the connection of a packet whose earlier hooks the Gateway was not asked at (Settles); nil: no such packet.
	Conn *conntrack.Conn
	Dir  nat.Direction
}

// Ruling is what becomes of a packet at a hook.
type Ruling struct {
	Verdict nat.Verdict     // Accept or Drop
	Packet  []byte          // as it goes on, with its checksums complete where Changed
	Changed bool            // it is not what came
	Mark    uint32          // that it goes on with
	Answers []Answer        // what the node sends because of it
	Trace   nat.Trace       // where it was asked for
	Serial  uint32          // the same at all hooks of a packet that has a connection, and another one's for none that is on its way
	Conn    *conntrack.Conn // its connection; nil for none. It may be kept and read between calls
	Dir     nat.Direction   // of that
	Tuple   nat.Tuple       // as it goes on
	Why     string          // it goes no further; "" where it does
	// Malformed: it is no packet that an IP stack would take, or not one of the Gateway's family.
	Malformed bool
	// Open: what a rule makes of the packet is not known, so that it goes no further.
	Open bool
}

// Answer is a packet of the node's own because of another: a REJECT rule's, or TEE's copy. It is to be handed to the kernel as it is (IP_HDRINCL), and comes
// to At again at OUTPUT.
type Answer struct {
	Packet []byte
	Dev    string // that it has to leave by; "" leaves it to the routes
	Mark   uint32
	Via    netip.Addr // the neighbour that it goes to in place of its destination, with that one's route: TEE's copy; zero for none
}

// At takes a packet through all that is called at one hook. Between hooks a packet is found again by what does not change on its way, its
// tuple first, so that neither mark nor anything else of it is needed to tell it. A packet that is not found again, for it passed an
// earlier hook before the Gateway was there, has no connection. at is the time, which must not go back. What is returned is good until
// the next call.
func (g *Gateway) At(s Seen, at time.Time) Ruling {
	v := g.begin(at)
	v.wire, v.unsummed, v.segments, v.mac, v.answers = true, s.Unsummed, s.Segments, s.MAC, v.answers[:0]
	defer func() { v.wire, v.mac = false, nil }()
	g.transit.expire(&g.conns, at)
	var head [headLength]byte
	n := copy(head[:], s.Packet)
	g.options.Trace = s.Trace
	p, ok := v.arrive(&s)
	malformed := !ok
	if ok {
		v.split(p, s.Hook)
		v.icmpBusy = s.Hook == nat.Output && p.view.Sender.Socket == rules.KernelSocket && p.pkt.Proto() == v.icmp().proto
		v.copying = (p.copy || p.uncopied) && (s.Hook == nat.Output || s.Hook == nat.PostRouting)
		ok = p.judged && p.pass(s.Hook) || v.hook(s.Hook, &p.passage) && (s.Hook != nat.Input || !p.pkt.V6() || !v.drifted(&p.passage))
		v.icmpBusy, v.copying = false, false
	}
	r := Ruling{Verdict: nat.Drop, Answers: v.answers, Trace: v.trace, Why: v.why, Malformed: malformed, Open: v.open, Serial: p.serial, Conn: p.ref.Conn, Dir: p.ref.Dir}
	if !ok {
		g.transit.free(p)
		return r
	}
	r.Verdict, r.Packet, r.Mark, r.Tuple = nat.Accept, p.pkt.Bytes(), v.markOnward(&p.passage, &s, head[:n]), p.view.Tuple
	r.Changed = len(r.Packet) != len(s.Packet) || !bytes.Equal(head[:n], r.Packet[:n])
	if r.Changed && s.Unsummed && !s.Cut {
		p.pkt.Seal()
	}
	v.depart(p, &s)
	return r
}

// markOnward is the mark that a packet goes on with; before is how it came. The kernel routes what comes back at OUTPUT with another mark anew (nf_ip_reroute), which it does not do for rules
// but for those of a chain that reroutes (routed): where no such chain and no translation had that mark, and it leads elsewhere, it is kept until POSTROUTING. Nor
// does it do so for what comes back with the mark that it had, which rules set and took back where they reroute: it gets another mark until POSTROUTING, of the same route.
func (v *visit) markOnward(p *passage, s *Seen, before []byte) uint32 {
	p.held = false
	if s.Hook != nat.Output {
		return p.view.Mark
	}
	mark := p.view.Mark
	if p.held = p.routed != mark && (p.copy || v.leadsAstray(p)); p.held {
		mark = p.routed
	}
	if !p.anew || mark != s.Mark || movedOn(before, p.pkt.Bytes(), p.pkt.V6()) {
		return mark
	}
	now, _ := v.routeBy(p, mark)
	if now.dev == p.out && now.via == v.viaOf(p) {
		return mark
	}
	for bit := uint32(1 << 31); bit != 0; bit >>= 1 {
		if other, why := v.routeBy(p, mark^bit); why == "" && other.dev == now.dev && other.via == now.via {
			p.held, p.routed = true, mark^bit
			return p.routed
		}
	}
	return mark // every mark has a route of its own
}

// movedOn reports whether the kernel routes a packet anew for what its header has become (nf_ip_reroute, nf_ip6_reroute).
func movedOn(before, now []byte, v6 bool) bool {
	const tos, addresses4, end4, addresses6, end6 = 1, 12, 20, 8, 40
	if v6 {
		return !bytes.Equal(before[addresses6:end6], now[addresses6:end6])
	}
	return before[tos] != now[tos] || !bytes.Equal(before[addresses4:end4], now[addresses4:end4])
}

// leadsAstray reports whether a packet's mark gives it another route than the one that it has, or none.
func (v *visit) leadsAstray(p *passage) bool {
	now, why := v.routeAnew(p)
	before, _ := v.routeBy(p, p.routed)
	return why != "" || now.dev != p.out || now.via != before.via
}

// routeBy is the route that a packet of the node itself would have with a mark.
func (v *visit) routeBy(p *passage, mark uint32) (next nextHop, why string) {
	own := p.view.Mark
	p.view.Mark = mark
	next, why = v.routeAnew(p)
	p.view.Mark = own
	return next, why
}

// headLength is how much of a packet's begin the rules and NAT may change: IP's header, an ICMP error's, and those of the packet inside.
const headLength = 256

// arrive is the passage of a packet that comes to a hook: the one that it had at an earlier hook, or a new one. false: it goes no
// further.
func (v *visit) arrive(s *Seen) (*traveller, bool) {
	p := v.transit.traveller()
	var pkt packet.Packet
	err := pkt.Parse(s.Packet)
	for _, dev := range []string{s.In, s.Out} {
		if dev != "" && v.devices[dev] == nil {
			err = fmt.Errorf("the node has no device %s", dev)
		}
	}
	if err != nil {
		v.lost("", err.Error())
		return p, false
	}
	if !v.admits(&pkt) {
		return p, false
	}
	forwarded := s.In != "" || v.options.Kernel.Before(5, 7) // which tell no device at POSTROUTING
	if known := v.transit.claim(fingerprintOf(&pkt), s.Hook, v.devices[s.In], forwarded); known != nil {
		v.transit.free(p)
		p = known
	} else {
		v.unknownYet(&p.passage, &pkt, s)
	}
	p.pkt = pkt
	p.sound = p.sound || s.Sound || s.Unsummed
	if s.Hook == nat.PreRouting {
		p.in = v.devices[s.In]
		p.origin = pkt.Tuple().Src().Addr()
	}
	p.view.In, p.view.Out, p.view.Came = s.In, s.Out, ""
	if s.Hook == nat.Output {
		p.routed, p.anew = s.Mark, false
	}
	if !p.keepsMark(s) {
		p.view.Mark = s.Mark
	}
	if s.Hook == nat.PostRouting { // the kernel tells it where it knows it
		if p.view.In, p.view.Came = "", s.In; p.copy && !v.options.Kernel.Before(5, 7) { // skb->dev, which is none's of what a process sends
			p.view.Came = s.Out
		}
	}
	p.out, p.via = v.devices[s.Out], netip.Addr{}
	p.onward = s.Hook == nat.Forward
	p.read()
	if s.Hook == nat.PostRouting && p.ref.Conn != nil && !p.ref.Conn.Has(nat.Confirmed) {
		p.via = v.viaOf(&p.passage)
	}
	return p, true
}

// keepsMark reports whether a packet has another mark than the kernel tells at a hook, which does not know it yet.
func (p *passage) keepsMark(s *Seen) bool {
	if p.copy && !p.held {
		return s.Hook == nat.Output || s.Hook == nat.PostRouting
	}
	return s.Hook == nat.PostRouting && p.held && s.Mark == p.routed
}

// viaOf is who is asked for on the link that a packet leaves by, which the kernel knows and does not tell.
func (v *visit) viaOf(p *passage) netip.Addr {
	dst := p.pkt.Tuple().Dst().Addr()
	if next, why := v.host.lookup(dst); why == "" && next.dev == p.out {
		return next.via
	}
	if next, why := v.host.lookupBy(p.out, dst); why == "" {
		return next.via
	}
	return dst
}

// split tells at POSTROUTING what a packet is that the node hears itself: of IPv4 there the first is the copy, and what leaves comes
// behind it (ip_mc_output), of IPv6 it is one packet there (ip6_finish_output2).
func (v *visit) split(p *traveller, hook nat.Hook) {
	if hook != nat.PostRouting || p.twin || p.copy || p.out.Kind == topology.Loopback {
		return
	}
	if p.echo = v.host.hears(p.out, p.view.Tuple.Dst().Addr()); !p.echo || p.pkt.V6() {
		return
	}
	one := v.transit.traveller()
	one.passage, one.serial, one.twin = p.passage, p.serial, true
	one.echo = false
	v.transit.put(one, stageCopied, v.at)
}

// hears reports whether the node gets what it sends by a device to an address, as others do. The device is the kernel's choice.
func (h *host) hears(d *device, dst netip.Addr) bool {
	if dst.IsMulticast() {
		return h.joined(d, dst)
	}
	next, why := h.lookup(dst)
	return dst == limitedBroadcast || why == "" && next.kind == routeBroadcast
}

// forMany reports whether a packet at a hook has a route of what is broadcast or for a group, which the kernel chose and does not tell. One that is
// forwarded has another (bc_forwarding).
func (v *visit) forMany(p *passage) bool {
	dst := p.view.Tuple.Dst().Addr()
	if p.onward {
		return false
	}
	kind, _ := v.host.localTable(dst)
	all := dst.IsUnspecified() && dst.Is4() && p.in != nil && p.in.Kind != topology.Loopback
	return all || dst.IsMulticast() || dst == limitedBroadcast || kind == routeBroadcast
}

// tied reports whether a packet is found again at its next hook.
func (p *passage) tied() bool { return p.ref.Conn != nil || p.ref.Info == conntrack.InfoUntracked }

// taken reports whether a node takes packets of a protocol whatever runs there. Of those its connection is forgotten before anything answers them (nf_reset_ct in
// ip_protocol_deliver_rcu).
func taken(proto nat.Proto) bool {
	switch proto {
	case nat.TCP, nat.UDP, nat.ICMP, nat.ICMPv6:
		return true
	}
	return false
}

// depart notes a packet that goes on to further hooks.
func (v *visit) depart(p *traveller, s *Seen) {
	if s.Hook == nat.Input && p.ref.Conn != nil && !taken(p.pkt.Proto()) {
		v.transit.delivered.note(&p.passage)
	}
	last := s.Hook == nat.Input || s.Hook == nat.PostRouting && p.out.Kind != topology.Loopback && !p.echo
	if last || !p.tied() && !p.held && !p.summed && !p.uncopied && !p.answer && (s.Hook == nat.PostRouting || !v.transit.mistaken(p, stageOf(s.Hook))) {
		v.transit.free(p)
		return
	}
	if s.Hook == nat.PostRouting {
		p.raw, p.uncopied, p.judged, p.strange = false, false, false, false
		p.echo, p.looped, p.sound, p.sent = false, true, p.echo || p.sound, p.view.Tuple.Dst().Addr() // dev_loopback_xmit
	}
	v.transit.put(p, stageOf(s.Hook), v.at)
}

// emit has the kernel send a packet of the node's own.
func (v *visit) emit(q *passage) {
	q.read()
	b := q.pkt.Bytes()
	if !q.pkt.V6() && !q.pkt.DontFragment() { // the kernel would choose an identifier where there is none
		v.transit.id = max(v.transit.id+1, 1)
		binary.BigEndian.PutUint16(b[4:], v.transit.id)
		packet.Complete(b)
	}
	a := Answer{Packet: b, Mark: q.view.Mark}
	if q.by != nil {
		a.Dev = q.by.Name
	}
	v.answers = append(v.answers, a)
	v.awaits(q)
}

// awaits notes a packet that the kernel is given to send. Where nothing is called at OUTPUT it is met at POSTROUTING first.
func (v *visit) awaits(q *passage) {
	one, next := v.transit.traveller(), stageAnswer
	one.passage = *q
	one.uncopied, one.strange = v.copying, v.copying && v.early
	if !v.Calls(nat.Output) {
		next = stageOutput
	}
	v.transit.put(one, next, v.at)
}

// Calls reports whether anything can become of a packet at a hook: a kernel need not hand packets over at others. At POSTROUTING a packet that OUTPUT was asked
// about gets its own mark back (markOnward).
func (g *Gateway) Calls(hook nat.Hook) bool {
	switch {
	case g.host.tracks && hook != nat.Forward, g.filters(hook):
		return true
	case hook == nat.PostRouting:
		return g.filters(nat.Output) || g.host.family == nat.IPv4 && g.rules.any(copies) // a copy from 0.0.0.0 leaves as one only there
	}
	return false
}

// filters reports whether rules that do not translate have something to do at a hook.
func (g *Gateway) filters(hook nat.Hook) bool {
	for _, rs := range g.rules {
		for _, t := range rs.Tables {
			if c, ok := t.Chain(hook.String()); ok && t.Name != tableNAT && (len(c.Rules) > 0 || c.Policy != "ACCEPT") {
				return true
			}
		}
	}
	return g.options.callsNative(hook, g.host.family)
}

// Tracks reports whether the rules ask for conntrack: a kernel has to put fragments together for it.
func (g *Gateway) Tracks() bool { return g.host.tracks }

// Become makes the Gateway that of other rules, of the same family. Its connections stay. After an error, of which NewGateway tells, it is
// as it was.
func (g *Gateway) Become(ns topology.Namespace, rules Rules) error {
	other, err := NewGateway(ns, rules, g.options)
	if err != nil {
		return err
	}
	g.node, g.conns.Settings = other.node, other.conns.Settings
	return nil
}

// Move tells the Gateway that its namespace has changed: devices, addresses, routes or sysctls. After an error, of which NewGateway tells,
// it is as it was.
func (g *Gateway) Move(ns topology.Namespace) error {
	other, err := NewGateway(ns, nil, g.options)
	if err != nil {
		return err
	}
	other.host.tracks = g.host.tracks
	other.rules, other.hooks = g.rules, g.hooks
	other.conns.Settings.Accounts = other.conns.Settings.Accounts || g.rules.any(counts)
	g.node, g.conns.Settings = other.node, other.conns.Settings
	return nil
}
