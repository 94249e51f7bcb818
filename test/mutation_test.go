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
	"natlab/topology"
)

// TestEveryBreakIsNoticed breaks the live rules of the reference lab's dual-stack twin one by one, those of IPv4 and then those of IPv6,
// and wants Verify to say so, in the right node and rule. A proof that cannot fail proves nothing.
//
// The intact lab is proved first, with all flows. Its certificates tell which flow met which rule, so that each break is asked
// about with one flow that meets the broken rule. Breaks are tried together where no flow that is asked meets two of them; a
// flow that meets none has to stay proved.
//
// Of IPv6 two nodes are broken, one that announces a load balancer's address and one with endpoints, by the other backend, without session affinity.
// NATLAB_FAMILY (ipv4 or ipv6) breaks that family alone, in all nodes; NATLAB_CLUSTER (a file of testdata/verify), NATLAB_BACKEND and
// NATLAB_BREAK (a part of a node's name and a break's) choose something else to break.
func TestEveryBreakIsNoticed(t *testing.T) {
	t.Parallel()
	cluster, err := topology.DualStack()
	require.NoError(t, err)
	if name := os.Getenv("NATLAB_CLUSTER"); name != "" {
		cluster = clusterOf(t, name)
	}
	only := os.Getenv("NATLAB_FAMILY")
	for i, f := range cluster.Families() {
		family := nat.Family(f)
		if only != "" && only != family.String() {
			continue
		}
		t.Run(family.String(), func(t *testing.T) {
			t.Parallel()
			backend, many, nodes, cluster := dataplane.Backend(os.Getenv("NATLAB_BACKEND")), breakers, []string(nil), cluster
			if i > 0 && only == "" { // two nodes, without the Services that remember their clients, of which each proof takes several rounds
				backend, many, nodes = other(backend), 1, []string{"vms102", "vms105"}
				cluster.Services = slices.DeleteFunc(slices.Clone(cluster.Services), func(s topology.Service) bool { return s.AffinitySeconds > 0 })
			}
			labs := make([]*lab.Lab, many)
			for i := range labs {
				labs[i] = labOf(t, cluster, backend)
			}
			breakAll(t, labs, family, nodes)
		})
	}
}

// breakAll breaks the rules of a family in labs of one cluster, of some nodes or, where none is named, of all.
func breakAll(t *testing.T, labs []*lab.Lab, family nat.Family, nodes []string) {
	t.Helper()
	ctx := t.Context()
	flows := slices.DeleteFunc(proof.Flows(labs[0].Cluster(), proof.Selector{}), func(f proof.Flow) bool { return nat.FamilyOf(f.Target.Addr()) != family })
	intact, err := verify.Lab(ctx, labs[0], verify.Options{Strict: true, Flows: flows})
	require.NoError(t, err)
	require.Equal(t, proof.Proved, intact.Outcome(), "the intact lab: %s", firstWrong(intact))

	s := newScore(intact, family)
	breaks, err := s.breaksOf(ctx, labs[0], nodes)
	require.NoError(t, err)
	jobs := make(chan round)
	var workers errgroup.Group
	for _, l := range labs {
		workers.Go(func() error {
			b := &breaker{lab: l, score: s}
			var errs []error
			for r := range jobs {
				if err := b.try(ctx, r); err != nil {
					errs = append(errs, fmt.Errorf("%s: %w", r, err))
				}
			}
			return errors.Join(errs...)
		})
	}
	for _, r := range s.rounds(breaks) {
		jobs <- r
	}
	close(jobs)
	require.NoError(t, workers.Wait())
	s.report(t)

	for _, l := range labs { // one after the other: together they would wait for each other's packets
		again, err := verify.Lab(ctx, l, verify.Options{Strict: true, WithoutControl: true, Flows: flows})
		require.NoError(t, err)
		assert.Equal(t, proof.Proved, again.Outcome(), "after all rules are mended: %s", firstWrong(again))
	}
}

// breakers is how many labs are broken at the same time: most of a short proof is waiting for the kernel.
const breakers = 4

