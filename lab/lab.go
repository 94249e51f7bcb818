// Package lab makes a cluster's Plan real out of network namespaces, keeps it running, and takes it away again, whatever
// became of it. What its parts do is in the packages below it; what it proves is in nat/proof.
package lab

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"natlab/lab/dataplane"
	"natlab/lab/netns"
	"natlab/lab/nft"
	"natlab/lab/proxy"
	"natlab/lab/realise"
	"natlab/lab/rootless"
	"natlab/lab/tunnel"
	"natlab/lab/userspace"
	"natlab/nat/twin"
	"natlab/topology"
	"natlab/topology/near"
)

// Options is what Up and Start take besides the cluster.
type Options struct {
	Name     string            // instead of the cluster's own; "" leaves that
	Backend  dataplane.Backend // instead of the cluster's own, or dataplane.Userspace; "" leaves that
	Gateways GatewayOptions    // of dataplane.Userspace
	Progress Progress          // nil for silence
	With     int               // Start: the process with which the lab ends; 0 for none
	Bundles  []Bundle          // what nodes' own programs printed of them: they hold that, and not what natlab would give them
	// KubeProxy is the program that writes the nodes' rules, one running in each node: a real kube-proxy. "" is natlab's own copy of its rules.
	KubeProxy string
}

// Lab is a lab that stands. Its methods may be called by many goroutines at the same time.
type Lab struct {
	plan topology.Plan
	twin *twin.Twin // nil for a lab that is all natlab's
	own  *owned     // nil for a lab that another process serves

	syncs    syncs          // what the nodes' kube-proxies remember
	proxies  nft.Proxies    // the same in nftables mode
	gateways GatewayOptions // of the process that serves it

	mu      sync.Mutex
	cluster topology.Cluster        // under mu once the lab is up: Apply changes it, but for the backend and the nodes' names
	record  record                  // likewise: its notes
	handles map[string]netns.Handle // by member; under mu
}

// owned is what the process that made a lab has of it.
type owned struct {
	state   *stateDir
	tunnels []*tunnel.Tunnel
	servers *serverSet
	control *control
	proxies *proxy.Set // the nodes' kube-proxies; nil where natlab writes their rules

	applying  sync.Mutex // one Apply at a time
	gatewayMu sync.Mutex
	gateways  map[string]*userspace.Gateway // by node, of a lab whose NAT is not the kernel's; under gatewayMu

	once sync.Once
	err  error         // of the first Down
	gone chan struct{} // closed by it
}

// Up makes a lab that the calling process serves: it stands until Down, and is dead when the process ends. An error
// leaves nothing behind.
func Up(ctx context.Context, c topology.Cluster, o Options) (*Lab, error) {
	l, err := prepare(c, o)
	if err != nil {
		return nil, err
	}
	s, err := createState(l.Name())
	if err != nil {
		return nil, err
	}
	l.own = &owned{state: s}
	if err := l.keepBundles(o.Bundles); err != nil {
		return nil, errors.Join(err, s.clear(ctx, nil))
	}
	return bringUp(ctx, l, o.Progress)
}

// prepare is all that can be found wrong before anything is made.
func prepare(c topology.Cluster, o Options) (*Lab, error) {
	if o.Name != "" {
		c.Name = o.Name
	}
	if o.Backend != "" {
		c.KubeProxy.Backend = string(o.Backend)
	}
	b := dataplane.Backend(c.KubeProxy.Backend)
	for _, n := range c.Nodes {
		if _, err := dataplane.NewStandIn(n.IPTables, b); n.IPTables != "" && err != nil {
			return nil, fmt.Errorf("node %s: %w", n.Name, err)
		}
	}
	if o.KubeProxy != "" && b == dataplane.Userspace {
		return nil, errors.New("a kube-proxy programs the kernel: it cannot write rules for natlab's own NAT")
	}
	if nftables := c.KubeProxy.Mode == topology.ModeNFTables; nftables && b == dataplane.Userspace {
		return nil, errors.New("nodes whose NAT is natlab's own run the rules of kube-proxy's iptables mode: leave --dataplane userspace out, or set mode: iptables")
	} else if nftables && len(o.Bundles) > 0 {
		return nil, errors.New("nodes that hold what was dumped of them get no rules of kube-proxy's nftables mode: set mode: iptables")
	}
	if c.KubeProxy.Mode == topology.ModeIPVS && o.KubeProxy == "" {
		return nil, errors.New("natlab writes no rules of kube-proxy's ipvs mode: name a kube-proxy that does (--kube-proxy), or set mode: iptables")
	}
	if b != dataplane.Userspace {
		if _, err := dataplane.New(b); err != nil {
			return nil, err
		}
	}
	if len(o.Bundles) > 0 {
		if !slices.Contains(c.Families(), topology.IPv4) {
			return nil, errors.New("the cluster's network is IPv6 alone, and a lab of bundles is of IPv4 or of both families")
		}
	}
	if o.KubeProxy != "" && len(o.Bundles) > 0 {
		return nil, errors.New("a kube-proxy writes its own rules: it cannot run in a lab whose nodes hold what their bundles tell")
	}
	if err := checkNAT(c.NAT, b, o); err != nil {
		return nil, err
	}
	if len(o.Bundles) > 0 {
		return prepareTwin(c, o.Bundles)
	}
	plan, err := topology.NewPlan(c)
	l := &Lab{cluster: c, plan: plan, gateways: o.Gateways, record: record{KubeProxy: o.KubeProxy, FailOpen: o.Gateways.FailOpen}}
	if o.Gateways.Fault != userspace.NoFault {
		l.record.Notes = append(l.record.Notes, "the nodes' NAT has the fault "+o.Gateways.Fault.String())
	}
	return l, err
}

