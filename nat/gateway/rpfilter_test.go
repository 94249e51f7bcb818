package gateway_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/iptables"
	"natlab/nat/packet"
	"natlab/topology"
)

// What -m rpfilter answers for odd sources on a node with 192.168.1.1/24 on eth0 and 10.244.1.1/24 on pods, for a packet that
// came in by eth0. The rows of IPv4 are what Linux 6.18 counted.
func TestRPFilter(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		src, dst, options string
		route             bool // there is a default route by eth0
		right             bool
	}{
		{"192.168.1.9", "192.168.1.1", "", false, true},
		{"192.168.1.0", "192.168.1.1", "", false, true},
		{"203.0.113.1", "192.168.1.1", "", false, false},
		{"203.0.113.1", "192.168.1.1", "--loose", false, false},
		{"203.0.113.1", "192.168.1.1", "", true, true},
		{"10.244.1.9", "192.168.1.1", "", true, false},
		{"10.244.1.9", "192.168.1.1", "--loose", false, true},
		// the node's own
		{"192.168.1.1", "192.168.1.1", "", true, false},
		{"192.168.1.1", "192.168.1.1", "--loose", true, false},
		{"192.168.1.1", "192.168.1.1", "--accept-local", true, true},
		{"10.244.1.1", "192.168.1.1", "--accept-local", true, false},
		{"127.0.0.1", "192.168.1.1", "--accept-local", true, false},
		// no host's
		{"0.0.0.0", "192.168.1.1", "", false, false},
		{"0.0.0.0", "192.168.1.1", "", true, true},
		{"0.0.0.0", "255.255.255.255", "", false, true},
		{"0.0.0.0", "224.0.0.1", "", false, true},
		{"0.0.0.0", "224.0.1.1", "", false, false},
		{"0.0.0.5", "255.255.255.255", "", false, false},
		{"0.0.0.5", "255.255.255.255", "", true, true},
		{"192.168.1.255", "192.168.1.1", "--loose --accept-local", true, false},
		{"255.255.255.255", "192.168.1.1", "", false, false},
		{"255.255.255.255", "192.168.1.1", "", true, true},
		{"224.0.0.5", "192.168.1.1", "", false, false},
		{"224.0.0.5", "192.168.1.1", "", true, true},
		// IPv6: what is unspecified is right, a link's address belongs to each link
		{"::", "2001:db8::1", "", false, true},
		{"fe80::9", "2001:db8::1", "", false, true},
		{"2001:db8::9", "2001:db8::1", "", false, true},
		{"2001:db8:5::9", "2001:db8::1", "", false, false},
	} {
		t.Run(row.src, func(t *testing.T) {
			t.Parallel()
			src, dst := netip.MustParseAddr(row.src), netip.MustParseAddr(row.dst)
			family := nat.FamilyOf(src)
			rs, err := iptables.ParseString("*raw\n-A PREROUTING -m rpfilter "+row.options+" -j DROP\nCOMMIT\n", family)
			require.NoError(t, err)
			ns := twoNetworks()
			for _, a := range [][2]string{{"pods", "fe80::2/64"}, {"eth0", "fe80::1/64"}, {"eth0", "2001:db8::1/64"}} {
				ns.Addresses = append(ns.Addresses, topology.Address{Device: a[0], Prefix: netip.MustParsePrefix(a[1])})
			}
			if row.route {
				ns.Routes = append(ns.Routes, topology.Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("192.168.1.9"), Device: "eth0"})
			}
			g, err := gateway.NewGateway(ns, gateway.Rules{rs}, gateway.NodeOptions{Family: family, Trace: true})
			require.NoError(t, err)
			tuple := nat.TupleOf(nat.UDP, netip.AddrPortFrom(src, 68), netip.AddrPortFrom(dst, 67))
			_, _, why := g.Handle(packet.Build(tuple, packet.Fields{}).Bytes(), "eth0", time.Unix(0, 1))
			require.Equal(t, row.right, strings.Contains(why, "dropped by"), "%s > %s %s, default route: %v: %s", row.src, row.dst, row.options, row.route, why)
		})
	}
}
