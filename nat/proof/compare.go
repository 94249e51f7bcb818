package proof

import (
	"fmt"
	"net/netip"
	"slices"

	"natlab/nat"
)

// difference is one place where what was seen is not what has to be.
type difference struct {
	dir       nat.Direction
	node      string
	at        int // how much of the way was as it has to be: steps or hops, for choosing between predictions
	want, got string
	wantStep  *nat.Step
	gotStep   *nat.Step
	packet    string
	// again reports that all was as it has to be, and that a packet then came into the node once more that nobody was seen to
	// send again: it may be a repeated one of which only the end was seen.
	again bool
}

// ports binds the ports that chance decides: by the translated address, the first port that was seen in the place of
// nat.AnyPort, which all others have to be equal to.
type ports map[netip.Addr]uint16

func (b ports) addrPort(want, got netip.AddrPort) bool {
	if want.Addr() != got.Addr() {
		return false
	}
	if want.Port() != nat.AnyPort || want.Port() == got.Port() {
		return want.Port() == got.Port()
	}
	if port, ok := b[want.Addr()]; ok {
		return port == got.Port()
	}
	b[want.Addr()] = got.Port()
	return true
}

func (b ports) tuple(want, got nat.Tuple) bool {
	return want.Proto() == got.Proto() && b.addrPort(want.Src(), got.Src()) && b.addrPort(want.Dst(), got.Dst())
}

func (b ports) hop(want, got nat.Hop) bool {
	return want.Node == got.Node && want.Tap == got.Tap && want.Dev == got.Dev && want.Mark == got.Mark &&
		b.tuple(want.Tuple, got.Tuple) && sameOuter(want.Outer, got.Outer)
}

// sameOuter compares the headers around a tunnelled packet. A VXLAN packet's source port is a hash that only the
// sending kernel knows.
func sameOuter(want, got nat.Tuple) bool {
	return want.Proto() == got.Proto() && want.Src().Addr() == got.Src().Addr() && want.Dst() == got.Dst()
}

// perNode deals values out by their node and hands them back in order: two orders are compared within each node,
// since between nodes only the predicted one is known.
type perNode[T any] struct {
	all    []T
	queues []queue // few: a packet comes through few nodes
	after  []int   // by the place in all, the place of the node's next
	node   func(*T) string
}

// queue is what of a node was not handed out: from is the place of the first, len(all) where there is none.
type queue struct {
	node string
	from int
}

func byNode[T any](all []T, node func(*T) string) *perNode[T] {
	p := &perNode[T]{all: all, after: make([]int, len(all)), node: node}
	for i := range slices.Backward(all) {
		of := node(&all[i])
		q := p.queue(of)
		if q == nil {
			p.queues = append(p.queues, queue{of, len(all)})
			q = &p.queues[len(p.queues)-1]
		}
		p.after[i], q.from = q.from, i
	}
	return p
}

// queue is nil for a node that has none of the values.
func (p *perNode[T]) queue(node string) *queue {
	for i := range p.queues {
		if p.queues[i].node == node {
			return &p.queues[i]
		}
	}
	return nil
}

// peek is what next would hand out; nil where there is no more.
func (p *perNode[T]) peek(node string) *T {
	q := p.queue(node)
	if q == nil || q.from == len(p.all) {
		return nil
	}
	return &p.all[q.from]
}

func (p *perNode[T]) next(node string) *T {
	v := p.peek(node)
	if v != nil {
		q := p.queue(node)
		q.from = p.after[q.from]
	}
	return v
}

// rest returns what next has not handed out, in the order in which it was given.
func (p *perNode[T]) rest() []*T {
	var out []*T
	for i := range p.all {
		if i >= p.queue(p.node(&p.all[i])).from {
			out = append(out, &p.all[i])
		}
	}
	return out
}

func hopNode(h *nat.Hop) string   { return h.Node }
func stepNode(s *nat.Step) string { return s.Node }
func connNode(c *nat.Conn) string { return c.Node }

// compareHops returns the first hop that is not as predicted, nil where all are. more allows hops after the
// predicted ones, as a packet that was sent again makes them.
func (b ports) compareHops(dir nat.Direction, want, got []nat.Hop, more bool) *difference {
	seen := byNode(got, hopNode)
	for i, w := range want {
		g := seen.next(w.Node)
		switch {
		case g == nil:
			return &difference{dir: dir, node: w.Node, at: i, want: w.String(), got: "no packet there", packet: lastHop(want[:i], w.Node)}
		case !b.hop(w, *g):
			return &difference{dir: dir, node: w.Node, at: i, want: w.String(), got: g.String(), packet: packetOf(*g)}
		}
	}
	if rest := seen.rest(); len(rest) > 0 && !more {
		first := slices.IndexFunc(got, func(h nat.Hop) bool { return h.Node == rest[0].Node })
		return &difference{
			dir: dir, node: rest[0].Node, at: len(want), want: "no further packet", got: rest[0].String(), packet: packetOf(*rest[0]),
			again: got[first] == *rest[0],
		}
	}
	return nil
}

