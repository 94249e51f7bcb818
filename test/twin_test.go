package test

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"natlab/lab"
	"natlab/lab/dataplane"
	"natlab/lab/verify"
	"natlab/nat/proof"
	"natlab/topology"
	"natlab/topology/dump"
)

// collectedOf is what the script of natlab collect prints on a node of a lab.
func collectedOf(t *testing.T, l *lab.Lab, node string) lab.Bundle {
	t.Helper()
	var out, problems bytes.Buffer
	status, err := l.Exec(t.Context(), node, []string{"sh", "-c", dump.Script}, lab.Streams{Out: &out, Err: &problems})
	require.NoError(t, err)
	require.Zero(t, status, "%s", problems.String())
	return lab.Bundle{Node: node, Text: out.String()}
}

// twinUp is a lab of the objects whose nodes hold what is dumped of them, up for the length of the test.
func twinUp(t *testing.T, c topology.Cluster, bundles ...lab.Bundle) *lab.Lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("a lab needs root: sudo make test")
	}
	l, err := lab.Up(t.Context(), c, lab.Options{Name: uniqueName(t), Bundles: bundles})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, l.Close()) })
	return l
}

// A lab of nodes as they are dumped is proved as the lab is that they were dumped in, whatever is between its nodes; the nodes that nobody dumped are
// made up.
func TestTwinIsProved(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name    string
		overlay topology.Overlay
		backend dataplane.Backend
	}{
		{"ipip", topology.IPIP, dataplane.Legacy},
		{"vxlan", topology.VXLAN, dataplane.NFT},
		{"none", topology.None, dataplane.Legacy},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c := reference(t)
			c.PodNetwork.Overlay = row.overlay
			l := labOf(t, c, row.backend)
			twin := twinUp(t, c, collectedOf(t, l, "vms100"), collectedOf(t, l, "vms105"))
			require.Equal(t, row.backend, twin.Backend())
			require.Contains(t, twin.Notes(), "made up from the objects, since they are not dumped: vms101, vms102, vms103, vms106")
			r, err := verify.Lab(t.Context(), twin, verify.Options{Selector: proof.Selector{Service: "velero/minio:api"}})
			require.NoError(t, err)
			require.Equal(t, proof.Proved, r.Outcome(), "%v %v", r.Culprits(), r.Notes)
			require.Len(t, r.Flows, 104)
		})
	}
}