// place of a rule or, without a number, of a chain.
type at struct {
	node, table, chain string
	rule               int
}

// score is what came of all breaks.
type score struct {
	family nat.Family
	all    []proof.Flow                // of the intact lab
	met    map[at][]proof.Flow         // those that met a rule there, came into a chain, or, by the node alone, met any rule of it
	isMet  map[at]map[string]bool      // the same, by the flow's name
	intact map[string]iptables.Ruleset // by node

	mu                sync.Mutex
	noticed           int      // under mu
	missed, uncovered []string // under mu
	slow, harmless    []string // under mu
}

// newScore lists for each rule and each chain of the intact lab the flows that met it or came into it.
func newScore(intact proof.Report, family nat.Family) *score {
	s := &score{family: family, all: flowsOf(intact), met: map[at][]proof.Flow{}, isMet: map[at]map[string]bool{}, intact: map[string]iptables.Ruleset{}}
	add := func(k at, f proof.Flow) {
		if !s.isMet[k][f.Name] {
			s.meets(k, f)
			s.met[k] = append(s.met[k], f)
		}
	}
	for _, c := range intact.Flows {
		for _, h := range c.Hops {
			if h.Outer.IsValid() && h.Tap == nat.TapPost {
				s.meets(letsUnmarkedGo(h.Node), c.Flow)
			}
		}
		for _, step := range c.Met {
			add(at{step.Node, step.Table, step.Chain, step.Rule}, c.Flow)
			add(at{step.Node, step.Table, step.Chain, 0}, c.Flow)
			if step.Verdict == nat.Jump || step.Verdict == nat.Goto {
				words := strings.Fields(step.Text)
				add(at{step.Node, step.Table, words[len(words)-1], 0}, c.Flow)
			}
			add(at{node: step.Node}, c.Flow)
		}
	}
	return s
}

// meets notes that a flow may meet a rule.
func (s *score) meets(k at, f proof.Flow) {
	if s.isMet[k] == nil {
		s.isMet[k] = map[string]bool{}
	}
	s.isMet[k][f.Name] = true
}

// letsUnmarkedGo is the rule that a node's own packets meet that are not to be masqueraded. A tunnel's packet meets it where its connection
// is new, which it is once in a lab's life: by chance, then, for a flow that goes through the tunnel.
func letsUnmarkedGo(node string) at { return at{node, "nat", "KUBE-POSTROUTING", 1} }

// breaksOf lists every break of the nodes, or of every node, that some flow meets, and notes the others.
func (s *score) breaksOf(ctx context.Context, l *lab.Lab, nodes []string) (out []breakage, err error) {
	for _, node := range l.Nodes() {
		if s.intact[node], err = s.rulesOf(ctx, l, node); err != nil {
			return nil, err
		}
		for _, br := range breaksOf(node, s.intact[node], s.endpoints(l)) {
			switch {
			case nodes != nil && !slices.Contains(nodes, node):
			case !strings.Contains(node+" "+br.name, os.Getenv("NATLAB_BREAK")):
			case len(s.met[br.at()]) == 0:
				s.uncovered = append(s.uncovered, node+": "+br.name)
			case br.harmless != "":
				s.harmless = append(s.harmless, node+": "+br.name+": "+br.harmless)
			default:
				out = append(out, br)
			}
		}
	}
	return out, nil
}

func (s *score) rulesOf(ctx context.Context, l *lab.Lab, node string) (iptables.Ruleset, error) {
	h, err := l.Handle(node)
	if err != nil {
		return iptables.Ruleset{}, err
	}
	plane, err := dataplane.New(l.Backend())
	if err != nil {
		return iptables.Ruleset{}, err
	}
	return plane.Dump(ctx, h, s.family)
}

// at is where a packet notices the break.
func (br breakage) at() at {
	if br.both {
		return at{node: br.node}
	}
	return at{br.meets.Node, br.meets.Table, br.meets.Chain, br.meets.Rule}
}

