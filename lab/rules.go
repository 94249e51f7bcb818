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
// no node named means all. What other agents have in the nodes stays, and so does all else of the lab.
func (l *Lab) Sync(ctx context.Context, c topology.Cluster, nodes ...string) error {
	plane, err := dataplane.New(l.Backend())
	if err != nil {
		return err
	}
	if len(nodes) == 0 {
		nodes = l.Nodes()
	}
	return each(ctx, nodes, func(name string) error {
		if err := l.syncNode(ctx, plane, c, name); err != nil {
			return fmt.Errorf("node %s: rules: %w", name, err)
		}
		return nil
	})
}

func (l *Lab) syncNode(ctx context.Context, plane dataplane.Dataplane, c topology.Cluster, node string) error {
	h, err := l.Handle(node)
	if err != nil {
		return err
	}
	want, err := kubeproxy.Rules(c, node, kubeproxy.Options{Family: nat.IPv4})
	if err != nil {
		return err
	}
	live, err := plane.Dump(ctx, h, nat.IPv4)
	if err != nil {
		return err
	}
	return plane.Install(ctx, h, kubeproxy.Sync(live, want))
}
