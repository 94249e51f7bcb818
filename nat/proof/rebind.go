package proof

import (
	"net/netip"
	"slices"

	"natlab/nat"
)

// Rebind is the prediction of the same flow from another source port. A client's port decides nothing on the way of a
// packet but where a rule or a translation names it, so one prediction does for all tries of a flow; from must be a
// port that nothing else of the flow has.
func Rebind(p nat.Prediction, from, to uint16) nat.Prediction {
	r := rebind{from, to}
	out := slices.Clone(p)
	for i := range out {
		o := &out[i]
		o.ServerPeer, o.ClientPeer = r.addrPort(o.ServerPeer), r.addrPort(o.ClientPeer)
		o.Request, o.Reply = r.journey(o.Request), r.journey(o.Reply)
		o.Conns = slices.Clone(o.Conns)
		for j := range o.Conns {
			o.Conns[j].Original, o.Conns[j].Reply = r.tuple(o.Conns[j].Original), r.tuple(o.Conns[j].Reply)
		}
	}
	return out
}

type rebind struct{ from, to uint16 }

func (r rebind) addrPort(a netip.AddrPort) netip.AddrPort {
	if a.Port() != r.from {
		return a
	}
	return netip.AddrPortFrom(a.Addr(), r.to)
}

func (r rebind) tuple(t nat.Tuple) nat.Tuple {
	return t.WithSrc(r.addrPort(t.Src())).WithDst(r.addrPort(t.Dst()))
}

func (r rebind) journey(j nat.Journey) nat.Journey {
	j.Hops, j.Steps = slices.Clone(j.Hops), slices.Clone(j.Steps)
	for i := range j.Hops {
		j.Hops[i].Tuple = r.tuple(j.Hops[i].Tuple)
	}
	for i := range j.Steps {
		j.Steps[i].Before, j.Steps[i].After = r.tuple(j.Steps[i].Before), r.tuple(j.Steps[i].After)
	}
	return j
}
