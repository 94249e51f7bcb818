package live

import (
	"fmt"
	"slices"
	"time"

	"natlab/nat"
	"natlab/nat/proof"
)

// How long nothing new is waited for, before a flow is told of that may not be at its end.
const (
	openAfter   = time.Second     // of a connection that was made
	silentAfter = 3 * time.Second // of a packet that nobody has answered
	lostAfter   = time.Second     // of an answer that was seen, and has not come through
	lingerFor   = 10 * time.Second
)

// flow is a flow while it is followed.
type flow struct {
	names  *Names
	number int
	dealt  int // of the Follower's takes, the last in which it got an observation
	root   nat.Tuple
	node   string // the client's own, as far as that is watched: where the packet is as the client has sent it
	local  bool   // and a process of that node sent it
	seen   []proof.Observation
	known  map[sight]bool

	began, last time.Time
	asked       time.Time     // when the client sent its first packet last
	gap         time.Duration // to the time before that
	answeredAt  time.Time     // zero: it is not

	made, closed, reset, refused bool             // of TCP: its connection is made, closed by both ends, ended by an RST, refused
	back                         map[nat.Hop]bool // by node and tap alone: where the answer was seen
	failed                       proof.ICMP
	dropped, rejected            *nat.Step
	told                         State
}

// add takes an observation of the flow.
func (w *flow) add(o loose, dir nat.Direction) {
	if o.at.After(w.last) {
		w.last = o.at
	}
	switch o.Kind {
	case proof.PacketSeen:
		w.packet(o, dir)
	case proof.RuleHit:
		switch step := o.Step; step.Verdict {
		case nat.Drop:
			w.dropped = &step
		case nat.Reject:
			w.rejected = &step
		case nat.Continue, nat.Accept, nat.Return, nat.Jump, nat.Goto, nat.Queue, nat.Stolen:
		}
	case proof.ConnSeen:
		w.made = w.made || w.root.Proto() == nat.TCP && o.Conn.Has(nat.Assured)
		w.closed = w.closed || w.made && (o.State == "TIME_WAIT" || o.Gone)
		w.reset = w.reset || w.made && !w.closed && o.State == "CLOSE"
	}
	if w.news(o, dir) {
		w.seen = append(w.seen, o.Observation)
	}
}

// sight is a place where a packet was seen, and whose and which it was.
type sight struct {
	hop   nat.Hop
	flags uint8
	dir   nat.Direction
}

// news reports whether an observation is to be kept: how the flow came about is not told yet, and it is none of a packet that was sent again.
func (w *flow) news(o loose, dir nat.Direction) bool {
	entrance := sight{hop: nat.Hop{Node: o.Node}, dir: dir}
	switch {
	case o.Kind == proof.ConnSeen:
		return w.keeps()
	case !w.keeps() || w.told == Open:
		return false
	case o.Kind == proof.RuleHit:
		return !w.known[entrance]
	}
	here := sight{o.Hop, o.TCPFlags, dir}
	again := w.known[here]
	if w.known[here] = true; again && (o.Hop.Tap == nat.TapPreRaw || o.Hop.Tap == nat.TapOutRaw) {
		w.known[entrance] = true
	}
	return !again
}

// keeps reports whether what was seen of the flow may be told again.
func (w *flow) keeps() bool {
	return w.told == Unknown || w.told == Open || w.told == Unanswered || w.told == Dropped
}

func (w *flow) packet(o loose, dir nat.Direction) {
	const syn, rst, ack = 2, 4, 16
	back := func() { w.back[nat.Hop{Node: o.Node, Tap: o.Hop.Tap}] = true }
	answer := func() {
		if back(); w.answeredAt.IsZero() {
			w.answeredAt = o.at
		}
	}
	if dir == nat.Original && o.Hop.Tuple == w.root && (o.Hop.Tap == nat.TapPreRaw || o.Hop.Tap == nat.TapOutRaw) {
		w.comes(o)
	}
	switch flags := o.TCPFlags; {
	case o.ICMP.Inside.IsValid():
		if o.ICMP.Ends() && dir == nat.Reply {
			w.failed = o.ICMP
			back()
		}
	case w.root.Proto() != nat.TCP && dir == nat.Reply:
		answer()
	case w.root.Proto() != nat.TCP:
	case flags&rst != 0 && (w.made || dir == nat.Original):
		w.reset = w.reset || w.made && !w.closed // what TCP sends again after the end is answered so
	case flags&rst != 0:
		w.refused = true
		back()
	case dir == nat.Reply && flags&(syn|ack) == syn|ack:
		answer()
	}
}

// comes notes where the first packet comes into what is watched, as the client has sent it. Without a translation it is the same in several
// nodes: then it is the client's own.
func (w *flow) comes(o loose) {
	home := w.names.member(w.root.Src().Addr()).node
	if w.node == "" || w.node != home && o.Node == home {
		w.node, w.local = o.Node, o.Hop.Tap == nat.TapOutRaw
	}
	if o.Node == w.node {
		w.gap, w.asked = o.at.Sub(w.asked), o.at
	}
}

// through reports whether the answer came back to the client's node, and on to it.
func (w *flow) through() bool {
	tap := nat.TapPost
	if w.local {
		tap = nat.TapPreRaw
	}
	return w.back[nat.Hop{Node: w.node, Tap: tap}]
}

