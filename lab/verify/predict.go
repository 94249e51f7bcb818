package verify

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/proof"
	"natlab/nat/service"
)

// predict predicts each flow: what the objects call for, what the rules make of it that belong to them, and what the nodes' rules will.
func (v *verification) predict(flows []proof.Flow) error {
	if v.outcomes {
		return v.expectOutcomes(flows)
	}
	intent, live, err := v.networks()
	if err != nil {
		return err
	}
	if (live != intent || v.asIs) && v.rules.bySourcePort() {
		v.driver.live = live
	}
	v.states = make([]*flowState, len(flows))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, f := range flows {
		group.Go(func() error {
			q := &flowState{flow: f}
			v.states[i] = q
			src := netip.AddrPortFrom(f.Source, predictedPort)
			probe := nat.Probe{From: f.From, Tuple: nat.TupleOf(f.Protocol, src, f.Target)}
			var err error
			if v.asIs {
				q.needed = service.Answer{}
			} else if q.needed, err = v.means.Ask(service.Flow{From: f.From, Protocol: f.Protocol, Source: f.Source, Target: f.Target}); err != nil {
				return fmt.Errorf("what has to become of %s: %w", f.Name, err)
			}
			if h, ok := v.means.Health(f.Target); ok && f.Type == proof.ByHealthCheck {
				q.health = h.String()
			}
			if q.intent, err = intent.Predict(probe); err != nil {
				return fmt.Errorf("predict %s: %w", f.Name, err)
			}
			q.intent = v.driver.tapped(q.intent)
			q.live = q.intent
			if live == intent {
				q.contacts()
				return nil
			}
			if q.live, err = live.Predict(probe); err != nil {
				return fmt.Errorf("predict %s by the live rules: %w", f.Name, err)
			}
			q.live = v.driver.tapped(q.live)
			q.contacts()
			q.deviation = proof.Deviation(q.intent, q.live, v.chains, v.strict)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return v.recall()
}

// networks are the lab as it has to be and as it is; one where both are the same, or where it has to be as it is.
func (v *verification) networks() (intent, live *gateway.Network, err error) {
	if v.asIs {
		live, err = gateway.NewNetwork(v.rules.network.Setup)
		return live, live, err
	}
	wanted := v.rules.network.Setup
	wanted.Plan = v.about.Plan
	wanted.Rules, wanted.Servers = map[string]gateway.Rules{}, v.driver.servers
	for _, node := range v.rules.nodes {
		if v.rules.native == nil || !empty(v.rules.intent[node]) {
			wanted.Rules[node] = gateway.Rules{v.rules.intent[node]}
		}
	}
	wanted.NFTOf = v.rules.native
	if intent, err = gateway.NewNetwork(wanted); err != nil {
		return nil, nil, err
	}
	if len(v.rules.differ) == 0 && len(v.rules.network.World) == 0 && slices.Equal(v.rules.network.Servers, wanted.Servers) {
		return intent, intent, nil
	}
	live, err = gateway.NewNetwork(v.rules.network.Setup)
	return intent, live, err
}

// tapped is a prediction without what no tap sees where NAT is not the kernel's: a gateway does nat and filter of OUTPUT in one hook, so
// that a request that ends in it is not seen between them.
func (d *driver) tapped(all nat.Prediction) nat.Prediction {
	all = slices.Clone(all)
	for i := range all {
		hops, steps := all[i].Request.Hops, all[i].Request.Steps
		if len(hops) == 0 || len(steps) == 0 {
			continue
		}
		last, end := hops[len(hops)-1], steps[len(steps)-1]
		if last.Tap == nat.TapOutNAT && d.wired[last.Node] && end.Node == last.Node && end.Hook == nat.Output &&
			(end.Verdict == nat.Drop || end.Verdict == nat.Reject) {
			all[i].Request.Hops = hops[:len(hops)-1]
		}
	}
	return all
}
