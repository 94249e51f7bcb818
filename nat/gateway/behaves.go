package gateway

import (
	"time"

	"natlab/nat"
	"natlab/nat/behaviour"
	"natlab/nat/conntrack"
)

// bind settles one end of a new connection's translation within a range, as Linux does, or as another NAT does where the Facts have one. false: there is
// no port left.
func (v *visit) bind(p *passage, m conntrack.Manip, r *conntrack.Range) bool {
	c := p.ref.Conn
	if v.mappings == nil || m != conntrack.ManipSource || !v.mappings.Maps(p.view.Tuple.Proto()) {
		v.conns.Bind(c, m, r)
	} else if !v.mappings.Outbound(c, r, p.view.Out, v.at) {
		v.lost("NAT", "no port is left to translate to")
		return false
	}
	v.note(c, m)
	return true
}

// bindUnasked settles an end that no rule asked for. Another NAT than Linux's lets in what comes to a mapping. false: the packet goes no further.
func (v *visit) bindUnasked(p *passage, hook nat.Hook, m conntrack.Manip) bool {
	c := p.ref.Conn
	if v.mappings != nil {
		in := ""
		if p.in != nil {
			in = p.in.Name
		}
		switch {
		case hook == nat.PreRouting:
			switch v.mappings.Inbound(c, in, v.at) {
			case behaviour.Filtered:
				v.lost("NAT", "the NAT has a mapping of "+p.view.Tuple.Dst().String()+", which is not for "+p.view.Tuple.Src().String())
				v.abandon(p)
				return false
			case behaviour.Mapped:
				return true
			case behaviour.Unmapped:
			}
		case hook == nat.PostRouting && c.DestinationChanged() && v.mappings.Hairpin(c, in, v.at):
			v.note(c, m)
			return true
		}
	}
	v.conns.BindNull(c, m)
	v.note(c, m)
	return true
}

// Remember puts connections that were kept into the table, as of now, and tells how many there was room for. The mappings of another NAT are those of the connections.
func (g *Gateway) Remember(all []conntrack.Conn, at time.Time) (n int) {
	g.conns.Advance(at)
	for _, c := range all {
		if !g.conns.Restore(c) {
			continue
		}
		n++
		if one, _ := g.conns.Find(c.Key(nat.Reply), c.Zone); one != nil && g.mappings != nil {
			g.mappings.Adopt(one, at)
		}
	}
	return n
}
