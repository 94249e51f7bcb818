package userspace

import (
	"slices"
	"time"

	"natlab/nat"
	"natlab/nat/conntrack"
	"natlab/nat/gateway"
	"natlab/nat/packet"
	"natlab/nat/proof"
)

// Watcher gets what rules and connections did to packets that open a flow or refuse it: the rules that each met, and what became of its
// connection. Several may watch one Gateway.
type Watcher struct {
	g    *Gateway
	seen []proof.Observation // the Gateway is locked
	lost uint64              // of those that nobody read
}

// mostSeen bounds what waits to be read.
const mostSeen = 1 << 18

// Watch begins to watch. Observations bear the name of a node.
func (g *Gateway) Watch() *Watcher {
	w := &Watcher{g: g}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.watchers = append(g.watchers, w)
	g.unloadAll(func(c *conntrack.Conn) bool { return c.Original.Proto() == nat.UDP })
	return w
}

// Close ends the watch. A second Close does nothing.
func (w *Watcher) Close() {
	w.g.mu.Lock()
	defer w.g.mu.Unlock()
	w.g.watchers = slices.DeleteFunc(w.g.watchers, func(o *Watcher) bool { return o == w })
	if len(w.g.watchers) == 0 {
		w.g.entries = nil
	}
}

// Read returns what was seen since the last Read, and how much was lost since Watch. A packet that goes on has been told of: what it met is
// in what is read after it was seen anywhere behind the Gateway.
func (w *Watcher) Read() (seen []proof.Observation, lost uint64) {
	w.g.mu.Lock()
	defer w.g.mu.Unlock()
	w.g.tellGone()
	seen, w.seen = w.seen, nil
	return seen, w.lost
}

// entry is what watchers were told of a connection last.
type entry struct {
	id     uint32
	state  string
	status nat.Status
	mark   uint32
}

// tell notes an observation for all who watch. The Gateway is locked.
func (g *Gateway) tell(o proof.Observation) {
	for _, w := range g.watchers {
		if len(w.seen) >= mostSeen {
			w.lost++
			continue
		}
		w.seen = append(w.seen, o)
	}
}

// tellRuling notes what a packet met. The Gateway is locked.
func (g *Gateway) tellRuling(s *gateway.Seen, flags uint8, r *gateway.Ruling) {
	for _, step := range r.Trace {
		step.Node, step.After = g.options.Node, nat.Tuple{}
		g.tell(proof.Observation{
			Kind: proof.RuleHit, Node: g.options.Node, Step: step, TraceID: r.Serial, TCPFlags: flags, InDev: s.In, OutDev: s.Out,
		})
	}
}

// tellConn notes how a connection is now, where that is news. The Gateway is locked.
func (g *Gateway) tellConn(c *conntrack.Conn) {
	if c == nil || !c.Has(nat.Confirmed) || c.Has(nat.Dying) || len(g.watchers) == 0 {
		return
	}
	e, known := g.entries[c]
	state := c.State()
	if known && e.status == c.Status && e.mark == c.Mark && e.state == state {
		return
	}
	conn := g.connOf(c) // which makes the map
	g.entries[c] = entry{conn.ID, state, c.Status, c.Mark}
	g.tell(proof.Observation{Kind: proof.ConnSeen, Node: g.options.Node, Conn: conn, ConnID: conn.ID, State: state})
}

// tellGone notes the connections that are no more, as they were: what an RST sets of the connection that it ends, the kernel does not tell
// either (nf_ct_kill in nf_conntrack_tcp_packet). The Gateway is locked.
func (g *Gateway) tellGone() {
	for c, e := range g.entries {
		if c.Has(nat.Dying) {
			conn := g.connOf(c)
			conn.Status, conn.Mark = e.status|nat.Dying, e.mark
			g.tell(proof.Observation{Kind: proof.ConnSeen, Node: g.options.Node, Conn: conn, Gone: true, ConnID: e.id})
			delete(g.entries, c)
		}
	}
}

// connOf is a connection as the kernel lists it, with a number of its own while somebody watches. The Gateway is locked.
func (g *Gateway) connOf(c *conntrack.Conn) nat.Conn {
	if g.entries == nil {
		g.entries = map[*conntrack.Conn]entry{}
	}
	e, known := g.entries[c]
	if !known {
		g.number++
		e.id = g.number
		g.entries[c] = e
	}
	return nat.Conn{Node: g.options.Node, ID: e.id, Original: c.Original, Reply: c.Reply, Status: c.Status, Mark: c.Mark}
}

// traced reports whether a packet is one whose rules are told, with its TCP flags: as the witness's taps have it, one that opens a connection
// or refuses it, a datagram, or a tunnel's packet around such a one.
func (g *Gateway) traced(b []byte) (flags uint8, is bool) {
	if len(g.watchers) == 0 {
		return 0, false
	}
	pkt, err := packet.Parse(b)
	if err != nil {
		return 0, false
	}
	const vxlanPort, ahead = 4789, 8 + 8 + 14
	switch h := pkt.Transport(); {
	case pkt.Proto() == nat.IPIP:
		_, is = opens(h)
		return 0, is
	case pkt.Proto() == nat.UDP && pkt.Tuple().Dst().Port() == vxlanPort && len(h) > ahead:
		_, is = opens(h[ahead:])
		return 0, is
	}
	return opens(b)
}

// opens reports whether a packet opens a connection or refuses it, or has no connection.
func opens(b []byte) (flags uint8, is bool) {
	pkt, err := packet.Parse(b)
	if err != nil {
		return 0, false
	}
	const synOrRST = 2 | 4
	flags = pkt.TCPFlags()
	return flags, pkt.Proto() != nat.TCP || flags&synOrRST != 0
}

// Entries lists the connections of a family that there are now, as conntrack -L does.
func (g *Gateway) Entries(f nat.Family) (out []nat.Entry) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.readBack()
	now := time.Now()
	for _, c := range g.conns(f) {
		e := c.Entry(now)
		e.Conn = g.connOf(c)
		out = append(out, e)
	}
	if len(g.watchers) == 0 {
		g.entries = nil
	}
	return out
}

// Forget deletes the connections that match agrees to, and returns how many there were.
func (g *Gateway) Forget(match func(nat.Conn) bool) (n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for f, one := range g.families {
		for _, c := range g.conns(nat.Family(f)) {
			if match(g.connOf(c)) {
				if g.offload != nil {
					g.unload(c)
				}
				one.Conns().Delete(c)
				n++
			}
		}
	}
	g.commitOffload()
	return n
}

// ForgetRecent empties the lists of -m recent.
func (g *Gateway) ForgetRecent() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, one := range g.families {
		if one != nil {
			one.ForgetRecent()
		}
	}
}

// Counters are the connection tables', of both families together.
func (g *Gateway) Counters() (s conntrack.Stats) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, one := range g.families {
		if one != nil {
			of := one.Conns().Stats
			s.InsertFailed, s.Drop = s.InsertFailed+of.InsertFailed, s.Drop+of.Drop
			s.EarlyDrop, s.ClashResolve = s.EarlyDrop+of.EarlyDrop, s.ClashResolve+of.ClashResolve
		}
	}
	return s
}
