package gateway_test

import (
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/kubeproxy"
	"natlab/topology"
)

// A node's rules are asked for once, and only where a packet comes there; what is predicted is the same as of a network that has all.
func TestRulesAreAskedForOnTheWay(t *testing.T) {
	t.Parallel()
	c, err := topology.Reference()
	require.NoError(t, err)
	plan, err := topology.NewPlan(c)
	require.NoError(t, err)
	servers := topology.Servers(c)
	var mu sync.Mutex
	var asked []string
	broken := ""
	n, err := gateway.NewNetwork(gateway.Setup{Plan: plan, Servers: servers, RulesOf: func(node string) (gateway.Rules, error) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, node)
		if node == broken {
			return nil, errors.New("no rules to be had")
		}
		rs, err := kubeproxy.Rules(c, node, kubeproxy.Options{})
		return gateway.Rules{rs}, err
	}})
	require.NoError(t, err)
	require.Empty(t, asked)

	const tuple = "tcp 192.168.26.1:40000 > 192.168.26.100:30450"
	want := predict(t, network(t, c, nil), "outside", tuple)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			probe, err := nat.ParseTuple(tuple)
			if err == nil {
				_, err = n.Predict(nat.Probe{From: "outside", Tuple: probe})
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	require.Equal(t, want, predict(t, n, "outside", tuple))
	slices.Sort(asked)
	require.Equal(t, []string{"vms100", "vms103", "vms105"}, asked)

	broken = "vms101"
	probe, err := nat.ParseTuple("tcp 192.168.26.1:40000 > 192.168.26.101:30450")
	require.NoError(t, err)
	_, err = n.Predict(nat.Probe{From: "outside", Tuple: probe})
	require.ErrorContains(t, err, "no rules to be had")

	// Which rules there are is known once all are read.
	broken = ""
	n, err = gateway.NewNetwork(gateway.Setup{Plan: plan, Servers: servers, RulesOf: func(node string) (gateway.Rules, error) {
		rs, err := kubeproxy.Rules(c, node, kubeproxy.Options{})
		return gateway.Rules{rs}, err
	}})
	require.NoError(t, err)
	x, err := n.Explain(nat.Probe{From: "outside", Tuple: probe}, nil)
	require.NoError(t, err)
	_, err = x.Why("vms106 KUBE-POSTROUTING:1")
	require.NoError(t, err)
	_, err = x.Why("KUBE-NO-SUCH")
	require.ErrorContains(t, err, "no rule set has such a rule")
}
