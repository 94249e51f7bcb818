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
