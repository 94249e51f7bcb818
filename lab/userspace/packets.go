package userspace

import (
	"fmt"
	"time"

	"natlab/lab/nfqueue"
	"natlab/lab/realise"
	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/rules"
)

// serve judges packets until the queue is closed.
func (g *Gateway) serve() {
	err := g.queue.Serve(g.judge)
	g.mu.Lock()
	g.failed = err
	g.mu.Unlock()
	if err != nil {
		close(g.finished) // nobody judges any more, and packets are dropped, or pass, as after a kill
	}
}

// judge decides about a batch of packets.
func (g *Gateway) judge(packets []nfqueue.Packet) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	for i := range packets {
		if err := g.judgeOne(&packets[i], now); err != nil {
			return err
		}
	}
	return nil
}

func (g *Gateway) judgeOne(p *nfqueue.Packet, now time.Time) error {
	g.stats.Packets++
	one := g.families[familyOf(p.Protocol)]
	switch {
	case one == nil: // its table is gone meanwhile
		return g.queue.Accept(p, p.Mark)
	case p.Cut():
		g.stats.Cut++
		return g.queue.Drop(p)
	}
	s := gateway.Seen{
		Hook: nat.Hook(p.Hook), Packet: p.Payload, In: g.device(p.In), Out: g.device(p.Out), Mark: p.Mark, MAC: p.Address,
		UID: rules.ID{Known: p.Owned, Number: p.UID}, GID: rules.ID{Known: p.Owned, Number: p.GID},
		Unsummed: p.Unsummed, Sound: !p.Unverified && nat.Hook(p.Hook) <= nat.Forward,
	}
	flags, traced := g.traced(p)
	s.Trace = traced
	r := one.At(s, now)
	if traced {
		g.tellRuling(&s, flags, &r)
	}
	g.tellConn(r.Conn)
	for _, a := range r.Answers {
		g.stats.Answers++
		if g.sender.send(a) != nil {
			g.stats.Unsent++
		}
	}
	switch {
	case r.Malformed:
		g.stats.Malformed++
		return g.queue.Drop(p)
	case r.Verdict != nat.Accept:
		g.stats.Dropped++
		return g.queue.Drop(p)
	case r.Changed:
		g.stats.Rewritten++
		return g.queue.Rewrite(p, r.Mark, r.Packet)
	}
	return g.queue.Accept(p, r.Mark)
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
