package test

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/lab/dataplane"
	"natlab/lab/verify"
	"natlab/nat/proof"
	"natlab/topology"
)

// TestDualStackVerdictsDoNotWaver proves the dual-stack twin of the reference cluster with each backend over each pair of overlays: an eighth of the flows
// each, and with NATLAB_RUNS all of them so many times. No verdict may be wrong, or none at all.
func TestDualStackVerdictsDoNotWaver(t *testing.T) {
	type row struct {
		backend            dataplane.Backend
		overlay4, overlay6 topology.Overlay
	}
	var rows []row
	for _, backend := range dataplane.Backends() {
		for _, over := range [][2]topology.Overlay{
			{topology.VXLAN, topology.VXLAN}, {topology.None, topology.None}, {topology.IPIP, topology.None}, {topology.IPIP, topology.VXLAN},
		} {
			rows = append(rows, row{backend, over[0], over[1]})
		}
	}
	runs, err := strconv.Atoi(os.Getenv("NATLAB_RUNS"))
	all := err == nil
	for i, row := range rows {
		t.Run(fmt.Sprintf("%s %s %s", row.backend, row.overlay4, row.overlay6), func(t *testing.T) {
			c, err := topology.DualStack()
			require.NoError(t, err)
			c.PodNetwork.Overlay, c.PodNetwork.Overlay6 = row.overlay4, row.overlay6
			only := proof.Selector{Shard: i + 1, Shards: len(rows)}
			if all {
				only = proof.Selector{}
			}
			l := labOf(t, c, row.backend)
			flows, began := 0, time.Now()
			for run := range max(runs, 1) {
				r, err := verify.Lab(t.Context(), l, verify.Options{Selector: only})
				require.NoError(t, err)
				for _, note := range r.Notes {
					t.Logf("run %d: %s", run+1, note)
				}
				require.Equal(t, proof.Proved, r.Outcome(), "run %d: %s", run+1, firstWrong(r))
				flows += len(r.Flows)
			}
			require.NotZero(t, flows)
			t.Logf("%d proofs in %v", flows, time.Since(began).Round(time.Millisecond))
		})
	}
}
