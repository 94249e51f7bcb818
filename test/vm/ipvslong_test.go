//go:build vm && ipvs

package vm_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/lab/vm"
	"natlab/scenarios"
	"natlab/topology"
)

// The reference cluster is proved on real kube-proxies in ipvs mode: every flow by what comes of it. Without strictARP the packet for a load balancer
// comes to any of the nodes, which each answer ARP for its address.
func TestIPVSReference(t *testing.T) {
	program := built(t, "1.37.2")
	status, stdout, stderr, err := boot(t, newest(), func(c *vm.Config) { c.Files, c.Timeout = []vm.File{program}, 40*time.Minute },
		"natlab", "verify", "--kube-proxy", program.Guest, "--mode", topology.ModeIPVS, "--brief")
	require.NoError(t, err)
	require.Zero(t, status, "%s%s", stdout, stderr)
	require.Contains(t, stdout, "325 of 325 flows proved")
	require.Contains(t, stdout, "each node answers ARP for 192.168.26.223")
}

// A bug of releases in ipvs mode is there on the last release that has it, and gone on a later one.
func TestIPVSScenarios(t *testing.T) {
	bad, good := built(t, "1.29.0"), built(t, "1.37.2")
	status, stdout, stderr, err := boot(t, newest(), func(c *vm.Config) { c.Files, c.Timeout = []vm.File{bad, good}, 20*time.Minute },
		"natlab", "scenario", "run", "kubernetes-121919", "--kube-proxy", bad.Guest, "--kube-proxy", good.Guest, "--parallel", "1", "-o", "json")
	require.NoError(t, err)
	require.Zero(t, status, "%s%s", stdout, stderr)
	var found struct{ Items []scenarios.Result }
	require.NoError(t, json.Unmarshal([]byte(stdout), &found), stderr)
	require.Len(t, found.Items, 2)
	for i, want := range []scenarios.Variant{scenarios.Buggy, scenarios.Fixed} {
		require.Equal(t, scenarios.Passed, found.Items[i].Outcome, found.Items[i].Log)
		require.Equal(t, want, found.Items[i].Variant)
	}
}
