package gateway_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/gateway"
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
