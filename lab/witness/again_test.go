package witness_test

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/lab/dataplane"
	"natlab/lab/traffic"
	"natlab/lab/witness"
	"natlab/nat"
	"natlab/nat/proof"
)

// A SYN or an answer to it that a tap holds for so long that TCP sends it again is seen once, where the session has it so, and is
// answered; a packet of which nothing came back and nothing new was seen goes out again.
func TestWhatIsOnItsWayIsSentOnce(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		once  bool
		held  string // where
		flags uint8
		drop  bool
		sent  int // how often its maker's packet was seen to leave
	}{
		{"a SYN", true, "node", 2, false, 1},
		{"an answer", true, "node", 18, false, 1},
		{"a SYN, as the network has it", false, "node", 2, false, 2},
		{"a SYN that is lost", true, "client", 2, true, 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWire(t)
			s := w.watch(t, w.install(t, dataplane.NFT, nodeRules), witness.Options{Once: row.once})
			of := func(o proof.Observation) bool {
				return o.Hop.Tuple.Proto() == nat.TCP && o.TCPFlags == row.flags
			}
			tap := nat.TapPreRaw
			if row.drop {
				tap = nat.TapOutRaw
			}
			hold, err := s.Hold(row.held, tap, of)
			require.NoError(t, err)
			tuple, err := nat.ParseTuple("tcp 10.1.0.2:43100 > 10.9.0.9:80")
			require.NoError(t, err)
			conns, errs := traffic.Start(w.client, []nat.Tuple{tuple})
			require.NoError(t, errs[0])
			c, done := conns[0], make(chan error, 1)
			go func() { _, err := c.Exchange(t.Context(), 100); done <- err }()
			held, err := hold.Wait(soon(t), 1)
			require.NoError(t, err)
			if row.drop {
				require.NoError(t, held[0].Drop())
			} else {
				waitSentAgain(t, w, c, row.flags)
			}
			require.NoError(t, hold.Release())
			require.NoError(t, <-done)
			maker := "client"
			if row.flags == 18 {
				maker = "server"
			}
			n := 0
			for _, o := range drain(t, s) {
				if o.Kind == proof.PacketSeen && o.Node == maker && o.Hop.Tap == nat.TapOutRaw && of(o) {
					n++
				}
			}
			require.Equal(t, row.sent, n)
		})
	}
}

// waitSentAgain waits until the kernel has sent the client's SYN, or the server's answer, once more.
func waitSentAgain(t *testing.T, w wire, c *traffic.Conn, flags uint8) {
	t.Helper()
	require.Eventually(t, func() bool {
		return flags == 2 && c.Resent() > 0 || flags == 18 && segmentsResent(t, w.server) > 0
	}, 20*time.Second, 10*time.Millisecond)
}

// segmentsResent is RetransSegs (RFC 4022), the twelfth number of a namespace's TCP.
func segmentsResent(t *testing.T, ns traffic.Namespace) (n int) {
	t.Helper()
	require.NoError(t, ns.Do(func() error {
		b, err := os.ReadFile("/proc/thread-self/net/snmp")
		if err != nil {
			return err
		}
		tcp := strings.Fields(strings.SplitN(string(b), "\nTcp: ", 3)[2])
		n, err = strconv.Atoi(tcp[11])
		return err
	}))
	return n
}
