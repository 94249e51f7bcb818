package topologytest_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/topology"
	"natlab/topology/topologytest"
)

// Load takes a cluster of many nodes, and a lab can be planned of it.
func TestManyNodes(t *testing.T) {
	t.Parallel()
	c, warnings, err := topology.Load(topology.Source{Name: "many", Reader: strings.NewReader(topologytest.ManyNodes("many", 12))})
	require.NoError(t, err)
	require.Empty(t, warnings)
	require.Len(t, c.Nodes, 12)
	require.Len(t, c.Pods, 120)
	require.Len(t, c.Services, 120)
	for _, s := range c.Services {
		require.Len(t, s.Ports[0].Endpoints, 1, s.Name)
	}
	plan, err := topology.NewPlan(c)
	require.NoError(t, err)
	require.Len(t, plan.Namespaces, 12+120+3) // the client, the router, the underlay
}
