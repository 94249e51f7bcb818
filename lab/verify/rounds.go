package verify

import (
	"context"
	"errors"
	"maps"
	"math"
	"net/netip"
	"slices"

	"natlab/lab/witness"
	"natlab/nat"
	"natlab/nat/diagnosis"
	"natlab/nat/proof"
	"natlab/nat/service"
)

const (
	batchSize   = 64   // attempts at once: more, and a packet waits longer at the taps than its sender does before it sends it again
	quietSize   = 8    // attempts at once where one was discarded before
	alone       = 3    // discarded attempts of a flow after which it is asked by itself
	maxRetries  = 9    // discarded attempts of one flow before it is left inconclusive, in turn for each of its endpoints
	maxAttempts = 2000 // attempts of one flow
	maxVain     = 3    // attempts of one flow that are disproved and came to no endpoint at all: more tell no more
	maxHalts    = 4    // attempts of one flow that are disproved since they halted: TCP's patience makes each of them long
	missingOnce = 1e-9 // the chance that an endpoint that is chosen as it should be was never seen
)

// flowState is one flow with what is known of it so far.
type flowState struct {
	flow         proof.Flow
	needed       service.Answer // what the objects call for
	health       string         // of a health check, what it has to answer
	intent, live nat.Prediction // for the port predictedPort
	sticks       bool           // judged by its outcome: whoever served the client first has to again
	inTurn       bool           // judged by its outcome: a scheduler has its endpoints serve in turn, whoever asks
	deviation    float64        // how likely the live rules go another way than the intent
	old          *oldFlow       // it is asked from the port of a connection that a node remembers; else nil
	sticky       *predictions   // of a flow with session affinity: both contacts; intent and live are of the first

	missing  map[netip.AddrPort]int // endpoints that may serve and were not seen yet: by how many attempts they must have been
	watched  bool                   // the attempts are watched, not those of the control run
	attempts int
	retries  int  // attempts that told nothing of the flow, because something disturbed them
	vain     int  // attempts that are disproved and came to no endpoint
	halts    int  // attempts that are disproved since they ended after their connection was made
	givenUp  bool // in a control run: it was not answered in time
	doubted  bool // an attempt was lost that the live rules have answered, and is made once more
	halted   bool // an exchange ended after its connection was made, and is made once more with all its packets watched
	certs    []proof.Certificate
	controls []proof.Control
}

// expect sets out which endpoints have to be seen. One that the live rules cannot come to is not waited for.
func (q *flowState) expect(watched bool) {
	q.missing, q.watched = map[netip.AddrPort]int{}, watched
	q.attempts, q.retries, q.vain, q.givenUp = 0, 0, 0, false
	q.halts, q.halted = 0, false
	if q.old != nil { // where it has to come to is asked from other ports
		return
	}
	for _, endpoint := range proof.Expected(q.needed, q.intent) {
		p := q.live.Chance(endpoint)
		if p == 0 && watched {
			p = q.endsBefore(endpoint)
		}
		if p > 0 {
			q.missing[endpoint] = enoughAttempts(p)
		}
	}
}

// endsBefore is how likely a rule that may ends a packet that was to come to an endpoint: that has to be seen as well.
func (q *flowState) endsBefore(endpoint netip.AddrPort) (p float64) {
	allowed := func(s nat.Step) bool {
		_, what := diagnosis.Allowed(s)
		return what != "" && (s.Verdict == nat.Drop || s.Verdict == nat.Reject)
	}
	to := func(h nat.Hop) bool { return h.Tuple.Dst() == endpoint }
	for _, o := range q.live {
		if o.End != nat.EndAnswered && slices.ContainsFunc(o.Request.Hops, to) && slices.ContainsFunc(o.Request.Steps, allowed) {
			p += o.Probability
		}
	}
	return p
}

// enoughTries is after how many attempts something of that probability must have happened.
func enoughAttempts(p float64) int {
	if p > 1-missingOnce {
		return 1
	}
	return min(maxAttempts, int(math.Ceil(math.Log(missingOnce)/math.Log1p(-p))))
}

