package verify

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"natlab/lab/netns"
	"natlab/lab/traffic"
	"natlab/lab/witness"
	"natlab/nat"
	"natlab/nat/proof"
	"natlab/topology"
)

// How long a client waits. A flow that should be answered has all the time that a loaded machine may need; one that
// the nodes' rules will lose is over as soon as the witnesses saw where, and without them after a moment.
const (
	clientPatience = 30 * time.Second
	controlMoment  = 300 * time.Millisecond
	// A control run has no taps to tell that a packet is lost. A flow that it does not see answered in this time is asked
	// again.
	controlPatience = 10 * time.Second
)

// attempt is a flow asked once.
type attempt struct {
	*flowState
	probe  nat.Probe
	intent nat.Prediction // for the attempt's own source port
	live   nat.Prediction
	stuck  netip.AddrPort // the endpoint that session affinity binds the client to
	ends   proof.Ends
	// overdue reports that the client waited in vain for all its clientPatience.
	overdue bool
	lost    bool // the taps saw its first packet again and again, and no answer
}

// driver sends attempts through a lab and collects what the witnesses see of them.
type driver struct {
	handles map[string]netns.Handle
	servers []topology.Server
	nodes   []string
	chains  proof.Chains
	session *witness.Session
	watched bool // the session sees packets and rules, not only connections
	ports   *portBook
}

// use goes on with another session.
func (d *driver) attach(ctx context.Context, s *witness.Session, c topology.Cluster) error {
	d.session = s
	if d.ports != nil {
		return nil
	}
	standing, err := d.standing(ctx)
	if err != nil {
		return err
	}
	conns := make([]nat.Conn, len(standing))
	for i, o := range standing {
		conns[i] = o.Conn
	}
	d.ports = newPortBook(c, conns, rand.Uint32())
	return nil
}

// batch asks all attempts at once and returns what was seen from before the first until after the last.
func (d *driver) batch(ctx context.Context, attempts []*attempt) ([]proof.Observation, error) {
	var patient, expectedLost []*attempt
	for _, t := range attempts {
		if loses(t.live) {
			expectedLost = append(expectedLost, t)
		} else {
			patient = append(patient, t)
		}
	}
	var wait sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	report := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		errs = append(errs, err)
	}
	var groups []*group
	for from, members := range bySender(patient) {
		ctx, cancel := context.WithTimeout(ctx, d.patience())
		g := &group{attempts: members, end: cancel, over: make(chan struct{})}
		groups = append(groups, g)
		wait.Go(func() {
			defer close(g.over)
			defer cancel()
			report(d.ask(ctx, from, members))
		})
	}
	end := make(map[*attempt]context.CancelFunc, len(expectedLost))
	over := make(chan *attempt, len(expectedLost))
	for _, t := range expectedLost {
		limit := clientPatience
		if !d.watched {
			limit = controlMoment
		}
		ctx, cancel := context.WithTimeout(ctx, limit)
		end[t] = cancel
		wait.Go(func() {
			defer cancel()
			report(d.ask(ctx, t.probe.From, []*attempt{t}))
			over <- t
		})
	}
	seen, err := d.await(ctx, end, over)
	if err == nil && d.watched {
		seen, err = d.awaitGroups(ctx, groups, seen)
	}
	wait.Wait()
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, err
	}
	rest, err := d.session.Drain(ctx)
	if err != nil {
		return nil, err
	}
	seen = append(seen, rest...)
	if d.watched && len(expectedLost) > 0 {
		standing, err := d.standing(ctx)
		if err != nil {
			return nil, err
		}
		seen = append(seen, standing...)
	}
	return seen, nil
}

// patience is how long a client waits that should be answered.
func (d *driver) patience() time.Duration {
	if !d.watched {
		return controlPatience
	}
	return clientPatience
}

// group is the attempts of one sender.
type group struct {
	attempts []*attempt
	end      context.CancelFunc
	over     chan struct{} // closed when all have ended
}

// awaitGroups watches the attempts that should be answered, and ends a sender's when what is left of them is lost by the
// evidence of the taps. seen is what was observed before.
func (d *driver) awaitGroups(ctx context.Context, groups []*group, seen []proof.Observation) ([]proof.Observation, error) {
	sent := map[nat.Hop]int{} // as it left its sender
	count := func(all []proof.Observation) (again bool) {
		for _, o := range all {
			if o.Kind == proof.PacketSeen && o.Hop.Tap == nat.TapOutRaw {
				sent[o.Hop]++
				again = again || sent[o.Hop] >= proof.EnoughSent
			}
		}
		return again
	}
	count(seen)
	for _, g := range groups {
		for open := true; open; {
			select {
			case <-g.over:
				open = false
				continue
			case <-ctx.Done():
				return seen, ctx.Err()
			case <-d.session.Notify():
			}
			more, err := d.session.Drain(ctx)
			if err != nil {
				return seen, err
			}
			seen = append(seen, more...)
			if !count(more) {
				continue
			}
			for _, other := range groups {
				if other.lost(seen) {
					other.end()
				}
			}
		}
	}
	return seen, nil
}

