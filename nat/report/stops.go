package report

import (
	"slices"

	"natlab/nat"
	"natlab/nat/proof"
)

// stop is a packet's stay in one namespace: hops and rules in the order in which it met them.
type stop struct {
	node   string
	events []event
}

// event is a hop, a rule, or a route that is taken: one of them is set.
type event struct {
	hop   *nat.Hop
	step  *nat.Step
	route *proof.Route
}

// stopsOf merges the hops and the rules of one direction, which a Certificate holds apart.
func stopsOf(c proof.Certificate, dir nat.Direction) []stop {
	var hops []nat.Hop
	for _, h := range c.Hops {
		if h.Direction == dir {
			hops = append(hops, h.Hop)
		}
	}
	var steps nat.Trace
	for _, s := range c.Met {
		if s.Direction == dir {
			steps = append(steps, s.Step)
		}
	}
	m := merger{steps: steps}
	for _, h := range hops {
		m.hop(h)
	}
	m.flush(func(nat.Step) bool { return true })
	for i := range m.stops {
		m.stops[i].takeRoutes(c.Routes, dir)
	}
	return m.stops
}

// takeRoutes puts each route where it is chosen: behind PREROUTING, or before anything else that happens to what the node itself sends.
func (s *stop) takeRoutes(all []proof.Route, dir nat.Direction) {
	var out []event
	begin := 0 // of the way that the next hop out ends
	for i, e := range s.events {
		if e.hop == nil || e.hop.Tap != nat.TapPost {
			continue
		}
		way := s.events[begin : i+1]
		begin = i + 1
		at := slices.IndexFunc(way, func(e event) bool {
			return e.hop != nil && tapRank(e.hop.Tap) > 2 || e.step != nil && e.step.Hook != nat.PreRouting
		})
		out = append(out, way[:at]...)
		dst := e.hop.Tuple.Dst().Addr()
		if e.hop.Outer.IsValid() {
			dst = e.hop.Outer.Dst().Addr()
		}
		for _, r := range all {
			if r.Direction == dir && r.Node == s.node && r.Dev == e.hop.Dev && r.Dst == dst {
				out = append(out, event{route: &r})
				break
			}
		}
		out = append(out, way[at:]...)
	}
	s.events = append(out, s.events[begin:]...)
}

// merger puts each rule before the first hop that lies behind it on the packet's way. A packet's way through a
// namespace goes up in rank; where rank falls, a second way begins: that of the tunnel's outer packet, or of the
// packet that was inside.
type merger struct {
	stops []stop
	steps nat.Trace // those not placed yet
	rank  int       // of the event placed last in this way
	outer nat.Tuple // of the packet on this way; zero where it has no outer header
}

func (m *merger) hop(h nat.Hop) {
	r := tapRank(h.Tap)
	if n := len(m.stops); n == 0 || m.stops[n-1].node != h.Node || r <= m.rank {
		m.rest()
		m.rank, m.outer = -1, h.Outer
	}
	m.flush(func(s nat.Step) bool { return s.Node == h.Node && m.next(s) && stepRank(s) < r })
	m.add(h.Node, event{hop: &h})
	m.rank, m.outer = r, h.Outer
}

// rest places the rules that end the way so far: those that the packet met behind its last hop there.
func (m *merger) rest() {
	if n := len(m.stops); n > 0 {
		node := m.stops[n-1].node
		m.flush(func(s nat.Step) bool { return s.Node == node && m.next(s) })
	}
}

// next reports whether a rule can be the next event of the way: further on, and met by the packet that is on it.
func (m *merger) next(s nat.Step) bool {
	sameLayer := !m.outer.IsValid() || !s.Before.IsValid() || s.Before == m.outer
	return stepRank(s) >= m.rank && sameLayer
}

// flush places the next rules as long as they are ready.
func (m *merger) flush(ready func(nat.Step) bool) {
	for len(m.steps) > 0 && ready(m.steps[0]) {
		s := m.steps[0]
		m.steps = m.steps[1:]
		m.add(s.Node, event{step: &s})
		m.rank = stepRank(s)
	}
}

func (m *merger) add(node string, e event) {
	if n := len(m.stops); n == 0 || m.stops[n-1].node != node {
		m.stops = append(m.stops, stop{node: node})
	}
	last := &m.stops[len(m.stops)-1]
	last.events = append(last.events, e)
}

// tapRank and stepRank order the taps and the tables on a packet's way through a namespace.
func tapRank(t nat.Tap) int {
	return [...]int{nat.TapPreRaw: 0, nat.TapPreNAT: 2, nat.TapOutRaw: 4, nat.TapOutNAT: 6, nat.TapPost: 9}[t]
}

func stepRank(s nat.Step) int {
	switch s.Hook {
	case nat.PreRouting:
		return 1
	case nat.Input, nat.Forward:
		return 3
	case nat.Output:
		if s.Table == "filter" || s.Table == "security" {
			return 7
		}
		return 5
	case nat.PostRouting:
	}
	return 8
}
