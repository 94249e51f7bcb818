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

// A source is told of a missing way five times at once and then once a second; others are told beside it.
func TestToldOfNoRoute(t *testing.T) {
	t.Parallel()
	g, err := gateway.NewGateway(twoNetworks(), nil, gateway.NodeOptions{})
	require.NoError(t, err)
	begin := time.Unix(1000, 0)
	for _, row := range []struct {
		src     string
		after   time.Duration
		times   int
		told    bool
		unknown bool
	}{
		{"192.168.1.9", 0, 5, true, false},
		{"192.168.1.9", 0, 2, false, false},
		{"192.168.1.8", 0, 1, true, false},
		{"192.168.1.9", 900 * time.Millisecond, 1, false, true},
		{"192.168.1.9", 1600 * time.Millisecond, 1, true, false},
		{"192.168.1.9", time.Minute, 5, true, false},
		{"192.168.1.9", time.Minute, 1, false, false},
	} {
		for range row.times {
			tuple := nat.TupleOf(nat.UDP, netip.MustParseAddrPort(row.src+":5000"), netip.MustParseAddrPort("10.9.9.9:80"))
			outs, _, why := g.Handle(packet.Build(tuple, packet.Fields{}).Bytes(), "eth0", begin.Add(row.after))
			require.Equal(t, row.told, len(outs) == 1, "%s after %v: %s", row.src, row.after, why)
			require.Equal(t, row.unknown, g.Unmodelled() != "", "%s after %v", row.src, row.after)
		}
	}
}
