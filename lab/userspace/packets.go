package userspace

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"natlab/lab/nfqueue"
	"natlab/lab/realise"
	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/packet"
	"natlab/nat/rules"
)

// serve judges packets until the queue is closed.
func (g *Gateway) serve(q *queue) {
	err := q.Serve(func(packets []nfqueue.Packet) error { return g.judge(q, packets) })
	if err == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failed == nil {
		close(g.finished) // nobody judges any more, and packets are dropped, or pass, as after a kill
	}
	g.failed = errors.Join(g.failed, err)
}

// judge decides about a batch of packets.
func (g *Gateway) judge(q *queue, packets []nfqueue.Packet) error {
	marked, err := g.decide(q, packets)
	if err != nil || !marked {
		return err
	}
	err = q.Flush()
	g.landing.RUnlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.marks.landed(q)
	return err
}

// decide has the queue hold the verdicts of a batch. Where marks are among them they are in the kernel's maps, and stay what they are until landed: no
// tables are made anew before landing is unlocked.
func (g *Gateway) decide(q *queue, packets []nfqueue.Packet) (marked bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	for i := range packets {
		if err := g.judgeOne(q, &packets[i], now); err != nil {
			return false, err
		}
	}
	g.commitOffload()
	if g.marks == nil || len(g.marks.held) == 0 {
		return false, nil
	}
	if err := g.marks.commit(q); err != nil {
		g.stats.Unwritten++
	}
	g.landing.RLock()
	return true, nil
}

func (g *Gateway) judgeOne(q *queue, p *nfqueue.Packet, now time.Time) error {
	g.stats.Packets++
	if q.again {
		if done, err := g.complete(q, p); done {
			return err
		}
	}
	one, b := g.families[familyOf(p.Protocol)], p.Payload
	switch begin := q.begin; {
	case one == nil: // its table is gone meanwhile
		return q.Accept(p, p.Mark)
	case p.Cut() && (!begin || p.Length > len(g.room)):
		g.stats.Cut++
		return q.Drop(p)
	case begin:
		b = g.room[:p.Length]
		copy(b, p.Payload)
		if p.Cut() && !g.enough(p, b) {
			return g.again(q, p, pending{mark: p.Mark})
		}
	}
	s := gateway.Seen{
		Hook: nat.Hook(p.Hook), Packet: b, In: g.device(p.In), Out: g.device(p.Out), Mark: p.Mark, MAC: p.Address,
		UID: rules.ID{Known: p.Owned, Number: p.UID}, GID: rules.ID{Known: p.Owned, Number: p.GID},
		Unsummed: p.Unsummed, Segments: p.Segments, Sound: sound(p), Cut: p.Cut(),
	}
	if g.offload != nil {
		g.meet(one, p, &s)
	}
	flags, traced := g.traced(b)
	s.Trace = traced
	var came []byte
	if g.options.Fault != NoFault {
		came = bytes.Clone(b)
	}
	r := one.At(s, now)
	if r.Open {
		g.noteOnce("dropped: " + r.Why)
	}
	if traced {
		g.tellRuling(&s, flags, &r)
	}
	g.tellConn(r.Conn)
	g.tellEvents(r.Conn, now)
	if came != nil {
		g.spoil(one, &s, came, &r)
	}
	if g.offload != nil {
		g.learn(one, p, &s, &r)
	}
	if p.Cut() && r.Verdict != nat.Accept && quotes(r.Answers) {
		g.stats.Dropped++
		return g.again(q, p, pending{judged: true, answers: cloned(r.Answers), begin: bytes.Clone(b[:len(p.Payload)])})
	}
	g.answer(r.Answers)
	return g.carryOut(q, p, &r)
}

// sound reports whether nobody has to look at a packet's checksum.
func sound(p *nfqueue.Packet) bool {
	return p.Unsummed || !p.Unverified && nat.Hook(p.Hook) <= nat.Forward
}

// answer sends the gateway's own packets.
func (g *Gateway) answer(all []gateway.Answer) {
	for _, a := range all {
		g.stats.Answers++
		if g.sender.send(a) != nil {
			g.stats.Unsent++
		}
	}
}

// carryOut gives a packet its verdict.
func (g *Gateway) carryOut(q *queue, p *nfqueue.Packet, r *gateway.Ruling) error {
	switch {
	case r.Malformed:
		g.stats.Malformed++
		return q.Drop(p)
	case r.Verdict != nat.Accept:
		g.stats.Dropped++
		return q.Drop(p)
	case r.Changed:
		g.stats.Rewritten++
		if !q.begin {
			return q.Rewrite(p, g.unmistakable(p, r.Mark), r.Packet)
		}
		return g.rewriteBegun(q, p, r)
	}
	return q.Accept(p, g.unmistakable(p, r.Mark))
}

// rewriteBegun has a packet go on otherwise of which the begin was handed over: by a mark where it is long, or another like it was, and where all of it is
// there by payload.
func (g *Gateway) rewriteBegun(q *queue, p *nfqueue.Packet, r *gateway.Ruling) error {
	begin := r.Packet
	if p.Cut() {
		begin = r.Packet[:len(p.Payload)]
	}
	if g.byMark[familyOf(p.Protocol)] {
		t, ok := translationOf(p, begin, r.Mark)
		if ok && (p.Cut() || g.marks.has(t)) {
			g.stats.Marked++
			return q.Accept(p, g.marks.mark(t))
		}
	}
	if p.Cut() {
		return g.again(q, p, pending{judged: true, mark: r.Mark, begin: bytes.Clone(begin)})
	}
	return q.Rewrite(p, g.unmistakable(p, r.Mark), r.Packet)
}

// unmistakable is the mark of a packet that goes on as it is: one that looks like a translation's is a translation to itself.
func (g *Gateway) unmistakable(p *nfqueue.Packet, mark uint32) uint32 {
	if _, rewrites := replaces(nat.Hook(p.Hook)); g.marks == nil || mark&markMask != markBegin || !rewrites {
		return mark
	}
	return g.marks.mark(keeping(familyOf(p.Protocol), mark))
}

// seal completes the checksums of a packet.
func seal(b []byte) {
	if p, err := packet.Parse(b); err == nil {
		p.Seal()
	}
}

// familyOf is that of an EtherType.
func familyOf(protocol uint16) nat.Family {
	const etherIPv6 = 0x86dd
	if protocol == etherIPv6 {
		return nat.IPv6
	}
	return nat.IPv4
}

// device is a device's name. An index that is new is looked up; the Gateway is locked.
func (g *Gateway) device(index uint32) string {
	if index == 0 {
		return ""
	}
	name, ok := g.surveyed.Names[index]
	if !ok {
		if s, err := realise.Survey(g.ns, sysctls()); err == nil && g.moveLocked(s) == nil {
			name = s.Names[index]
		}
		if name == "" {
			name = fmt.Sprintf("device of index %d", index)
		}
	}
	return name
}
