package proof

import (
	"slices"
	"strings"

	"natlab/nat"
)

// passage is the steps of one packet in one table at one hook of a node.
type passage struct {
	node  string
	hook  nat.Hook
	table string
	turn  int // how often the packet came there before
}

// passages cuts a trace into them, in its order.
func passages(t nat.Trace) (order []passage, steps map[passage]nat.Trace) {
	steps = map[passage]nat.Trace{}
	turns := map[passage]int{}
	var last passage
	for i, s := range t {
		at := passage{node: s.Node, hook: s.Hook, table: s.Table}
		if i == 0 || at != last {
			turns[at]++
			last = at
		}
		at.turn = turns[at]
		if steps[at] == nil {
			order = append(order, at)
		}
		steps[at] = append(steps[at], s)
	}
	return order, steps
}

// result is what a passage did to the packet, as far as it matters to a Service.
type result struct {
	verdict     nat.Verdict
	translation string
	untracked   bool
	mark        uint32
}

// resultOf tells a passage's result. bits are those of the mark that matter; before is the mark that the packet came with.
func resultOf(steps nat.Trace, before, bits uint32) result {
	r := result{verdict: nat.Accept, mark: before & bits}
	for _, s := range steps {
		r.mark = s.Mark & bits
		r.untracked = r.untracked || s.Untracks
		switch s.Verdict {
		case nat.Drop, nat.Reject, nat.Queue, nat.Stolen:
			r.verdict = s.Verdict
		case nat.Accept:
			switch word := strings.ToUpper(s.Target); word { // nft's words are small
			case "DNAT", "SNAT", "MASQUERADE", "REDIRECT", "NETMAP":
				r.translation = word
				if s.To.IsValid() {
					r.translation += " " + s.To.String()
				}
			}
		case nat.Continue, nat.Return, nat.Jump, nat.Goto:
		}
	}
	return r
}

// sameButMark reports whether two passages that translate the source do so alike: with which mark the packet leaves is then nobody's
// concern.
func (r result) sameButMark(other result) bool {
	r.mark = other.mark
	return r == other && r.translation != ""
}

// markBits are the bits of the mark that a trace's rules set.
func markBits(t nat.Trace) (bits uint32) {
	for _, s := range t {
		bits |= s.Mark
	}
	return bits
}

// decisive is the first rule after which verdict, translation or mark differ from what is needed; nil where no rule does.
// Rules of others that change nothing of these are passed over: they are not wanted, and they do no harm.
func (r Chains) decisive(dir nat.Direction, want, got nat.Trace) *difference {
	wantOrder, wanted := passages(want)
	gotOrder, seen := passages(got)
	bits := markBits(want)
	wantMark, gotMark := map[string]uint32{}, map[string]uint32{}
	before := 0
	for _, at := range inTurn(wantOrder, gotOrder) {
		a, b := resultOf(wanted[at], wantMark[at.node], bits), resultOf(seen[at], gotMark[at.node], bits)
		came := gotMark[at.node]
		wantMark[at.node], gotMark[at.node] = a.mark, b.mark
		if a == b || at.hook == nat.PostRouting && a.sameButMark(b) {
			before += len(wanted[at])
			continue
		}
		if d := compareSteps(dir, wanted[at], r.withoutHarmless(seen[at], came, bits), false); d != nil {
			d.at += before
			return d
		}
	}
	return nil
}

// inTurn merges two orders of passages: node by node as the first one has them, and in a node as the second does, since what
// is not wanted is there only.
func inTurn(want, got []passage) []passage {
	var nodes []string
	for _, at := range slices.Concat(want, got) {
		if !slices.Contains(nodes, at.node) {
			nodes = append(nodes, at.node)
		}
	}
	var out []passage
	for _, node := range nodes {
		for _, order := range [][]passage{got, want} {
			for _, at := range order {
				if at.node == node && !slices.Contains(out, at) {
					out = append(out, at)
				}
			}
		}
	}
	return out
}

// withoutHarmless leaves out rules that are not wanted and change nothing: those that go on, and those that lead into chains
// of others and back. mark is the one that the packet came with.
func (r Chains) withoutHarmless(steps nat.Trace, mark, bits uint32) nat.Trace {
	var out nat.Trace
	for _, s := range steps {
		changed := (s.Mark^mark)&bits != 0
		mark = s.Mark
		if changed || !r.harmless(s) {
			out = append(out, s)
		}
	}
	return out
}

func (r Chains) harmless(s nat.Step) bool {
	chain, known := r.intent(chainOf(s))
	switch s.Verdict {
	case nat.Continue, nat.Jump, nat.Goto:
		return s.Rule != 0 && !s.Untracks && indexRule(chain, s.Met) < 0
	case nat.Return:
		return !known
	case nat.Accept, nat.Drop, nat.Reject, nat.Queue, nat.Stolen:
	}
	return false
}
