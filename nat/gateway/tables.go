package gateway

import (
	"cmp"

	"natlab/nat"
	"natlab/nat/ipset"
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
	if o, is := effect.(*rules.Open); is {
		v.blame("not known behind ", t, steps)
		v.why, v.open = v.why+": "+o.Why, true
		v.abandon(p)
		return nil, false
	}
	switch verdict {
	case nat.Drop:
		v.blame("dropped by ", t, steps)
	case nat.Reject:
		v.blame("rejected by ", t, steps)
		v.rejected = true
		v.reject(p, effect.(*rules.Rejection))
	case nat.Queue:
		v.blame("queued by ", t, steps)
	case nat.Stolen:
	case nat.Continue, nat.Accept, nat.Return, nat.Jump, nat.Goto:
		return effect, true
	}
	v.abandon(p)
	return effect, false
}

// questioned names the packet, in this node, of which something is asked.
func (v *visit) questioned(p *passage) string {
	return v.host.member + " " + p.view.Tuple.String()
}

// wayThrough takes a packet through a table on one of the ways that it can go there.
func (v *visit) wayThrough(t *iptables.Compiled, hook nat.Hook, p *passage) (nat.Verdict, rules.Effect) {
	of := v.questioned(p)
	ways, cut := t.Ways(hook, &p.view, v, v.prediction.choices.of(of))
	v.prediction.choices.cut = v.prediction.choices.cut || cut
	if len(ways) == 0 {
		return nat.Drop, nil
	}
	w := v.prediction.choices.way(ways, of)
	p.pkt, p.view = *w.Packet.Wire, w.Packet
	p.view.Wire = &p.pkt
	if sets, changed := p.view.Sets.(*ipset.State); changed {
		v.sets, p.view.Sets = sets, nil
	}
	v.hits = append(v.hits[:0], w.Hits...)
	return w.Verdict, w.Effect
}

// blame names the rule that ended a packet's way, as far as the Gateway traces.
func (v *visit) blame(what string, t *iptables.Compiled, steps nat.Trace) {
	if len(steps) == 0 {
		v.lost("", what+"a rule of "+t.Name())
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
