package gateway

import (
	"fmt"
	"net/netip"

	"natlab/nat"
	"natlab/nat/conntrack"
	"natlab/nat/iptables"
	"natlab/topology"
)

// The bits of TCP's flag byte.
const (
	tcpSYN = 2
	tcpRST = 4
	tcpACK = 16
)

// firstTTL is the TTL of a packet as Linux sends it; a packet that meets more namespaces than that is in a loop.
const firstTTL = 64

// walk is one probe on one way through the network.
type walk struct {
	network  *Network
	probe    Probe
	script   *script
	tables   map[*host]*conntrack.Table
	conns    []tracked
	out      Outcome
	ended    bool
	rejected bool       // a REJECT rule answers
	via      netip.Addr // the next hop of the packet that POSTROUTING sees
	queue    []arrival
}

type tracked struct {
	host *host
	conn *conntrack.Conn
}

// arrival is a packet that comes in by a device.
type arrival struct {
	dev *device
	f   *flight
}

// Predict walks every way that a probe can go. An error is a namespace that the plan does not have, or an address
// that is not IPv4.
func (n *Network) Predict(p Probe) (Prediction, error) {
	from := n.members[p.From]
	if from == nil {
		return nil, fmt.Errorf("probe %s: the plan has no %q", p.Tuple, p.From)
	}
	if !p.Tuple.IsValid() || !p.Tuple.Src().Addr().Is4() || !p.Tuple.Dst().Addr().Is4() {
		return nil, fmt.Errorf("probe %s from %s: want two IPv4 addresses", p.Tuple, p.From)
	}
	var all Prediction
	for given := []bool{}; given != nil && len(all) < maxWays; {
		w := &walk{network: n, probe: p, script: &script{given: given}, tables: map[*host]*conntrack.Table{}}
		all = append(all, w.run(from))
		given = w.script.next()
	}
	return all, nil
}

// maxWays bounds how many ways of one probe are followed.
const maxWays = 1 << 14

func (w *walk) run(from *host) Outcome {
	f := &flight{Packet: iptables.Packet{Tuple: w.probe.Tuple}, ttl: firstTTL}
	if w.probe.Tuple.Proto() == nat.TCP {
		f.TCPFlags = tcpSYN
	}
	w.send(from, f)
	for len(w.queue) > 0 && !w.ended {
		next := w.queue[0]
		w.queue = w.queue[1:]
		w.receive(next.dev, next.f)
	}
	for _, t := range w.conns {
		status := t.conn.Status
		if w.out.End == EndAnswered && w.probe.Tuple.Proto() == nat.TCP {
			status |= conntrack.Assured
		}
		w.out.Conns = append(w.out.Conns, Conn{
			Node: t.host.member, Original: t.conn.Original, Reply: t.conn.Reply, Status: status, Mark: t.conn.Mark,
		})
	}
	w.out.Probability, w.out.Unknown = w.script.probability(), w.script.unknown
	return w.out
}

func (w *walk) table(h *host) *conntrack.Table {
	if w.tables[h] == nil {
		w.tables[h] = &conntrack.Table{}
	}
	return w.tables[h]
}

// world is what rules ask of their surroundings, in one namespace.
func (w *walk) world(h *host) iptables.World { return surroundings{w.script, h} }

type surroundings struct {
	*script
	host *host
}

func (s surroundings) AddrType(a netip.Addr, dev string) string {
	if own, ok := s.host.local[a]; dev != "" && ok && own != dev {
		return "UNICAST"
	}
	return s.host.routingType(a)
}

// tap notes a packet at a point of observation.
func (w *walk) tap(h *host, tap nat.Tap, dev string, f *flight) {
	if h.kind == topology.KindUnderlay {
		return
	}
	hop := nat.Hop{Node: h.member, Tap: tap, Dev: dev, Tuple: f.Tuple, Mark: f.Mark}
	if f.inner != nil {
		hop.Tuple, hop.Outer = f.inner.Tuple, f.Tuple
	}
	j := w.journey(f)
	j.Hops = append(j.Hops, hop)
}

