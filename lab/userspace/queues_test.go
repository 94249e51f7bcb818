package userspace_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"natlab/lab/netns"
	"natlab/lab/userspace"
	"natlab/nat"
	"natlab/nat/gateway"
)

// Several queues share what different clients send, side by side, and each exchange is as by one queue. All between two addresses come by one of them.
func TestQueues(t *testing.T) {
	t.Parallel()
	const clients, queues = 16, 4
	huge := bytes.Repeat([]byte("0123456789abcdef"), 1<<14)
	for _, apply := range []userspace.Apply{userspace.ByMark, userspace.ByPayload} {
		t.Run(apply.String(), func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			var batch bytes.Buffer
			for i := range clients {
				fmt.Fprintf(&batch, "addr add 10.0.1.%d/24 dev eth0\n", 10+i)
			}
			ip(t, s.client, batch.String())
			g, err := userspace.Open(s.gateway, userspace.Options{
				Rules: map[nat.Family]gateway.Rules{nat.IPv4: {parse(t, rules4, nat.IPv4)}}, Apply: apply, Queues: queues,
			})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, g.Close()) })
			serve(t, s.server, "tcp", "10.0.2.2:8080")
			require.Equal(t, "seen as 10.0.1.2", ask(t.Context(), s.client, "tcp", "10.0.2.2:8080", huge, nil))
			require.Len(t, used(t, s.gateway), 1, "nothing is translated: all of it is between two addresses")
			var asking sync.WaitGroup
			for i := range clients {
				asking.Go(func() {
					from := net.IPv4(10, 0, 1, byte(10+i))
					assert.Equal(t, "seen as "+from.String(), askAs(t.Context(), s.client, &net.TCPAddr{IP: from}, "tcp", "10.96.0.1:80", huge, nil))
				})
			}
			asking.Wait()
			require.Greater(t, len(used(t, s.gateway)), 1, "one queue had all packets")
			require.Zero(t, g.Stats().Refused+g.Stats().Unwritten, g.Stats().String())
		})
	}
}

// used are the queues of a namespace that packets came by.
func used(t *testing.T, h netns.Handle) (numbers []string) {
	t.Helper()
	var b []byte
	require.NoError(t, h.Do(func() (err error) {
		b, err = os.ReadFile("/proc/thread-self/net/netfilter/nfnetlink_queue")
		return err
	}))
	for line := range bytes.Lines(b) {
		const handed = 7 // the number of the packet that was handed over last
		words := bytes.Fields(line)
		if n, err := strconv.Atoi(string(words[handed])); err != nil || n > 0 {
			require.NoError(t, err)
			numbers = append(numbers, string(words[0]))
		}
	}
	return numbers
}

// No other number of queues is taken, and the namespace stays as it is.
func TestTooManyQueues(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for _, n := range []int{-1, userspace.MostQueues + 1} {
		_, err := userspace.Open(s.gateway, userspace.Options{Queues: n, Rules: map[nat.Family]gateway.Rules{nat.IPv4: {parse(t, rules4, nat.IPv4)}}})
		require.ErrorContains(t, err, fmt.Sprintf("%d queues: want 1 to 16", n))
	}
	g, err := userspace.Open(s.gateway, userspace.Options{Queues: userspace.MostQueues, Rules: map[nat.Family]gateway.Rules{nat.IPv4: {parse(t, rules4, nat.IPv4)}}})
	require.NoError(t, err)
	require.NoError(t, g.Close())
}
