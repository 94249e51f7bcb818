package lab

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"natlab/lab/netns"
	"natlab/topology"
	"natlab/topology/dump"
	"natlab/topology/topologytest"
)

// BenchmarkUp makes the reference lab; taking it down is not in the time.
func BenchmarkUp(b *testing.B) {
	c := reference(b)
	for b.Loop() {
		l, err := Up(b.Context(), c, Options{})
		b.StopTimer()
		require.NoError(b, err)
		require.NoError(b, l.Down(b.Context()))
		settle(b)
		b.StartTimer()
	}
}

// BenchmarkUpLarge makes a lab of 100 nodes, 1,000 pods and 1,000 Services.
func BenchmarkUpLarge(b *testing.B) { ups(b, manyNodes(b), Options{}) }

// BenchmarkUpTwin makes the same lab of what three of its nodes printed: the other 97 are made up from the objects.
func BenchmarkUpTwin(b *testing.B) {
	c := manyNodes(b)
	l, err := Up(b.Context(), c, Options{})
	require.NoError(b, err)
	var bundles []Bundle
	for _, node := range []string{"n0", "n1", "n2"} {
		var out, problems bytes.Buffer
		status, err := l.Exec(b.Context(), node, []string{"sh", "-c", dump.Script}, Streams{Out: &out, Err: &problems})
		require.NoError(b, err)
		require.Zero(b, status, problems.String())
		bundles = append(bundles, Bundle{Node: node, Text: out.String()})
	}
	require.NoError(b, l.Down(b.Context()))
	settle(b)
	ups(b, c, Options{Bundles: bundles})
}

// manyNodes is a cluster of 100 nodes.
func manyNodes(tb testing.TB) topology.Cluster {
	tb.Helper()
	c, _, err := topology.Load(topology.Source{Name: "large", Reader: strings.NewReader(topologytest.ManyNodes(fmt.Sprintf("t%d-large", os.Getpid()), 100))})
	require.NoError(tb, err)
	return c
}

// ups makes a lab again and again. What the machine has to do besides is not in cpu-s, and MB is the most that the process ever had.
func ups(b *testing.B, c topology.Cluster, o Options) {
	b.Helper()
	spent := time.Duration(0)
	for b.Loop() {
		before := processorTime(b)
		l, err := Up(b.Context(), c, o)
		spent += processorTime(b) - before
		b.StopTimer()
		require.NoError(b, err)
		require.NoError(b, l.Down(b.Context()))
		settle(b)
		b.StartTimer()
	}
	var u unix.Rusage
	require.NoError(b, unix.Getrusage(unix.RUSAGE_SELF, &u))
	b.ReportMetric(spent.Seconds()/float64(b.N), "cpu-s/op")
	b.ReportMetric(float64(u.Maxrss)/1024, "MB")
}

// processorTime is what this process and its children have used.
func processorTime(tb testing.TB) (sum time.Duration) {
	tb.Helper()
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		require.NoError(tb, unix.Getrusage(who, &u))
		sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return sum
}

// BenchmarkDown takes the reference lab down; making it is not in the time.
func BenchmarkDown(b *testing.B) {
	c := reference(b)
	for b.Loop() {
		b.StopTimer()
		settle(b)
		l, err := Up(b.Context(), c, Options{})
		require.NoError(b, err)
		b.StartTimer()
		require.NoError(b, l.Down(b.Context()))
	}
}

// settle waits until the kernel has buried the namespaces of the last lab, which it does after their names are gone and
// with a lock held that everything here needs. It buries in order, so this waits for one more that dies now.
func settle(tb testing.TB) {
	tb.Helper()
	dying := canary(tb, "a")
	living := canary(tb, "b")
	nl, err := living.Netlink()
	require.NoError(tb, err)
	defer nl.Close()
	fd, err := dying.Fd()
	require.NoError(tb, err)
	require.NoError(tb, nl.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: "canary"}, PeerName: "canary", PeerNamespace: netlink.NsFd(fd),
	}))
	require.NoError(tb, dying.Close())
	for until := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if links, err := nl.LinkList(); err == nil && len(links) == 1 {
			break
		}
		require.True(tb, time.Now().Before(until), "the kernel does not bury namespaces")
	}
	require.NoError(tb, living.Close())
}

// canary is a namespace without a name.
func canary(tb testing.TB, which string) netns.Handle {
	tb.Helper()
	name := fmt.Sprintf("natlab-canary-%d-%s", os.Getpid(), which)
	h, err := netns.CreateLeased(name)
	require.NoError(tb, err)
	require.NoError(tb, netns.Delete(name))
	return h
}
