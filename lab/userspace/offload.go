package userspace

import (
	"errors"
	"slices"
	"time"

	"github.com/google/nftables"

	"natlab/lab/nfqueue"
	"natlab/nat"
	"natlab/nat/conntrack"
	"natlab/nat/gateway"
	"natlab/nat/packet"
)

// ErrOffload is of options that ask for what offloaded packets would pass by.
var ErrOffload = errors.New("no flow can be offloaded where NAT is another than Linux's, or has a fault: each packet counts there")

// offload are the flows whose packets the kernel rewrites by itself, and hands over no more. The Gateway is locked where it is used.
//
// Each direction of a connection has an element in two maps of the Gateway's table, by the tuple that its packets have in front of the hook and the devices that they
// come and leave by: one at PREROUTING with the destination that they go on to, one at FORWARD and POSTROUTING with the source. Packets that begin or
// end a connection, that have a mark of their own or a fragment's header are not looked up there. What a connection's end, another rule or another address
// takes from the maps is handed over again from the next hook on.
type offload struct {
	conn    *nftables.Conn
	came    map[lane]*nftables.Set
	routed  map[lane]*nftables.Set
	ways    map[*conntrack.Conn]*ways
	byCame  map[lane]map[string]*way
	passing map[passing]*way // those of which a packet may be between two hooks, though it came to none of the Gateway's
	refused map[*conntrack.Conn]bool
	added   []*way
	gone    []*way
}

// lane is a map of the kernel's: those of a family have one for each protocol.
type lane struct {
	family nat.Family
	proto  nat.Proto
}

var lanes = [...]lane{{nat.IPv4, nat.TCP}, {nat.IPv4, nat.UDP}, {nat.IPv6, nat.TCP}, {nat.IPv6, nat.UDP}}

// passing is what tells a packet behind PREROUTING.
type passing struct {
	in    uint32
	tuple nat.Tuple
}

// way is one direction of a connection.
type way struct {
	gateway.Settled
	conn           *conntrack.Conn
	dir            nat.Direction
	in, out        uint32 // devices
	mark           uint32 // of the connection
	packets, bytes uint64 // that were told of it
	used           time.Time
	gone           time.Time // since then it is not in the maps; zero: it is
}

// ways are those of a connection, by their directions; nil: its packets are handed over.
type ways [2]*way

// changed reports whether rules have given the connection another mark since.
func (both *ways) changed(c *conntrack.Conn) bool {
	return slices.ContainsFunc(both[:], func(w *way) bool { return w != nil && w.mark != c.Mark })
}

const (
	mostWays = 1 << 16
	// idle is after which time without a packet a way leaves the maps. Its next packet brings it back.
	idle = time.Minute
	// tallied is how often what passed is read back: that often, or so much less often that reading takes a twentieth of the time.
	tallied = time.Second
	// passed is how long a packet may be between two hooks: as for those that are handed over.
	passed = 30 * time.Second
)

// openOffload connects to the namespace of this thread.
func openOffload() (*offload, error) {
	c, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return nil, err
	}
	o := &offload{conn: c, passing: map[passing]*way{}}
	o.begin()
	return o, nil
}

// begin has no way in the maps.
func (o *offload) begin() {
	o.ways, o.byCame = map[*conntrack.Conn]*ways{}, map[lane]map[string]*way{}
	for _, l := range lanes {
		o.byCame[l] = map[string]*way{}
	}
	o.refused, o.added, o.gone = map[*conntrack.Conn]bool{}, nil, nil
}

func (o *offload) close() error { return o.conn.CloseLasting() }

func (w *way) lane() lane { return lane{nat.FamilyOf(w.Came.Src().Addr()), w.Came.Proto()} }

func (w *way) passing() passing { return passing{w.in, w.Routed} }

// table is the connection table that a connection is of.
func (g *Gateway) table(c *conntrack.Conn) *conntrack.Table {
	return g.families[nat.FamilyOf(c.Original.Src().Addr())].Conns()
}

// meet looks at a packet before it is judged. One that came past PREROUTING in the kernel gets its connection; one that begins or ends a connection ends
// that its packets pass in the kernel.
func (g *Gateway) meet(one *gateway.Gateway, p *nfqueue.Packet, s *gateway.Seen) {
	o := g.offload
	if len(o.passing) == 0 {
		return
	}
	var pkt packet.Packet
	if pkt.Parse(s.Packet) != nil {
		return
	}
	switch s.Hook {
	case nat.Forward, nat.PostRouting:
		if w := o.passing[passing{p.In, pkt.Tuple()}]; w != nil {
			s.Conn, s.Dir = w.conn, w.dir
		}
	case nat.PreRouting, nat.Output:
		const finSYNRST = 1 | 2 | 4
		if pkt.Proto() == nat.TCP && pkt.TCPFlags()&finSYNRST != 0 {
			if c, _ := one.Conns().Lookup(pkt.Tuple(), 0, 0); c != nil {
				g.unload(c)
			}
		}
	case nat.Input:
	}
}