func (w *walk) journey(f *flight) *Journey {
	if f.dir == nat.Reply {
		return &w.out.Reply
	}
	return &w.out.Request
}

// steps notes the rules that a packet met. Those that a tunnel packet meets are not noted: its connection may be
// older than the probe.
func (w *walk) steps(f *flight, steps nat.Trace) {
	if f.inner == nil {
		j := w.journey(f)
		j.Steps = append(j.Steps, steps...)
	}
}

// end ends the walk, unless it has ended: what comes after the first end is not the probe's.
func (w *walk) end(e End, where, why string) {
	if w.ended {
		return
	}
	w.ended = true
	w.out.End = e
	if w.out.Where == "" && e != EndAnswered {
		w.out.Where, w.out.Why = where, why
	}
}

func (w *walk) lost(_ *flight, where, why string) { w.end(EndLost, where, why) }

// send is a packet that a process of the namespace sends: OUTPUT, then out (ip_local_out).
func (w *walk) send(h *host, f *flight) {
	next, why := h.lookup(f.Tuple.Dst().Addr())
	if why != "" {
		w.lost(f, h.member+" routing", why)
		return
	}
	f.In, f.Out = "", next.dev.Name
	if !f.given {
		f.conn = nil
	}
	f.State = 0
	dst, mark := f.Tuple.Dst().Addr(), f.Mark
	w.tap(h, nat.TapOutRaw, f.Out, f)
	if !w.hook(h, nat.Output, tableRaw, f) {
		return
	}
	w.track(h, f)
	if !w.hook(h, nat.Output, tableMangle, f) || !w.nat(h, nat.Output, f) {
		return
	}
	w.tap(h, nat.TapOutNAT, f.Out, f)
	if !w.hook(h, nat.Output, tableFilter, f) || !w.hook(h, nat.Output, tableSecurity, f) {
		return
	}
	if f.Tuple.Dst().Addr() != dst || f.Mark != mark { // ip_route_me_harder
		if next, why = h.lookup(f.Tuple.Dst().Addr()); why != "" {
			w.lost(f, h.member+" rerouting after OUTPUT", why)
			return
		}
	}
	w.postrouting(h, f, next)
}

// postrouting is the last hook, and then the link.
func (w *walk) postrouting(h *host, f *flight, next nextHop) {
	f.Out, w.via = next.dev.Name, next.via
	in := f.In
	f.In = "" // NF_INET_POST_ROUTING knows the in device only for bridges
	if !w.hook(h, nat.PostRouting, tableMangle, f) || !w.nat(h, nat.PostRouting, f) {
		return
	}
	w.tap(h, nat.TapPost, f.Out, f)
	f.In = in
	if w.confirm(h, f) {
		w.transmit(h, f, next)
	}
}

// transmit hands a packet to a device.
func (w *walk) transmit(h *host, f *flight, next nextHop) {
	switch next.dev.Kind {
	case topology.Loopback:
		w.queue = append(w.queue, arrival{next.dev, f})
	case topology.TunnelIPIP:
		outer := nat.TupleOf(nat.IPIP, netip.AddrPortFrom(next.dev.Local, 0), netip.AddrPortFrom(next.via, 0))
		w.encapsulate(h, f, outer)
	case topology.TunnelVXLAN:
		end := h.tunnelEnd(next.dev, next.via)
		if !end.IsValid() {
			w.lost(f, h.member+" "+next.dev.Name, "no tunnel end for "+next.via.String())
			return
		}
		outer := nat.TupleOf(nat.UDP, netip.AddrPortFrom(next.dev.Local, AnyPort), netip.AddrPortFrom(end, next.dev.Port))
		w.encapsulate(h, f, outer)
	case topology.Veth, topology.Bridge:
		end := h.neighbour(next.dev, next.via)
		if end == nil {
			w.lost(f, h.member+" "+next.dev.Name, "nobody answers ARP for "+next.via.String())
			return
		}
		w.queue = append(w.queue, arrival{end, f.cross()})
	}
}

