package gateway

import (
	"natlab/nat/ipset"
	"natlab/nat/rules"
)

// AskSet is what the node's sets answer. They are as they were read until the first packet asks, and as packets have made them
// from then on; a prediction begins anew.
func (g *Gateway) AskSet(p *rules.Packet, q rules.SetQuery) rules.SetAnswer {
	return g.setsOf(p).Ask(p, g, q, g.at)
}

// ChangeSet adds a packet to a set, or deletes it. In a prediction, where a packet goes several ways, that stays with the packet
// until it is known which of them it takes.
func (g *Gateway) ChangeSet(p *rules.Packet, c rules.SetChange) {
	changed := g.setsOf(p).Change(p, g, c, g.at)
	if g.choices == nil {
		g.sets = changed
	} else {
		p.Sets = changed
	}
}

func (g *Gateway) setsOf(p *rules.Packet) *ipset.State {
	if s, ok := p.Sets.(*ipset.State); ok {
		return s
	}
	if g.sets == nil {
		begin := ipset.Still
		if g.choices == nil {
			begin = ipset.NewState
		}
		g.sets = begin(g.options.Sets, g.at)
	}
	return g.sets
}
