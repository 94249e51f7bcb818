package verify

import (
	"context"
	"net/netip"
	"slices"

	"natlab/lab/witness"
	"natlab/nat"
	"natlab/nat/diagnosis"
	"natlab/nat/proof"
)

// watcher judges the batches of the watched run.
type watcher struct {
	*verification
	session *witness.Session
	lost    uint64
	stats   map[string]witness.Counters
	machine witness.Machine
}

// judge issues the certificates of a batch by what else is known of it.
func (w *watcher) judge(ctx context.Context, batch []*attempt, seen []proof.Observation) error {
	lost := w.session.Lost()
	missed := lost - w.lost
	w.lost = lost
	troubles, err := w.troubles(ctx)
	if err != nil {
		return err
	}
	seenOf := batchRecord{Seen: seen, Missed: missed, Troubles: troubles, Holders: w.holders(seen)}
	if err := w.record.batch(w.states, batch, seenOf); err != nil {
		return err
	}
	w.certify(batch, seenOf)
	return nil
}

// holders lists the entries of other connections whose tuples kept those of a batch from their own, and learns the batch's.
func (v *verification) holders(seen []proof.Observation) []nat.Conn {
	v.driver.entries.Learn(seen)
	out := v.driver.entries.Of(seen)
	v.driver.entries.Forget(seen)
	return out
}

// certify issues the certificates of a batch. An attempt that something disturbed is not judged: its flow is asked again, and only
// where that goes on its certificate stays, inconclusive.
func (v *verification) certify(batch []*attempt, b batchRecord) {
	if !v.selected { // else nobody asks for the coverage
		for i := range b.Seen {
			if o := &b.Seen[i]; o.Kind == proof.RuleHit {
				v.meter.Add(&o.Step)
			}
		}
	}
	joined := proof.Join(probesOf(batch), b.Seen)
	proof.Displace(joined, b.Holders)
	for i, s := range joined {
		t := batch[i]
		c := proof.Case{
			Flow: t.flow, Probe: t.probe, Needed: t.needed.After(t.stuck), Intent: t.intent, Live: t.live, Seen: s, Ends: t.ends, Controls: t.controls, Health: t.health,
			Stuck: t.stuck, Allowed: diagnosis.Allowed, Strict: v.strict, World: v.rules.network.World, Between: v.between, Dumped: v.rules.dumped,
			Chains: v.chains, Trouble: onTheWay(b.Troubles, s), Lost: b.Missed, Vanished: t.lost,
		}
		crowded := t.lost && !loses(t.live) && len(b.Troubles[ofMachine]) > 0
		if crowded {
			c.Trouble = append(c.Trouble, b.Troubles[ofMachine]...)
		}
		judge := proof.Check
		if v.outcomes {
			judge, c.Stuck = proof.ByOutcome, t.sticksTo()
		}
		cert := judge(c)
		cert.Routes = proof.RoutesOf(v.rules.network.Plan, cert.Hops)
		why := t.discard(cert, c, crowded)
		if why == "" {
			if t.record(cert); c.Ends.Halted != "" {
				t.halts++
			}
			continue
		}
		v.discarded[why]++
		switch why {
		case lostOnce:
			t.doubted = true
			continue
		case haltedOnce:
			t.halted = true
			continue
		}
		if t.overdue {
			t.retries += maxRetries / 2 // each costs all of a client's patience
		}
		if t.retries++; t.retries <= t.patience() {
			continue
		}
		if t.overdue && !t.lost || why == droppedElsewhere {
			cert.Verdict = proof.Inconclusive
		}
		t.record(cert)
	}
}

// droppedElsewhere is why an attempt is made again whose packet was lost while the kernel dropped packets for want of what all
// namespaces share: it may be one of them.
const droppedElsewhere = "the machine dropped packets"

// eventsLost and noNeighbour are why an attempt is made again that tells nothing: not all that happened was seen, or its client's own stack gave up.
const (
	eventsLost  = "events were lost"
	noNeighbour = "a neighbour did not tell its address in time"
)

// lostOnce is why an attempt is made again whose packet was lost although the live rules have it answered.
const lostOnce = "a packet was lost, and is asked for once more"

// haltedOnce is why an exchange is made again that ended after its connection was made.
const haltedOnce = "a connection halted, and is asked once more with all its packets watched"

// unresolved reports whether the client's own stack gave up: nobody told it in time where the next hop is. On a machine
// that has too much to do that tells nothing of the network.
func unresolved(c proof.Case) bool {
	return slices.ContainsFunc(c.Seen.Reply.Hops, func(h nat.Hop) bool {
		t := h.Tuple
		return h.Node == c.Probe.From && h.Dev == "lo" && isICMP(t) && t.Src().Addr() == t.Dst().Addr()
	})
}