// open reports whether the flow has to be asked again: because an endpoint was not seen yet, or because the live
// rules may go another way than they should and did not so far.
func (q *flowState) open() bool {
	if q.retries > q.patience() || q.vain >= maxVain || q.halts >= maxHalts || q.givenUp {
		return false
	}
	if q.attempts == 0 || q.sticks && q.watched && q.attempts < 2 {
		return true
	}
	for _, enough := range q.missing {
		if q.attempts < enough {
			return true
		}
	}
	return q.watched && q.deviation > 0 && !q.disproved() && q.attempts < enoughAttempts(q.deviation)
}

// patience is how many attempts of the flow may tell nothing before it is left inconclusive. Where endpoints serve in turn each has its share of the attempts, and so of those that tell nothing:
// that many rounds are owed to one that was not seen yet.
func (q *flowState) patience() int {
	if q.inTurn {
		return maxRetries * len(q.intent)
	}
	return maxRetries
}

func (q *flowState) disproved() bool {
	return slices.ContainsFunc(q.certs, func(c proof.Certificate) bool { return c.Verdict == proof.Disproved })
}

// finished reports whether the flow was asked to the end, with taps.
func (q *flowState) finished() bool { return q.watched && !q.open() }

// saw notes that an attempt came to an endpoint.
func (q *flowState) saw(endpoint netip.AddrPort) {
	q.attempts++
	delete(q.missing, endpoint)
}

// run asks the flows in rounds until none is open; each batch's observations go to judge.
func (v *verification) run(ctx context.Context, flows []*flowState, judge judge) error {
	for {
		var attempts []*attempt
		for _, q := range flows {
			for range q.atOnce() {
				t, err := v.driver.newAttempt(q)
				if err != nil {
					return err
				}
				attempts = append(attempts, t)
			}
		}
		if len(attempts) == 0 {
			return nil
		}
		for _, batch := range batches(attempts) {
			run := v.runBatch
			if batch[0].sticky != nil {
				run = v.runSticky
			}
			if err := run(ctx, batch, judge); err != nil {
				return err
			}
			if v.progress(flows); v.failFast && slices.ContainsFunc(batch, func(t *attempt) bool { return t.disproved() }) {
				return errEnough
			}
		}
	}
}

// progress tells how many of the flows are done.
func (v *verification) progress(flows []*flowState) {
	if v.tell == nil {
		return
	}
	done := 0
	for _, q := range flows {
		if !q.open() {
			done++
		}
	}
	v.tell(v.step, done, len(flows))
}

// judge is told of a batch with all that was seen meanwhile.
type judge func(context.Context, []*attempt, []proof.Observation) error

func (v *verification) runBatch(ctx context.Context, batch []*attempt, judge judge) error {
	batch, err := v.remind(batch)
	if err != nil || len(batch) == 0 {
		return err
	}
	if batch[0].whole {
		if err := v.driver.session.Later(true); err != nil {
			return err
		}
	}
	seen, err := v.driver.batch(ctx, batch)
	if batch[0].whole {
		err = errors.Join(err, v.driver.session.Later(false))
	}
	if err != nil {
		return err
	}
	err = judge(ctx, batch, seen)
	for _, t := range batch { // the round's others are still to come
		t.intent, t.live = nil, nil
	}
	return err
}

// atOnce is how many attempts of a flow to make in one round.
func (q *flowState) atOnce() int {
	switch {
	case !q.open():
		return 0
	case q.inTurn: // one after the other, and nobody between them: each endpoint's turn comes
		return len(q.intent)
	case q.retries > 0:
		return 1
	}
	return max(1, min(len(q.missing), 4))
}

func (d *driver) newAttempt(q *flowState) (*attempt, error) {
	src := netip.AddrPortFrom(q.flow.Source, predictedPort)
	t := &attempt{
		flowState: q, intent: q.intent, live: q.live, bound: predictedPort, whole: q.halted,
		probe: nat.Probe{From: q.flow.From, Tuple: nat.TupleOf(q.flow.Protocol, src, q.flow.Target)},
	}
	if q.old != nil {
		t.probe.Tuple = q.old.entry.Original
		t.bound = t.probe.Tuple.Src().Port()
		return t, nil
	}
	return t, d.rebind(t)
}

