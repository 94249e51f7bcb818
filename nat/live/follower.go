package live

import (
	"slices"
	"time"

	"natlab/nat"
	"natlab/nat/proof"
)

// Follower deals observations out to flows. A flow is known by the tuple of its first packet where that was seen first; behind a
// translation it is known by the connection tracking entries that translate it. It is for one goroutine.
type Follower struct {
	names   Names
	entries map[entryKey]bool       // that there are
	origins map[nat.Tuple]int       // how many entries have it as their original tuple
	outer   map[nat.Tuple]nat.Tuple // by a tuple that a translation makes: the tuple that it translates
	flows   map[nat.Tuple]*flow     // by the first packet's tuple
	errors  map[nat.Tuple]*flow     // by the tuple of an ICMP error about it
	fresh   []loose                 // of the last Take: their causes may not have been read
	loose   []loose                 // of nobody yet
	number  int
	takes   int // how many there were
}

type entryKey struct {
	node     string
	original nat.Tuple
}

// loose is an observation that belongs to no flow that is known.
type loose struct {
	proof.Observation
	at time.Time
}

// looseFor is how long an observation may wait for its flow. What belongs to none is of a connection that was there before, or of a tunnel.
const looseFor = 2 * time.Second

// NewFollower follows flows from now on.
func NewFollower(n Names) *Follower {
	return &Follower{
		names: n, entries: map[entryKey]bool{}, origins: map[nat.Tuple]int{}, outer: map[nat.Tuple]nat.Tuple{}, flows: map[nat.Tuple]*flow{}, errors: map[nat.Tuple]*flow{},
	}
}

// Standing tells of the entries that there are: what they translate is known by them.
func (f *Follower) Standing(conns []nat.Conn) {
	for _, c := range conns {
		f.learn(c)
	}
}

// Take is given all that the witnesses read at once. What was taken before is dealt out: whatever led to it has been read by now, in
// whichever namespace that was.
func (f *Follower) Take(seen []proof.Observation, at time.Time) {
	for _, o := range seen {
		if o.Kind == proof.ConnSeen && !o.Gone {
			f.learn(o.Conn)
		}
	}
	f.takes++
	ready := append(f.loose, f.fresh...)
	f.loose, f.fresh = nil, nil
	for _, o := range ready {
		if o.Kind == proof.PacketSeen && !o.ICMP.Inside.IsValid() {
			f.begin(o)
		}
	}
	for _, o := range ready {
		if !f.deal(o) && at.Sub(o.at) < looseFor {
			f.loose = append(f.loose, o)
		}
	}
	for _, o := range ready {
		if o.Kind == proof.ConnSeen && o.Gone {
			f.forget(o.Conn)
		}
	}
	for _, o := range seen {
		f.fresh = append(f.fresh, loose{o, at})
	}
}

// Unsettled reports whether the next Take will deal something out, whether or not there is more by then.
func (f *Follower) Unsettled() bool { return len(f.fresh) > 0 }

// learn notes what an entry translates: between DNAT and SNAT a packet has a third tuple.
func (f *Follower) learn(c nat.Conn) {
	key := entryKey{c.Node, c.Original}
	if !f.entries[key] {
		f.entries[key] = true
		f.origins[c.Original]++
	}
	for _, t := range []nat.Tuple{c.Original.WithDst(c.Reply.Src()), c.Reply.Reply()} {
		if t != c.Original {
			f.outer[t] = c.Original
		}
	}
}

func (f *Follower) forget(c nat.Conn) {
	key := entryKey{c.Node, c.Original}
	if !f.entries[key] {
		return
	}
	delete(f.entries, key)
	if f.origins[c.Original]--; f.origins[c.Original] == 0 {
		delete(f.origins, c.Original)
	}
	for _, t := range []nat.Tuple{c.Original.WithDst(c.Reply.Src()), c.Reply.Reply()} {
		if f.outer[t] == c.Original {
			delete(f.outer, t)
		}
	}
}

