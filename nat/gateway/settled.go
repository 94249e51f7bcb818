package gateway

import (
	"natlab/nat"
	"natlab/nat/conntrack"
	"natlab/nat/rules"
	"natlab/topology"
)

// Settled is what becomes of all packets of one direction of a connection that the node forwards, while its rules, addresses and routes are as they are.
type Settled struct {
	Came   nat.Tuple // at PREROUTING
	Routed nat.Tuple // from there on, behind the translation of the destination
	Left   nat.Tuple // behind that of the source
}

// Settles reports whether what becomes of a packet of a connection is settled for all of them that come in by one device and leave by another: conntrack needs to see
// none (conntrack.Table.Steady), and all rules of the three hooks that they pass accept them and need to see none (iptables.Compiled.Settles, nftables.Compiled.Settles). It
// speaks of packets that come without a mark, and of TCP of those with an ACK and without SYN, FIN and RST; what is not said to be settled At is to be asked of.
func (g *Gateway) Settles(c *conntrack.Conn, d nat.Direction, in, out string) (s Settled, settled bool) {
	from, to := g.devices[in], g.devices[out]
	switch {
	case g.mappings != nil: // they remember each packet
		return s, false
	case from == nil, to == nil, from.Kind == topology.Loopback, to.Kind == topology.Loopback:
		return s, false
	case !g.conns.Steady(c), d == nat.Original && c.Out != "" && c.Out != out: // nf_nat_oif_changed
		return s, false
	}
	s.Came = c.Tuple(d)
	s.Routed = s.Came
	if dst, ok := c.Target(conntrack.ManipDestination, d); ok {
		s.Routed = s.Came.WithDst(dst)
	}
	s.Left = s.Routed
	if src, ok := c.Target(conntrack.ManipSource, d); ok {
		s.Left = s.Routed.WithSrc(src)
	}
	if g.host.hears(to, s.Routed.Dst().Addr()) || g.host.hears(from, s.Came.Dst().Addr()) {
		return s, false
	}
	v := &g.visit
	p := &passage{ref: conntrack.Ref{Conn: c, Dir: d, Info: conntrack.InfoEstablished}, in: from, out: to}
	p.view.ConnMark, p.view.Labels, p.view.Sender.Socket = c.Mark, c.Labels(), rules.NoSocket
	if s.Came.Proto() == nat.TCP {
		p.view.TCPFlags = tcpACK
	}
	v.ruled = p
	defer func() { v.ruled = nil }()
	for _, hook := range []nat.Hook{nat.PreRouting, nat.Forward, nat.PostRouting} {
		p.view.In, p.view.Out, p.view.Came = in, out, ""
		switch hook {
		case nat.PreRouting:
			p.view.Out = ""
		case nat.PostRouting:
			p.view.In, p.view.Came = "", in
		case nat.Input, nat.Forward, nat.Output:
		}
		if !v.settles(&s, hook, p) {
			return s, false
		}
	}
	return s, true
}

// settles takes a packet through the tables of one hook, those of NAT aside, which see the first packet of a connection alone. It has no mark in front of them, and is to
// have none behind.
func (v *visit) settles(s *Settled, hook nat.Hook, p *passage) bool {
	for i := range v.hooks.filters[hook] {
		c, translates := &v.hooks.filters[hook][i], nat.TablePriority(tableNAT, hook)
		p.view.Tuple = s.Routed
		switch p.state(); {
		case hook != nat.Forward && c.priority == translates, hook == nat.PreRouting && c.priority == priorityConntrack: // in front of it or behind, as they were registered
			return false
		case hook == nat.PreRouting && c.priority < translates:
			p.view.Tuple = s.Came
			if c.priority < priorityConntrack {
				p.view.State = rules.Invalid
			}
		case hook == nat.PostRouting && c.priority > translates:
			p.view.Tuple = s.Left
		}
		if !c.settles(&p.view, v) {
			return false
		}
	}
	return p.view.Mark == 0
}

// settles is the answer of the base chain's table.
func (c *baseChain) settles(pkt *rules.Packet, w rules.World) bool {
	if c.native != nil {
		return c.native.Settles(c.name, c.hook, pkt, w)
	}
	return c.table.Settles(c.hook, pkt, w)
}
