package lab

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"natlab/lab/netns"
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
