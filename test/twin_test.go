package test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"natlab/lab"
	"natlab/lab/dataplane"
	"natlab/lab/verify"
	"natlab/nat"
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

// A twin of nodes that were dumped with both families holds both, and is proved in both; what is broken in IPv6 alone is disproved there, and in IPv4 is not.
func TestTwinOfBothFamilies(t *testing.T) {
	t.Parallel()
	c, err := topology.DualStack()
	require.NoError(t, err)
	l := labOf(t, c, dataplane.Legacy)
	only := proof.Selector{Service: "velero/minio:api"}
	for _, row := range []struct {
		name, breaks, mends string
		want                map[nat.Family]proof.Outcome
		names               string
	}{
		{"healthy", "true", "true", map[nat.Family]proof.Outcome{nat.IPv4: proof.Proved, nat.IPv6: proof.Proved}, ""},
		{"the mark rule of ip6tables is flushed", "ip6tables-legacy -t nat -F KUBE-MARK-MASQ", "ip6tables-legacy -t nat -A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000", map[nat.Family]proof.Outcome{nat.IPv4: proof.Proved, nat.IPv6: proof.Disproved}, "KUBE-MARK-MASQ"},
		{
			"a rule of routing", "ip -6 rule add pref 100 to fd00:10:244::/56 unreachable", "ip -6 rule del pref 100",
			map[nat.Family]proof.Outcome{nat.IPv4: proof.Proved, nat.IPv6: proof.Disproved},
			"route",
		},
	} {
		inMember(t, l, "vms103", "vms103", row.breaks)
		b := collectedOf(t, l, "vms103")
		inMember(t, l, "vms103", "vms103", row.mends)
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			twin := twinUp(t, c, b)
			require.Len(t, twin.Families(), 2)
			r, err := verify.Lab(t.Context(), twin, verify.Options{Selector: only, WithoutControl: true})
			require.NoError(t, err)
			require.NotContains(t, strings.Join(r.Notes, "\n"), "not as the lab made it")
			for family, want := range row.want {
				one := r
				one.Flows = nil
				for _, f := range r.Flows {
					if nat.FamilyOf(f.Target.Addr()) == family {
						one.Flows = append(one.Flows, f)
					}
				}
				require.NotEmpty(t, one.Flows)
				require.Equal(t, want, one.Outcome(), "%s: %v %v", family, one.Culprits(), r.Notes)
				for _, f := range one.Flows {
					if f.Verdict == proof.Disproved {
						require.Contains(t, f.Wrong.Why+f.Wrong.LiveRule, row.names, "%+v", f.Wrong)
					}
				}
			}
		})
	}
}
