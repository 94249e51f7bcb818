package gateway

import (
	"cmp"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/rules"
)

// table takes a packet through one table.
func (v *visit) table(t *iptables.Compiled, hook nat.Hook, p *passage) (rules.Effect, bool) {
	var hits *[]iptables.Hit
	var before nat.Tuple
	if v.options.Trace {
		v.hits = v.hits[:0]
		hits, before = &v.hits, p.view.Tuple
	}
	if p.ref.Conn != nil { // another packet of the connection may have been at rules meanwhile
		p.view.ConnMark, p.view.Labels = p.ref.Conn.Mark, p.ref.Conn.Labels()
		if p.ref.Conn.Status&(nat.SrcNAT|nat.DstNAT) != 0 {
			p.view.State |= natStates(p.ref.Conn)
		}
	}
	if v.prediction.look != nil {
		v.prediction.look(look{node: v.host.member, hook: hook, table: t.Name(), packet: p.view.Clone(), answer: p.answer})
	}
	v.ruled = p
	var verdict nat.Verdict
	var effect rules.Effect
	if v.prediction.choices == nil {
		verdict, effect = v.walker().Run(t, hook, &p.view, v, hits)
	} else {
		verdict, effect = v.wayThrough(t, hook, p)
	}
	v.ruled = nil
	var steps nat.Trace
	if v.options.Trace {
		steps = t.Steps(v.host.member, hook, before, v.hits)
		v.trace = append(v.trace, steps...)
	}
	if v.prediction.met != nil {
		v.prediction.met(p.answer, steps)
	}
	if p.ref.Conn != nil {
		p.ref.Conn.Mark = p.view.ConnMark
		p.ref.Conn.SetLabels(p.view.Labels)
	}
	if v.process && len(v.pending) > 0 {
		v.hear()
	}
	if verdict == nat.Accept {
		if _, open := effect.(*rules.Open); !open {
			return effect, true
		}
	}
	return v.ruledOut(verdict, effect, t.Name(), steps, p)
}

// questioned names the packet, in this node, of which something is asked.
func (v *visit) questioned(p *passage) string {
	return v.host.member + " " + p.view.Tuple.String()
}

// wayThrough takes a packet through a table on one of the ways that it can go there.
func (v *visit) wayThrough(t *iptables.Compiled, hook nat.Hook, p *passage) (nat.Verdict, rules.Effect) {
	of := v.questioned(p)
	ways, cut := t.Ways(hook, &p.view, v, v.prediction.choices.of(of))
	return v.follow(ways, cut, of, p)
}

// blame names the rule that ended a packet's way, as far as the Gateway traces.
func (v *visit) blame(what, table string, steps nat.Trace) {
	if len(steps) == 0 {
		v.lost("", what+"a rule of "+table)
		return
	}
	last := steps[len(steps)-1]
	v.why = what + cmp.Or(last.Text, last.Why)
	v.where = last.Place()
}

// abandon forgets a connection whose first packet goes no further.
func (v *visit) abandon(p *passage) {
	if p.ref.Conn != nil && !p.echo { // of an echo the packet itself still has it
		v.conns.Drop(p.ref.Conn)
	}
}
