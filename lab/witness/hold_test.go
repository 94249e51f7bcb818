package witness_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/lab/dataplane"
	"natlab/lab/traffic"
	"natlab/lab/witness"
	"natlab/nat"
	"natlab/nat/conntrack"
	"natlab/nat/packet"
	"natlab/nat/proof"
)

// udpFrom agrees to datagrams to the Service's endpoint or address from one of the client's ports.
func udpFrom(port uint16) func(proof.Observation) bool {
	return func(o proof.Observation) bool {
		return o.Hop.Tuple.Proto() == nat.UDP && o.Hop.Tuple.Src() == netip.AddrPortFrom(clientAddr, port)
	}
}

func (w wire) open(t *testing.T, tuple string) *traffic.Conn {
	t.Helper()
	tp, err := nat.ParseTuple(tuple)
	require.NoError(t, err)
	c, err := traffic.Open(t.Context(), w.client, tp)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func holding(t *testing.T) (wire, *witness.Session) {
	t.Helper()
	w := newWire(t)
	return w, w.watch(t, w.install(t, dataplane.NFT, nodeRules), witness.Options{})
}

// Packets wait until they are let go, and leave in the order in which they are.
func TestHoldReorders(t *testing.T) {
	w, s := holding(t)
	ctx := soon(t)
	h, err := s.Hold("node", nat.TapPreRaw, udpFrom(43001))
	require.NoError(t, err)
	c := w.open(t, "udp 10.1.0.2:43001 > 10.9.0.9:80")
	var nonces []string
	for range 3 {
		nonce, err := c.Send(ctx)
		require.NoError(t, err)
		nonces = append(nonces, nonce)
	}
	held, err := h.Wait(ctx, 3)
	require.NoError(t, err)
	require.Len(t, held, 3)
	for i, p := range held {
		require.Contains(t, string(p.Payload), nonces[i], "in the order of their arrival")
	}
	require.Equal(t, "answered", ask(t, w.client, "udp 10.1.0.2:43002 > 10.9.0.9:80"), "what nobody wants held goes on")
	for _, i := range []int{2, 0, 1} {
		require.NoError(t, held[i].Release())
		_, err := c.Receive(ctx, nonces[i]) // at once: it loses answers that come before the one it wants
		require.NoError(t, err)
	}
	require.ErrorContains(t, held[0].Release(), "not held any more")
	require.Zero(t, s.Lost())
	require.NoError(t, h.Release())
	require.NoError(t, h.Release())
	_, err = c.Ask(ctx)
	require.NoError(t, err, "an ended hold holds nothing")
}

// Two first packets of one connection, both held until they are unconfirmed: the race of kubernetes#56903, made certain.
// conntrack's Table, asked the same, decides what becomes of the second one.
func TestHoldMakesARaceCertain(t *testing.T) {
	for _, row := range []struct {
		tuple string
		first conntrack.Packet
		with  packet.Fields
	}{
		{tuple: "udp 10.1.0.2:43003 > 10.2.0.2:8080"},
		{"tcp 10.1.0.2:43003 > 10.2.0.2:8080", conntrack.Packet{TCP: conntrack.Segment{Flags: 2}}, packet.Fields{TCP: packet.TCP{Flags: 2}}},
		{"icmp 10.1.0.2:7 > 10.2.0.2:7", conntrack.Packet{ICMPType: 8}, packet.Fields{Type: 8}},
	} {
		asked, err := nat.ParseTuple(row.tuple)
		require.NoError(t, err)
		t.Run(asked.Proto().String(), func(t *testing.T) {
			w := newWire(t)
			const tracked = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -m conntrack --ctstate NEW -j ACCEPT\nCOMMIT\n"
			s := w.watch(t, w.install(t, dataplane.NFT, tracked), witness.Options{})
			ctx := soon(t)
			before, err := s.Stats(ctx, "node")
			require.NoError(t, err)
			h, err := s.Hold("node", nat.TapPost, func(o proof.Observation) bool { return o.Hop.Tuple.Dst().Addr() == serverAddr })
			require.NoError(t, err)
			for range 2 {
				sendRaw(t, w.client, clientAddr, serverAddr, asked.Proto(), packet.Build(asked, row.with).Bytes()[20:])
			}
			_, err = h.Wait(ctx, 2)
			require.NoError(t, err)
			require.NoError(t, h.Release())

			kernel, err := dataplane.Kernel()
			require.NoError(t, err)
			table := conntrack.Table{Settings: conntrack.Settings{Kernel: kernel}}
			var refs [2]conntrack.Ref
			for i := range refs {
				p := row.first
				p.Tuple = asked
				refs[i], _ = table.Track(&p, time.Now())
			}
			require.True(t, table.Confirm(refs[0].Conn))
			require.False(t, table.Confirm(refs[1].Conn))
			table.Resolve(&refs[1])
			require.EqualValues(t, 1, table.Stats.ClashResolve+table.Stats.InsertFailed)
			require.Eventually(t, func() bool {
				after, err := s.Stats(ctx, "node")
				grown := after.Sub(before)
				return err == nil && grown.ClashResolve+grown.InsertFailed == 1
			}, 5*time.Second, time.Millisecond)
			after, err := s.Stats(ctx, "node")
			require.NoError(t, err)
			require.Equal(t, table.Stats.ClashResolve, after.Sub(before).ClashResolve)
		})
	}
}

func TestHoldDropsAndRewrites(t *testing.T) {
	w, s := holding(t)
	ctx := soon(t)
	h, err := s.Hold("client", nat.TapOutRaw, udpFrom(43004))
	require.NoError(t, err)
	c := w.open(t, "udp 10.1.0.2:43004 > 10.2.0.2:8080")
	_, err = c.Send(ctx)
	require.NoError(t, err)
	held, err := h.Wait(ctx, 1)
	require.NoError(t, err)
	require.NoError(t, held[0].Drop())
	_, err = c.Send(ctx)
	require.NoError(t, err)
	held, err = h.Wait(ctx, 1)
	require.NoError(t, err)
	require.Error(t, held[0].Rewrite(nil))
	// Another source port, and no UDP checksum, which IPv4 allows.
	changed := append([]byte(nil), held[0].Payload...)
	changed[20], changed[21], changed[26], changed[27] = 0xab, 0xcd, 0, 0
	require.NoError(t, held[0].Rewrite(changed))
	deadline := time.After(5 * time.Second)
	var seen []proof.Observation
	for {
		more, err := s.Drain(ctx)
		require.NoError(t, err)
		seen = append(seen, more...)
		at := 0
		for _, o := range seen {
			if o.Node == "node" && o.Hop.Tap == nat.TapPreRaw && o.Kind == proof.PacketSeen {
				at++
				require.Equal(t, uint16(0xabcd), o.Hop.Tuple.Src().Port(), "only the rewritten one came")
			}
		}
		if at > 0 {
			break
		}
		select {
		case <-s.Notify():
		case <-deadline:
			t.Fatal("the rewritten packet did not come")
		}
	}
}

func TestHoldDuplicates(t *testing.T) {
	w, s := holding(t)
	ctx := soon(t)
	h, err := s.Hold("client", nat.TapPost, udpFrom(43005))
	require.NoError(t, err)
	require.Equal(t, "answered", ask(t, w.client, "udp 10.1.0.2:43007 > 10.9.0.9:80"), "so that the node's link-layer address is known")
	drain(t, s)
	c := w.open(t, "udp 10.1.0.2:43005 > 10.9.0.9:80")
	nonce, err := c.Send(ctx)
	require.NoError(t, err)
	held, err := h.Wait(ctx, 1)
	require.NoError(t, err)
	require.NoError(t, held[0].Duplicate())
	_, err = c.Receive(ctx, nonce)
	require.NoError(t, err, "the copy is on its way, the packet itself is still held")
	require.NoError(t, held[0].Release())
	_, err = c.Receive(ctx, nonce)
	require.NoError(t, err)
	at := 0
	for _, o := range drain(t, s) {
		if o.Node == "node" && o.Hop.Tap == nat.TapPreRaw && o.Hop.Tuple.Dst().Addr() == vipAddr {
			at++
		}
	}
	require.Equal(t, 2, at)
}

// A wait that is not met reports how far it came; Close lets go of what is held.
func TestHoldEndsWithTheSession(t *testing.T) {
	w, s := holding(t)
	h, err := s.Hold("node", nat.TapPreNAT, nil)
	require.NoError(t, err)
	c := w.open(t, "udp 10.1.0.2:43006 > 10.9.0.9:80")
	ctx := soon(t)
	nonce, err := c.Send(ctx)
	require.NoError(t, err)
	_, err = h.Wait(ctx, 1)
	require.NoError(t, err)
	short, cancel := context.WithCancel(ctx)
	cancel()
	_, err = h.Wait(short, 2)
	require.ErrorContains(t, err, "1 of 2 packets came to node prerouting-nat")
	require.NoError(t, s.Close())
	_, err = c.Receive(ctx, nonce)
	require.NoError(t, err)
}