// rebind gives an attempt another source port.
func (d *driver) rebind(t *attempt) error {
	was := t.probe.Tuple.Src()
	port, err := d.ports.take(t.flow.Protocol, was.Addr())
	if err != nil {
		return err
	}
	t.probe.Tuple = t.probe.Tuple.WithSrc(netip.AddrPortFrom(was.Addr(), port))
	if d.live != nil && t.sticky == nil {
		t.bind()
		t.live, err = d.live.Predict(t.probe)
		t.live = d.tapped(t.live)
	}
	return err
}

// bind makes the predictions those for the attempt's source port. Until then they are the flow's own, which cost no room of
// their own: of the attempts of a round few are asked at once.
func (t *attempt) bind() {
	from, to := t.bound, t.probe.Tuple.Src().Port()
	if from == to {
		return
	}
	intent := proof.Rebind(t.intent, from, to)
	if t.live.Is(t.intent) {
		t.live = intent
	} else {
		t.live = proof.Rebind(t.live, from, to)
	}
	t.intent, t.bound = intent, to
}

// batches deals attempts out: those whose endpoints serve in turn and were not all seen alone, those that may be lost apart from the others, those whose flow had one discarded in small ones and at last alone, those
// with session affinity by themselves, and never two together that could not be told apart.
func batches(attempts []*attempt) [][]*attempt {
	type class struct {
		expectedLost, sticky, whole bool
		size                        int
	}
	type mark struct {
		class class
		of    any
	}
	open := map[class][]*attempt{}
	taken := map[mark]bool{}
	var order []class
	var out [][]*attempt
	for _, t := range attempts {
		c := class{loses(t.live), t.sticky != nil, t.whole, batchSize}
		switch {
		case t.retries >= alone, t.inTurn && t.attempts > 0:
			c.size = 1
		case t.retries > 0:
			c.size = quietSize
		}
		mine := marks(t)
		clash := slices.ContainsFunc(mine, func(m any) bool { return taken[mark{c, m}] })
		if clash || len(open[c]) == c.size {
			out = append(out, open[c])
			open[c] = nil
			maps.DeleteFunc(taken, func(m mark, _ bool) bool { return m.class == c })
		}
		if !slices.Contains(order, c) {
			order = append(order, c)
		}
		open[c] = append(open[c], t)
		for _, m := range mine {
			taken[mark{c, m}] = true
		}
	}
	for _, c := range order {
		if len(open[c]) > 0 {
			out = append(out, open[c])
		}
	}
	return out
}

// marks lists what no two attempts of a batch may share: the tuples of ICMP errors that may answer, and of a flow with
// session affinity, the client that a node remembers for the Service; of one from the port of a connection, the client's socket.
func marks(t *attempt) []any {
	var out []any
	for _, e := range icmpErrors(t) {
		out = append(out, e)
	}
	if t.old != nil {
		out = append(out, t.probe.Tuple.Src())
	}
	if t.sticky != nil {
		out = append(out, [2]string{t.flow.Service, t.flow.Source.String()})
	}
	return out
}

// isICMP reports whether a packet is of ICMP, of either family.
func isICMP(t nat.Tuple) bool { return t.Proto() == nat.ICMP || t.Proto() == nat.ICMPv6 }

// icmpErrors lists the tuples of the ICMP errors that may answer an attempt.
func icmpErrors(t *attempt) []nat.Tuple {
	var out []nat.Tuple
	for _, o := range slices.Concat(t.intent, t.live) {
		for _, h := range o.Reply.Hops {
			if isICMP(h.Tuple) && !slices.Contains(out, h.Tuple) {
				out = append(out, h.Tuple)
			}
		}
	}
	return out
}

func probesOf(attempts []*attempt) []nat.Probe {
	probes := make([]nat.Probe, len(attempts))
	for i, t := range attempts {
		probes[i] = t.probe
	}
	return probes
}

// trouble names what grew of a node's connection tracking statistics and should not.
func trouble(node string, grown witness.Counters) []string {
	var out []string
	for _, c := range []struct {
		name string
		n    uint64
	}{
		{"invalid", grown.Invalid},
		{"insert_failed", grown.InsertFailed},
		{"drop", grown.Drop},
		{"early_drop", grown.EarlyDrop},
		{"chaintoolong", grown.ChainTooLong},
	} {
		if c.n > 0 {
			out = append(out, node+" "+c.name)
		}
	}
	return out
}
