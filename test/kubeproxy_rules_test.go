//go:build kubeproxy

package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/lab/netns"
	"natlab/lab/proxy"
	"natlab/nat/kubeproxy"
	"natlab/topology"
	"natlab/topology/topologytest"
)

// idle is an nft that has nothing and takes everything at once: what remains is what kube-proxy itself does.
const idle = `#!/bin/sh
case "$*" in
*version*) echo 'nftables v1.0.6 (Lester Gooch #5)' ;;
*list*) echo '{"nftables": [{"metainfo": {"version": "1.0.6", "release_name": "Lester Gooch #5", "json_schema_version": 1}}]}' ;;
*) cat >/dev/null ;;
esac
`

// fullSyncs are how long a kube-proxy's syncs of all its rules took together, and how many they were.
var fullSyncs = regexp.MustCompile(`(?m)^kubeproxy_sync_full_proxy_rules_duration_seconds_(sum|count)\{ip_family="IPv4"\} (\S+)$`)

// BenchmarkKubeProxyTables10000 is what the tables of nftables mode of 10,000 Services with 3 endpoints each cost natlab, and what they cost a real kube-proxy,
// whose nft does nothing here. Both are timed in turns, and of many turns the best counts.
func BenchmarkKubeProxyTables10000(b *testing.B) {
	program, err := proxy.Find(b.Context(), "1.37.2", os.Stderr)
	require.NoError(b, err)
	c := topologytest.ManyServices(10_000)
	c.KubeProxy.Mode, c.KubeProxy.Release = topology.ModeNFTables, "v1.37"
	var theirs, own time.Duration
	for b.Loop() {
		took := realTables(b, c, program.Path)
		began := time.Now()
		rs, err := kubeproxy.Tables(c, "node-1", kubeproxy.Options{})
		require.NoError(b, err)
		require.NotEmpty(b, rs.Tables)
		if d := time.Since(began); own == 0 || d < own {
			own = d
		}
		if theirs == 0 || took < theirs {
			theirs = took
		}
	}
	b.ReportMetric(theirs.Seconds(), "kube-proxy-s")
	b.ReportMetric(own.Seconds(), "natlab-s")
	b.ReportMetric(own.Seconds()/theirs.Seconds(), "ratio")
}

// realTables is how long the first sync of a real kube-proxy takes, which is of all there is.
func realTables(b *testing.B, c topology.Cluster, binary string) time.Duration {
	b.Helper()
	name := fmt.Sprintf("nft-tables-%d-%d", os.Getpid(), time.Now().UnixNano()%1e9)
	h, err := netns.CreateLeased(name)
	require.NoError(b, err)
	defer func() { require.NoError(b, netns.Delete(name)) }()
	defer h.Close() //nolint:errcheck // it goes away
	for _, args := range [][]string{{"link", "set", "lo", "up"}, {"address", "add", c.Nodes[0].Addresses[0].String() + "/24", "dev", "lo"}} {
		require.NoError(b, exec.CommandContext(b.Context(), "ip", append([]string{"-n", name}, args...)...).Run()) //nolint:gosec // the arguments are above
	}
	dir, programs := b.TempDir(), b.TempDir()
	require.NoError(b, os.WriteFile(filepath.Join(programs, "nft"), []byte(idle), 0o700)) //nolint:gosec // it is a program
	b.Setenv("PATH", programs+":"+os.Getenv("PATH"))
	s, err := proxy.Open(b.Context(), c, map[string]netns.Handle{c.Nodes[0].Name: h}, proxy.Options{Binary: binary, Backend: "nft", Dir: dir})
	require.NoError(b, err)
	defer s.Close() //nolint:errcheck // what it took is known
	client := proxy.Client(h)
	defer client.CloseIdleConnections()
	found := map[string]float64{}
	for found["count"] == 0 { // it is counted behind what the Set waits for
		_, text, err := proxy.Get(b.Context(), client, "http://127.0.0.1:10249/metrics")
		require.NoError(b, err)
		for _, m := range fullSyncs.FindAllStringSubmatch(text, -1) {
			found[m[1]], err = strconv.ParseFloat(m[2], 64)
			require.NoError(b, err)
		}
	}
	return time.Duration(found["sum"] / found["count"] * float64(time.Second))
}
