package gateway_test

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/iptables"
	"natlab/nat/packet"
)

const teeRules = `*mangle
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -j MARK --set-xmark 0x7/0xffffffff
-A PREROUTING -j TEE --gateway 10.244.1.77
-A OUTPUT -m mark ! --mark 0x7 -j DROP
-A OUTPUT -j TEE --gateway 10.244.1.78
-A POSTROUTING -m mark --mark 0x7 -m conntrack --ctstate UNTRACKED -j MARK --set-xmark 0x8/0xffffffff
COMMIT
*nat
:POSTROUTING ACCEPT [0:0]
-A POSTROUTING -o pods -j MASQUERADE
COMMIT
`

// TEE's copy is given to the kernel for the neighbour's route, by no mark. At the hooks that it comes to then it has its packet's mark and no connection, and makes no
// other copy; the packet goes on beside it.
func TestCopyOnTheWire(t *testing.T) {
	t.Parallel()
	rs, err := iptables.ParseString(teeRules, nat.IPv4)
	require.NoError(t, err)
	for _, unsummed := range []bool{false, true} {
		g, err := gateway.NewGateway(twoNetworks(), gateway.Rules{rs}, gateway.NodeOptions{})
		require.NoError(t, err)
		b := segmentOf("192.168.1.9:5000", "10.244.1.9:80", 2, 1, 0)
		if unsummed {
			b[36], b[37] = 0x12, 0x34 // of the pseudo header alone, as if
		}
		at := time.Unix(1, 0)
		r := g.At(gateway.Seen{Hook: nat.PreRouting, In: "eth0", Packet: bytes.Clone(b), Unsummed: unsummed}, at)
		require.Equal(t, nat.Accept, r.Verdict, r.Why)
		require.Len(t, r.Answers, 1)
		a := r.Answers[0]
		require.Equal(t, netip.MustParseAddr("10.244.1.77"), a.Via)
		require.Zero(t, a.Mark)
		require.Empty(t, a.Dev)
		p, err := packet.Parse(bytes.Clone(a.Packet))
		require.NoError(t, err)
		require.True(t, p.DontFragment() && p.TTL() == 63 && p.ChecksumOK(), p.String())
		copied := bytes.Clone(a.Packet)
		sent := g.At(gateway.Seen{Hook: nat.Output, Out: "pods", Packet: copied}, at)
		require.Equal(t, nat.Accept, sent.Verdict, sent.Why)
		require.Nil(t, sent.Conn)
		require.Empty(t, sent.Answers)
		require.Zero(t, sent.Mark, "another would have the kernel route it anew")
		sent = g.At(gateway.Seen{Hook: nat.PostRouting, Out: "pods", Packet: copied}, at)
		require.Equal(t, nat.Accept, sent.Verdict, sent.Why)
		require.EqualValues(t, 8, sent.Mark)
		require.False(t, sent.Changed)
		p.DecrementTTL()
		forth := g.At(gateway.Seen{Hook: nat.PostRouting, In: "eth0", Out: "pods", Packet: bytes.Clone(b), Mark: 7}, at)
		require.Same(t, r.Conn, forth.Conn)
		require.True(t, forth.Changed)
		require.EqualValues(t, 7, forth.Mark)
	}
}

// Of a copy that is too long for its device the kernel tells the sender, which it does not where it is given the copy to send: the error is the Gateway's. Of
// segments that go on as one packet it tells nobody.
func TestLongCopyOnTheWire(t *testing.T) {
	t.Parallel()
	rs, err := iptables.ParseString("*mangle\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j TEE --gateway 10.244.1.77 --oif pods\nCOMMIT\n", nat.IPv4)
	require.NoError(t, err)
	ns := twoNetworks()
	for i := range ns.Devices {
		if ns.Devices[i].Name == "pods" {
			ns.Devices[i].MTU = 1280
		}
	}
	tuple := nat.TupleOf(nat.UDP, netip.MustParseAddrPort("192.168.1.9:5000"), netip.MustParseAddrPort("192.168.1.1:53"))
	b := packet.Build(tuple, packet.Fields{TTL: 64, Payload: make([]byte, 1300)}).Bytes()
	for _, segments := range []bool{false, true} {
		g, err := gateway.NewGateway(ns, gateway.Rules{rs}, gateway.NodeOptions{})
		require.NoError(t, err)
		r := g.At(gateway.Seen{Hook: nat.PreRouting, In: "eth0", Packet: bytes.Clone(b), Segments: segments}, time.Unix(1, 0))
		require.Equal(t, nat.Accept, r.Verdict, r.Why)
		require.Len(t, r.Answers, 1)
		require.Equal(t, segments, r.Answers[0].Via.IsValid())
		p, err := packet.Parse(r.Answers[0].Packet)
		require.NoError(t, err)
		kind, code, ok := p.ICMP()
		require.Equal(t, !segments, ok && kind == 3 && code == 4, p.String())
	}
}
