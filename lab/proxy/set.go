package proxy

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"natlab/lab/apiserver"
	"natlab/lab/netns"
	"natlab/topology"
)

// Options are what runs in the nodes.
type Options struct {
	Binary  string // the program
	Backend string // whose iptables programs it calls: "legacy" or "nft"
	Dir     string // where configurations, logs and the programs' names are; it is made
}

func (o Options) path() string { return filepath.Join(o.Dir, "bin") }

// Set is the kube-proxies of a lab, and the API server that they read. Its methods may be called by many goroutines, but for Set and Close.
type Set struct {
	options Options
	api     *apiserver.Server
	nodes   []*node
	cluster topology.Cluster // of the last Set
	version uint64           // that the API gave it
}

// How long a kube-proxy may take to program what it was told, and how long it is left alone with it before it is told once more: each time is a sync
// more for all. A sync of ipvs mode is some hundred programs one after the other, and it runs in VMs, emulated ones too.
const (
	patient, patientIPVS = 10 * time.Minute, time.Hour
	soon, soonIPVS       = 2 * time.Second, time.Minute
)

// waits are both for a mode.
func waits(mode string) (whole, first time.Duration) {
	if mode == topology.ModeIPVS {
		return patientIPVS, soonIPVS
	}
	return patient, soon
}

// Open starts a kube-proxy in each node, and returns when all have programmed the cluster. The namespaces have their devices and addresses
// by then. After an error none runs. The Handles have to stay open as long as the Set.
func Open(ctx context.Context, c topology.Cluster, handles map[string]netns.Handle, o Options) (*Set, error) {
	s := &Set{options: o, api: apiserver.New(c), cluster: c}
	if err := s.open(ctx, handles); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Set) open(ctx context.Context, handles map[string]netns.Handle) error {
	if err := linkPrograms(s.options.path(), s.options.Backend, exec.LookPath); err != nil {
		return err
	}
	for _, n := range s.cluster.Nodes {
		one := &node{name: n.Name, dir: filepath.Join(s.options.Dir, n.Name), ns: handles[n.Name], client: Client(handles[n.Name])}
		s.nodes = append(s.nodes, one)
		if err := one.serve(s.api); err != nil {
			return err
		}
	}
	return s.begin(ctx, s.nodes)
}

// begin starts kube-proxies, and waits until they have programmed all there is.
func (s *Set) begin(ctx context.Context, nodes []*node) error {
	whole, _ := waits(s.cluster.KubeProxy.Mode)
	ctx, cancel := context.WithTimeout(ctx, whole)
	defer cancel()
	err := each(nodes, func(n *node) error {
		s.api.Forget(n.name)
		return n.start(s.cluster, s.options)
	})
	if err != nil {
		return err
	}
	return s.first(ctx, nodes)
}

// first waits until kube-proxies that were started have programmed all there is.
func (s *Set) first(ctx context.Context, nodes []*node) error {
	if err := s.settle(ctx, nodes); err != nil {
		return err
	}
	return each(nodes, func(n *node) error { return n.learn(ctx, s.api.Told(n.name, apiserver.Services).Objects) })
}

// learn takes from the first Services how often the kube-proxy counts each. It was told of all before it programmed any, but for a release that begins
// before it has heard of all (kubernetes#126532), which is waited for.
func (n *node) learn(ctx context.Context, told int) error {
	if told == 0 {
		return fmt.Errorf("kube-proxy of node %s was told of no Services", n.name)
	}
	families := 0
	err := n.await(ctx, fmt.Sprintf("it was told of %d Services and counts other changes of them", told), func(m metrics) bool {
		count := int(m[serviceChanges])
		families = count / told
		return families > 0 && count%told == 0
	})
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.families = families
	return nil
}

// settle waits until the kube-proxies have programmed all that they were sent, one family after the other: each has a proxier of its own, and what
// both count is added.
func (s *Set) settle(ctx context.Context, nodes []*node) error {
	for _, f := range s.cluster.Families() {
		if err := s.settleFamily(ctx, nodes, f); err != nil {
			return err
		}
	}
	return nil
}

// settleFamily is settle of one family, beginning when all answer: from then on they remember that changes count. Each counts a change of the barrier's EndpointSlice when it has
// written the rules of all that it knew by then. A sync that fails forgets which changes it was about, so the barrier is sent anew; the second that fails
// writes all rules, and of one whose third fails too the rules are refused.
func (s *Set) settleFamily(ctx context.Context, nodes []*node, f topology.Family) error {
	const refused = 3
	_, first := waits(s.cluster.KubeProxy.Mode)
	before := make([]metrics, len(nodes))
	for i, n := range nodes {
		err := n.await(ctx, "it does not answer", func(m metrics) bool {
			before[i] = m
			return true
		})
		if err != nil {
			return err
		}
	}
	strikes := make([]int, len(nodes))
	touches := 0
	for again := first; ; again *= 2 { // each barrier is a sync more for all, which a slow machine is still at
		s.api.Touch(f)
		touches++
		round, cancel := context.WithTimeout(ctx, again)
		var group errgroup.Group
		for i, n := range nodes {
			group.Go(func() error { return n.barrier(round, before[i], &strikes[i]) })
		}
		err := group.Wait()
		late := round.Err() != nil || errors.Is(err, errFailed)
		cancel()
		if err == nil && touches > 1 {
			return caughtUp(ctx, nodes, again, func(i int, m metrics) bool { return m[programmed] >= before[i][programmed]+float64(touches-strikes[i]) })
		}
		if err == nil || ctx.Err() != nil || !late {
			return err
		}
		for i, n := range nodes {
			if strikes[i] >= refused {
				return fmt.Errorf("kube-proxy of node %s cannot write its rules: %s", n.name, n.lastWords(1))
			}
		}
	}
}

