package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"natlab/topology"
)

// Applied is what an Apply changed.
type Applied struct {
	Services []string `json:"services"` // "NAMESPACE/NAME" of those that came, went or are otherwise, sorted
	Started  []string `json:"started"`  // the servers that listen now, as Server.String has them, and did not before
	Stopped  []string `json:"stopped"`  // the servers that are gone
}

// Sync is how the nodes' kube-proxies take a change in.
type Sync bool

// The two ways.
const (
	Partial Sync = false // what changed, and what all Services share: what kube-proxy does after a change, since 1.27
	Full    Sync = true  // all rules anew
)

// Apply makes the lab that of another cluster with the same nodes, pods and links: its nodes get the rules that their kube-proxies
// write after the change, and the servers follow. What would need other namespaces, addresses or routes, another backend or other
// hostPorts is an error, and nothing is changed. The lab's name and backend stay; so do servers that were stopped.
func (l *Lab) Apply(ctx context.Context, c topology.Cluster, how Sync) (Applied, error) {
	if l.own == nil {
		answer, err := l.call(ctx, request{Do: doApply, Cluster: &c, Full: how == Full})
		if err != nil || answer.Applied == nil {
			return Applied{}, err
		}
		return *answer.Applied, l.reread()
	}
	applied, err := l.apply(ctx, c, how)
	if err != nil {
		return Applied{}, fmt.Errorf("lab %s: %w", l.Name(), err)
	}
	return applied, nil
}

// apply is the owner's work.
func (l *Lab) apply(ctx context.Context, c topology.Cluster, how Sync) (Applied, error) {
	l.own.applying.Lock()
	defer l.own.applying.Unlock()
	if l.own.control.proved() { // a verdict would be about two labs
		return Applied{}, errors.New("it is being proved at the moment: let that end first")
	}
	if l.twin != nil {
		return Applied{}, errors.New("its nodes hold what was dumped of them, which no kube-proxy follows up: make it anew (natlab down, natlab up --bundle)")
	}
	was := l.Cluster()
	c = l.Here(c)
	if c.KubeProxy.Backend != "" && c.KubeProxy.Backend != string(l.Backend()) {
		return Applied{}, fmt.Errorf("its backend is %s, and the files ask for %s: %w", l.Backend(), c.KubeProxy.Backend, ErrRewire)
	}
	if c.KubeProxy.Mode != was.KubeProxy.Mode {
		return Applied{}, fmt.Errorf("its kube-proxies run in mode %s, and the files ask for %s: %w",
			cmp.Or(was.KubeProxy.Mode, topology.ModeIPTables), cmp.Or(c.KubeProxy.Mode, topology.ModeIPTables), ErrRewire)
	}
	c.KubeProxy.Backend = was.KubeProxy.Backend
	plan, err := topology.NewPlan(c)
	if err != nil {
		return Applied{}, err
	}
	if what := rewired(l.plan, plan); what != "" {
		return Applied{}, fmt.Errorf("%s: %w", what, ErrRewire)
	}
	if what := otherHostPorts(was, c); what != "" {
		return Applied{}, fmt.Errorf("%s: %w", what, ErrRewire)
	}
	sync := l.Change
	if how == Full {
		sync = l.Sync
	}
	servers := serversOf(c)
	out := Applied{Services: changedServices(was, c)}
	if out.Started, err = l.own.servers.add(servers); err != nil {
		return Applied{}, err
	}
	if err := sync(ctx, c); err != nil { // a node that failed has its old rules, or the new ones
		before := serversOf(was)
		_, undone := l.own.servers.keep(before)
		return Applied{}, errors.Join(err, undone)
	}
	if out.Stopped, err = l.own.servers.keep(servers); err != nil {
		return Applied{}, err
	}
	l.mu.Lock()
	l.cluster = c
	r := l.record
	l.mu.Unlock()
	return out, errors.Join(l.own.state.write(clusterFile, c), l.own.state.write(recordFile, r))
}

// Here is a cluster in this lab: it has the lab's name, and the mode of its kube-proxies unless it names one. Where real kube-proxies run, their release is theirs, whatever the nodes tell.
func (l *Lab) Here(c topology.Cluster) topology.Cluster {
	was := l.Cluster()
	c.Name, c.KubeProxy.Mode = was.Name, cmp.Or(c.KubeProxy.Mode, was.KubeProxy.Mode)
	if l.Proxied() {
		c.KubeProxy.Release, c.KubeProxy.Version = was.KubeProxy.Release, was.KubeProxy.Version
	}
	return c
}

// reread takes over what the lab's owner changed.
func (l *Lab) reread() error {
	s, err := openState(l.Name())
	if err != nil {
		return err
	}
	defer s.dir.Close() //nolint:errcheck // opened for reading
	var c topology.Cluster
	if err := s.readFile(clusterFile, &c); err != nil {
		return err
	}
	r, err := s.read()
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cluster, l.record = c, r
	return nil
}

// rewired is the first thing that a Plan has otherwise than another; "" where they are the same.
func rewired(was, now topology.Plan) string {
	for _, ns := range now.Namespaces {
		if _, there := was.Namespace(ns.Member); !there {
			return ns.Title() + " is new"
		}
	}
	otherwise := ""
	for _, before := range was.Namespaces {
		ns, there := now.Namespace(before.Member)
		if !there {
			return before.Title() + " is gone"
		}
		if otherwise == "" && !reflect.DeepEqual(before, ns) {
			otherwise = before.Title() + " is wired otherwise"
		}
	}
	for _, before := range was.Namespaces { // that of which the words tell more
		ns, _ := now.Namespace(before.Member)
		if differs := topology.Differences(before, ns); len(differs) > 0 {
			return before.Title() + ": " + differs[0]
		}
	}
	return otherwise
}

// otherHostPorts names a pod whose hostPorts are others: CNI writes their rules when a pod starts.
func otherHostPorts(was, now topology.Cluster) string {
	for _, p := range now.Pods {
		before, _ := was.Pod(p.Member())
		if !slices.Equal(before.HostPorts, p.HostPorts) {
			return "pod " + p.Member() + ": its hostPorts are others"
		}
	}
	return ""
}

// changedServices are the Services that one of two clusters has otherwise than the other.
func changedServices(was, now topology.Cluster) []string {
	out := []string{}
	differ := func(a, b topology.Cluster) {
		for _, s := range a.Services {
			same := func(o topology.Service) bool { return reflect.DeepEqual(s, o) }
			if name := s.Namespace + "/" + s.Name; !slices.ContainsFunc(b.Services, same) && !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	differ(was, now)
	differ(now, was)
	slices.Sort(out)
	return out
}
