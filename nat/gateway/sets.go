package gateway

import (
	"natlab/nat/ipset"
	"natlab/nat/rules"
)

// AskSet is what the node's sets answer. They are as they were read until the first packet asks, and as packets have made them
// from then on; a prediction begins anew.
func (v *visit) AskSet(p *rules.Packet, q rules.SetQuery) rules.SetAnswer {
	return v.setsOf(p).Ask(p, v, q, v.at)
}

// ChangeSet adds a packet to a set, or deletes it. In a prediction, where a packet goes several ways, that stays with the packet
// until it is known which of them it takes.
func (v *visit) ChangeSet(p *rules.Packet, c rules.SetChange) {
	changed := v.setsOf(p).Change(p, v, c, v.at)
	if v.prediction.choices == nil {
		v.sets = changed
	} else {
		p.Sets = changed
	}
}

func (v *visit) setsOf(p *rules.Packet) *ipset.State {
	if s, ok := p.Sets.(*ipset.State); ok {
		return s
	}
	if v.sets == nil {
		begin := ipset.Still
		if v.prediction.choices == nil {
			begin = ipset.NewState
		}
		v.sets = begin(v.options.Sets, v.at)
	}
	return v.sets
}

// Sets are the node's sets as the packets so far have made them.
func (g *Gateway) Sets() ipset.Sets {
	if g.sets == nil {
		return g.options.Sets
	}
	return g.sets.Sets()
}