// bringUp makes the lab whose directory is there and locked.
func bringUp(ctx context.Context, l *Lab, tell Progress) (*Lab, error) {
	// The nodes' rules are one step more for each, and the servers are one.
	p := &progress{tell: tell, total: realise.Steps*len(l.plan.Namespaces) + len(l.cluster.Nodes) + 1}
	defer p.end()
	l.own.gone = make(chan struct{})
	made, err := l.make(ctx, p)
	if err == nil {
		return l, nil
	}
	err = fmt.Errorf("lab %s: %w", l.Name(), err)
	l.release()
	return nil, errors.Join(err, l.own.state.clear(context.WithoutCancel(ctx), made))
}

// make does the work of bringUp. The names of the namespaces that were made come back with an error too.
func (l *Lab) make(ctx context.Context, p *progress) (made []string, err error) {
	if err := l.claim(); err != nil {
		return nil, err
	}
	build := realise.New(l.plan, p.done)
	defer build.Close()
	err = build.Create(ctx)
	l.handles = build.Handles()
	if err != nil {
		return build.Made(), err
	}
	err = l.wireAndRule(ctx, build, p)
	l.own.tunnels, l.record.Tunnel = build.Tunnels(), build.Tunnel()
	if err != nil {
		return build.Made(), err
	}
	l.record.Notes = append(l.record.Notes, build.Notes()...)
	if l.own.servers, err = openServers(ctx, l); err != nil {
		return build.Made(), err
	}
	p.done("servers")
	if l.own.control, err = listen(l); err != nil {
		return build.Made(), err
	}
	l.record.Ready = true
	return build.Made(), l.own.state.write(recordFile, l.record)
}

// wireAndRule makes devices, addresses and routes, and gives the nodes their rules.
func (l *Lab) wireAndRule(ctx context.Context, build *realise.Build, p *progress) error {
	if l.wired() || l.record.KubeProxy != "" { // a gateway and a kube-proxy read their namespace
		if err := build.Wire(ctx); err != nil {
			return err
		}
		return l.installRules(ctx, p)
	}
	// Rules need no device, and the kernel's one lock for devices leaves a processor free for them.
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return build.Wire(groupCtx) })
	group.Go(func() error { return l.installRules(groupCtx, p) })
	return group.Wait()
}

// claim writes down what is going to be made, after it made sure that none of it belongs to somebody else: what the
// record names is deleted without a question.
func (l *Lab) claim() error {
	for _, ns := range l.plan.Namespaces {
		if netns.Exists(ns.Name) {
			return fmt.Errorf("a network namespace %s is there already, and is not of this lab: ip netns delete %s", ns.Name, ns.Name)
		}
		l.record.Namespaces = append(l.record.Namespaces, ns.Name)
	}
	owner, err := self()
	if err != nil {
		return err
	}
	l.record.Lab, l.record.Owner, l.record.Backend = l.Name(), owner, string(l.Backend())
	if err := errors.Join(l.own.state.write(clusterFile, l.cluster), l.own.state.writeNames(l.cluster)); err != nil {
		return err
	}
	return l.own.state.write(recordFile, l.record)
}

