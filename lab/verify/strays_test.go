package verify_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/lab"
	"natlab/lab/labtest"
	"natlab/lab/verify"
	"natlab/nat/proof"
)

// Nothing but a packet of no connection shows that the rule is gone that drops what is INVALID (kubernetes#74839): one is sent, and the rule is named.
func TestInvalidIsNotDropped(t *testing.T) {
	t.Parallel()
	const rule = "KUBE-FORWARD -m conntrack --ctstate INVALID"
	l := labtest.New(t, labtest.Load(t, "../labtest/testdata/shop.yaml"))
	for _, row := range []struct {
		name, change string
		want         proof.Outcome
	}{
		{"as kube-proxy has it", "iptables -S KUBE-FORWARD", proof.Proved},
		{"the rule is gone", "iptables -D KUBE-FORWARD 1", proof.Disproved},
		{"another in its place", "iptables -I " + rule + " -j ACCEPT", proof.Disproved},
		{"another agent drops it", "iptables -I FORWARD -m conntrack --ctstate INVALID -j DROP", proof.Proved},
	} {
		status, err := l.Exec(t.Context(), "node-1", []string{"sh", "-c", row.change}, lab.Streams{Out: t.Output(), Err: t.Output()})
		require.NoError(t, err)
		require.Zero(t, status, row.name)
		found, err := verify.Lab(t.Context(), l, verify.Options{WithoutControl: true})
		require.NoError(t, err)
		require.Equal(t, row.want, found.Outcome(), row.name)
		if row.want == proof.Proved {
			continue
		}
		require.Equal(t, 1, found.Count(proof.Disproved), row.name)
		culprits := found.Culprits()
		require.Len(t, culprits, 1, row.name)
		require.Equal(t, "node-1", culprits[0].Node)
		require.Contains(t, culprits[0].WantRule, "-A "+rule)
		if row.name == "the rule is gone" {
			require.Empty(t, culprits[0].LiveRule)
		} else {
			require.Equal(t, "-A "+rule+" -j ACCEPT", culprits[0].LiveRule)
		}
	}
}