func (s *score) report(t *testing.T) {
	t.Helper()
	all := s.noticed + len(s.missed)
	require.NotZero(t, all)
	t.Logf("break score %.1f %%: %d of %d breaks noticed; %d more are of rules that no flow meets",
		100*float64(s.noticed)/float64(all), s.noticed, all, len(s.uncovered))
	for _, line := range s.missed {
		t.Errorf("missed: %s", line)
	}
	for _, line := range s.slow {
		t.Logf("slow: %s", line)
	}
	for _, line := range s.harmless {
		t.Logf("changes nothing that a packet meets: %s", line)
	}
	for _, line := range s.uncovered {
		t.Logf("not covered: %s", line)
	}
}

// breaker breaks one lab and mends it.
type breaker struct {
	lab   *lab.Lab
	score *score
}

// try breaks, judges and mends.
func (b *breaker) try(ctx context.Context, r round) error {
	own, err := dataplane.New(b.lab.Backend())
	if err != nil {
		return err
	}
	second, err := dataplane.New(other(b.lab.Backend()))
	if err != nil {
		return err
	}
	for node, breaks := range r.byNode() {
		h, err := b.lab.Handle(node)
		if err != nil {
			return err
		}
		if breaks[0].both {
			err = second.Install(ctx, h, b.score.intact[node])
		} else {
			err = own.Install(ctx, h, spoiltBy(b.score.intact[node], breaks))
		}
		if err != nil {
			return err
		}
	}
	if err := b.judge(ctx, r); err != nil {
		return err
	}
	for node, breaks := range r.byNode() {
		h, err := b.lab.Handle(node)
		if err != nil {
			return err
		}
		if breaks[0].both {
			err = second.Remove(ctx, h)
		} else {
			err = own.Install(ctx, h, b.score.intact[node])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func other(b dataplane.Backend) dataplane.Backend {
	if b == dataplane.NFT {
		return dataplane.Legacy
	}
	return dataplane.NFT
}

// judge proves the flows that meet the breaks, and a stranger to them all.
func (b *breaker) judge(ctx context.Context, tried round) error {
	start := time.Now()
	flows := []proof.Flow{tried.stranger}
	for _, t := range tried.trials {
		flows = append(flows, t.flow)
	}
	r, err := verify.Lab(ctx, b.lab, verify.Options{Strict: true, Flows: flows, WithoutControl: true})
	if err != nil {
		return err
	}
	b.score.mu.Lock()
	defer b.score.mu.Unlock()
	if d := time.Since(start); d > 10*time.Second {
		b.score.slow = append(b.score.slow, fmt.Sprintf("%v %s", d.Round(time.Millisecond), tried))
	}
	for _, c := range r.Flows {
		if c.Name == tried.stranger.Name && c.Verdict != proof.Proved {
			b.score.missed = append(b.score.missed, fmt.Sprintf("%s never comes there: %s: %+v: %s", c.Name, c.Verdict, *c.Wrong, tried))
		}
	}
	for _, t := range tried.trials {
		if why := t.missed(r); why != "" {
			b.score.missed = append(b.score.missed, fmt.Sprintf("%s: %s: %s %s", t.node, t.name, t.flow.Name, why))
		} else {
			b.score.noticed++
		}
	}
	return nil
}

// missed is how a report fails to name a break; "" where it does.
func (t trial) missed(r proof.Report) string {
	var of proof.Report
	var why []string
	for _, c := range r.Flows {
		if c.Name != t.flow.Name {
			continue
		}
		of.Flows = append(of.Flows, c)
		if c.Verdict != proof.Disproved {
			continue
		}
		if t.named(c.Wrong) {
			return ""
		}
		why = append(why, fmt.Sprintf("%+v", *c.Wrong))
	}
	if len(why) == 0 {
		return "is not disproved: " + firstWrong(of)
	}
	return "names another rule: " + strings.Join(why, " | ")
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

// endpoints are those of the family.
func (s *score) endpoints(l *lab.Lab) []netip.AddrPort {
	var out []netip.AddrPort
	for _, svc := range l.Cluster().Services {
		for _, p := range svc.Ports {
			for _, e := range p.Endpoints {
				if nat.FamilyOf(e.Addr.Addr()) == s.family {
					out = append(out, e.Addr)
				}
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
