// Package verify proves a lab: it has every flow asked, predicts and watches it, and hands both to nat/proof. It stands on
// lab and knows nothing of how one is made.
package verify

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"natlab/lab"
	"natlab/lab/netns"
	"natlab/lab/realise"
	"natlab/lab/witness"
	"natlab/nat"
	"natlab/nat/proof"
	"natlab/nat/service"
	"natlab/nat/twin"
	"natlab/topology"
)

// Options choose what to prove. The zero value proves everything, with a control run.
type Options struct {
	proof.Selector
	// Flows are the flows to prove, where another choice than Selector's is wanted.
	Flows []proof.Flow
	// Intent is the cluster whose Services decide what must happen; nil is the lab's own.
	Intent *topology.Cluster
	// AsIs holds the flows against what the nodes hold, whatever the Services call for: a flow is proved where it goes as their own
	// rules, routes and sysctls have it, though it is lost.
	AsIs bool
	// Strict asks for kube-proxy's own rules, and not only for rules that do what the Services call for.
	Strict bool
	// Timeout is how long the proof may take; 0 is as long as it takes.
	Timeout time.Duration
	// FailFast ends the proof at the first flow that is disproved.
	FailFast bool
	// Progress is told how many flows are done; nil for nobody.
	Progress lab.Progress
	// WithoutControl leaves out the run without taps, and with it the check of that name.
	WithoutControl bool
	// Record is a directory that is made, and keeps all that Replay needs to judge the run again; "" for none.
	Record string
	// Keep keeps the packets byte for byte (Certificate.Packets).
	Keep bool
	// Notes stand in the report beside the lab's.
	Notes []string
}

// Lab proves the flows of a lab, one of this process or one that lab.Open found: it predicts each from the rules that the
// Services call for and from those that the nodes hold, asks it without and then with witnesses until every endpoint that
// may serve was seen, and issues the certificates. An error means that nothing was found out; what was found wrong is in
// the report. Where ctx or o.Timeout ends the proof, the report holds what was found until then, the rest as not asked.
func Lab(ctx context.Context, l *lab.Lab, o Options) (proof.Report, error) {
	attended, stop, err := l.Attend(ctx)
	if err != nil {
		return proof.Report{}, err
	}
	defer stop()
	asking, cancel := attended, context.CancelFunc(func() {})
	if o.Timeout > 0 {
		asking, cancel = context.WithTimeout(attended, o.Timeout)
	}
	defer cancel()
	report, err := prove(asking, l, o)
	if attended.Err() != nil && ctx.Err() == nil {
		return proof.Report{}, context.Cause(attended)
	}
	if err != nil && errors.Is(asking.Err(), context.DeadlineExceeded) && ctx.Err() == nil {
		return proof.Report{}, fmt.Errorf("verify lab %s: the time was over before anything was asked: it was %s", l.Name(), o.Timeout)
	}
	if err != nil {
		return proof.Report{}, fmt.Errorf("verify lab %s: %w", l.Name(), err)
	}
	twin.Blame(&report, l.Dumped())
	return report, nil
}

// prove proves the flows of a family. first: what is not asked of any is told with it; several: it is not the only one.
func (r run) prove(ctx context.Context, f nat.Family, first, several bool) (proof.Report, error) {
	v, err := r.verification(f, first, several)
	if err != nil {
		return proof.Report{}, err
	}
	before, err := v.driver.segmentsResent()
	if err != nil {
		return proof.Report{}, err
	}
	err = v.ask(ctx, !r.options.WithoutControl)
	if err == nil {
		err = v.strays(ctx)
	}
	if v.tell != nil {
		v.tell("", 0, 0)
	}
	ended := endedBy(ctx, err)
	if err != nil && ended == "" {
		return proof.Report{}, err
	}
	after, err := v.driver.segmentsResent()
	if err != nil {
		return proof.Report{}, err
	}
	found := v.report(ended)
	notes := append(resentNote(before, after), v.told...)
	found.Notes = append(found.Notes, notes...)
	if err := v.record.finish(closing{Ended: ended, Notes: notes}, found); err != nil {
		return proof.Report{}, err
	}
	return found, nil
}

// endedBy is why a proof ended before all was asked; "" where it did not, or where something else went wrong.
func endedBy(ctx context.Context, err error) string {
	switch {
	case err == nil:
	case errors.Is(err, errEnough):
		return "ended at the first that is disproved"
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return "the time was over"
	case ctx.Err() != nil:
		return "interrupted"
	}
	return ""
}

// errEnough ends a run where a flow is disproved and no more is wanted.
var errEnough = errors.New("a flow is disproved")

