package traffic_test

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"natlab/lab/traffic"
	"natlab/nat"
)

func run(t *testing.T, ns traffic.Namespace, command string) {
	t.Helper()
	require.NoError(t, ns.Do(func() error {
		argv := strings.Fields(command)
		out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput()
		t.Logf("%s%s", command, out)
		return err
	}))
}

func start(t *testing.T, ns traffic.Namespace, tuple nat.Tuple) *traffic.Conn {
	t.Helper()
	conns, errs := traffic.Start(ns, []nat.Tuple{tuple})
	require.NoError(t, errs[0])
	return conns[0]
}

// A request and an answer of any size go and come, and a TCP connection is closed by both.
func TestExchange(t *testing.T) {
	ns := newFresh(t)
	run(t, ns, "ip link set lo mtu 1500")
	for _, p := range []nat.Proto{nat.TCP, nat.UDP} {
		serve(t, ns, "a", p, "127.0.0.1:80")
		for _, size := range []int{0, 1400, 1600, traffic.MaxSize} {
			c := start(t, ns, nat.TupleOf(p, addr("127.0.0.1:40000"), addr("127.0.0.1:80")))
			a, err := c.Exchange(soon(t, 10*time.Second), size)
			require.NoError(t, err)
			require.Equal(t, addr("127.0.0.1:40000"), a.PeerSeen)
			want := traffic.Closed
			if p == nat.UDP {
				want = traffic.Asking
			}
			require.Equal(t, want, c.Stage())
		}
	}
}

// Where a later packet of a connection does not get through, the exchange tells how far it came, and the sockets that they send again.
func TestExchangeHalts(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		why, rule string
		size      int
		stage     traffic.Stage
		server    bool // it is the server that sends again
	}{
		{"no SYN", "-p tcp --syn", 0, traffic.Connecting, false},
		{"no long request", "-p tcp --dport 80 -m length --length 1000:", 1600, traffic.Asking, false},
		{"no long answer", "-p tcp --sport 80 -m length --length 1000:", 1600, traffic.Asking, true},
		{"no FIN of the server", "-p tcp --sport 80 --tcp-flags FIN FIN", 0, traffic.Ending, true},
		{"no FIN of the client", "-p tcp --dport 80 --tcp-flags FIN FIN", 0, traffic.Closing, false},
	} {
		t.Run(row.why, func(t *testing.T) {
			t.Parallel()
			ns := newFresh(t)
			serve(t, ns, "a", nat.TCP, "127.0.0.1:80")
			run(t, ns, "iptables-legacy -w -A INPUT "+row.rule+" -j DROP")
			c := start(t, ns, nat.TupleOf(nat.TCP, addr("127.0.0.1:40000"), addr("127.0.0.1:80")))
			ctx, cancel := context.WithCancel(soon(t, 20*time.Second))
			over := make(chan error, 1)
			go func() {
				a, err := c.Exchange(ctx, row.size)
				if row.stage >= traffic.Ending {
					assert.Equal(t, addr("127.0.0.1:80"), a.From)
				}
				over <- err
			}()
			require.Eventually(t, func() bool {
				sockets, err := traffic.Resent(ns)
				require.NoError(t, err)
				ends := traffic.Ends{Local: addr("127.0.0.1:40000"), Peer: addr("127.0.0.1:80")}
				if row.server {
					return sockets[traffic.Ends{Local: ends.Peer, Peer: ends.Local}] > 0 && c.Stage() == row.stage
				}
				return sockets[ends] > 0 && c.Resent() > 0 && c.Stage() == row.stage
			}, 15*time.Second, 5*time.Millisecond)
			cancel()
			var f *traffic.Failure
			require.ErrorAs(t, <-over, &f)
			require.Equal(t, traffic.Timeout, f.Kind, f.Error())
			require.Equal(t, row.stage, f.Stage)
			require.Zero(t, c.Resent(), "it is closed")
		})
	}
}
