package conformance

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"natlab/lab"
	"natlab/lab/traffic"
	"natlab/nat"
	"natlab/scenarios"
	"natlab/topology"
)

// Result is how one test ended.
type Result struct {
	Test
	Outcome scenarios.Outcome `json:"outcome"`
	Why     string            `json:"why,omitempty"`  // of a skip
	Rows    []Row             `json:"rows,omitempty"` // of the matrix, in the order in which they were asked
	Log     string            `json:"log,omitempty"`  // the script's, of a test that failed
	Took    time.Duration     `json:"took"`           // nanoseconds
}

// Options are what Run is to do.
type Options struct {
	Parallel int           // how many tests at a time; 0 means DefaultParallel
	Limit    time.Duration // how long one test may take; 0 means DefaultLimit. How long its clients wait grows with it
	Done     func(Result)  // called after each test, one at a time; may be nil
}

// DefaultParallel is how many tests run beside each other: they mostly wait.
const DefaultParallel = 8

// DefaultLimit bounds one test; a machine that is emulated wants more.
const DefaultLimit = 2 * time.Minute

// Clients wait such a part of a test's limit for an answer, and such a part to be sure that none comes: 5 and 0.4 seconds of DefaultLimit.
const (
	patience   = 24
	impatience = 300
)

// Run runs tests on a lab that stands, in the order of the list: those that disturb no other beside each other, and behind them the others one by
// one. The lab has its own Services again in the end. It ends early, with what it has, when ctx does.
func Run(ctx context.Context, l *lab.Lab, all []Test, o Options) ([]Result, error) {
	w := newWorld(l)
	limit := cmp.Or(max(o.Limit, 0), DefaultLimit)
	casting := castOf(w.base)
	results := make([]Result, len(all))
	var tell sync.Mutex
	run := func(i int) {
		results[i] = play(ctx, w, casting, all[i], limit)
		if o.Done != nil {
			tell.Lock()
			defer tell.Unlock()
			o.Done(results[i])
		}
	}
	parallel := o.Parallel
	if parallel <= 0 {
		parallel = DefaultParallel
	}
	next := make(chan int)
	var workers sync.WaitGroup
	for range parallel {
		workers.Go(func() {
			for i := range next {
				run(i)
			}
		})
	}
	for i, t := range all {
		if !t.alone && ctx.Err() == nil {
			next <- i
		}
	}
	close(next)
	workers.Wait()
	for i, t := range all {
		if t.alone && ctx.Err() == nil {
			run(i)
		}
	}
	results = slices.DeleteFunc(results, func(r Result) bool { return r.Outcome == "" })
	if _, err := l.Apply(context.WithoutCancel(ctx), w.base, lab.Partial); err != nil {
		return results, fmt.Errorf("take the tests' Services away: %w", err)
	}
	return results, ctx.Err()
}

// stage is one test that runs.
type stage struct {
	ctx       context.Context //nolint:containedctx // the script engine calls the verbs, and hands no context on
	test      Test
	limit     time.Duration
	world     *world
	cast      cast
	families  []topology.Family
	proxied   bool
	namespace string
	target    uint16
	services  map[string]*service
	balancers []netip.Addr // the load balancers' addresses that it has, to be given back
	rows      []Row
	lacks     string // why it cannot go on
}

// play runs one test. Whatever its script does, its Services are taken away.
func play(ctx context.Context, w *world, c cast, test Test, limit time.Duration) (r Result) {
	start := time.Now()
	r = Result{Test: test}
	defer func() { r.Took = time.Since(start) }()
	if why := c.missing(test.needs()); why != "" {
		r.Outcome, r.Why = scenarios.Skipped, why
		return r
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	id := strings.NewReplacer("_", "-", ".go:", "-").Replace(test.File)
	t := &stage{
		ctx: ctx, test: test, limit: limit, world: w, cast: c, families: w.base.Families(), proxied: w.lab.Proxied(), namespace: "e2e-" + id,
		target: w.target(), services: map[string]*service{},
	}
	ran := scenarios.Play(ctx, id, []byte(test.script+"\n"), scenarios.Ground{Lab: w.lab, Env: c.env(t.families), Verbs: t.verbs(), Condition: t.condition})
	r.Outcome, r.Why, r.Rows = ran.Outcome, ran.Why, t.rows
	if t.lacks != "" {
		r.Outcome, r.Why = scenarios.Skipped, t.lacks
	}
	if r.Outcome == scenarios.Failed {
		r.Log = ran.Log
	}
	if len(t.services) > 0 {
		if err := w.set(context.WithoutCancel(ctx), t.namespace, nil, lab.Partial); err != nil {
			r.Outcome, r.Log = scenarios.Failed, r.Log+"take its Services away: "+err.Error()+"\n"
		}
	}
	if err := t.leave(); err != nil {
		r.Outcome, r.Log = scenarios.Failed, r.Log+"forget its connections: "+err.Error()+"\n"
	}
	return r
}

// apply gives the lab the test's Services.
func (t *stage) apply() error {
	var all []topology.Service
	for _, name := range sorted(t.services) {
		all = append(all, t.services[name].loaded...)
	}
	if err := t.world.set(t.ctx, t.namespace, all, lab.Partial); err != nil {
		return err
	}
	return t.reconcile()
}

// condition decides [kube-proxy], [ipv4], [ipv6], [sctp], [mode:nftables] and [since:v1.26] in front of a script's line.
func (t *stage) condition(word string) (known, holds bool) {
	if release, ok := strings.CutPrefix(word, "since:"); ok {
		return true, t.since(release)
	}
	switch word {
	case "mode:nftables":
		return true, t.world.base.KubeProxy.Mode == topology.ModeNFTables
	case "kube-proxy":
		return true, t.proxied
	case "ipv4", "ipv6":
		return true, slices.ContainsFunc(t.families, func(f topology.Family) bool { return f.String() == word })
	case "sctp":
		return true, t.servesSCTP()
	}
	return false, false
}

// servesSCTP reports whether a server of SCTP can be had in the lab.
func (t *stage) servesSCTP() bool {
	h, err := t.world.lab.Handle(t.world.lab.Nodes()[0])
	if err != nil {
		return false
	}
	server, err := traffic.Serve(h, "probe", nat.SCTP, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), sctpProbe))
	if err != nil {
		return false
	}
	return server.Close() == nil
}

