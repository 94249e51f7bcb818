package test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"natlab/lab"
	"natlab/lab/dataplane"
	"natlab/lab/verify"
	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/proof"
)

// TestEveryBreakIsNoticed breaks the reference lab's live rules one by one and wants Verify to say so, in the right
// node and rule. A proof that cannot fail proves nothing.
//
// The intact lab is proved first, with all flows. Its certificates say which flow met which rule, so that each break
// is asked about with one flow that meets the broken rule, and one that goes another way and has to stay proved.
//
// NATLAB_CLUSTER (a file of testdata/verify), NATLAB_BACKEND and NATLAB_BREAK (a part of a node's name and a break's)
// choose something else to break.
func TestEveryBreakIsNoticed(t *testing.T) {
	ctx := t.Context()
	cluster, backend := reference(t), dataplane.Backend(os.Getenv("NATLAB_BACKEND"))
	if name := os.Getenv("NATLAB_CLUSTER"); name != "" {
		cluster = clusterOf(t, name)
	}
	labs := make([]*lab.Lab, breakers)
	for i := range labs {
		labs[i] = labOf(t, cluster, backend)
	}
	intact, err := verify.Lab(ctx, labs[0], verify.Options{Strict: true})
	require.NoError(t, err)
	require.Equal(t, proof.Proved, intact.Outcome(), "the intact lab: %s", firstWrong(intact))

	s := &score{met: meeters(intact), all: flowsOf(intact)}
	jobs := make(chan breakage)
	var workers errgroup.Group
	for _, l := range labs {
		workers.Go(func() error {
			b := &breaker{lab: l, score: s}
			for br := range jobs {
				if err := b.try(ctx, br); err != nil {
					return fmt.Errorf("%s: %s: %w", br.node, br.name, err)
				}
			}
			return nil
		})
	}
	err = s.eachBreak(ctx, labs[0], func(br breakage) { jobs <- br })
	close(jobs)
	require.NoError(t, errors.Join(err, workers.Wait()))
	s.report(t)

	for _, l := range labs {
		workers.Go(func() error {
			again, err := verify.Lab(ctx, l, verify.Options{Strict: true, WithoutControl: true})
			assert.Equal(t, proof.Proved, again.Outcome(), "after all rules are mended: %s", firstWrong(again))
			return err
		})
	}
	require.NoError(t, workers.Wait())
}

// breakers is how many labs are broken at the same time: most of a short proof is waiting for the kernel.
const breakers = 4

// place of a rule or, without a number, of a chain.
type at struct {
	node, table, chain string
	rule               int
}

// meeters lists for each rule and each chain the flows that met it or came into it.
func meeters(r proof.Report) map[at][]proof.Flow {
	out := map[at][]proof.Flow{}
	add := func(k at, f proof.Flow) {
		if !slices.ContainsFunc(out[k], func(g proof.Flow) bool { return g.Name == f.Name }) {
			out[k] = append(out[k], f)
		}
	}
	for _, c := range r.Flows {
		for _, s := range c.Met {
			add(at{s.Node, s.Table, s.Chain, s.Rule}, c.Flow)
			add(at{s.Node, s.Table, s.Chain, 0}, c.Flow)
			if s.Verdict == nat.Jump || s.Verdict == nat.Goto {
				words := strings.Fields(s.Text)
				add(at{s.Node, s.Table, words[len(words)-1], 0}, c.Flow)
			}
			add(at{node: s.Node}, c.Flow)
		}
	}
	return out
}

// score is what came of all breaks.
type score struct {
	all []proof.Flow // of the intact lab
	met map[at][]proof.Flow

	mu                sync.Mutex
	noticed           int      // under mu
	missed, uncovered []string // under mu
	slow, harmless    []string // under mu
}

// eachBreak calls f for every break of every node that some flow meets.
func (s *score) eachBreak(ctx context.Context, l *lab.Lab, f func(breakage)) error {
	for _, node := range l.Nodes() {
		rules, err := rulesOf(ctx, l, node)
		if err != nil {
			return err
		}
		for _, br := range breaksOf(node, rules, endpoints(l)) {
			if f := os.Getenv("NATLAB_BREAK"); !strings.Contains(node+" "+br.name, f) {
				continue
			}
			if len(s.met[br.at()]) == 0 {
				s.uncovered = append(s.uncovered, node+": "+br.name)
				continue
			}
			if br.harmless != "" {
				s.harmless = append(s.harmless, node+": "+br.name+": "+br.harmless)
				continue
			}
			f(br)
		}
	}
	return nil
}

func rulesOf(ctx context.Context, l *lab.Lab, node string) (iptables.Ruleset, error) {
	h, err := l.Handle(node)
	if err != nil {
		return iptables.Ruleset{}, err
	}
	plane, err := dataplane.New(l.Backend())
	if err != nil {
		return iptables.Ruleset{}, err
	}
	return plane.Dump(ctx, h, nat.IPv4)
}