// cross is a packet in another namespace: mark and connection stay behind (skb_scrub_packet).
func (f *flight) cross() *flight {
	c := *f
	c.Mark, c.ConnMark, c.State, c.conn, c.related, c.given = 0, 0, 0, nil, false, false
	return &c
}

// encapsulate sends a packet inside another one of the namespace's own. The kernel's tunnels keep the skb, and its
// mark with it.
func (w *walk) encapsulate(h *host, f *flight, outer nat.Tuple) {
	o := &flight{Packet: iptables.Packet{Tuple: outer}, dir: f.dir, ttl: firstTTL, inner: f}
	if outer.Proto() != nat.IPIP || w.network.options.KernelIPIP {
		o.Mark = f.Mark
	}
	w.send(h, o)
}

// receive is a packet that comes in by a device: PREROUTING, then to a socket or onwards (ip_rcv).
func (w *walk) receive(d *device, f *flight) {
	h := d.host
	f.In, f.Out = d.Name, ""
	looped := d.Kind == topology.Loopback && f.conn != nil
	w.tap(h, nat.TapPreRaw, d.Name, f)
	if !w.hook(h, nat.PreRouting, tableRaw, f) {
		return
	}
	if !looped { // a packet on lo keeps its connection, with the translation settled
		w.track(h, f)
	}
	if !w.hook(h, nat.PreRouting, tableMangle, f) {
		return
	}
	if !looped && !w.nat(h, nat.PreRouting, f) {
		return
	}
	w.tap(h, nat.TapPreNAT, d.Name, f)
	if why := h.martian(d, f.Tuple.Src().Addr(), f.Tuple.Dst().Addr()); why != "" {
		w.lost(f, h.member+" routing", why)
		return
	}
	next, why := h.lookup(f.Tuple.Dst().Addr())
	switch {
	case why == "" && next.local:
		w.input(h, f, looped)
	case !h.forwards():
		w.lost(f, h.member+" routing", "not for this host, and ip_forward is 0")
	case why == noRoute:
		w.icmp(h, f, icmpNetUnreachable, why)
	case why != "":
		w.lost(f, h.member+" routing", why)
	default:
		w.forward(h, f, next)
	}
}

func (w *walk) forward(h *host, f *flight, next nextHop) {
	if f.ttl--; f.ttl <= 0 {
		w.lost(f, h.member+" forwarding", "TTL exceeded: the packet went in a loop")
		return
	}
	f.Out = next.dev.Name
	for _, table := range []string{tableMangle, tableFilter, tableSecurity} {
		if !w.hook(h, nat.Forward, table, f) {
			return
		}
	}
	w.postrouting(h, f, next)
}

// input is a packet for the namespace itself: INPUT, then its socket or tunnel.
func (w *walk) input(h *host, f *flight, looped bool) {
	for _, table := range []string{tableMangle, tableFilter, tableSecurity} {
		if !w.hook(h, nat.Input, table, f) {
			return
		}
	}
	if !looped && !w.nat(h, nat.Input, f) {
		return
	}
	if !w.confirm(h, f) {
		return
	}
	if f.inner != nil {
		w.decapsulate(h, f)
		return
	}
	w.deliver(h, f)
}

func (w *walk) decapsulate(h *host, f *flight) {
	kind := topology.TunnelVXLAN
	if f.Tuple.Proto() == nat.IPIP {
		kind = topology.TunnelIPIP
	}
	for _, d := range h.devices {
		if d.Kind == kind {
			w.queue = append(w.queue, arrival{d, f.inner.cross()})
			return
		}
	}
	w.lost(f, h.member, "no tunnel takes "+f.Tuple.String())
}