// over reports whether a packet that opens a connection by the flow's tuple opens another one: the flow is at its end, or TCP would have
// sent its SYN again before, after at most twice the time that it waited before that.
func (w *flow) over(o loose) bool {
	switch w.told {
	case Closed, Reset, Refused, Rejected, Unreachable:
		return w.root.Proto() == nat.TCP
	case Dropped, Unanswered:
		return o.at.Sub(w.last) >= w.patience()
	case Unknown, Open, Answered:
	}
	return false
}

// patience is how long a flow that was told of is remembered when nothing more of it is seen.
func (w *flow) patience() time.Duration { return max(lingerFor, 3*w.gap) }

// become is what has become of the flow, Unknown where that is to be waited for: until due, or without an end where due is zero.
func (w *flow) become(at time.Time) (s State, due time.Time) {
	rest := func(s State, after time.Duration) (State, time.Time) {
		if due := w.last.Add(after); at.Before(due) {
			return Unknown, due
		}
		return s, time.Time{}
	}
	switch tcp := w.root.Proto() == nat.TCP; {
	case w.reset:
		return Reset, due
	case w.closed:
		return Closed, due
	case w.dropped != nil && !w.made:
		return Dropped, due
	case w.refused || w.failed.Type != 0:
		end := w.failure()
		if w.through() {
			return end, due
		}
		return rest(end, lostAfter)
	case tcp && w.made:
		if due = w.answeredAt.Add(openAfter); at.Before(due) {
			return Unknown, due
		}
		return Open, time.Time{}
	case !tcp && w.through() && !w.answeredAt.IsZero():
		return Answered, due
	case !w.answeredAt.IsZero():
		return rest(Unanswered, lostAfter)
	}
	return rest(Unanswered, silentAfter)
}

// failedBy is the protocol of an ICMP error about the flow.
func (w *flow) failedBy() nat.Proto {
	if w.root.Src().Addr().Is6() {
		return nat.ICMPv6
	}
	return nat.ICMP
}

// failure is how a flow ended that an RST or an ICMP error answered.
func (w *flow) failure() State {
	switch {
	case w.rejected != nil:
		return Rejected
	case w.refused || nat.EndOfError(w.failedBy(), w.failed.Type, w.failed.Code) == nat.EndRefused:
		return Refused
	}
	return Unreachable
}

// tell writes down what was seen of the flow.
func (w *flow) tell(s State) Flow {
	joined := proof.Join([]nat.Probe{{From: w.node, Tuple: w.root}}, w.seen)[0]
	f := Flow{
		Number: w.number, Began: w.began, Took: w.last.Sub(w.began), State: s, Again: w.told != Unknown,
		Service: w.names.service(w.root.Proto(), w.root.Dst()), Client: w.names.member(w.root.Src().Addr()).member,
		Protocol: w.root.Proto(), Source: w.root.Src(), Target: w.root.Dst(), Conns: joined.Conns,
	}
	f.Endpoint = proof.EndpointOf(w.root, joined, proof.Ends{})
	if !f.Endpoint.IsValid() && s.End() == nat.EndAnswered {
		f.Endpoint = w.root.Dst()
	}
	at := w.names.member(f.Endpoint.Addr())
	if f.Server = at.member; f.Client == "" && w.local {
		f.Client = w.node
	}
	w.order(&f, joined, at.node)
	for _, h := range f.Request.Hops {
		f.Peer = h.Tuple.Src()
	}
	f.Why = w.why(s, joined)
	w.told = s
	if !w.keeps() {
		w.seen, w.known = nil, nil
	}
	return f
}

// order puts the journeys into the order of the way: the client's node comes first, that of the endpoint last, and back.
func (w *flow) order(f *Flow, seen proof.Seen, endpoint string) {
	rank := func(node string) int {
		switch node {
		case w.node:
			return 0
		case endpoint:
			return 2
		}
		return 1
	}
	f.Request, f.Reply = seen.Request, seen.Reply
	for dir, j := range [2]*nat.Journey{&f.Request, &f.Reply} {
		sign := 1 - 2*dir
		slices.SortStableFunc(j.Hops, func(a, b nat.Hop) int { return sign * (rank(a.Node) - rank(b.Node)) })
		slices.SortStableFunc(j.Steps, func(a, b nat.Step) int { return sign * (rank(a.Node) - rank(b.Node)) })
	}
	slices.SortStableFunc(f.Conns, func(a, b nat.Conn) int { return rank(a.Node) - rank(b.Node) })
}

// why tells what ended a flow that has no answer.
func (w *flow) why(s State, seen proof.Seen) string {
	by := func(step *nat.Step) string {
		if step.Text != "" {
			return step.Place() + ": " + step.Text
		}
		return step.Place()
	}
	switch s {
	case Dropped:
		return by(w.dropped)
	case Rejected:
		return by(w.rejected)
	case Unanswered, Unreachable, Refused:
		if !w.through() && seen.LastHop.Tuple.IsValid() {
			return fmt.Sprintf("seen last in %s at %s %s: %s", seen.LastHop.Node, seen.LastHop.Tap, seen.LastHop.Dev, seen.LastHop.Tuple)
		}
	case Unknown, Open, Closed, Reset, Answered:
	}
	return ""
}