// caughtUp waits until kube-proxies have programmed each change that they were sent, where that was more than one: the sync of a later one would write the rules anew under
// the hands of who reads them, in another order each time. A change that a failed sync forgot is not waited for longer than that.
func caughtUp(ctx context.Context, nodes []*node, atMost time.Duration, has func(i int, m metrics) bool) error {
	round, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	var group errgroup.Group
	for i, n := range nodes {
		group.Go(func() error {
			return n.await(round, "it does not program all that it was told", func(m metrics) bool { return has(i, m) })
		})
	}
	if err := group.Wait(); err != nil && round.Err() == nil {
		return err
	}
	return ctx.Err()
}

// errFailed is a sync that failed.
var errFailed = errors.New("a sync failed")

// barrier waits until a kube-proxy has programmed what changed since before, or a sync more than before has failed, which is a strike and is in before then.
func (n *node) barrier(ctx context.Context, before metrics, strikes *int) error {
	done := false
	err := n.await(ctx, "it does not program what it was told", func(m metrics) bool {
		if done = m[programmed] > before[programmed]; done {
			return true
		}
		if m.failed() <= before.failed() {
			return false
		}
		for _, name := range failures {
			before[name] = m[name]
		}
		*strikes++
		return true
	})
	if err == nil && !done {
		err = fmt.Errorf("node %s: %w", n.name, errFailed)
	}
	return err
}

// Set makes the kube-proxies' cluster another one, and returns when they have programmed it and cleaned up behind it.
func (s *Set) Set(ctx context.Context, c topology.Cluster) error {
	whole, _ := waits(c.KubeProxy.Mode)
	ctx, cancel := context.WithTimeout(ctx, whole)
	defer cancel()
	other := !reflect.DeepEqual(s.cluster.KubeProxy, c.KubeProxy)
	s.Tell(c)
	running := s.running()
	if other { // a configuration is read at the start
		return s.anew(ctx, running)
	}
	return s.follow(ctx, running, s.version)
}

// follow waits until kube-proxies have programmed a version of the cluster and cleaned up behind it.
func (s *Set) follow(ctx context.Context, running []*node, version uint64) error {
	err := each(running, func(n *node) error {
		return n.await(ctx, "it does not hear of the Services", func(m metrics) bool {
			told := s.api.Told(n.name, apiserver.Services)
			return told.Version >= version && m[serviceChanges] >= float64(n.perService()*told.Objects)
		})
	})
	if err != nil {
		return err
	}
	// Connections are cleaned up after the rules are written, at the end of a sync, and the next sync begins after that.
	for range 2 {
		if err := s.settle(ctx, running); err != nil {
			return err
		}
	}
	return nil
}

func (n *node) perService() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.families
}

// running are the nodes whose kube-proxy is not stopped.
func (s *Set) running() []*node {
	return slices.DeleteFunc(slices.Clone(s.nodes), func(n *node) bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.process == nil
	})
}

// find is the node of a name.
func (s *Set) find(name string) (*node, error) {
	for _, n := range s.nodes {
		if n.name == name {
			return n, nil
		}
	}
	return nil, fmt.Errorf("no kube-proxy runs in %q: want a node", name)
}

// Stop ends a node's kube-proxy; its rules stay.
func (s *Set) Stop(name string) error {
	n, err := s.find(name)
	if err != nil {
		return err
	}
	return n.stop()
}

// Restart starts a node's kube-proxy anew, ending the one that runs, and returns when it has programmed the cluster: as a kube-proxy that starts it writes
// all its rules.
// No name stands for all nodes.
func (s *Set) Restart(ctx context.Context, names ...string) error {
	nodes := slices.Clone(s.nodes)
	if len(names) > 0 {
		nodes = nil
	}
	for _, name := range names {
		n, err := s.find(name)
		if err != nil {
			return err
		}
		nodes = append(nodes, n)
	}
	return s.anew(ctx, nodes)
}

func (s *Set) anew(ctx context.Context, nodes []*node) error {
	if err := each(nodes, (*node).stop); err != nil {
		return err
	}
	return s.begin(ctx, nodes)
}

// Close ends all kube-proxies and the API server. It may be called twice, and on nil.
func (s *Set) Close() error {
	if s == nil {
		return nil
	}
	return each(s.nodes, func(n *node) error {
		err := n.stop()
		if n.web != nil {
			err = errors.Join(err, n.web.Close())
			<-n.served
		}
		return err
	})
}

// each calls f for every node at the same time, and waits for all.
func each(nodes []*node, f func(*node) error) error {
	var group errgroup.Group
	for _, n := range nodes {
		group.Go(func() error { return f(n) })
	}
	return group.Wait()
}

// Running are the process numbers of the kube-proxies that are not stopped, by node.
func (s *Set) Running() map[string]int {
	out := map[string]int{}
	for _, n := range s.nodes {
		n.mu.Lock()
		if n.process != nil {
			out[n.name] = n.process.cmd.Process.Pid
		}
		n.mu.Unlock()
	}
	return out
}