// sctpProbe is the port of a server that is there for the question alone.
const sctpProbe = 9899

// verbs are those of this package.
func (t *stage) verbs() map[string]scenarios.Verb {
	return map[string]scenarios.Verb{
		"service": t.doService, "delete": t.doDelete, "reach": t.doReach, "health": t.doHealth, "sync": t.doSync,
	}
}

func (t *stage) doService(s scenarios.Script, not bool, args []string) error {
	if not || len(args) < 1 {
		return fmt.Errorf("usage: service NAME [%s=...]", strings.Join(serviceWords, "=...] ["))
	}
	words, err := keyed(args[1:], serviceWords)
	if err != nil {
		return err
	}
	if err := t.change(args[0], words); err != nil {
		return t.orLacks(s, err)
	}
	return t.tell(s, t.services[args[0]])
}

// orLacks ends a test that asks for what the lab does not have: it is skipped.
func (t *stage) orLacks(_ scenarios.Script, err error) error {
	if why, ok := err.(lacks); ok { //nolint:errorlint // it is never wrapped
		t.lacks = string(why)
	}
	return err
}

// tell puts the addresses of a Service into the script's environment.
func (t *stage) tell(s scenarios.Script, of *service) error {
	list, err := of.ports()
	if err != nil {
		return err
	}
	families, err := of.families(t.families)
	if err != nil {
		return err
	}
	for _, f := range slices.Backward(families) { // so that the first one's are the names without a family
		suffix := map[topology.Family]string{topology.IPv4: "_4", topology.IPv6: "_6"}[f]
		set := func(name string, a netip.Addr, port uint16) {
			if a.IsValid() && port != 0 {
				s.Setenv(of.name+name, netip.AddrPortFrom(a, port).String())
				s.Setenv(of.name+name+suffix, netip.AddrPortFrom(a, port).String())
			}
		}
		set("", of.ips[f], list[0].number)
		set("_lb", of.balancers[of.word("lb", "")+f.String()], list[0].number)
		set("_external", of.external[f], list[0].number)
		for name, a := range t.cast {
			switch {
			case a.pod != "":
				set("_"+name, a.address(f), uint16(t.targetOf(of, 0)))
			case a.node != "":
				set("_"+name, a.address(f), of.nodePorts[list[0].String()])
				set("_health_"+name, a.address(f), of.health)
			}
		}
	}
	s.Setenv(of.name+"_port", strconv.Itoa(int(list[0].number)))
	return nil
}

func (t *stage) doDelete(_ scenarios.Script, not bool, args []string) error {
	if not || len(args) != 1 || t.services[args[0]] == nil {
		return fmt.Errorf("usage: delete NAME, of a Service that is there")
	}
	delete(t.services, args[0])
	return t.apply()
}

func (t *stage) doReach(s scenarios.Script, not bool, args []string) error {
	if not || len(args) < 3 {
		return fmt.Errorf("usage: reach NAME from=... at=... [%s=...]", strings.Join(reachWords[2:], "=...] ["))
	}
	words, err := keyed(args[1:], reachWords)
	if err != nil {
		return err
	}
	return t.orLacks(s, t.reach(args[0], words))
}

// doSync has the nodes' kube-proxies write all their rules anew.
func (t *stage) doSync(_ scenarios.Script, not bool, args []string) error {
	if not || len(args) > 0 {
		return fmt.Errorf("usage: sync")
	}
	var all []topology.Service
	for _, name := range sorted(t.services) {
		all = append(all, t.services[name].loaded...)
	}
	return t.world.set(t.ctx, t.namespace, all, lab.Full)
}

// keyed takes KEY=VALUE words apart, of the keys that a verb knows.
func keyed(args, known []string) (map[string]string, error) {
	out := map[string]string{}
	for _, a := range args {
		k, v, ok := strings.Cut(a, "=")
		if !ok || !slices.Contains(known, k) {
			return nil, fmt.Errorf("%q: want %s", a, strings.Join(known, "=... ")+"=...")
		}
		out[k] = v
	}
	return out, nil
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