// ask asks the flows without and with taps.
func (v *verification) ask(ctx context.Context, control bool) error {
	if control {
		if err := v.controlRun(ctx, v.fresh(), controlPatience); err != nil {
			return fmt.Errorf("control run: %w", err)
		}
	}
	if err := v.watchedRun(ctx, v.states); err != nil {
		return err
	}
	late := v.uncontrolled()
	if len(late) == 0 {
		return nil
	}
	if err := v.controlRun(ctx, late, controlPatient); err != nil {
		return fmt.Errorf("control run: %w", err)
	}
	return v.watchedRun(ctx, late)
}

// verification is one call of Lab at work, of one family.
type verification struct {
	lab       *lab.Lab // nil where a recording is judged again
	about     Recording
	record    *recorder      // nil where nothing is recorded
	means     *service.Model // what the objects call for
	rules     nodeRules
	chains    proof.Chains
	states    []*flowState
	watched   []witness.Watched
	between   []string // what carries packets unseen
	driver    driver
	meter     proof.Meter
	lost      uint64
	asIs      bool
	outcomes  bool // nothing predicts the paths of flows: what comes of them is judged alone
	strict    bool
	failFast  bool
	keep      bool         // packets byte for byte
	tell      lab.Progress // may be nil
	step      string       // what tell is told of
	notAsked  []proof.NotAsked
	told      []string // notes of what could not be asked
	escaped   []proof.Certificate
	selected  bool           // some of the flows alone are asked
	discarded map[string]int // attempts that told nothing of their flow and were made again, by the reason
}

func (r run) verification(f nat.Family, first, several bool) (*verification, error) {
	l, o, intent := r.lab, r.options, r.intent
	rules, err := rulesOf(r.as(f), l.Nodes(), intent)
	if err != nil {
		return nil, err
	}
	means, err := service.New(intent)
	if err != nil {
		return nil, err
	}
	about := Recording{
		Lab: l.Name(), Family: topology.Family(f), Backend: backendOf(l), Overlay: l.Cluster().PodNetwork.Of(topology.Family(f)).String(), Notes: slices.Concat(l.Notes(), o.Notes),
		Intent: intent, Plan: l.Plan(), AsIs: o.AsIs, Strict: o.Strict, Selected: o.Flows != nil || o.Selector != (proof.Selector{}), Flows: r.of(f),
	}
	v := &verification{
		lab: l, about: about, means: means, rules: rules, chains: rules.chains(), asIs: o.AsIs, strict: o.Strict, failFast: o.FailFast, keep: o.Keep || o.Record != "", tell: o.Progress,
		outcomes: byOutcomes(l), meter: proof.Meter{}, discarded: map[string]int{}, selected: about.Selected,
	}
	if o.AsIs {
		v.chains.Intent = v.chains.Live
	}
	v.driver = driver{handles: map[string]netns.Handle{}, nodes: rules.nodes, chains: v.chains, tunnels: map[string]bool{}, wired: map[string]bool{}}
	v.driver.world = rules.network.World
	v.driver.size = exchangeSize(l.Plan())
	if err := v.watch(r.members); err != nil {
		return nil, err
	}
	v.driver.servers = append(topology.Servers(l.Cluster()), topology.ProxyServers(l.Cluster())...)
	if !o.AsIs && !v.outcomes {
		v.about.Remembered = rememberedOf(l, v.about.Flows)
	}
	if !o.AsIs && first {
		v.notAsked = proof.Unasked(intent, o.Selector)
	}
	if dir := r.record(f, several); dir != "" {
		v.about.NotAsked, v.about.MadeServers = v.notAsked, v.driver.servers
		v.about.keep(rules, v.driver.wired)
		if v.record, err = newRecorder(dir, v.about); err != nil {
			return nil, err
		}
	}
	return v, v.predict(v.about.Flows)
}

// backendOf is what a lab's nodes hold their rules in.
func backendOf(l *lab.Lab) string {
	if mode := l.Cluster().KubeProxy.Mode; mode == topology.ModeNFTables || mode == topology.ModeIPVS {
		return mode
	}
	return string(l.Backend())
}

// watch notes the namespaces of a lab, and how those of the members are watched.
func (v *verification) watch(members []string) error {
	l := v.lab
	for _, ns := range l.Plan().Namespaces {
		h, err := l.Handle(ns.Member)
		if err != nil {
			return err
		}
		v.driver.handles[ns.Member] = h
		for _, dev := range ns.Devices {
			if dev.Kind == topology.TunnelIPIP && l.Tunnel() == realise.UserspaceTunnel {
				v.driver.tunnels[ns.Member+" "+dev.Name] = true
			}
		}
		if ns.Kind == topology.KindUnderlay {
			v.between = append(v.between, ns.Member)
		}
		if ns.Kind == topology.KindUnderlay || !slices.Contains(members, ns.Member) {
			continue
		}
		w := witness.Watched{Member: ns.Member, Kind: ns.Kind, NS: h}
		if ns.Kind == topology.KindNode {
			w.Rules, w.Plane = v.rules.witnessed(ns.Member), l.Plane(ns.Member)
			v.driver.wired[ns.Member] = w.Plane != nil
		}
		v.watched = append(v.watched, w)
		v.driver.members = append(v.driver.members, ns.Member)
	}
	return nil
}

