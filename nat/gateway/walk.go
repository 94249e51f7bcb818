package gateway

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"natlab/nat"
	"natlab/nat/conntrack"
	"natlab/nat/packet"
	"natlab/topology"
)

// walk is one probe on one way through the network: its namespaces are Gateways that have seen nothing, and what one
// sends is handed to the next.
type walk struct {
	network  *Network
	probe    nat.Probe
	choices  *choices
	gateways map[*Gateway]*Gateway // those that the probe met
	conns    []tracked
	chosen   []netip.AddrPort // by chance
	out      nat.Outcome
	ended    bool
	rejected bool // a REJECT rule answers
	looks    []look
	queue    []arrival
	passes   int
	err      error // of rules that could not be had
}

type tracked struct {
	node string
	conn *conntrack.Conn
}

// flight is a packet between two namespaces, or between a process and its namespace.
type flight struct {
	packet []byte
	dir    nat.Direction // in the probe: the request or its answer
	inner  nat.Tuple     // of what a tunnel packet carries; zero: it is none
}

// arrival is a packet that a namespace has to handle: of a device of it, or of a process where dev is "".
type arrival struct {
	at   *Gateway
	dev  string
	mac  string // that the frame came from; "" where it is not known
	mark uint32
	flight
}

// maxPasses bounds how many namespaces a packet meets on one way: what is sent into a tunnel begins with a new TTL each time.
const maxPasses = 256

// Predict walks every way that a probe can go. An error is a namespace that the plan does not have, or a probe of another family than
// the network is for.
func (n *Network) Predict(p nat.Probe) (nat.Prediction, error) {
	x, err := n.Explain(p, nil)
	if err != nil {
		return nil, err
	}
	return x.Prediction, nil
}

// Explain is Predict, and can tell of each rule why it was not met. Where dice are given they choose one way, and ports.
func (n *Network) Explain(p nat.Probe, dice conntrack.Chance) (*Explanation, error) {
	from := n.member(p.From)
	if from == nil {
		return nil, fmt.Errorf("probe %s: the plan has no %q", p.Tuple, p.From)
	}
	family := from.options.Family
	if !p.Tuple.IsValid() || nat.FamilyOf(p.Tuple.Src().Addr()) != family || nat.FamilyOf(p.Tuple.Dst().Addr()) != family {
		return nil, fmt.Errorf("probe %s from %s: want two %s addresses", p.Tuple, p.From, map[nat.Family]string{nat.IPv4: "IPv4", nat.IPv6: "IPv6"}[family])
	}
	ask := AskOf(p.Tuple)
	x := &Explanation{Ask: ask, nodes: n.nodes, furnish: n.furnish}
	var spent effort
	for given := []int{}; given != nil; {
		if spent.enough() {
			x.Prediction, x.looks = append(x.Prediction, tooManyWays()), append(x.looks, nil)
			break
		}
		w := &walk{network: n, probe: p, choices: &choices{given: given, dice: dice}, gateways: map[*Gateway]*Gateway{}}
		w.queue = []arrival{{at: from, flight: flight{packet: ask.packet()}}}
		x.Prediction, x.looks = append(x.Prediction, w.run()), append(x.looks, w.looks)
		if w.err != nil {
			return nil, fmt.Errorf("probe %s: %w", p.Tuple, w.err)
		}
		spent.add(w.choices)
		given = w.choices.next()
	}
	return x, nil
}

func (w *walk) run() nat.Outcome {
	for len(w.queue) > 0 && !w.ended {
		next := w.queue[0]
		w.queue = w.queue[1:]
		w.pass(next)
	}
	w.end(nat.EndLost)
	for _, t := range w.conns {
		status := t.conn.Status
		if status&nat.Dying != 0 { // as it was last seen, before an RST that was the first answer ended it
			status &^= nat.Dying | nat.SeenReply
		}
		if w.out.End == nat.EndAnswered && w.probe.Tuple.Proto() == nat.TCP {
			status |= nat.Assured
		}
		w.out.Conns = append(w.out.Conns, nat.Conn{
			Node: t.node, Original: t.conn.Original, Reply: t.conn.Reply, Status: status, Mark: t.conn.Mark,
		})
	}
	w.out.ForgetPorts(w.chosen)
	w.choices.tell(&w.out)
	return w.out
}

// end ends the walk, unless it has ended: what comes after the first end is not the probe's.
func (w *walk) end(e nat.End) {
	if !w.ended {
		w.ended, w.out.End = true, e
	}
}

// decided notes what decided how the probe ends, if nothing has yet.
func (w *walk) decided(where, why string) {
	if w.out.Where == "" {
		w.out.Where, w.out.Why = where, why
	}
}

// gateway is a namespace as the probe finds it.
func (w *walk) gateway(of *Gateway) *Gateway {
	g := w.gateways[of]
	if g == nil {
		w.err = cmp.Or(w.err, w.network.furnish(of))
		g = of.fresh(predicting{choices: w.choices, forgets: true})
		w.remember(g)
		w.gateways[of] = g
	}
	return g
}

