package userspace

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"natlab/lab/netns"
	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/packet"
)

// Any packet that a kernel answers with can be sent: to a host, with a mark, by a device, and to a broadcast address.
func TestSender(t *testing.T) {
	t.Parallel()
	h, err := netns.Nameless()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	var s *sender
	require.NoError(t, h.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.LinkSetUp(lo)
		}
		if err == nil {
			s, err = openSender()
		}
		return err
	}))
	t.Cleanup(func() { require.NoError(t, s.close()) })
	to := func(src, dst string) []byte {
		return packet.Build(nat.TupleOf(nat.UDP, netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)), packet.Fields{}).Bytes()
	}
	for _, a := range []gateway.Answer{
		{Packet: to("127.0.0.1:1", "127.0.0.2:2")},
		{Packet: to("127.0.0.1:1", "127.0.0.2:2"), Dev: "lo", Mark: 0x4000},
		{Packet: to("127.0.0.1:1", "127.255.255.255:2")},
		{Packet: to("[::1]:1", "[::1]:2")},
		{Packet: to("127.0.0.1:1", "192.0.2.1:2"), Via: netip.MustParseAddr("127.0.0.2")}, // which has no route itself
		{Packet: to("[::1]:1", "[2001:db8::1]:2"), Via: netip.IPv6Loopback()},
	} {
		require.NoError(t, s.send(a), "%x", a.Packet)
	}
}
