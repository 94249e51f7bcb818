package scenarios

import (
	"context"
	"fmt"
	"slices"

	"natlab/nat"
	"natlab/nat/proof"
)

// Exchange is one that a script had, as the taps saw it.
type Exchange struct {
	Flow    proof.Certificate // its hops, rules and entries
	Wrong   string            // in what it did not end as the script expects; "" where it did
	Unknown string            // what could not be told of it; "" where nothing
}

// kept is an exchange whose picture is drawn when its packets have come.
type kept struct {
	asked
	live  nat.Prediction // what the rules made of it then
	wrong error
	blind error // why live is not known
}

// keep remembers an exchange that was watched.
func (s *stage) keep(a asked, wrong error) {
	if !s.job.draw || s.taps == nil {
		return
	}
	s.last = a
	live, err := s.predicted()
	s.kept = append(s.kept, kept{a, live, wrong, err})
}

// draw makes the exchanges of what was kept: the script is over, and what is still to come of the last one is waited for.
func (s *stage) draw() {
	for i, k := range s.kept {
		e := Exchange{}
		seen, err := s.arrived(k, s.kept[i+1:])
		e.Flow = certificate(k.asked, k.live, seen)
		if k.wrong != nil {
			e.Wrong = k.wrong.Error()
		}
		switch {
		case err != nil:
			e.Unknown = "what the taps saw last: " + err.Error()
		case k.blind != nil:
			e.Unknown = "what the rules call for: " + k.blind.Error()
		}
		s.shown = append(s.shown, e)
	}
}

// arrived is what was seen of an exchange before a later one of the same packets. Of one that was answered the answer's arrival is waited for.
func (s *stage) arrived(k kept, later []kept) (proof.Seen, error) {
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	for {
		if err := s.drain(); err != nil {
			return proof.Seen{}, err
		}
		until := len(s.seen)
		if at := slices.IndexFunc(later, func(o kept) bool { return o.from == k.from && o.tuple == k.tuple && o.since > k.since }); at >= 0 {
			until = later[at].since
		}
		seen := joinedOf(k.asked, s.between(k.since, until))
		home := func(h nat.Hop) bool { return h.Node == k.from }
		if k.err != nil || slices.ContainsFunc(seen.Reply.Hops, home) {
			return seen, nil
		}
		select {
		case <-s.taps.Notify():
		case <-ctx.Done():
			return seen, fmt.Errorf("the answer was not seen to come home: %w", ctx.Err())
		}
	}
}
