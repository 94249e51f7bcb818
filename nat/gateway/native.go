package gateway

import (
	"slices"

	"natlab/nat"
	"natlab/nat/ipset"
	"natlab/nat/nftables"
	"natlab/nat/rules"
)

// registerNative registers the base chains of nf_tables' own tables that packets of a family meet, in the order in which they were
// registered. They count as registered after iptables' tables.
func (h *hooks) registerNative(tables []nftables.Table, family nat.Family) {
	type registered struct {
		baseChain
		number int
	}
	var all []registered
	for i := range tables {
		t := &tables[i]
		if slices.Contains(t.Flags, "dormant") || len(t.Bases(family)) == 0 {
			continue
		}
		c := nftables.Compile(t, family)
		for _, name := range t.Bases(family) {
			chain, _ := t.Chain(name)
			hook, _ := chain.Base.NatHook()
			kind := filterChain
			switch chain.Base.Type {
			case nftables.NATChain:
				kind = natChain
			case nftables.RouteChain:
				if hook == nat.Output {
					kind = routeChain
				}
			case nftables.FilterChain:
			}
			all = append(all, registered{baseChain{hook: hook, kind: kind, priority: chain.Base.Priority, native: c, name: name}, chain.Base.Registered})
		}
	}
	slices.SortStableFunc(all, func(a, b registered) int { return a.number - b.number })
	for _, c := range all {
		h.register(c.baseChain)
	}
}

// addNative adds a base chain of nf_tables to its hook, or to those that the hook's NAT function asks.
func (h *hooks) addNative(c baseChain) {
	name := c.native.Name() + " " + c.name
	switch c.kind {
	case natChain:
		h.registerNAT(c)
	case routeChain:
		h.addFilter(c)
		h.add(c.hook, function{c.priority, name, func(v *visit, p *passage) bool { return v.routedNative(&c, p) }})
	case filterChain:
		h.addFilter(c)
		h.add(c.hook, function{c.priority, name, func(v *visit, p *passage) bool { _, ok := v.native(&c, p); return ok }})
	}
}

// routedNative is routed for a base chain of nf_tables (nf_route_table_hook4, nf_route_table_hook6).
func (v *visit) routedNative(c *baseChain, p *passage) bool {
	before := routedBy(p)
	_, ok := v.native(c, p)
	return ok && (routedBy(p) == before || v.reroute(p))
}

// asked takes a packet through a base chain that NAT asks.
func (v *visit) asked(c *baseChain, p *passage) (rules.Effect, bool) {
	if c.native != nil {
		return v.native(c, p)
	}
	return v.table(c.table, c.hook, p)
}

// native takes a packet through a base chain of nf_tables, as table does through one of iptables' tables.
func (v *visit) native(c *baseChain, p *passage) (rules.Effect, bool) {
	before := p.view.Tuple
	v.hits = v.hits[:0]
	if p.ref.Conn != nil { // another packet of the connection may have been at rules meanwhile
		p.view.ConnMark, p.view.Labels = p.ref.Conn.Mark, p.ref.Conn.Labels()
		if p.ref.Conn.Status&(nat.SrcNAT|nat.DstNAT) != 0 {
			p.view.State |= natStates(p.ref.Conn)
		}
	}
	if v.prediction.look != nil {
		v.prediction.look(look{node: v.host.member, hook: c.hook, table: c.native.Name(), base: c.name, packet: p.view.Clone(), answer: p.answer})
	}
	v.ruled = p
	verdict, effect := v.throughNative(c, p)
	v.ruled = nil
	var steps nat.Trace
	if v.options.Trace {
		steps = c.native.Steps(v.host.member, c.hook, before, v.hits)
		v.trace = append(v.trace, steps...)
	}
	if v.prediction.met != nil {
		v.prediction.met(p.answer, steps)
	}
	if p.ref.Conn != nil {
		p.ref.Conn.Mark = p.view.ConnMark
		p.ref.Conn.SetLabels(p.view.Labels)
	}
	return v.ruledOut(verdict, effect, c.native.Name(), steps, p)
}

// throughNative is the packet's way through a base chain, or the one of its ways that is followed.
func (v *visit) throughNative(c *baseChain, p *passage) (nat.Verdict, rules.Effect) {
	if v.prediction.choices != nil {
		of := v.questioned(p)
		ways, cut := c.native.Ways(c.name, c.hook, &p.view, v, v.prediction.choices.of(of))
		return v.follow(ways, cut, of, p)
	}
	hits := &v.hits
	if !v.options.Trace {
		hits = nil
	}
	return c.native.Run(c.name, c.hook, &p.view, v, nil, hits)
}

// follow takes one of the ways that a packet can go through rules.
func (v *visit) follow(ways []rules.Way, cut bool, of string, p *passage) (nat.Verdict, rules.Effect) {
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

// ruledOut is what becomes of a packet by the verdict of a table's rules; false: it goes no further.
func (v *visit) ruledOut(verdict nat.Verdict, effect rules.Effect, table string, steps nat.Trace, p *passage) (rules.Effect, bool) {
	if o, is := effect.(*rules.Open); is {
		v.blame("not known behind ", table, steps)
		v.why, v.open = v.why+": "+o.Why, true
		v.abandon(p)
		return nil, false
	}
	switch verdict {
	case nat.Drop:
		v.blame("dropped by ", table, steps)
	case nat.Reject:
		v.blame("rejected by ", table, steps)
		v.rejected = true
		v.reject(p, effect.(*rules.Rejection))
	case nat.Queue:
		v.blame("queued by ", table, steps)
	case nat.Stolen:
	case nat.Continue, nat.Accept, nat.Return, nat.Jump, nat.Goto:
		return effect, true
	}
	v.abandon(p)
	return effect, false
}

// natives are the tables of nf_tables that packets of a family meet.
func (f *Facts) natives(family nat.Family) (out []nftables.Table) {
	for i := range f.NFT.Tables {
		if len(f.NFT.Tables[i].Bases(family)) > 0 {
			out = append(out, f.NFT.Tables[i])
		}
	}
	return out
}

// callsNative reports whether a base chain of nf_tables may do anything to a packet at a hook.
func (f *Facts) callsNative(hook nat.Hook, family nat.Family) bool {
	for _, t := range f.natives(family) {
		for _, name := range t.Bases(family) {
			c, _ := t.Chain(name)
			if h, _ := c.Base.NatHook(); h == hook && c.Base.Type != nftables.NATChain && (len(c.Rules) > 0 || c.Base.Drop) {
				return true
			}
		}
	}
	return false
}
