package test

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/scenarios"
)

// Both variants of every scenario end as they say, on each backend that it is for.
func TestScenarios(t *testing.T) {
	require.Zero(t, os.Geteuid(), "scenarios make network namespaces: run as root")
	all, err := scenarios.List()
	require.NoError(t, err)
	results := scenarios.Run(t.Context(), all, scenarios.Options{Parallel: scenarios.DefaultParallel, Prefix: fmt.Sprintf("st%d", os.Getpid())})
	require.NotEqual(t, scenarios.Skipped, scenarios.Worst(results), "nothing ran")
	for _, r := range results {
		t.Run(fmt.Sprintf("%s/%s/%s", r.Scenario, r.Variant, r.Backend), func(t *testing.T) {
			if r.Outcome == scenarios.Skipped {
				t.Logf("skipped: %s", r.Why)
			}
			require.NotEqual(t, scenarios.Failed, r.Outcome, r.Log)
		})
	}
}

// A script that goes wrong fails, says where, and leaves nothing behind.
func TestScenarioThatFails(t *testing.T) {
	require.Zero(t, os.Geteuid(), "scenarios make network namespaces: run as root")
	for _, row := range []struct{ script, want string }{
		{"lab\nask cl tcp 192.168.0.1:30080 end=lost\n", "x.txtar:4: ask: want end=lost, got answered"},
		{"lab\niptables n1 -t nat -F KUBE-MARK-MASQ\nask cl tcp 192.168.0.1:30080\n", "n1 postrouting eth0"},
		{"ask cl tcp 192.168.0.1:30080\n", "the first verb is lab"},
		{"lab\nconntrack n1 dst=1.2.3.4\n", "no entry in n1 fits dst=1.2.3.4"},
		{"lab\nnonsense\n", "unknown command"},
		{"lab nowhere.yaml\n", "nowhere.yaml"},
	} {
		s, err := scenarios.Parse("x", []byte("# title: t\n# what: w\n"+row.script))
		require.NoError(t, err)
		s.Backends = s.Backends[:1]
		results := scenarios.Run(t.Context(), []scenarios.Scenario{s}, scenarios.Options{Prefix: fmt.Sprintf("sf%d", os.Getpid())})
		require.Len(t, results, 1)
		require.Equal(t, scenarios.Failed, results[0].Outcome)
		require.Contains(t, results[0].Log, row.want)
	}
}
