package witness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"natlab/nat"
	"natlab/nat/proof"
)

// errDecided is a packet that was let go, dropped or rewritten before.
var errDecided = errors.New("the packet is not held any more")

// Hold keeps packets at a tap until somebody decides about each: it makes races certain instead of likely. Packets are
// observed when they come to the tap, whatever becomes of them then.
//
// A change of the namespace's rules that takes a table or base chain away makes the kernel drop all packets that are held
// there (nf_queue_nf_hook_drop).
type Hold struct {
	m       *member
	tap     nat.Tap
	match   func(proof.Observation) bool
	held    []*Packet     // in the order of arrival, undecided; guarded by m.mu
	arrived chan struct{} // closed and replaced at each arrival; guarded by m.mu
}

// Packet is a packet that is held. It must be decided about once, by Release, Drop or Rewrite; Hold.Release decides what is left.
type Packet struct {
	Seen    proof.Observation // as the tap saw it
	Payload []byte            // from the IP header on, checksums complete
	hold    *Hold
	id      uint32
}

// Hold starts to keep the packets at a tap that match agrees to; a nil match takes all. Of several Holds the one that
// was started first takes a packet. match runs while the namespace is locked: it must not call the Session.
func (s *Session) Hold(name string, tap nat.Tap, match func(proof.Observation) bool) (*Hold, error) {
	m, err := s.member(name)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || m.queues == nil {
		return nil, fmt.Errorf("hold packets at %s %s: there is no tap", name, tap)
	}
	h := &Hold{m: m, tap: tap, match: match, arrived: make(chan struct{})}
	m.holds = append(m.holds, h)
	return h, nil
}

// hold keeps the packet if somebody wants it held. The member is locked.
func (m *member) hold(p packet) bool {
	for _, h := range m.holds {
		if h.tap != p.seen.Hop.Tap || h.match != nil && !h.match(p.seen) {
			continue
		}
		h.held = append(h.held, &Packet{
			Seen: p.seen, Payload: bytes.Clone(p.payload), hold: h, id: p.id,
		})
		close(h.arrived)
		h.arrived = make(chan struct{})
		return true
	}
	return false
}

// Wait returns when n packets are held that nobody has decided about, all of them in the order of their arrival.
func (h *Hold) Wait(ctx context.Context, n int) ([]*Packet, error) {
	for {
		h.m.mu.Lock()
		held, arrived := slices.Clone(h.held), h.arrived
		h.m.mu.Unlock()
		if len(held) >= n {
			return held, nil
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			return held, fmt.Errorf("%d of %d packets came to %s %s: %w", len(held), n, h.m.name, h.tap, ctx.Err())
		}
	}
}

// Release ends the hold: what is held goes on in the order of its arrival. A second Release does nothing.
func (h *Hold) Release() error {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	h.m.holds = slices.DeleteFunc(h.m.holds, func(o *Hold) bool { return o == h })
	return h.releaseLocked()
}

func (h *Hold) releaseLocked() error {
	var errs []error
	for _, p := range h.held {
		errs = append(errs, h.m.verdict(h.tap, p.id, nat.Accept, nil))
	}
	h.held = nil
	return errors.Join(errs...)
}

// Release lets the packet go on. Packets that are released in another order than they came in leave in that order.
func (p *Packet) Release() error { return p.decide(nat.Accept, nil) }

// Drop ends the packet here.
func (p *Packet) Drop() error { return p.decide(nat.Drop, nil) }

// Rewrite lets the packet go on as payload: from the IP header on, with checksums that are right.
func (p *Packet) Rewrite(payload []byte) error {
	if len(payload) == 0 || len(payload) > 0xffff {
		return fmt.Errorf("rewrite a packet: it would have %d bytes", len(payload))
	}
	return p.decide(nat.Accept, payload)
}

func (p *Packet) decide(v nat.Verdict, payload []byte) error {
	m := p.hold.m
	m.mu.Lock()
	defer m.mu.Unlock()
	at := slices.Index(p.hold.held, p)
	if at < 0 {
		return errDecided
	}
	p.hold.held = slices.Delete(p.hold.held, at, at+1)
	return m.verdict(p.hold.tap, p.id, v, payload)
}

// releaseAll ends all holds. The member is locked.
func (m *member) releaseAll() error {
	var errs []error
	for _, h := range m.holds {
		errs = append(errs, h.releaseLocked())
	}
	m.holds = nil
	return errors.Join(errs...)
}
