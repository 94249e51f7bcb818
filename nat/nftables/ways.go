package nftables

import (
	"net/netip"

	"natlab/nat"
	"natlab/nat/rules"
)

// maxWays is how many ways through a base chain are followed.
const maxWays = 4096

// Ways are all ways that a packet can take through a base chain: one where everything is known. Those that leave it alike are one. What was
// assumed of this packet before stays so. cut tells that there are more ways.
func (c *Compiled) Ways(base string, hook nat.Hook, pkt *rules.Packet, w rules.World, assumed []nat.Assumption) (ways []rules.Way, cut bool) {
	for given := []bool{}; given != nil; {
		if len(ways) == maxWays {
			return rules.Merged(ways), true
		}
		d := rules.Decisions{Given: given, Before: assumed}
		way := rules.Way{Packet: pkt.Clone()}
		way.Verdict, way.Effect = c.Run(base, hook, &way.Packet, w, &d, &way.Hits)
		way.Chance, way.Assumed = d.Chance(), d.Assumptions()
		ways = append(ways, way)
		given = d.Next()
	}
	return rules.Merged(ways), false
}

// Steps are hits as a trace shows them.
func (c *Compiled) Steps(node string, hook nat.Hook, before nat.Tuple, hits []rules.Hit) nat.Trace {
	var out nat.Trace
	for _, h := range hits {
		from := &c.source.Chains[h.Chain]
		s := nat.Step{
			Node: node, Hook: hook, Table: c.name, Chain: from.Name, Rule: h.Rule, Before: before, After: before, Mark: h.Mark,
			Verdict: h.Verdict, Maybe: h.Maybe,
		}
		if h.Rule == 0 {
			s.Why = "policy of " + from.Name
			out = append(out, s)
			continue
		}
		r := &from.Rules[h.Rule-1]
		s.Met, s.Line = c.source.met(r, h.Element), r.Line
		if h.Target != "" {
			s.Target = h.Target
		}
		if h.To.IsValid() {
			s.To = h.To
		}
		if s.To.IsValid() {
			s.After = before.WithDst(s.To)
			if s.To.Port() == 0 {
				s.After = before.WithDst(netip.AddrPortFrom(s.To.Addr(), before.Dst().Port()))
			}
		}
		switch h.Verdict {
		case nat.Accept, nat.Drop, nat.Reject, nat.Queue, nat.Stolen:
			s.Why = s.Action
			if h.Element != "" {
				s.Why += " [" + h.Element + "]"
			}
		case nat.Continue, nat.Return, nat.Jump, nat.Goto:
		}
		out = append(out, s)
	}
	return out
}

// setName is the name of the set that a condition asks; "" where it asks none.
func setName(in *In, is bool) string {
	if !is {
		return ""
	}
	return in.Name
}

// met is what a trace tells of a rule. element is what a verdict map of it had for the packet, as nft prints it; "" where that is not known.
func (t *Table) met(r *Rule, element string) nat.Met {
	m := nat.Met{Text: r.String()}
	m.Brief, m.Action = described(r)
	if element != "" {
		m.Text += " [" + element + "]"
		m.Element = elementText(r, element)
	}
	for _, s := range r.Statements {
		switch s := s.(type) {
		case *Verdict:
			if m.Target = s.Chain; s.Chain == "" {
				m.Target = s.Kind.String()
			}
		case NAT:
			m.Target = natWords[s.Kind]
			if s.Kind == rules.DNAT && s.Addr != (Constant{}) && s.Addr.Single() {
				var to rules.NATRange
				aim(&to, s.Addr, s.Port)
				m.To = netip.AddrPortFrom(to.MinAddr, to.MinPort)
			}
		case NoTrack:
			m.Untracks = true
		case Reject:
			m.Target = "reject"
		case Match:
			in, is := s.Right.(*In)
			set, named := t.Set(setName(in, is))
			m.Remembers = m.Remembers || named && set.Has("dynamic")
		case VMap, Assign, Counter, Limit, Quota, Log, Update, ObjectRef, Queue, Compat, Opaque:
		}
	}
	return m
}
