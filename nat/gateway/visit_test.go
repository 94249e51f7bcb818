package gateway_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/iptables"
	"natlab/nat/packet"
)

// An ICMP error that finds no route is over: the stack sends the next one.
func TestErrorWithoutRoute(t *testing.T) {
	t.Parallel()
	g, err := gateway.NewGateway(twoNetworks(), nil, gateway.NodeOptions{Listens: func(nat.Tuple) bool { return false }})
	require.NoError(t, err)
	udp := func(src, dst string) []byte {
		return packet.Build(nat.TupleOf(nat.UDP, netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)), packet.Fields{}).Bytes()
	}
	outs, _, why := g.Send(udp("203.0.113.9:5000", "0.0.0.0:9"), 0, time.Unix(0, 1))
	require.Empty(t, outs)
	require.Contains(t, why, "nothing listens")
	outs, _, _ = g.Handle(udp("192.168.1.9:5000", "192.168.1.1:9"), "eth0", time.Unix(0, 2))
	require.Len(t, outs, 1)
	require.True(t, outs[0].Answer)
}

// A packet of an established connection costs no allocation, nor does a rule that asks for it.
func TestEstablishedAllocations(t *testing.T) { // not parallel: the allocations of others would count
	rs, err := iptables.ParseString("*nat\n-A PREROUTING -d 10.96.0.1/32 -p tcp -j DNAT --to-destination 10.244.1.9:80\nCOMMIT\n*filter\n"+
		"-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\nCOMMIT\n", nat.IPv4)
	require.NoError(t, err)
	g, err := gateway.NewGateway(twoNetworks(), gateway.Rules{rs}, gateway.NodeOptions{})
	require.NoError(t, err)
	asked := nat.TupleOf(nat.TCP, netip.MustParseAddrPort("192.168.1.9:5000"), netip.MustParseAddrPort("10.96.0.1:80"))
	there := nat.TupleOf(nat.TCP, netip.MustParseAddrPort("192.168.1.9:5000"), netip.MustParseAddrPort("10.244.1.9:80"))
	segment := func(tuple nat.Tuple, flags uint8, seq, ack uint32) []byte {
		return packet.Build(tuple, packet.Fields{TCP: packet.TCP{Flags: flags, Seq: seq, Ack: ack, Window: 64240}}).Bytes()
	}
	handle := func(pkt []byte, in string) {
		outs, _, why := g.Handle(pkt, in, time.Unix(1, 0))
		require.Len(t, outs, 1, why)
	}
	handle(segment(asked, 2, 1, 0), "eth0")
	handle(segment(there.Reply(), 18, 1, 2), "pods")
	ack := segment(asked, 16, 2, 2)
	buf := make([]byte, len(ack))
	require.Zero(t, testing.AllocsPerRun(100, func() {
		copy(buf, ack)
		if outs, _, _ := g.Handle(buf, "eth0", time.Unix(1, 0)); len(outs) != 1 {
			t.Fatal("lost")
		}
	}))
}
