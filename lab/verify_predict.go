package lab

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"natlab/lab/dataplane"
	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/proof"
)

// predict makes a question of each flow: what has to become of it, and what the nodes' rules will make of it.
func (v *verification) predict(ctx context.Context, flows []proof.Flow) error {
	intents, lives := map[string]gateway.Rules{}, map[string]gateway.Rules{}
	for _, node := range v.rules.nodes {
		intents[node] = gateway.Rules{v.rules.intent[node]}
		lives[node] = v.rules.inKernelOrder(node, v.lab.Backend())
	}
	running, err := v.lab.RunningServers(ctx)
	if err != nil {
		return err
	}
	intent, err := v.network(intents, v.driver.servers)
	if err != nil {
		return err
	}
	live := intent
	if !v.rules.asWanted(v.texts) || !slices.Equal(running, v.driver.servers) {
		if live, err = v.network(lives, running); err != nil {
			return err
		}
	}
	v.questions = make([]*question, len(flows))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, f := range flows {
		group.Go(func() error {
			q := &question{flow: f}
			v.questions[i] = q
			src := netip.AddrPortFrom(f.Source, predictedPort)
			probe := nat.Probe{From: f.From, Tuple: nat.TupleOf(f.Protocol, src, f.Target)}
			var err error
			if q.intent, err = intent.Predict(probe); err != nil {
				return fmt.Errorf("predict %s: %w", f.Name, err)
			}
			q.live = q.intent
			if live == intent {
				q.contacts()
				return nil
			}
			if q.live, err = live.Predict(probe); err != nil {
				return fmt.Errorf("predict %s by the live rules: %w", f.Name, err)
			}
			q.contacts()
			q.deviation = proof.Deviation(q.intent, q.live, v.texts)
			return nil
		})
	}
	return group.Wait()
}

// network is the lab as data, with the given rules and servers.
func (v *verification) network(rules map[string]gateway.Rules, listen []Server) (*gateway.Network, error) {
	var servers []gateway.Server
	for _, s := range listen {
		servers = append(servers, gateway.Server{Member: s.Member, Name: s.Name, Proto: s.Proto, Addr: s.Addr})
	}
	kernel, err := dataplane.Kernel()
	if err != nil {
		return nil, err
	}
	return gateway.NewNetwork(v.lab.plan, rules, servers, gateway.Options{KernelIPIP: v.lab.Tunnel() == KernelTunnel, Facts: gateway.Facts{Kernel: kernel}})
}
