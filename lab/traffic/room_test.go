package traffic_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"natlab/lab/traffic"
	"natlab/nat"
)

// What a client's own kernel has no room for is sent again, and answered when there is some.
func TestAClientsKernelHasNoRoom(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		proto    nat.Proto
		src, dst string
	}{
		{nat.UDP, "127.0.0.1:0", "127.0.0.2:53"},
		{nat.UDP, "[::1]:0", "[::1]:53"},
		{nat.SCTP, "127.0.0.1:0", "127.0.0.2:53"},
		{nat.SCTP, "[::1]:0", "[::1]:53"},
	} {
		t.Run(row.proto.String()+" "+row.dst, func(t *testing.T) {
			t.Parallel()
			ns := newFresh(t)
			serve(t, ns, "default/dns", row.proto, row.dst)
			c, err := traffic.Start(ns, []nat.Tuple{nat.TupleOf(row.proto, addr(row.src), addr(row.dst))})
			require.NoError(t, err[0])
			var nl *netlink.Handle
			require.NoError(t, ns.Do(func() (err error) {
				nl, err = netlink.NewHandle(unix.NETLINK_ROUTE)
				return err
			}))
			defer nl.Close()
			lo, failed := nl.LinkByName("lo")
			require.NoError(t, failed)
			// A queue of one byte takes no packet.
			full := &netlink.Tbf{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: lo.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT}, Rate: 1 << 20, Limit: 1, Buffer: 1 << 20}
			require.NoError(t, nl.QdiscAdd(full))
			done := make(chan error, 1)
			go func() {
				_, err := c[0].AskOnce(soon(t, 30*time.Second))
				done <- err
			}()
			require.Eventually(t, func() bool {
				all, err := nl.QdiscList(lo)
				require.NoError(t, err)
				return len(all) == 1 && all[0].Attrs().Statistics.Queue.Drops > 1
			}, 20*time.Second, 5*time.Millisecond, "it was sent twice, in vain")
			require.NoError(t, nl.QdiscDel(full))
			require.NoError(t, <-done)
		})
	}
}