// family is the one whose flows are asked.
func (v *verification) family() nat.Family { return nat.Family(v.about.Family) }

// uncontrolled lists the flows that lack nothing but a control attempt, which came to no end in its moment, and forgets what is
// known of them.
func (v *verification) uncontrolled() []*flowState {
	var out []*flowState
	for _, q := range v.states {
		if slices.ContainsFunc(q.certs, lacksControl) {
			q.certs = nil
			out = append(out, q)
		}
	}
	return out
}

// lacksControl reports whether a control attempt is the evidence that a certificate lacks.
func lacksControl(c proof.Certificate) bool {
	return c.Verdict == proof.Inconclusive && c.Wrong != nil && c.Wrong.Check == "control"
}

// controlRun asks the flows with nothing in their way but the kernel's own connection tracking events.
func (v *verification) controlRun(ctx context.Context, flows []*flowState, patience time.Duration) error {
	s, err := witness.Start(ctx, v.watched, witness.Options{Family: v.family(), Control: true, Drained: true})
	if err != nil {
		return err
	}
	defer s.Close() //nolint:errcheck // a control run has nothing but sockets
	if err := v.driver.attach(ctx, s, v.lab.Cluster()); err != nil {
		return err
	}
	v.driver.watched, v.driver.patient = false, patience
	v.step = "asking without taps"
	for _, q := range flows {
		q.expect(false)
		q.controls = []proof.Control{}
	}
	w := &controller{verification: v, session: s}
	if _, err := w.crowded(); err != nil {
		return err
	}
	return v.run(ctx, flows, w.judge)
}

// watchedRun asks the flows with all witnesses at work.
func (v *verification) watchedRun(ctx context.Context, flows []*flowState) (err error) {
	s, err := witness.Start(ctx, v.watched, witness.Options{Family: v.family(), Keep: v.keep, Once: true, Drained: true, Steady: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := v.driver.attach(ctx, s, v.lab.Cluster()); err != nil {
		return err
	}
	v.driver.watched = true
	v.step = "asking with taps"
	for _, q := range flows {
		q.expect(true)
	}
	if err := v.record.round(v.states, flows); err != nil {
		return err
	}
	w := &watcher{verification: v, session: s, stats: map[string]witness.Counters{}}
	if _, err := w.troubles(ctx); err != nil {
		return err
	}
	err = v.run(ctx, flows, w.judge)
	v.lost += w.lost
	return err
}

// report is what was found; ended is why not all was asked, "" where all was.
func (v *verification) report(ended string) proof.Report {
	r := proof.Report{
		Lab: v.about.Lab, Backend: v.about.Backend, Overlay: v.about.Overlay,
		Lost: v.lost, Notes: slices.Clone(v.about.Notes), NotAsked: v.notAsked, Ended: ended,
	}
	if !v.selected {
		r.Coverage = v.meter.Of(v.rules.of(v.rules.nodes))
	}
	for _, q := range v.states {
		if q.old != nil {
			q.fold()
		}
	}
	var unfinished []proof.Flow
	for _, q := range v.fresh() {
		if ended != "" && !q.finished() {
			unfinished = append(unfinished, q.flow)
		} else {
			q.conclude(v.chains, v.strict)
		}
		r.Flows = append(r.Flows, q.certs...)
	}
	r.Flows = append(r.Flows, v.escaped...)
	r.NotAsked = append(r.NotAsked, proof.Unfinished(unfinished, ended)...)
	r.Notes = append(r.Notes, repeated(v.discarded)...)
	for _, member := range slices.Sorted(maps.Keys(v.rules.network.World)) {
		r.Notes = append(r.Notes, member+" is not as the lab made it: "+strings.Join(v.rules.network.World[member], "; "))
	}
	if nodes := v.rules.differ; len(nodes) > 0 && !v.strict {
		r.Notes = append(r.Notes, "the rules are not just kube-proxy's in "+strings.Join(nodes, ", ")+": natlab audit tells what differs, --strict asks for kube-proxy's")
	}
	return r
}

// repeated is the note of how many attempts were made again, by the reason.
func repeated(discarded map[string]int) []string {
	var reasons []string
	n := 0
	for _, why := range slices.Sorted(maps.Keys(discarded)) {
		n += discarded[why]
		reasons = append(reasons, fmt.Sprintf("%s (%d)", why, discarded[why]))
	}
	switch {
	case n == 0:
		return nil
	case n == 1:
		return []string{"1 attempt was repeated: " + slices.Collect(maps.Keys(discarded))[0]}
	case len(reasons) == 1:
		return []string{fmt.Sprintf("%d attempts were repeated: %s", n, slices.Collect(maps.Keys(discarded))[0])}
	}
	return []string{fmt.Sprintf("%d attempts were repeated: %s", n, strings.Join(reasons, ", "))}
}
