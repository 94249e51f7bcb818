package gateway

import (
	"slices"

	"natlab/nat"
	"natlab/nat/packet"
)

// remember gives a namespace the connections that it had before the probe.
func (w *walk) remember(g *Gateway) {
	entries := w.network.setup.EntriesOf[g.host.member]
	if len(entries) == 0 {
		return
	}
	g.conns.Advance(explainedAt)
	for _, c := range entries {
		g.conns.Restore(c)
	}
}

// resume notes the connection that a namespace had before the probe, and that a packet of the request belongs to.
func (w *walk) resume(g *Gateway, f flight) {
	if len(w.network.setup.EntriesOf[g.host.member]) == 0 || f.inner.IsValid() || f.dir != nat.Original {
		return
	}
	p, err := packet.Parse(f.packet)
	if err != nil {
		return
	}
	kind, code, _ := p.ICMP()
	c, dir := g.conns.Lookup(p.Tuple(), kind, code)
	if c == nil || dir != nat.Original || slices.ContainsFunc(w.conns, func(t tracked) bool { return t.conn == c }) {
		return
	}
	w.conns = append(w.conns, tracked{g.host.member, c})
}