// pass takes a packet through one namespace.
func (w *walk) pass(a arrival) {
	g := w.gateway(a.at)
	if w.passes++; w.passes > maxPasses {
		w.decided(g.host.member, "the packet went in a loop")
		return
	}
	tunnel := a.inner.IsValid()
	g.prediction.older, g.prediction.sender = tunnel, a.mac
	g.options.Listens = func(t nat.Tuple) bool {
		return tunnel || g.visit.answering || a.dir == nat.Reply || w.network.serves(g.host.member, t)
	}
	g.prediction.tapped = func(h nat.Hop, answer bool) { w.tap(g, h, answer, a.flight) }
	g.prediction.met = func(answer bool, steps nat.Trace) {
		if !tunnel { // what a tunnel packet meets is not the probe's
			j := w.journey(a.dir, answer)
			j.Steps = append(j.Steps, steps...)
		}
	}
	g.prediction.look = func(l look) {
		if !tunnel {
			l.reply = a.dir == nat.Reply
			w.looks = append(w.looks, l)
		}
	}
	g.prediction.confirmed = func(c *conntrack.Conn) {
		if !tunnel && a.dir == nat.Original {
			w.conns = append(w.conns, tracked{g.host.member, c})
		}
	}
	w.resume(g, a.flight)
	var outs []Out
	if a.dev == "" {
		outs, _, _ = g.Send(a.packet, a.mark, explainedAt)
	} else {
		outs, _, _ = g.Handle(a.packet, a.dev, explainedAt)
	}
	w.chosen = append(w.chosen, g.prediction.chosen...)
	g.prediction.chosen = nil
	w.rejected = w.rejected || g.visit.rejected
	if g.visit.open {
		w.decided(g.visit.where, g.visit.why)
		w.end(nat.EndUnknown)
	}
	if g.visit.why != "" {
		w.decided(g.visit.where, g.visit.why)
	}
	for _, out := range outs {
		f := flight{packet: slices.Clone(out.Packet), dir: a.dir, inner: a.inner}
		if out.Answer {
			f.dir, f.inner = nat.Reply, nat.Tuple{}
		}
		if out.Local() {
			w.deliver(g, f)
		} else {
			w.transmit(g, out, f)
		}
	}
}

func (w *walk) journey(dir nat.Direction, answer bool) *nat.Journey {
	if dir == nat.Reply || answer {
		return &w.out.Reply
	}
	return &w.out.Request
}

// tap notes a packet at a point of observation.
func (w *walk) tap(g *Gateway, h nat.Hop, answer bool, f flight) {
	if g.host.kind == topology.KindUnderlay {
		return
	}
	if f.inner.IsValid() && !answer {
		h.Tuple, h.Outer = f.inner, h.Tuple
	}
	j := w.journey(f.dir, answer)
	j.Hops = append(j.Hops, h)
}

// transmit hands a packet to a device.
func (w *walk) transmit(g *Gateway, out Out, f flight) {
	h, d := g.host, g.devices[out.Dev]
	end := netip.Addr{}
	switch d.Kind {
	case topology.TunnelIPIP:
		end = out.Via
	case topology.TunnelVXLAN:
		if end = h.tunnelEnd(d, out.Via); !end.IsValid() {
			w.decided(h.member+" "+d.Name, "no tunnel end for "+out.Via.String())
			return
		}
	case topology.Veth, topology.Bridge, topology.Loopback, topology.PointToPoint:
		to := h.neighbour(d, out.Via)
		if to != nil && (d.Down || to.Down) {
			w.decided(h.member+" "+d.Name, "the link is down")
			return
		}
		if to == nil {
			w.decided(h.member+" "+d.Name, "nobody answers ARP for "+out.Via.String())
			return
		}
		w.queue = append(w.queue, arrival{at: w.network.member(to.host.member), dev: to.Name, mac: d.MAC, flight: f})
		return
	}
	w.encapsulate(g, d, end, out.Mark, f)
}

// vxlanHeaders is what a VXLAN packet has between UDP's header and the packet inside: its own header (RFC 7348) and
// Ethernet's. A prediction leaves both empty.
const vxlanHeaders = 8 + 14

// encapsulate sends a packet inside another one of the namespace's own. The kernel's tunnels keep the skb, and its
// mark with it.
func (w *walk) encapsulate(g *Gateway, d *device, end netip.Addr, mark uint32, f flight) {
	inner, err := packet.Parse(f.packet)
	if err != nil {
		w.decided(g.host.member+" "+d.Name, err.Error())
		return
	}
	a := arrival{at: w.network.member(g.host.member), mark: mark, flight: flight{dir: f.dir, inner: inner.Tuple()}}
	if d.Kind == topology.TunnelIPIP {
		if !w.network.kernelIPIP {
			a.mark = 0
		}
		a.packet = packet.Encapsulate(&inner, d.Local, end).Bytes()
	} else {
		outer := nat.TupleOf(nat.UDP, netip.AddrPortFrom(d.Local, nat.AnyPort), netip.AddrPortFrom(end, d.Port))
		a.packet = packet.Build(outer, packet.Fields{Payload: append(make([]byte, vxlanHeaders), f.packet...)}).Bytes()
	}
	w.queue = append(w.queue, a)
}

