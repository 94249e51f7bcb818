package conntrack_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/conntrack"
)

// A connection that is held lives on as one does whose packets are tracked, and is counted alike; one that is released expires.
func TestHeld(t *testing.T) {
	t.Parallel()
	at := time.Unix(1_000_000, 0)
	table := conntrack.Table{Settings: conntrack.Defaults()}
	table.Settings.Accounts = true
	asked := nat.TupleOf(nat.UDP, netip.MustParseAddrPort("10.0.0.2:5000"), netip.MustParseAddrPort("203.0.113.1:53"))
	track := func(tuple nat.Tuple) *conntrack.Conn {
		r, verdict := table.Track(&conntrack.Packet{Tuple: tuple, Length: 60}, at)
		require.Equal(t, nat.Accept, verdict)
		table.Confirm(r.Conn)
		return r.Conn
	}
	c := track(asked)
	track(asked.Reply())
	require.False(t, table.Steady(c), "it is no stream yet")
	at = at.Add(3 * time.Second)
	track(asked)
	require.True(t, table.Steady(c))

	table.Hold(c)
	table.Passed(c, nat.Original, 3, 180, at.Add(50*time.Second))
	table.Passed(c, nat.Reply, 1, 70, at.Add(40*time.Second))
	require.Equal(t, at.Add(50*time.Second+table.Settings.Timeouts.UDPStream), c.Expires())
	packets, bytes, counted := c.Counters()
	require.True(t, counted)
	require.Equal(t, [2]uint64{5, 2}, packets)
	require.Equal(t, [2]uint64{300, 130}, bytes)
	table.Advance(at.Add(time.Hour))
	require.True(t, table.Alive(c), "of what passed since nobody has told")
	table.Release(c)
	require.False(t, table.Alive(c))
	require.Empty(t, table.Conns())
}

// Of TCP a connection is steady between its first ACK and its first FIN, where windows are not looked at; these are learnt anew behind the hold.
func TestHeldTCP(t *testing.T) {
	t.Parallel()
	at := time.Unix(1_000_000, 0)
	table := conntrack.Table{Settings: conntrack.Defaults()}
	asked := nat.TupleOf(nat.TCP, netip.MustParseAddrPort("10.0.0.2:5000"), netip.MustParseAddrPort("203.0.113.1:80"))
	track := func(tuple nat.Tuple, flags uint8, seq, ack uint32) conntrack.Ref {
		r, verdict := table.Track(&conntrack.Packet{Tuple: tuple, TCP: conntrack.Segment{Flags: flags, Seq: seq, Ack: ack, Window: 1000}}, at)
		require.Equal(t, nat.Accept, verdict)
		if r.Conn != nil {
			table.Confirm(r.Conn)
		}
		return r
	}
	c := track(asked, 2, 100, 0).Conn
	track(asked.Reply(), 18, 900, 101)
	require.False(t, table.Steady(c))
	track(asked, 16, 101, 901)
	require.False(t, table.Steady(c), "windows are looked at")
	table.Settings.Liberal = true
	require.True(t, table.Steady(c))
	table.Hold(c)
	at = at.Add(time.Minute)
	table.Passed(c, nat.Original, 1000, 1_000_000, at)
	require.Equal(t, at.Add(table.Settings.Timeouts.TCP[conntrack.TCPEstablished]), c.Expires())
	table.Release(c)
	table.Settings.Liberal = false
	require.NotNil(t, track(asked, 17, 9_000_101, 8_000_901).Conn, "a FIN far outside of what was seen of the windows")
	require.Equal(t, conntrack.TCPFinWait, c.TCPState())
	require.False(t, table.Steady(c))
}
