package nftables

import (
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/rules"
)

// Settles takes a packet through a base chain, and reports whether every other packet of the same direction of its established connection is accepted
// there, too, and no rule needs to see it, as iptables.Compiled.Settles does.
func (c *Compiled) Settles(base string, hook nat.Hook, pkt *rules.Packet, w rules.World) bool {
	at, ok := c.bases[base]
	if !ok {
		return true
	}
	var open opened
	r := run{c: c, left: maxTried, settling: true, visit: rules.Visit{Packet: pkt, World: w, Decider: &open, Hook: hook}}
	v := r.chain(at, 0)
	if v == nat.Continue {
		return !bool(open) && !c.source.Chains[at].Base.Drop
	}
	return v == nat.Accept && !bool(open)
}

// opened is set once anything is left to chance, or is not known.
type opened bool

func (o *opened) Take(float64) bool {
	*o = true
	return false
}

func (o *opened) Unknown(string) bool {
	*o = true
	return false
}

// settledRule does as rule; what may be another for other packets is not known.
func (r *run) settledRule(of rule) flow {
	statements := r.c.source.Chains[r.at.chain-1].Rules[r.at.rule-1].Statements
	for k, s := range r.c.stepsOf(of) {
		if r.at.match = k + 1; !r.c.steady(statements[k]) {
			return r.lost(statements[k].String())
		}
		if f := s(r); f != goesOn {
			return f
		}
	}
	return goesOn
}

// steady reports whether a statement does alike with all packets of a direction of an established connection, while addresses and routes of the node are as they
// are, and does no more than to lead them on or to set their mark.
func (c *Compiled) steady(s Statement) bool {
	switch s := s.(type) {
	case *Verdict, Counter:
		return true
	case ObjectRef:
		return s.Kind == "counter"
	case Match:
		return c.steadyExpr(s.Right) && (c.steadyExpr(s.Left) || steadyFlags(s))
	case VMap:
		return c.steadyExpr(s.Key) && c.steadyExpr(s.Map)
	case Assign:
		return s.To == "meta mark" && c.steadyExpr(s.Value)
	case NAT, Reject, Limit, Quota, Log, Update, NoTrack, Queue, Compat, Opaque:
	}
	return false
}

// steadyExpr reports whether an expression has the same value for all of them.
func (c *Compiled) steadyExpr(e Expr) bool {
	switch e := e.(type) {
	case Constant:
		return true
	case Selector:
		return slices.Contains(steadySelectors, e) || ofTuples(string(e))
	case Concat:
		return !slices.ContainsFunc(e, func(part Expr) bool { return !c.steadyExpr(part) })
	case Operation:
		return c.steadyExpr(e.Left) && c.steadyExpr(e.Right)
	case *In:
		return e.Name == "" || c.sets[e.Name] != nil && !c.sets[e.Name].changed
	case MapOf:
		return c.steadyExpr(e.Key) && c.steadyExpr(e.Map)
	case Fib:
		return e.Result == "type"
	case NumGen, Hash, Raw, Other:
	}
	return false
}

// steadySelectors are the values that are the same for all of them. Those of a connection's tuples are besides.
var steadySelectors = []Selector{
	"meta nfproto", "meta protocol", "meta l4proto", "meta mark", "meta iif", "meta oif", "meta iifname", "meta oifname",
	"ct state", "ct status", "ct direction", "ct mark", "ct l3proto", "ct protocol", "ct zone",
	"ip version", "ip saddr", "ip daddr", "ip protocol", "ip6 version", "ip6 saddr", "ip6 daddr",
	"tcp sport", "tcp dport", "udp sport", "udp dport", "th sport", "th dport",
}

// ofTuples reports whether a selector is an address or a port of one of a connection's tuples.
func ofTuples(selector string) bool {
	of, isOriginal := strings.CutPrefix(selector, "ct original ")
	if !isOriginal {
		var isReply bool
		if of, isReply = strings.CutPrefix(selector, "ct reply "); !isReply {
			return false
		}
	}
	return strings.HasSuffix(of, "addr") || strings.HasPrefix(of, "proto")
}

// steadyFlags reports whether a condition asks for flags of TCP that tell none of these packets from another: they have an ACK, and neither SYN, FIN nor RST.
func steadyFlags(m Match) bool {
	const told = 0x01 | 0x02 | 0x04 | 0x10
	of := m.Left
	mask, masked := Constant{}, false
	if o, is := m.Left.(Operation); is && o.Op == "&" {
		of = o.Left
		mask, masked = o.Right.(Constant)
	} else if m.Op == "" || m.Op == "!" {
		mask, masked = m.Right.(Constant)
	}
	return of == Selector("tcp flags") && masked && mask.Raw == "" && mask.Low == mask.High && mask.Low.Low&^told == 0
}