// decapsulate takes a packet out of a tunnel.
func (w *walk) decapsulate(g *Gateway, p *packet.Packet, dir nat.Direction) {
	kind, inside := topology.TunnelIPIP, p.Transport()
	if p.Tuple().Proto() == nat.UDP {
		kind, inside = topology.TunnelVXLAN, inside[8+vxlanHeaders:]
	}
	for _, d := range g.host.devices {
		if d.Kind == kind && d.Local.Is6() == p.V6() {
			w.queue = append(w.queue, arrival{at: w.network.member(g.host.member), dev: d.Name, flight: flight{packet: inside, dir: dir}})
			return
		}
	}
	w.decided(g.host.member, "no tunnel takes "+p.Tuple().String())
}

// deliver is a packet that reached a socket.
func (w *walk) deliver(g *Gateway, f flight) {
	p, err := packet.Parse(f.packet)
	switch {
	case err != nil:
		w.decided(g.host.member, err.Error())
	case f.inner.IsValid():
		w.decapsulate(g, &p, f.dir)
	case f.dir == nat.Reply:
		w.deliverReply(g.host.member, &p)
	default:
		got := p.Tuple()
		s := w.network.servers[serverKey{g.host.member, got.Proto(), got.Dst()}]
		w.out.Server, w.out.Endpoint, w.out.ServerPeer = s.Name, got.Dst(), got.Src()
		answer, why := answerTo(&p)
		if why != "" {
			w.decided(g.host.member, why)
			return
		}
		w.queue = append(w.queue, arrival{at: w.network.member(g.host.member), flight: flight{packet: answer, dir: nat.Reply}})
	}
}

// answerTo is what whoever gets a packet answers: a SYN-ACK, a datagram, an ICMP reply, an INIT-ACK; why tells of a packet
// that nobody answers: an ICMP reply or error, and an RST.
func answerTo(p *packet.Packet) (answer []byte, why string) {
	f := packet.Fields{TCP: packet.TCP{Flags: tcpSYN | tcpACK, Seq: 1, Ack: 2, Window: 64240}}
	if kind, code, ok := p.ICMP(); ok {
		proto := p.Tuple().Proto()
		if f.Type, _ = conntrack.ICMPAnswer(proto, kind); !conntrack.ICMPOpens(proto, kind) {
			return nil, fmt.Sprintf("nobody answers %s of type %d, code %d", proto, kind, code)
		}
	}
	switch {
	case p.TCPFlags()&tcpRST != 0:
		return nil, "nobody answers an RST"
	case p.Tuple().Proto() == nat.SCTP:
		f.Payload = make([]byte, 20)
		f.Payload[0], f.Payload[3] = 2, 20
	}
	return packet.Build(p.Tuple().Reply(), f).Bytes(), ""
}

// deliverReply is the answer at a socket: the client's, if it comes from where the client asked.
func (w *walk) deliverReply(member string, p *packet.Packet) {
	asked, got := w.probe.Tuple, p.Tuple()
	mine := member == w.probe.From
	if kind, _, ok := p.ICMP(); ok && packet.IsError(got.Proto(), kind) {
		inside, _ := p.Inside()
		if mine && inside.Tuple() == asked {
			w.end(w.refusal(p))
			return
		}
		w.decided(member, "the ICMP error is about "+inside.Tuple().String()+", which no socket here sent")
		return
	}
	switch {
	case !mine || got.Dst() != asked.Src():
		w.decided(member, "the answer "+got.String()+" reached "+member+", where no socket waits for it")
	case got.Src() != asked.Dst():
		w.out.ClientPeer = got.Src()
		w.decided(member, "the answer came untranslated, from "+got.Src().String()+" instead of "+asked.Dst().String())
	case p.TCPFlags()&tcpRST != 0:
		w.end(w.refusal(p))
	default:
		w.out.ClientPeer = got.Src()
		w.out.Where, w.out.Why = "", ""
		w.end(nat.EndAnswered)
	}
}

func (w *walk) refusal(answer *packet.Packet) nat.End {
	if w.rejected {
		return nat.EndRejected
	}
	return answerEnd(answer)
}

// answerEnd is how an exchange ends by an answer that is no rule's: an ICMP error, or an RST.
func answerEnd(answer *packet.Packet) nat.End {
	if kind, code, icmp := answer.ICMP(); icmp {
		return nat.EndOfError(answer.Tuple().Proto(), kind, code)
	}
	return nat.EndRefused
}
