package gateway_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/conntrack"
	"natlab/nat/gateway"
	"natlab/nat/iptables"
	"natlab/nat/packet"
)

// established has a connection through a node that nobody looks at the windows of.
func established(t *testing.T, at time.Time) (*gateway.Gateway, *conntrack.Conn) {
	t.Helper()
	g := wired(t)
	g.Conns().Settings.Liberal = true
	forwarded(t, g, segmentOf("192.168.1.9:5000", "10.96.0.1:80", 2, 1, 0), "eth0", "pods", at)
	forwarded(t, g, segmentOf("10.244.1.9:80", "10.244.1.1:5000", 18, 7, 2), "pods", "eth0", at)
	c := g.Conns().Conns()[0]
	_, settled := g.Settles(c, nat.Original, "eth0", "pods")
	require.False(t, settled, "it is not established")
	forwarded(t, g, segmentOf("192.168.1.9:5000", "10.96.0.1:80", 16, 2, 8), "eth0", "pods", at)
	return g, c
}

// What is settled of a connection is what becomes of its packets.
func TestSettles(t *testing.T) {
	t.Parallel()
	at := time.Unix(1, 0)
	g, c := established(t, at)
	for _, row := range []struct {
		dir                nat.Direction
		packet             []byte
		in, out            string
		came, routed, left string
	}{
		{
			nat.Original, segmentOf("192.168.1.9:5000", "10.96.0.1:80", 16, 2, 8), "eth0", "pods",
			"tcp 192.168.1.9:5000 > 10.96.0.1:80", "tcp 192.168.1.9:5000 > 10.244.1.9:80", "tcp 10.244.1.1:5000 > 10.244.1.9:80",
		},
		{
			nat.Reply, segmentOf("10.244.1.9:80", "10.244.1.1:5000", 16, 8, 2), "pods", "eth0",
			"tcp 10.244.1.9:80 > 10.244.1.1:5000", "tcp 10.244.1.9:80 > 192.168.1.9:5000", "tcp 10.96.0.1:80 > 192.168.1.9:5000",
		},
	} {
		s, settled := g.Settles(c, row.dir, row.in, row.out)
		require.True(t, settled)
		require.Equal(t, []string{row.came, row.routed, row.left}, []string{s.Came.String(), s.Routed.String(), s.Left.String()})
		p, err := packet.Parse(forwarded(t, g, row.packet, row.in, row.out, at))
		require.NoError(t, err)
		require.Equal(t, s.Left, p.Tuple())
	}
	_, settled := g.Settles(c, nat.Original, "eth0", "eth0")
	require.False(t, settled, "it was masqueraded out of another device")
	g.Conns().Settings.Liberal = false
	_, settled = g.Settles(c, nat.Original, "eth0", "pods")
	require.False(t, settled, "its windows are looked at")
	g.Conns().Settings.Liberal = true
	rs, err := iptables.ParseString("*mangle\n:POSTROUTING ACCEPT\n-A POSTROUTING -p tcp -j LOG\nCOMMIT\n", nat.IPv4)
	require.NoError(t, err)
	require.NoError(t, g.Become(twoNetworks(), gateway.Rules{rs}))
	g.Conns().Settings.Liberal = true
	_, settled = g.Settles(c, nat.Original, "eth0", "pods")
	require.False(t, settled, "a rule sees each packet")
}

// A packet that the Gateway was not asked about at PREROUTING, where its destination was translated, is one of its connection where that is told, and none where not.
func TestPassedPreRouting(t *testing.T) {
	t.Parallel()
	at := time.Unix(1, 0)
	g, c := established(t, at)
	routed := segmentOf("192.168.1.9:5000", "10.244.1.9:80", 16, 2, 8)
	r := g.At(gateway.Seen{Hook: nat.Forward, Packet: bytes.Clone(routed), In: "eth0", Out: "pods"}, at)
	require.Equal(t, nat.Drop, r.Verdict, "it is INVALID")
	r = g.At(gateway.Seen{Hook: nat.Forward, Packet: bytes.Clone(routed), In: "eth0", Out: "pods", Conn: c, Dir: nat.Original}, at)
	require.Equal(t, nat.Accept, r.Verdict, r.Why)
	r = g.At(gateway.Seen{Hook: nat.PostRouting, Packet: r.Packet, In: "eth0", Out: "pods"}, at)
	require.Equal(t, nat.Accept, r.Verdict, r.Why)
	require.Equal(t, "tcp 10.244.1.1:5000 > 10.244.1.9:80", r.Tuple.String())
	require.Equal(t, c, r.Conn)
}
