package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/topology/topologytest"
)

// What only computes, or proves one Service, costs little for 5,000 Services on 20 nodes: what is allocated is bounded, which does not hang on how busy the machine is. Not
// in parallel, since others would be counted with it.
func TestLargeClusterCosts(t *testing.T) { //nolint:paralleltest // as above
	dir := t.TempDir()
	cluster, held := filepath.Join(dir, "cluster.yaml"), filepath.Join(dir, "n3.bundle")
	require.NoError(t, os.WriteFile(cluster, []byte(topologytest.Large(5_000, 20)), 0o600))
	cost := func(args ...string) (megabytes uint64, printed string) {
		var before, after runtime.MemStats
		var out, errs bytes.Buffer
		runtime.ReadMemStats(&before)
		p := program{in: os.Stdin, out: &out, err: &errs}
		require.Equal(t, exitOK, p.run(context.Background(), append(args, "-f", cluster)), errs.String())
		runtime.ReadMemStats(&after)
		return (after.TotalAlloc - before.TotalAlloc) >> 20, out.String()
	}
	_, rules := cost("rules", "--node", "n3")
	require.NoError(t, os.WriteFile(held, []byte("=== natlab bundle 1\n=== iptables-save\n"+rules+"\n=== exit 0\n=== end\n"), 0o600))
	for _, row := range []struct {
		args []string
		most uint64 // in MiB
		says string
	}{
		{[]string{"explain", "--from", "outside", "--packet", "tcp 172.20.200.1 > 172.20.1.3:30000"}, 520, "works: "},
		{[]string{"rules", "--node", "n3"}, 230, "KUBE-SERVICES"},
		{[]string{"plan"}, 470, "ip netns add"},
		{[]string{"verify", "--service", "large/s0", "--brief"}, 1150, "note: the lab has 1 of 5000 Services and 23 of 15000 pods, "},
		{[]string{"audit", "--bundle", "n3=" + held}, 400, "1 node audited, 0 findings"},
	} {
		megabytes, printed := cost(row.args...)
		t.Logf("%s: %d MiB", row.args[0], megabytes)
		require.LessOrEqual(t, megabytes, row.most, row.args[0])
		require.Contains(t, printed, row.says)
	}
}
