package witness_test

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/lab/dataplane"
	"natlab/lab/witness"
	"natlab/nat"
	"natlab/nat/proof"
)

// Copies tell all that queues tell, of each packet and each rule, and no packet waits: there is no queue.
func TestCopies(t *testing.T) {
	for _, b := range dataplane.Backends() {
		t.Run(string(b), func(t *testing.T) {
			w := newWire(t)
			rules := w.install(t, b, nodeRules)
			s := w.watch(t, rules, witness.Options{})
			require.Equal(t, "answered", ask(t, w.client, "tcp 10.1.0.2:40001 > 10.9.0.9:80"))
			want := drain(t, s)
			require.NoError(t, s.Close())
			s, err := witness.Start(t.Context(), w.watched(rules), witness.Options{Copies: true})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, s.Close()) })
			require.NoError(t, w.node.Do(func() error {
				queues, err := os.ReadFile("/proc/thread-self/net/netfilter/nfnetlink_queue")
				require.Empty(t, queues)
				return err
			}))
			require.Equal(t, "answered", ask(t, w.client, "tcp 10.1.0.2:40001 > 10.9.0.9:80"))
			<-s.Notify()
			pending, err := s.Pending()
			require.NoError(t, err)
			require.Equal(t, []string{"client", "node", "server"}, pending)
			got, err := s.DrainOf(t.Context(), pending)
			require.NoError(t, err)
			require.Zero(t, s.Lost())
			require.ElementsMatch(t, lines(want, ""), lines(got, ""))
			var states []string
			for _, o := range got {
				states = append(states, o.State)
			}
			require.Subset(t, states, []string{"SYN_SENT", "SYN_RECV", "ESTABLISHED"})
			require.NoError(t, s.Close())
			require.NotContains(t, tables(t, w.client), "natlab")
		})
	}
}

// What a tap copies of a flow of datagrams is one a second, however many there are; of two flows it copies both.
func TestCopiesOfDatagramsAreSampled(t *testing.T) {
	w := newWire(t)
	w.install(t, dataplane.NFT, "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -m conntrack --ctstate NEW -j ACCEPT\nCOMMIT\n")
	s, err := witness.Start(t.Context(), w.watched(witness.Known{})[2:], witness.Options{Copies: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	const datagrams = 400
	before, began := received(t, w.server, "eth0"), time.Now()
	for range datagrams {
		for _, port := range []uint16{21000, 21001} {
			sendRaw(t, w.client, clientAddr, serverAddr, nat.UDP, udpHeader(port, 99, nil))
		}
	}
	require.Eventually(t, func() bool { return received(t, w.server, "eth0")-before >= 2*datagrams }, 10*time.Second, time.Millisecond)
	most := 2 + int(time.Since(began)/time.Second)
	seen := map[uint16]int{}
	for _, o := range drain(t, s) {
		if o.Kind == proof.PacketSeen && o.Hop.Tap == nat.TapPreRaw && o.Hop.Tuple.Proto() == nat.UDP {
			seen[o.Hop.Tuple.Src().Port()]++
		}
	}
	for _, port := range []uint16{21000, 21001} {
		require.Positive(t, seen[port])
		require.LessOrEqual(t, seen[port], most)
	}
}
