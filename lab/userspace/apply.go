package userspace

import (
	"bytes"
	"fmt"
	"slices"

	"natlab/lab/nfqueue"
	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/packet"
)

// Apply is how a verdict is carried out.
type Apply uint8

const (
	// ByMark has the begin of a packet alone handed over. The verdict sets a mark that stands for a translation, and rules of the gateway's own
	// table rewrite the packet in the kernel, and give it the mark that it is to have. What that does not do goes by payload: fragments, options and extension
	// headers, ICMP, protocols without ports, changes of anything but one address and its port.
	ByMark Apply = iota
	// ByPayload has whole packets handed over, and their bytes given back.
	ByPayload
)

var applyNames = [...]string{ByMark: "mark", ByPayload: "payload"}

func (a Apply) String() string { return applyNames[a] }

// ParseApply reads what String prints; "" is ByMark.
func ParseApply(s string) (Apply, error) {
	if s == "" {
		return ByMark, nil
	}
	if i := slices.Index(applyNames[:], s); i >= 0 {
		return Apply(i), nil
	}
	return 0, fmt.Errorf("apply by %q: want mark or payload", s)
}

// MostQueues is how many queues may share a namespace's packets.
const MostQueues = 16

// queue is one of a namespace's. Those of whole packets have the numbers from QueueNumber on, as many as Options.Queues; behind them come as many of
// packets whose begin is enough, of TCP and UDP, and one of those for which it was not.
type queue struct {
	*nfqueue.Queue
	begin, again bool
	flying       []int // slots of marks whose verdicts are on their way to the kernel
}

// openQueues opens the queues in the namespace of this thread.
func (g *Gateway) openQueues() error {
	open := func(o nfqueue.Options, q queue) (err error) {
		if q.Queue, err = nfqueue.Open(o); err == nil {
			g.queues = append(g.queues, &q)
		}
		return err
	}
	n := g.options.queues()
	for i := range n {
		if err := open(nfqueue.Options{Number: QueueNumber + i, FailOpen: g.options.FailOpen}, queue{}); err != nil {
			return err
		}
	}
	if g.options.Apply != ByMark {
		return nil
	}
	for i := range n {
		o := nfqueue.Options{Number: QueueNumber + n + i, Begin: gateway.BeginLength, FailOpen: g.options.FailOpen}
		if err := open(o, queue{begin: true}); err != nil {
			return err
		}
	}
	return open(nfqueue.Options{Number: g.againNumber()}, queue{again: true})
}

// againNumber is the queue of those whose begin was not enough.
func (g *Gateway) againNumber() uint16 { return QueueNumber + 2*g.options.queues() }

// queues are how many share the packets.
func (o *Options) queues() uint16 { return uint16(max(1, o.Queues)) } //nolint:gosec // Open has seen to it

// weigh decides for each family whether verdicts are carried out by marks: not where rules read more than headers. The Gateway is locked, or not at work yet.
func (g *Gateway) weigh() {
	for family, one := range g.families {
		g.byMark[family] = g.options.Apply == ByMark && one != nil && !g.options.Facts.NFT.ReadsContent() && !g.rules[family].ReadsContent()
	}
}

// Applies is how the verdicts of a family are carried out, where that can be.
func (g *Gateway) Applies(f nat.Family) Apply {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.byMark[f] {
		return ByMark
	}
	return ByPayload
}

// enough reports whether the begin of a packet is enough for its verdict. b is as long as the packet. The Gateway is locked.
func (g *Gateway) enough(p *nfqueue.Packet, b []byte) bool {
	f := familyOf(p.Protocol)
	const udp4, udp6 = 9, 6 // where each family's header has the protocol
	if at := [...]int{nat.IPv4: udp4, nat.IPv6: udp6}[f]; len(g.watchers) > 0 && nat.Proto(b[at]) == nat.UDP {
		return false // what is inside a tunnel's datagram is told, too
	}
	return g.byMark[f] && g.families[f].Begins(b, nat.Hook(p.Hook), sound(p))
}

// pending is a packet on its way to the queue of those whose begin was not enough.
type pending struct {
	judged  bool
	mark    uint32           // that it had, or where it was judged is to have
	begin   []byte           // as it goes on, or is quoted, where it was judged
	answers []gateway.Answer // that quote it: it goes no further
}

// mostPending is how many are remembered. What the kernel drops on its way there is not told.
const mostPending = 1 << 14

// again has all of a packet handed over.
func (g *Gateway) again(q *queue, p *nfqueue.Packet, as pending) error {
	g.token++
	g.pending[g.token] = as
	delete(g.pending, g.token-mostPending)
	return q.Requeue(p, g.againNumber(), g.token)
}

// complete is a packet that comes whole because its begin was not enough; done: its verdict is given.
func (g *Gateway) complete(q *queue, p *nfqueue.Packet) (done bool, err error) {
	as, known := g.pending[p.Mark]
	delete(g.pending, p.Mark)
	switch {
	case !known || p.Cut() || len(as.begin) > len(p.Payload):
		g.stats.Cut++
		return true, q.Drop(p)
	case !as.judged:
		g.stats.Packets-- // it is counted again
		p.Mark = as.mark
		return false, nil
	}
	copy(p.Payload, as.begin)
	if as.answers != nil {
		for _, a := range as.answers {
			quote(a.Packet, p.Payload)
		}
		g.answer(as.answers)
		return true, q.Drop(p)
	}
	if p.Unsummed {
		seal(p.Payload)
	}
	return true, q.Rewrite(p, g.unmistakable(p, as.mark), p.Payload)
}

// quotes reports whether one of the answers has bytes of a packet of which no more than the begin is known.
func quotes(all []gateway.Answer) bool {
	return slices.ContainsFunc(all, func(a gateway.Answer) bool {
		at, ok := quotation(a.Packet)
		return ok && len(a.Packet) > at+gateway.BeginLength
	})
}

// quotation is where an answer quotes the packet that it is about; false where it quotes none.
func quotation(answer []byte) (at int, ok bool) {
	p, err := packet.Parse(answer)
	if err != nil {
		return 0, false
	}
	const icmpHeader = 8
	_, _, ok = p.ICMP()
	return len(answer) - len(p.Transport()) + icmpHeader, ok
}

// quote writes into an answer as much of the packet that it is about as it has room for.
func quote(answer, of []byte) {
	if at, ok := quotation(answer); ok {
		copy(answer[at:], of)
		seal(answer)
	}
}

// cloned are answers that last.
func cloned(all []gateway.Answer) []gateway.Answer {
	all = slices.Clone(all)
	for i := range all {
		all[i].Packet = bytes.Clone(all[i].Packet)
	}
	return all
}
