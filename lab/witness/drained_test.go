package witness_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/lab/dataplane"
	"natlab/lab/witness"
	"natlab/nat"
)

// Who drains all the time, or knows that there are no further tables to come, sees what others see, in the same order. The trace of nf_tables is asked for where it
// has something to tell.
func TestDrainedSeesTheSame(t *testing.T) {
	const asked = "tcp 10.1.0.2:41021 > 10.9.0.9:80"
	for _, b := range dataplane.Backends() {
		t.Run(string(b), func(t *testing.T) {
			var saw [3]map[string][]string
			for i, o := range []witness.Options{{}, {Drained: true}, {Drained: true, Steady: true}} {
				w := newWire(t)
				s := w.watch(t, w.install(t, b, nodeRules), o)
				require.Equal(t, !o.Steady || b == dataplane.NFT, s.Traces("node"))
				require.Equal(t, "answered", ask(t, w.client, asked))
				seen := drain(t, s)
				saw[i] = map[string][]string{"conns": conns(seen, asked)}
				for _, member := range []string{"client", "node", "server"} {
					saw[i][member] = lines(seen, member)
				}
				require.NotEmpty(t, saw[i]["conns"])
			}
			require.Equal(t, saw[0], saw[1])
			require.Equal(t, saw[0], saw[2])
		})
	}
}

// Nobody is woken for what happens to connections then; but where a socket has less room than it should, somebody reads it all the same.
func TestDrainedWakesNobody(t *testing.T) {
	for _, row := range []struct {
		name   string
		buffer int
		woken  bool
	}{
		{"with room", 0, false},
		{"with less than was asked for", math.MaxInt32, true}, // the kernel gives a little less (sk_setsockopt)
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWire(t)
			s := w.watch(t, w.install(t, dataplane.Legacy, nodeRules), witness.Options{Control: true, Drained: true, Buffer: row.buffer})
			require.Equal(t, !row.woken, s.Quiet("node"))
			require.Equal(t, "answered", ask(t, w.client, "tcp 10.1.0.2:41022 > 10.9.0.9:80"))
			if row.woken {
				select {
				case <-s.Notify():
				case <-time.After(10 * time.Second):
					t.Fatal("nobody reads")
				}
			}
			require.NotEmpty(t, conns(drain(t, s), "tcp 10.1.0.2:41022 > 10.9.0.9:80"))
		})
	}
}

// A copy of a packet is read as it comes, and waits for no Drain: which packet was seen last is told by the order of reading.
func TestDrainedReadsCopiesAsTheyCome(t *testing.T) {
	w := newWire(t)
	s, err := witness.Start(t.Context(), w.watched(witness.Known{})[:1], witness.Options{Drained: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	sendRaw(t, w.client, clientAddr, serverAddr, nat.TCP, tcpHeader(22001, 99, 4)) // an RST, which is copied
	select {
	case <-s.Notify():
	case <-time.After(10 * time.Second):
		t.Fatal("nobody read the copy")
	}
	require.Len(t, drain(t, s), 3) // at the taps on its way out
}

// What DrainTo returns stands behind what it was given, and a second one gives none of it again.
func TestDrainTo(t *testing.T) {
	w := newWire(t)
	s := w.watch(t, w.install(t, dataplane.Legacy, nodeRules), witness.Options{Drained: true})
	require.Equal(t, "answered", ask(t, w.client, "tcp 10.1.0.2:41023 > 10.9.0.9:80"))
	first, err := s.DrainTo(t.Context(), nil)
	require.NoError(t, err)
	before := lines(first, "")
	require.Equal(t, "answered", ask(t, w.client, "tcp 10.1.0.2:41024 > 10.9.0.9:80"))
	both, err := s.DrainTo(t.Context(), first)
	require.NoError(t, err)
	require.Equal(t, before, lines(both[:len(first)], ""))
	for _, o := range both {
		require.NotZero(t, o.Kind)
	}
	require.Contains(t, lines(both[len(first):], "client"), "output-raw eth0 tcp 10.1.0.2:41024 > 10.9.0.9:80 0x0")
	require.NotContains(t, lines(both[len(first):], "client"), "output-raw eth0 tcp 10.1.0.2:41023 > 10.9.0.9:80 0x0")
}
