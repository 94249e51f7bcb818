package scenarios

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"natlab/nat"
	"natlab/nat/proof"
	"natlab/topology"
)

// The patience of a client: for an answer, and where nothing moves any more.
const (
	patience   = 5 * time.Second
	impatience = 400 * time.Millisecond
)

// waiting bounds an exchange that is to end as o has it. The caller calls done when it is over; until then the taps are
// the watch's own.
//
// An exchange that is to be lost has as long as any other: on a slow machine an answer takes its time, and a client's silence
// shows nothing. It ends early on the evidence of the taps: see endWhenLost. Where nothing is watched, silence
// is all there is, and impatience has to do.
func (s *stage) waiting(o map[string]string, a asked) (_ context.Context, done func()) {
	wait := patience
	lost := oneOf(o["end"], "lost")
	if lost && s.taps == nil {
		wait = impatience
	}
	ctx, cancel := context.WithTimeout(s.ctx, wait)
	if !lost || s.taps == nil {
		return ctx, cancel
	}
	var watch sync.WaitGroup
	watch.Go(func() { s.endWhenLost(ctx, cancel, a) })
	return ctx, func() { cancel(); watch.Wait() }
}

// endWhenLost ends an exchange when the taps have seen that its packet came to rest in a kernel, and for impatience
// nothing else anywhere.
func (s *stage) endWhenLost(ctx context.Context, end func(), a asked) {
	home := s.home()
	var over <-chan time.Time // nil: it is not at rest
	for {
		if err := s.drain(); err != nil {
			return // the exchange has all of its time, and observed tells of the error
		}
		a.tuple = s.firstOf(a)
		if over = nil; atRest(a.probe(), s.joined(a), home) {
			over = time.After(impatience)
		}
		select {
		case <-ctx.Done():
			return
		case <-over:
			end()
			return
		case <-s.taps.Notify():
		}
	}
}

// firstOf is the tuple of an exchange. Where the kernel chose its source, that is the one of the first packet to its target
// which left its client, and which belongs to no connection that the script holds open.
func (s *stage) firstOf(a asked) nat.Tuple {
	src := a.tuple.Src()
	if !src.Addr().IsUnspecified() && src.Port() != 0 {
		return a.tuple
	}
	for _, o := range s.seen[a.since:] {
		t := o.Hop.Tuple
		if o.Kind != proof.PacketSeen || o.Node != a.from || o.Hop.Tap != nat.TapOutRaw || t.Proto() != a.tuple.Proto() || t.Dst() != a.tuple.Dst() {
			continue
		}
		if (src.Port() == 0 || src.Port() == t.Src().Port()) && !s.isOpen(t) {
			return t
		}
	}
	return a.tuple
}

func (s *stage) isOpen(t nat.Tuple) bool {
	for _, c := range s.opened {
		if c.tuple == t {
			return true
		}
	}
	return false
}

// home is where packets are handed to programs.
type home struct {
	local  map[string][]netip.Addr // by member
	tunnel string                  // tunl0, which a program may serve; "" where there is none
}

func (s *stage) home() home {
	h := home{local: map[string][]netip.Addr{}}
	for _, ns := range s.lab.Plan().Namespaces {
		for _, d := range ns.Devices {
			if d.Kind == topology.TunnelIPIP {
				h.tunnel = d.Name
			}
		}
		for _, a := range ns.Addresses {
			h.local[ns.Member] = append(h.local[ns.Member], a.Prefix.Addr())
		}
	}
	return h
}

// has reports whether an address is one of a member's own.
func (h home) has(member string, a netip.Addr) bool {
	return a.IsLoopback() || slices.Contains(h.local[member], a)
}

// atRest reports whether a packet was seen to go into a kernel, and neither out of it nor to a program: to the server,
// back to its client, or into a tunnel that a program serves. A program may take its time; a kernel does not, but for a
// neighbour that does not answer, whom it asks for three seconds.
func atRest(asked nat.Probe, seen proof.Seen, h home) bool {
	for _, step := range slices.Concat(seen.Request.Steps, seen.Reply.Steps) {
		if step.Verdict == nat.Drop {
			return true
		}
	}
	for _, p := range seen.Reply.Hops {
		if p.Node == asked.From && p.Tap == nat.TapPreNAT && p.Tuple == asked.Tuple.Reply() {
			return false
		}
	}
	answered := len(seen.Reply.Hops)+len(seen.Errors) > 0
	inTunnel := 0
	for _, p := range slices.Concat(seen.Request.Hops, seen.Reply.Hops) {
		if !answered && h.serves(p) {
			return false
		}
		if h.tunnel == "" {
			continue
		}
		switch onDevice, outer := p.Dev == h.tunnel, p.Outer.IsValid(); {
		case p.Tap == nat.TapPost && onDevice, p.Tap == nat.TapPreRaw && outer:
			inTunnel++
		case p.Tap == nat.TapOutRaw && outer, p.Tap == nat.TapPreRaw && onDevice:
			inTunnel--
		}
	}
	return len(seen.Request.Hops) > 0 && inTunnel <= 0
}

// serves reports whether a request is handed to a program where it was seen: it is for the member, and has not the
// member's own source, which comes from no wire (fib_validate_source).
func (h home) serves(p nat.Hop) bool {
	if p.Tap != nat.TapPreNAT || !h.has(p.Node, p.Tuple.Dst().Addr()) {
		return false
	}
	return p.Dev == "lo" || !h.has(p.Node, p.Tuple.Src().Addr())
}

// settle returns when no packet of the script's is under way, so that what is not there now does not come any more. An
// exchange that has ended is over, and what was seen of it is on record. Requests whose answer nobody received yet, and
// segments, are let come to rest: until the taps have seen nothing for impatience.
func (s *stage) settle(ctx context.Context) error {
	underWay := s.loose
	for _, waiting := range s.sent {
		underWay = underWay || len(waiting) > 0
	}
	if s.taps == nil || !underWay {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(impatience):
			s.loose = false
			return nil
		case <-s.taps.Notify():
		}
	}
}