// at is where a packet notices the break.
func (br breakage) at() at {
	if br.both {
		return at{node: br.node}
	}
	return at{br.meets.Node, br.meets.Table, br.meets.Chain, br.meets.Rule}
}

// stranger is a flow that never meets a rule of the node.
func (s *score) stranger(node string) proof.Flow {
	for _, f := range s.all {
		if !slices.ContainsFunc(s.met[at{node: node}], func(g proof.Flow) bool { return g.Name == f.Name }) {
			return f
		}
	}
	return proof.Flow{}
}

func (s *score) report(t *testing.T) {
	t.Helper()
	all := s.noticed + len(s.missed)
	require.NotZero(t, all)
	t.Logf("break score %.1f %%: %d of %d breaks noticed; %d more are of rules that no flow meets",
		100*float64(s.noticed)/float64(all), s.noticed, all, len(s.uncovered))
	for _, line := range s.slow {
		t.Logf("slow: %s", line)
	}
	for _, line := range s.harmless {
		t.Logf("changes nothing that a packet meets: %s", line)
	}
	for _, line := range s.uncovered {
		t.Logf("not covered: %s", line)
	}
	for _, line := range s.missed {
		t.Errorf("missed: %s", line)
	}
}

// breaker breaks one lab and mends it.
type breaker struct {
	lab   *lab.Lab
	score *score
}

// try breaks, judges and mends.
func (b *breaker) try(ctx context.Context, br breakage) error {
	h, err := b.lab.Handle(br.node)
	if err != nil {
		return err
	}
	intact, err := rulesOf(ctx, b.lab, br.node)
	if err != nil {
		return err
	}
	backend, rules := b.lab.Backend(), br.live
	if br.both {
		backend, rules = other(backend), intact
	}
	plane, err := dataplane.New(backend)
	if err != nil {
		return err
	}
	if err := plane.Install(ctx, h, rules); err != nil {
		return err
	}
	if err := b.judge(ctx, br); err != nil {
		return err
	}
	if br.both {
		return plane.Remove(ctx, h)
	}
	return plane.Install(ctx, h, intact)
}

func other(b dataplane.Backend) dataplane.Backend {
	if b == dataplane.NFT {
		return dataplane.Legacy
	}
	return dataplane.NFT
}

// judge proves the flow that meets the break, and a stranger to it.
func (b *breaker) judge(ctx context.Context, br breakage) error {
	start := time.Now()
	f, stranger := b.score.met[br.at()][0], b.score.stranger(br.node)
	r, err := verify.Lab(ctx, b.lab, verify.Options{Strict: true, Flows: []proof.Flow{f, stranger}, WithoutControl: true})
	if err != nil {
		return err
	}
	var why []string
	named, blamed := false, ""
	for _, c := range r.Flows {
		if c.Name == stranger.Name && c.Verdict != proof.Proved {
			blamed = fmt.Sprintf("%s never comes there: %s: %+v", c.Name, c.Verdict, *c.Wrong)
		}
		if c.Name == f.Name && c.Verdict == proof.Disproved {
			named = named || br.named(c.Wrong)
			why = append(why, fmt.Sprintf("%+v", *c.Wrong))
		}
	}
	b.score.mu.Lock()
	defer b.score.mu.Unlock()
	if d := time.Since(start); d > 2*time.Second {
		b.score.slow = append(b.score.slow, fmt.Sprintf("%v %s: %s", d.Round(time.Millisecond), br.node, br.name))
	}
	miss := func(format string, args ...any) {
		b.score.missed = append(b.score.missed, br.node+": "+br.name+": "+f.Name+" "+fmt.Sprintf(format, args...))
	}
	switch {
	case len(why) == 0:
		miss("is not disproved: %s", firstWrong(r))
	case !named:
		miss("names another rule: %s", strings.Join(why, " | "))
	case blamed != "":
		miss("is not alone: %s", blamed)
	default:
		b.score.noticed++
	}
	return nil
}

// named reports whether a certificate points at the break.
func (br breakage) named(w *proof.Wrong) bool {
	if w.Node != br.node || w.Fault != proof.FaultRules {
		return false
	}
	if br.both {
		return strings.Contains(w.Why, "both backends")
	}
	return w.WantRule == br.want && w.LiveRule == br.instead
}

func flowsOf(r proof.Report) []proof.Flow {
	var out []proof.Flow
	for _, c := range r.Flows {
		if len(out) == 0 || out[len(out)-1].Name != c.Name {
			out = append(out, c.Flow)
		}
	}
	return out
}

func endpoints(l *lab.Lab) []netip.AddrPort {
	var out []netip.AddrPort
	for _, s := range l.Cluster().Services {
		for _, p := range s.Ports {
			for _, e := range p.Endpoints {
				out = append(out, e.Addr)
			}
		}
	}
	return out
}

func firstWrong(r proof.Report) string {
	for _, c := range r.Flows {
		if c.Verdict != proof.Proved {
			return fmt.Sprintf("%s: %s: %+v", c.Name, c.Verdict, c.Wrong)
		}
	}
	return "nothing"
}
