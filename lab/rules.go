package lab

import (
	"context"
	"fmt"

	"natlab/lab/dataplane"
	"natlab/lab/netns"
	"natlab/nat"
	"natlab/nat/kubeproxy"
	"natlab/topology"
)

// installRules gives each node the rules that kube-proxy would have written there.
func installRules(ctx context.Context, c topology.Cluster, b dataplane.Backend, handles map[string]netns.Handle, p *progress) error {
	plane, err := dataplane.New(b)
	if err != nil {
		return err
	}
	return each(ctx, c.Nodes, func(n topology.Node) error {
		defer p.done("rules")
		rs, err := kubeproxy.Rules(c, n.Name, kubeproxy.Options{Family: nat.IPv4})
		if err == nil {
			err = plane.Install(ctx, handles[n.Name], rs)
		}
		if err != nil {
			return fmt.Errorf("node %s: rules: %w", n.Name, err)
		}
		return nil
	})
}

// Sync gives nodes the rules that kube-proxy would write for a cluster, as after a change of its Services and endpoints;
// no node named means all. What stands of the lab besides stays as it is.
func (l *Lab) Sync(ctx context.Context, c topology.Cluster, nodes ...string) error {
	plane, err := dataplane.New(l.Backend())
	if err != nil {
		return err
	}
	if len(nodes) == 0 {
		nodes = l.Nodes()
	}
	return each(ctx, nodes, func(name string) error {
		h, err := l.Handle(name)
		if err != nil {
			return err
		}
		rs, err := kubeproxy.Rules(c, name, kubeproxy.Options{Family: nat.IPv4})
		if err == nil {
			err = plane.Install(ctx, h, rs)
		}
		if err != nil {
			return fmt.Errorf("node %s: rules: %w", name, err)
		}
		return nil
	})
}
