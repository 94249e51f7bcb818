package verify

import (
	"context"
	"fmt"
	"net/netip"

	"natlab/nat"
	"natlab/nat/proof"
)

// Session affinity makes a node remember who served a client. Such a flow is asked by a client that no node remembers,
// and then, once it was served, again: the same endpoint has to serve it by the rule that remembers.

// contacts splits the predictions of a flow with session affinity into those of a first and of a second contact.
func (q *flowState) contacts() {
	if !proof.Sticks(q.intent) && !proof.Sticks(q.live) {
		return
	}
	q.sticky = &predictions{q.intent, q.live}
	q.intent = orAll(proof.FirstContact(q.intent), q.intent)
	q.live = orAll(proof.FirstContact(q.live), q.live)
}

type predictions struct{ intent, live nat.Prediction }

// secondContact makes an attempt one of a client that the endpoint served before.
func (q *flowState) secondContact(t *attempt, endpoint netip.AddrPort) {
	t.stuck = endpoint
	t.intent = orAll(proof.SecondContact(q.sticky.intent, endpoint), q.sticky.intent)
	t.live = orAll(proof.SecondContact(q.sticky.live, endpoint), q.live)
	t.bound = predictedPort
}

// saw and record are the flow's. A client that was served before draws no endpoint: what it came to does not count as an attempt, of which
// there have to be so many before an endpoint that was not seen is called never chosen.
func (t *attempt) saw(endpoint netip.AddrPort) {
	t.flowState.saw(endpoint)
	t.uncount()
}

func (t *attempt) record(cert proof.Certificate) {
	t.flowState.record(cert)
	t.uncount()
}

func (t *attempt) uncount() {
	if t.stuck.IsValid() {
		t.attempts--
	}
}

func orAll(some, all nat.Prediction) nat.Prediction {
	if len(some) == 0 {
		return all
	}
	return some
}

// seconds are the attempts that follow a batch of first contacts: one for each client that was served.
func (d *driver) seconds(batch []*attempt) ([]*attempt, error) {
	var out []*attempt
	for _, t := range batch {
		if t.sticky == nil || t.stuck.IsValid() || t.ends.End != nat.EndAnswered {
			continue
		}
		next, err := d.newAttempt(t.flowState)
		if err != nil {
			return nil, err
		}
		t.secondContact(next, t.ends.ServerAddr)
		out = append(out, next)
	}
	return out, nil
}

// runSticky asks a batch of first contacts, and then once more those that were served.
func (v *verification) runSticky(ctx context.Context, batch []*attempt, judge judge) error {
	for _, node := range v.driver.nodes {
		if err := v.lab.ForgetServed(node); err != nil {
			return fmt.Errorf("node %s: forget who was served by whom: %w", node, err)
		}
	}
	if err := v.runBatch(ctx, batch, judge); err != nil {
		return err
	}
	seconds, err := v.driver.seconds(batch)
	if err != nil || len(seconds) == 0 {
		return err
	}
	return v.runBatch(ctx, seconds, judge)
}