// discard is why an attempt that is not proved tells nothing of its flow; "" where it does tell something.
func (t *attempt) discard(cert proof.Certificate, c proof.Case, crowded bool) string {
	switch {
	case cert.Verdict == proof.Proved:
	case c.Lost > 0:
		return eventsLost
	case c.Ends.Halted != "" && !t.whole:
		return haltedOnce
	case crowded:
		return droppedElsewhere
	case t.lost && !t.doubted && !t.whole && !loses(t.live):
		return lostOnce
	case t.lost:
	case c.Seen.Repeated && c.Ends.Halted == "": // its entries may be two
		return "a packet was sent twice"
	case lacksControl(cert):
	case t.overdue:
		return "no answer came in time"
	case unresolved(c) && !loses(t.live):
		return noNeighbour
	case len(c.Trouble) > 0:
		return "conntrack counters grew"
	case cert.Verdict == proof.Inconclusive:
		return "too little was seen"
	}
	return ""
}

// ofMachine is where troubles lists what is wrong with the machine, and so with every attempt.
const ofMachine = ""

// troubles lists in which nodes the connection tracking counters grew since the last batch, and which of the machine's.
func (w *watcher) troubles(ctx context.Context) (map[string][]string, error) {
	out := map[string][]string{}
	lost := slices.ContainsFunc(w.states, func(q *flowState) bool { return loses(q.live) })
	for _, node := range w.rules.nodes {
		now, err := w.session.Stats(ctx, node)
		if err != nil {
			return nil, err
		}
		if before, ok := w.stats[node]; ok {
			grown := now.Sub(before)
			if lost { // the servers of lost flows go on answering, and what they send may be invalid
				grown.Invalid = 0
			}
			if words := trouble(node, grown); len(words) > 0 {
				out[node] = words
			}
		}
		w.stats[node] = now
	}
	now, err := w.session.Machine()
	if err != nil {
		return nil, err
	}
	if words := lacks(now.Sub(w.machine)); len(words) > 0 {
		out[ofMachine] = words
	}
	w.machine = now
	return out, nil
}

// lacks names what the kernel had no room for, and the sysctl that bounds it.
func lacks(grown witness.Machine) (out []string) {
	if grown.Neighbours > 0 {
		out = append(out, "the machine's neighbours (net.ipv4.neigh.default.gc_thresh3)")
	}
	if grown.Backlog > 0 {
		out = append(out, "the machine's backlog (net.core.netdev_max_backlog)")
	}
	return out
}

// onTheWay picks the troubles of the nodes that an attempt crossed.
func onTheWay(troubles map[string][]string, s proof.Seen) []string {
	if len(troubles) == 0 {
		return nil
	}
	var out []string
	for _, h := range slices.Concat(s.Request.Hops, s.Reply.Hops) {
		for _, words := range troubles[h.Node] {
			if !slices.Contains(out, words) {
				out = append(out, words)
			}
		}
	}
	return out
}

// record adds a certificate to the flow's, one for each endpoint: the worst that was found stays.
func (q *flowState) record(cert proof.Certificate) {
	q.saw(cert.Endpoint)
	if cert.Verdict == proof.Disproved && !cert.Endpoint.IsValid() {
		q.vain++
	}
	for i := range q.certs {
		known := &q.certs[i]
		if known.Endpoint != cert.Endpoint {
			continue
		}
		attempts := known.Tries + 1
		if badness(cert.Verdict) > badness(known.Verdict) {
			*known = cert
		}
		known.Tries = attempts
		return
	}
	q.certs = append(q.certs, cert)
}

func badness(o proof.Outcome) int {
	return slices.Index([]proof.Outcome{proof.Proved, proof.Inconclusive, proof.Disproved}, o)
}

// disturbed is why it is not known whether an endpoint is ever chosen by a flow that was given up.
const disturbed = "the flow was given up after attempts that told nothing of it, since something disturbed them, and one of these may have come there"

// conclude adds the certificates of the endpoints that have to serve and were never seen.
func (q *flowState) conclude(chains proof.Chains, strict bool) {
	if q.sticks { // one serves this client, and each may
		return
	}
	disproved := q.disproved()
	for _, endpoint := range proof.Expected(q.needed, q.intent) {
		if slices.ContainsFunc(q.certs, func(c proof.Certificate) bool { return c.Endpoint == endpoint }) {
			continue
		}
		c := proof.Case{Flow: q.flow, Needed: q.needed, Intent: q.intent, Live: q.live, Chains: chains, Strict: strict}
		c.Probe.Tuple = nat.TupleOf(q.flow.Protocol, netip.AddrPortFrom(q.flow.Source, predictedPort), q.flow.Target)
		cert := proof.NeverChosen(c, endpoint, q.attempts)
		if enough, possible := q.missing[endpoint]; possible && (q.attempts < enough || enough == maxAttempts) {
			cert.Verdict = proof.Inconclusive
		}
		if q.inTurn { // turns are no draws
			cert.Verdict, cert.Wrong.Why = proof.Inconclusive, "which endpoint serves is up to IPVS's scheduler, and by some it is one for each client (ipvsadm -Ln)"
		}
		if q.retries > q.patience() && cert.Verdict == proof.Inconclusive && (q.inTurn || cert.Wrong.Why == "") {
			cert.Wrong.Why = disturbed
		}
		if disproved && cert.Wrong.WantRule == "" && cert.Wrong.LiveRule == "" {
			continue // why no packet came there is told already: it was lost on its way, or went elsewhere
		}
		q.certs = append(q.certs, cert)
	}
	slices.SortStableFunc(q.certs, func(a, b proof.Certificate) int { return a.Endpoint.Compare(b.Endpoint) })
}