// Open attaches to a lab that some process serves, a supervisor or this one. Close lets go of it.
func Open(_ context.Context, name string) (*Lab, error) {
	s, err := openState(name)
	if errors.Is(err, ErrNoLab) {
		return nil, fmt.Errorf("%w; %snatlab up --name %s makes it", err, othersThan(name), name)
	}
	if err != nil {
		return nil, err
	}
	defer s.dir.Close() //nolint:errcheck // opened for reading
	l := &Lab{handles: map[string]netns.Handle{}}
	if l.record, err = s.read(); err != nil {
		return nil, err
	}
	if !s.owned() {
		return nil, fmt.Errorf("lab %s %w: its process has ended: natlab down --name %s takes the rest away", name, ErrDead, name)
	}
	if owner := l.record.Owner; rootless.Process(owner).Stopped() {
		return nil, fmt.Errorf("lab %s %w: process %d, which serves it, was stopped by a signal: kill -CONT %d has it go on", name, ErrStopped, owner.PID, owner.PID)
	}
	if !l.record.Ready {
		return nil, fmt.Errorf("lab %s: is still being made: natlab status shows when it is up", name)
	}
	if err := s.readFile(clusterFile, &l.cluster); err != nil {
		return nil, err
	}
	if l.record.Bundles {
		return l, l.reopenTwin(s)
	}
	l.plan, err = topology.NewPlan(l.cluster)
	return l, err
}

// Name is the lab's name.
func (l *Lab) Name() string { return l.plan.Lab }

// Cluster is what the lab was made from, or the last Apply made of it.
func (l *Lab) Cluster() topology.Cluster {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cluster
}

// Plan is what was made.
func (l *Lab) Plan() topology.Plan { return l.plan }

// Backend is how rules reach the nodes' kernel.
func (l *Lab) Backend() dataplane.Backend {
	if b := l.Cluster().KubeProxy.Backend; b != "" {
		return dataplane.Backend(b)
	}
	return dataplane.Legacy
}

// Tunnel is what tunl0 is in this lab.
func (l *Lab) Tunnel() realise.TunnelKind { return l.record.Tunnel }

// Notes list what this lab has not, and why.
func (l *Lab) Notes() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.record.Notes)
}

// Members lists all namespaces by their members' names, in the Plan's order.
func (l *Lab) Members() []string {
	out := make([]string, len(l.plan.Namespaces))
	for i, ns := range l.plan.Namespaces {
		out[i] = ns.Member
	}
	return out
}

// Nodes lists the nodes' names, in the Plan's order.
func (l *Lab) Nodes() []string {
	nodes := l.Cluster().Nodes
	out := make([]string, len(nodes))
	for i, n := range nodes {
		out[i] = n.Name
	}
	return out
}

// members are the names of all namespaces of the lab.
func (l *Lab) members() (names []string) {
	for _, ns := range l.plan.Namespaces {
		names = append(names, ns.Member)
	}
	return names
}

// Handle is the door into a member's namespace: a node's, "NAMESPACE/POD", a client's, "router" or "underlay". A pod on
// the host network has its node's. It is the Lab's own, to be closed by Close or Down only.
func (l *Lab) Handle(member string) (netns.Handle, error) {
	if pod, ok := l.Cluster().Pod(member); ok && pod.HostNetwork {
		member = pod.Node
	}
	ns, ok := l.plan.Namespace(member)
	if !ok {
		return netns.Handle{}, fmt.Errorf("lab %s has no member %q; %s", l.Name(), member, near.There(member, l.members()))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	h, ok := l.handles[member]
	if ok {
		return h, nil
	}
	h, err := netns.Open(ns.Name)
	if err != nil {
		return netns.Handle{}, fmt.Errorf("lab %s: %s: %w", l.Name(), ns.Title(), err)
	}
	l.handles[member] = h
	return h, nil
}

// Close lets go of a lab that another process serves. Of one that this process serves it lets go by Down.
func (l *Lab) Close() error {
	if l.own != nil {
		return l.Down(context.Background())
	}
	return l.closeHandles()
}

func (l *Lab) closeHandles() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []error
	for member, h := range l.handles {
		all = append(all, h.Close())
		delete(l.handles, member)
	}
	return errors.Join(all...)
}

// parallel is how much of one thing is done at a time: namespaces taken away, programs and servers started. More than keeps the processors busy
// takes memory and no less time: a node's rules are tens of megabytes in a large cluster.
func parallel() int { return min(8, 2*runtime.GOMAXPROCS(0)) }

// each calls f for every element until one call fails or ctx ends, and waits for all calls.
func each[T any](ctx context.Context, all []T, f func(T) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel())
	for _, one := range all {
		group.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return f(one)
		})
	}
	return group.Wait()
}
