package iptables

import (
	"natlab/nat"
	"natlab/nat/rules"
	"natlab/nat/xt"
)

// Settles takes a packet through the table's chain for a hook, and reports whether every other packet of the same direction of its established
// connection is accepted there, too, and no rule needs to see it: all that was asked on the way is the same for each of them, and nothing was done but to set
// the packet's mark, which is as the rules leave it then. Of TCP it speaks of packets with an ACK and without SYN, FIN and RST.
func (c *Compiled) Settles(hook nat.Hook, pkt *rules.Packet, w rules.World) bool {
	i, ok := c.chains[hook.String()]
	if !ok {
		return true
	}
	s := settling{of: c, visit: rules.Visit{Packet: pkt, World: w, Hook: hook}}
	v, settled := s.chain(i, 0)
	return settled && (v == nat.Accept || v == nat.Continue && c.source[i].Policy != "DROP")
}

// settling is a packet on its way through a table; a false answer of its methods is of a rule that has to see other packets itself.
type settling struct {
	of    *Compiled
	visit rules.Visit
}

// chain walks a chain; Continue: the packet comes out at its end or by a RETURN.
func (s *settling) chain(at, depth int) (v nat.Verdict, settled bool) {
	if depth > maxDepth {
		return nat.Drop, false
	}
	c := &s.of.source[at]
	for i := range c.Rules {
		rule := &c.Rules[i]
		s.visit.At = rules.Place{Table: s.of.name, Chain: c.Name, Rule: i + 1}
		holds, settled := s.matches(rule)
		if !settled {
			return nat.Drop, false
		}
		if !holds {
			continue
		}
		v, settled := s.act(rule.Target, depth)
		switch {
		case !settled:
			return nat.Drop, false
		case v == nat.Return:
			return nat.Continue, true
		case v != nat.Continue:
			return v, true
		}
	}
	return nat.Continue, true
}

// matches answers a rule's conditions in their order: one behind another that does not hold is not asked.
func (s *settling) matches(rule *Rule) (holds, settled bool) {
	for _, m := range rule.Matches {
		if !steady(m) {
			return false, false
		}
		switch m.Holds(&s.visit) {
		case rules.Yes:
		case rules.No:
			return false, !s.visit.HotDrop
		case rules.Unknown:
			return false, false
		}
	}
	return true, true
}

// act carries a target out. Return: the packet leaves the chain.
func (s *settling) act(target xt.Target, depth int) (v nat.Verdict, settled bool) {
	call := func(name string) (nat.Verdict, bool) {
		i, ok := s.of.chains[name]
		if !ok {
			return nat.Continue, true
		}
		return s.chain(i, depth+1)
	}
	switch t := target.(type) {
	case nil:
		return nat.Continue, true
	case xt.SetMark:
		return t.Act(&s.visit).Verdict, true
	case xt.Jump:
		return call(t.Chain)
	case xt.Goto:
		if v, settled = call(t.Chain); v == nat.Continue {
			v = nat.Return
		}
		return v, settled
	case xt.Accept:
		return nat.Accept, true
	case xt.Return:
		return nat.Return, true
	}
	return nat.Drop, false
}

// steady reports whether a condition answers alike for all packets of a direction of an established connection, while addresses and routes of the node are
// as they are.
func steady(m xt.Match) bool {
	switch m := m.(type) {
	case Source, Destination, MaskedAddress, InInterface, OutInterface, Protocol, Fragment,
		xt.Comment, xt.MultiPort, xt.Mark, xt.ConnMark, xt.AddrType, xt.IPRange:
		return true
	case xt.Conntrack:
		return m.Conn == nil || m.Conn.Expires == nil
	case xt.Ports:
		const flags = 0x01 | 0x02 | 0x04 | 0x10 // FIN, SYN, RST, ACK: Settles speaks of none with others of these
		return m.Plain() && (m.Flags == nil || m.Flags.Mask&^flags == 0)
	}
	return false
}