// learn looks at a packet that was judged: what its connection has become, and whether the ones behind it need not be handed over.
func (g *Gateway) learn(one *gateway.Gateway, p *nfqueue.Packet, s *gateway.Seen, r *gateway.Ruling) {
	o := g.offload
	if s.Hook == nat.PreRouting && len(o.passing) > 0 && r.Verdict == nat.Accept {
		// It looks behind PREROUTING like one that does not belong to its connection.
		if w := o.passing[passing{p.In, r.Tuple}]; w != nil && w.conn != r.Conn {
			g.unload(w.conn)
			delete(o.passing, w.passing())
			o.refused[w.conn] = true
		}
	}
	if r.Conn == nil {
		return
	}
	if both := o.ways[r.Conn]; both != nil && (r.Verdict != nat.Accept || both.changed(r.Conn) || !one.Conns().Steady(r.Conn)) {
		g.unload(r.Conn)
	}
	if s.Hook == nat.PostRouting && r.Verdict == nat.Accept && !o.refused[r.Conn] {
		g.offer(one, p, s, r)
	}
}

// offer has the packets of one direction pass in the kernel, where that is settled by what is known of one that leaves.
func (g *Gateway) offer(one *gateway.Gateway, p *nfqueue.Packet, s *gateway.Seen, r *gateway.Ruling) {
	o, c := g.offload, r.Conn
	both := o.ways[c]
	switch {
	case both != nil && both[r.Dir] != nil, p.In == 0, p.Out == 0, p.Mark != 0, r.Mark != 0, len(r.Answers) > 0:
		return
	case 2*len(o.ways) >= mostWays:
		return
	case !one.Conns().Steady(c), len(g.watchers) > 0 && c.Original.Proto() == nat.UDP: // of which who watches is told each
		return
	}
	settled, ok := one.Settles(c, r.Dir, g.device(p.In), s.Out)
	if !ok || settled.Left != r.Tuple {
		o.refused[c] = true
		return
	}
	w := &way{Settled: settled, conn: c, dir: r.Dir, in: p.In, out: p.Out, mark: c.Mark, used: time.Now()}
	if o.passing[w.passing()] != nil && o.passing[w.passing()].conn != c {
		return
	}
	if both == nil {
		both = &ways{}
		o.ways[c] = both
		one.Conns().Hold(c)
	}
	both[r.Dir] = w
	o.byCame[w.lane()][string(w.cameKey())] = w
	o.passing[w.passing()] = w
	o.added = append(o.added, w)
	g.stats.Offloaded++
}

// unload has the packets of a connection handed over again, from the next commit on. Those that passed are told before.
func (g *Gateway) unload(c *conntrack.Conn) {
	if _, _, counted := c.Counters(); counted && g.offload.ways[c] != nil {
		g.readBack()
	}
	g.takeOff(c)
}

// takeOff takes a connection's ways from the maps, with the next commit.
func (g *Gateway) takeOff(c *conntrack.Conn) {
	o := g.offload
	both := o.ways[c]
	if both == nil {
		return
	}
	for _, w := range both {
		if w == nil {
			continue
		}
		w.gone = time.Now()
		delete(o.byCame[w.lane()], string(w.cameKey()))
		if i := slices.Index(o.added, w); i >= 0 {
			o.added = slices.Delete(o.added, i, i+1)
		} else {
			o.gone = append(o.gone, w)
		}
	}
	delete(o.ways, c)
	g.table(c).Release(c)
}

// unloadAll has all packets handed over again: what was settled may be so no more. which may tell of a few connections that it is about.
func (g *Gateway) unloadAll(which func(*conntrack.Conn) bool) {
	if g.offload == nil {
		return
	}
	g.readBack()
	for c := range g.offload.ways {
		if which == nil || which(c) {
			g.takeOff(c)
		}
	}
	clear(g.offload.refused)
	g.commitOffload()
}

// OffloadsTCP reports whether flows of TCP are offloaded at all: where nf_conntrack_tcp_be_liberal is off, conntrack has to see each of their packets.
func (g *Gateway) OffloadsTCP() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, one := range g.families {
		if one != nil && one.Conns().Settings.Liberal {
			return g.offload != nil
		}
	}
	return false
}