func lastHop(hops []nat.Hop, node string) string {
	for _, h := range slices.Backward(hops) {
		if h.Node == node {
			return packetOf(h)
		}
	}
	if len(hops) > 0 {
		return packetOf(hops[len(hops)-1])
	}
	return ""
}

func packetOf(h nat.Hop) string { return fmt.Sprintf("%s mark %#x", h.Tuple, h.Mark) }

// compareSteps returns the first rule that is not as predicted, nil where all are.
func compareSteps(dir nat.Direction, want, got nat.Trace, more bool) *difference {
	seen := byNode(got, stepNode)
	var last *nat.Step
	for i := range want {
		w := &want[i]
		if next := seen.peek(w.Node); w.Maybe && (next == nil || !sameStep(w, next)) {
			continue
		}
		g := seen.next(w.Node)
		switch {
		case g == nil:
			return &difference{dir: dir, node: w.Node, at: i, want: stepText(*w), got: "no further rule", wantStep: new(*w), packet: stepPacket(last, *w)}
		case !sameStep(w, g):
			return &difference{dir: dir, node: w.Node, at: i, want: stepText(*w), got: stepText(*g), wantStep: new(*w), gotStep: new(*g), packet: stepPacket(g, *w)}
		}
		last = g
	}
	if rest := seen.rest(); len(rest) > 0 && !more {
		g := rest[0]
		first := &got[slices.IndexFunc(got, func(s nat.Step) bool { return s.Node == g.Node })]
		return &difference{
			dir: dir, node: g.Node, at: len(want), want: "no further rule", got: stepText(*g), gotStep: new(*g), packet: stepPacket(g, *g),
			again: sameStep(first, g) && first.Before == g.Before,
		}
	}
	return nil
}

// stepPacket is what the packet was when it came to a step: as the witness saw it there or at the step before,
// else as predicted.
func stepPacket(seen *nat.Step, want nat.Step) string {
	if seen != nil && seen.Before.IsValid() {
		return fmt.Sprintf("%s mark %#x", seen.Before, seen.Mark)
	}
	return fmt.Sprintf("%s mark %#x", want.Before, want.Mark)
}

// sameStep reports whether two steps are the same rule of the same chain with the same verdict. Rules are known by
// their text, because a rule that was added or taken away elsewhere in a chain moves the numbers of all others.
func sameStep(a, b *nat.Step) bool {
	if a.Node != b.Node || a.Hook != b.Hook || a.Table != b.Table || a.Chain != b.Chain || a.Verdict != b.Verdict || (a.Rule == 0) != (b.Rule == 0) {
		return false
	}
	if a.Text != "" && b.Text != "" { // both rules are known
		return a.Same(b.Met)
	}
	return a.Rule == b.Rule
}

// countRule counts how often a rule is in a chain.
func countRule(chain []nat.Met, rule nat.Met) int {
	n := 0
	for _, r := range chain {
		if r.Same(rule) {
			n++
		}
	}
	return n
}

// indexRule finds a rule in a chain.
func indexRule(chain []nat.Met, rule nat.Met) int {
	return slices.IndexFunc(chain, func(r nat.Met) bool { return r.Same(rule) })
}

func stepText(s nat.Step) string {
	if s.Text == "" || s.Rule == 0 {
		return s.String()
	}
	return fmt.Sprintf("%s %s: %s", s.Node, s.Table, s.Text)
}

// compareConns returns the first connection tracking entry that is not as predicted.
func (b ports) compareConns(want, got []nat.Conn) *difference {
	seen := byNode(got, connNode)
	for i, w := range want {
		g := seen.next(w.Node)
		switch {
		case g == nil:
			return &difference{node: w.Node, at: i, want: connText(w), got: "no entry", packet: w.Original.String()}
		case !b.tuple(w.Original, g.Original) || !b.tuple(w.Reply, g.Reply) || w.Mark != g.Mark || !sameStatus(w, *g):
			return &difference{node: w.Node, at: i, want: connText(w), got: connText(*g), packet: g.Original.String()}
		}
	}
	if rest := seen.rest(); len(rest) > 0 {
		return &difference{node: rest[0].Node, at: len(want), want: "no further entry", got: connText(*rest[0]), packet: rest[0].Original.String()}
	}
	return nil
}

func sameStatus(want, got nat.Conn) bool {
	bits := comparedStatus
	if mayStay(&want) {
		bits &^= nat.SrcNAT
	}
	return want.Status&bits == got.Status&bits
}

func connText(c nat.Conn) string {
	return fmt.Sprintf("%s %s, reply %s, %s, mark %#x", c.Node, c.Original, c.Reply, c.Status&comparedStatus, c.Mark)
}

// ordered puts what was seen into the order of what was predicted; what was not predicted comes last.
func ordered[T any](want, got []T, node func(*T) string) []T {
	seen := byNode(got, node)
	out := make([]T, 0, len(got))
	for i := range want {
		if g := seen.next(node(&want[i])); g != nil {
			out = append(out, *g)
		}
	}
	for _, g := range seen.rest() {
		out = append(out, *g)
	}
	return out
}
