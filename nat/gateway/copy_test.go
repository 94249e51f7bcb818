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

// TEE's copy leaves beside the packet, with a TTL less one where that came in, and must not be split; what the copy meets copies it not again.
func TestCopy(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		rules  string
		copied uint8 // its TTL; 0: there is none
	}{
		{"-A PREROUTING -j TEE --gateway 192.168.1.77", 62},
		{"-A FORWARD -j TEE --gateway 192.168.1.77", 62},
		{"-A POSTROUTING -j TEE --gateway 192.168.1.77 --oif eth0", 62},
		{"-A PREROUTING -j TEE --gateway 192.168.1.77\n-A OUTPUT -j TEE --gateway 192.168.1.78", 62},
		{"-A PREROUTING -j TEE --gateway 192.168.1.77\n-A OUTPUT -j DROP", 0},
		{"-A PREROUTING -j TEE --gateway 192.168.1.77 --oif eth9", 0},
		{"-A INPUT -j TEE --gateway 192.168.1.77", 0},
	} {
		t.Run(row.rules, func(t *testing.T) {
			t.Parallel()
			rs, err := iptables.ParseString("*mangle\n"+row.rules+"\nCOMMIT\n", nat.IPv4)
			require.NoError(t, err)
			g, err := gateway.NewGateway(twoNetworks(), gateway.Rules{rs}, gateway.NodeOptions{})
			require.NoError(t, err)
			asked := nat.TupleOf(nat.UDP, netip.MustParseAddrPort("192.168.1.9:5000"), netip.MustParseAddrPort("10.244.1.9:80"))
			outs, _, why := g.Handle(packet.Build(asked, packet.Fields{TTL: 63}).Bytes(), "eth0", time.Unix(1, 0))
			require.Empty(t, why)
			var copies []packet.Packet
			for _, o := range outs {
				p, err := packet.Parse(o.Packet)
				require.NoError(t, err)
				require.True(t, p.HeaderOK())
				require.Equal(t, asked, p.Tuple())
				if o.Via == netip.MustParseAddr("192.168.1.77") {
					require.Equal(t, "eth0", o.Dev)
					copies = append(copies, p)
				}
			}
			if row.copied == 0 {
				require.Len(t, outs, 1)
				require.Empty(t, copies)
				return
			}
			require.Len(t, outs, 2)
			require.Len(t, copies, 1)
			require.Equal(t, row.copied, copies[0].TTL())
			require.True(t, copies[0].DontFragment())
		})
	}
}

// Since Linux 5.7 a forwarded packet has the device that it came in by at POSTROUTING, too.
func TestInputAtPostrouting(t *testing.T) {
	t.Parallel()
	rs, err := iptables.ParseString("*mangle\n:POSTROUTING ACCEPT [0:0]\n:OUTS - [0:0]\n-A POSTROUTING -j OUTS\n-A OUTS -i eth0 -j DROP\nCOMMIT\n", nat.IPv4)
	require.NoError(t, err)
	for kernel, left := range map[nat.Kernel]int{{}: 0, {Major: 5, Minor: 7}: 0, {Major: 5, Minor: 6}: 1} {
		g, err := gateway.NewGateway(twoNetworks(), gateway.Rules{rs}, gateway.NodeOptions{Facts: gateway.Facts{Kernel: kernel}})
		require.NoError(t, err)
		asked := nat.TupleOf(nat.UDP, netip.MustParseAddrPort("192.168.1.9:5000"), netip.MustParseAddrPort("10.244.1.9:80"))
		outs, _, _ := g.Handle(packet.Build(asked, packet.Fields{}).Bytes(), "eth0", time.Unix(1, 0))
		require.Len(t, outs, left, kernel)
	}
}

// Since Linux 7.2 no error is sent to all on a link; the answer to a ping is.
func TestErrorsToAll(t *testing.T) {
	t.Parallel()
	all, node := netip.MustParseAddr("192.168.1.255"), netip.MustParseAddr("192.168.1.1")
	for kernel, left := range map[nat.Kernel]int{{}: 0, {Major: 7, Minor: 2}: 0, {Major: 6, Minor: 18}: 1} {
		g, err := gateway.NewGateway(twoNetworks(), nil, gateway.NodeOptions{Facts: gateway.Facts{Kernel: kernel}, Listens: func(nat.Tuple) bool { return false }})
		require.NoError(t, err)
		asked := nat.TupleOf(nat.UDP, netip.AddrPortFrom(all, 5000), netip.AddrPortFrom(node, 80))
		outs, _, why := g.Handle(packet.Build(asked, packet.Fields{TTL: 64}).Bytes(), "eth0", time.Unix(1, 0))
		require.Len(t, outs, left, "%v %s", kernel, why)
		ping := nat.TupleOf(nat.ICMP, netip.AddrPortFrom(all, 8), netip.AddrPortFrom(node, 8))
		outs, _, why = g.Handle(packet.Build(ping, packet.Fields{TTL: 64, Type: 8}).Bytes(), "eth0", time.Unix(2, 0))
		require.Len(t, outs, 1, "%v %s", kernel, why)
	}
}

// Who sent what came in by a device is told where that is one alone.
func TestSenders(t *testing.T) {
	t.Parallel()
	rs, err := iptables.ParseString("*mangle\n-A PREROUTING -m mac --mac-source 02:00:00:00:00:07 -j DROP\nCOMMIT\n", nat.IPv4)
	require.NoError(t, err)
	for sender, left := range map[string]int{"02:00:00:00:00:07": 0, "02:00:00:00:00:08": 1} {
		g, err := gateway.NewGateway(twoNetworks(), gateway.Rules{rs}, gateway.NodeOptions{Senders: map[string]string{"eth0": sender}})
		require.NoError(t, err)
		asked := nat.TupleOf(nat.UDP, netip.MustParseAddrPort("192.168.1.9:5000"), netip.MustParseAddrPort("10.244.1.9:80"))
		outs, _, _ := g.Handle(packet.Build(asked, packet.Fields{}).Bytes(), "eth0", time.Unix(1, 0))
		require.Len(t, outs, left, sender)
	}
}
