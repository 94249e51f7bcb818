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
	"natlab/nat/nftables"
	"natlab/nat/packet"
)

// established has a connection through a node that nobody looks at the windows of.
func established(t *testing.T, at time.Time) (*gateway.Gateway, *conntrack.Conn) {
	t.Helper()
	g := wired(t)
	return g, establish(t, g, at)
}

func establish(t *testing.T, g *gateway.Gateway, at time.Time) *conntrack.Conn {
	t.Helper()
	g.Conns().Settings.Liberal = true
	forwarded(t, g, segmentOf("192.168.1.9:5000", "10.96.0.1:80", 2, 1, 0), "eth0", "pods", at)
	forwarded(t, g, segmentOf("10.244.1.9:80", "10.244.1.1:5000", 18, 7, 2), "pods", "eth0", at)
	c := g.Conns().Conns()[0]
	_, settled := g.Settles(c, nat.Original, "eth0", "pods")
	require.False(t, settled, "it is not established")
	forwarded(t, g, segmentOf("192.168.1.9:5000", "10.96.0.1:80", 16, 2, 8), "eth0", "pods", at)
	return c
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

// Base chains of nf_tables' own are asked as those of iptables are. One that stands in front of conntrack sees no connection, and one with NAT's priority or conntrack's
// may stand on either side of it.
func TestSettlesNative(t *testing.T) {
	t.Parallel()
	at := time.Unix(1, 0)
	for rules, want := range map[string]bool{
		"type filter hook forward priority filter; policy accept;\n\t\tct state established accept\n\t\tlog":      true,
		"type filter hook forward priority filter; policy accept;\n\t\tlog":                                       false,
		"type filter hook prerouting priority raw; policy accept;\n\t\tct state established drop":                 true,
		"type filter hook prerouting priority -200; policy accept;\n\t\tct state established accept":              false,
		"type filter hook prerouting priority mangle; policy accept;\n\t\tip daddr 10.244.1.9 tcp dport 80 log":   true,
		"type filter hook prerouting priority filter; policy accept;\n\t\tip daddr 10.244.1.9 tcp dport 80 log":   false,
		"type filter hook postrouting priority mangle; policy accept;\n\t\tip saddr 10.244.1.1 log":               true,
		"type filter hook postrouting priority 101; policy accept;\n\t\tip saddr 10.244.1.1 log":                  false,
		"type filter hook postrouting priority 100; policy accept;\n\t\taccept":                                   false,
		"type filter hook output priority filter; policy accept;\n\t\tlog":                                        true,
		"type filter hook prerouting priority mangle; policy accept;\n\t\tct state established meta mark set 0x1": false,
	} {
		native, err := nftables.ParseText("table ip t {\n\tchain c {\n\t\t" + rules + "\n\t}\n}\n")
		require.NoError(t, err)
		rs, err := iptables.ParseString(wireRules, nat.IPv4)
		require.NoError(t, err)
		g, err := gateway.NewGateway(twoNetworks(), gateway.Rules{rs}, gateway.NodeOptions{Facts: gateway.Facts{NFT: native}})
		require.NoError(t, err)
		c := establish(t, g, at)
		_, settled := g.Settles(c, nat.Original, "eth0", "pods")
		require.Equal(t, want, settled, rules)
	}
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