// lost marks the group's attempts that are lost, and reports whether no other is open.
func (g *group) lost(seen []proof.Observation) bool {
	all := true
	for i, s := range proof.Join(probesOf(g.attempts), seen) {
		t := g.attempts[i]
		t.lost = proof.LostByEvidence(t.probe, s)
		all = all && (t.lost || proof.Answered(t.probe, s))
	}
	return all && slices.ContainsFunc(g.attempts, func(t *attempt) bool { return t.lost })
}

// standing is the nodes' connection tracking entries as they are: where a packet is lost, the kernel never tells what
// it changed of its entry.
func (d *driver) standing(ctx context.Context) ([]proof.Observation, error) {
	var out []proof.Observation
	for _, node := range d.nodes {
		conns, err := d.session.Conns(ctx, node)
		if err != nil {
			return nil, err
		}
		for _, c := range conns {
			out = append(out, proof.Observation{Kind: proof.ConnSeen, Node: node, Conn: c, ConnID: c.ID})
		}
	}
	return out, nil
}

func bySender(attempts []*attempt) map[string][]*attempt {
	groups := map[string][]*attempt{}
	for _, t := range attempts {
		groups[t.probe.From] = append(groups[t.probe.From], t)
	}
	return groups
}

// loses reports whether a prediction has a way that ends in silence.
func loses(p nat.Prediction) bool {
	for _, o := range p {
		if o.End == nat.EndLost {
			return true
		}
	}
	return len(p) == 0
}

// await watches the attempts that may be lost, and ends each when it was seen to go all the way that the live rules
// predict for it, to where it is lost.
func (d *driver) await(ctx context.Context, end map[*attempt]context.CancelFunc, over <-chan *attempt) ([]proof.Observation, error) {
	var all []proof.Observation
	for len(end) > 0 {
		select {
		case t := <-over:
			delete(end, t)
			continue
		case <-ctx.Done():
			return all, ctx.Err()
		case <-d.session.Notify():
		}
		seen, err := d.session.Drain(ctx)
		if err != nil {
			return all, err
		}
		all = append(all, seen...)
		if !d.watched {
			continue
		}
		waiting := make([]*attempt, 0, len(end))
		probes := make([]nat.Probe, 0, len(end))
		for t := range end {
			waiting = append(waiting, t)
			probes = append(probes, t.probe)
		}
		for i, s := range proof.Join(probes, all) {
			if proof.LostAsPredicted(waiting[i].live, s, d.chains) {
				end[waiting[i]]()
			}
		}
	}
	return all, nil
}

// ask lets one member ask its attempts at once and writes down what the sockets saw.
func (d *driver) ask(ctx context.Context, from string, attempts []*attempt) error {
	h, ok := d.handles[from]
	if !ok {
		return fmt.Errorf("client %s: the lab has no such member", from)
	}
	tuples := make([]nat.Tuple, len(attempts))
	for i, t := range attempts {
		tuples[i] = t.probe.Tuple
	}
	for i, r := range traffic.AskAll(ctx, h, tuples) {
		ends, err := endsOf(r)
		if err != nil {
			return fmt.Errorf("client %s: %w", from, err)
		}
		attempts[i].ends = ends
		attempts[i].overdue = ends.End == nat.EndLost && errors.Is(ctx.Err(), context.DeadlineExceeded)
	}
	return nil
}

// endsOf translates what the sockets know; a socket that could not be used at all is an error.
func endsOf(r traffic.Result) (proof.Ends, error) {
	if r.Err == nil {
		a := r.Answer
		return proof.Ends{End: nat.EndAnswered, Server: a.Server, ServerAddr: a.Endpoint, ServerPeer: a.PeerSeen, ClientPeer: a.From}, nil
	}
	switch traffic.KindOf(r.Err) {
	case traffic.Refused, traffic.Unreachable:
		return proof.Ends{End: nat.EndRefused}, nil
	case traffic.Timeout:
		return proof.Ends{End: nat.EndLost}, nil
	case traffic.Reset, traffic.Garbled:
		return proof.Ends{End: nat.EndUnknown}, nil
	case traffic.Broken:
	}
	return proof.Ends{}, r.Err
}