// mostTranslations bounds how often a packet is translated on its way: entries may name each other in a circle.
const mostTranslations = 8

// origin is the tuple that a packet had before the nodes translated it.
func (f *Follower) origin(t nat.Tuple) nat.Tuple {
	for range mostTranslations {
		before, ok := f.outer[t]
		if !ok {
			break
		}
		t = before
	}
	return t
}

// deal gives an observation to its flow, and reports whether it has one.
func (f *Follower) deal(o loose) bool {
	tuple := o.Hop.Tuple
	switch o.Kind {
	case proof.ConnSeen:
		tuple = o.Conn.Original
	case proof.RuleHit:
		tuple = o.Step.Before
	case proof.PacketSeen:
		if inside := o.ICMP.Inside; inside.IsValid() {
			who, dir := f.find(inside)
			if who == nil {
				return false
			}
			f.errors[tuple] = who
			who.add(o, nat.Reply-dir)
			return true
		}
	}
	who, dir := f.find(tuple)
	if who == nil && o.Kind == proof.RuleHit {
		who, dir = f.errors[tuple], nat.Reply
	}
	if who == nil {
		return false
	}
	who.add(o, dir)
	who.dealt = f.takes
	return true
}

// find tells whose packet has a tuple, and in which direction it goes.
func (f *Follower) find(t nat.Tuple) (*flow, nat.Direction) {
	if who := f.flows[f.origin(t)]; who != nil {
		return who, nat.Original
	}
	return f.flows[f.origin(t.Reply())], nat.Reply
}

// begin makes the flow that a packet begins, if it does. Behind its first tap a packet may have been translated by an entry that is told
// of only when it leaves, so only where it comes in it can begin one.
func (f *Follower) begin(o loose) {
	t := o.Hop.Tuple
	if o.Hop.Tap != nat.TapPreRaw && o.Hop.Tap != nat.TapOutRaw || !t.IsValid() {
		return
	}
	const syn, ack = 2, 16
	if t.Proto() == nat.TCP && o.TCPFlags&(syn|ack) != syn {
		return
	}
	root := f.origin(t)
	switch who, dir := f.find(t); {
	case who != nil && dir == nat.Original && who.over(o):
	case who != nil:
		return
	case f.origins[root] == 0 && f.origins[f.origin(t.Reply())] > 0: // the answer to what was there before
		return
	}
	f.number++
	f.flows[root] = &flow{names: &f.names, number: f.number, root: root, began: o.at, last: o.at, asked: o.at, back: map[nat.Hop]bool{}, known: map[sight]bool{}}
}

// Tell lists the flows of which there is something new to tell, by their numbers, and forgets those that are long over.
func (f *Follower) Tell(at time.Time) (out []Flow) {
	for root, who := range f.flows {
		state, _ := who.become(at)
		behind := len(f.fresh) > 0 && who.dealt == f.takes // what led to it in another namespace may be read, and not dealt out yet
		if state != Unknown && state != who.told && !behind {
			out = append(out, who.tell(state))
		}
		if who.told != Unknown && who.told != Open && at.Sub(who.last) >= who.patience() {
			delete(f.flows, root)
		}
	}
	for t, who := range f.errors {
		if f.flows[who.root] != who {
			delete(f.errors, t)
		}
	}
	slices.SortFunc(out, func(a, b Flow) int { return a.Number - b.Number })
	return out
}

// Due is when Tell may have something to tell although nothing more is seen; false where it never will.
func (f *Follower) Due(at time.Time) (due time.Time, ok bool) {
	for _, who := range f.flows {
		state, then := who.become(at)
		switch {
		case state != Unknown && state != who.told:
			return at, true
		case who.told != Unknown && who.told != Open:
			then = who.last.Add(who.patience())
		case then.IsZero():
			continue
		}
		if !ok || then.Before(due) {
			due, ok = then, true
		}
	}
	return due, ok
}
