package witness_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/lab/witness"
	"natlab/nat"
)

func TestParseHeader(t *testing.T) {
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	dgram := ipv4(a, b, nat.UDP, udpHeader(1, 2, nil))
	icmp := func(kind byte, rest []byte) []byte {
		return ipv4(b, a, nat.ICMP, append([]byte{kind, 3, 0, 0, 0, 7, 0, 1}, rest...))
	}
	fragment := ipv4(a, b, nat.UDP, udpHeader(1, 2, nil))
	fragment[7] = 1
	options := append([]byte{0x46}, dgram[1:20]...)
	options = append(append(options, 1, 1, 1, 1), dgram[20:]...)
	a6, b6 := netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00::2")
	dgram6 := ipv6(a6, b6, nat.UDP, udpHeader(1, 2, nil))
	chunk := func(kind byte) []byte { return []byte{0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, kind, 0, 0, 4} }
	icmp6 := func(kind byte, rest []byte) []byte {
		return ipv6(b6, a6, nat.ICMPv6, append([]byte{kind, 4, 0, 0, 0, 7, 0, 1}, rest...))
	}
	for _, row := range []struct {
		name   string
		packet []byte
		tuple  string
		outer  string
		flags  uint8
		inside string
	}{
		{"tcp", ipv4(a, b, nat.TCP, tcpHeader(1, 2, 0x12)), "tcp 10.0.0.1:1 > 10.0.0.2:2", "none", 0x12, "none"},
		{"sctp, an INIT", ipv4(a, b, nat.SCTP, chunk(1)), "sctp 10.0.0.1:1 > 10.0.0.2:2", "none", 2, "none"},
		{"sctp, an INIT ACK", ipv4(a, b, nat.SCTP, chunk(2)), "sctp 10.0.0.1:1 > 10.0.0.2:2", "none", 0x12, "none"},
		{"sctp, an ABORT", ipv6(a6, b6, nat.SCTP, chunk(6)), "sctp [fd00::1]:1 > [fd00::2]:2", "none", 4, "none"},
		{"sctp, data", ipv4(a, b, nat.SCTP, chunk(0)), "sctp 10.0.0.1:1 > 10.0.0.2:2", "none", 0x10, "none"},
		{"sctp without a chunk", ipv4(a, b, nat.SCTP, chunk(1)[:12]), "sctp 10.0.0.1:1 > 10.0.0.2:2", "none", 0, "none"},
		{"udp", dgram, "udp 10.0.0.1:1 > 10.0.0.2:2", "none", 0, "none"},
		{"ip options", options, "udp 10.0.0.1:1 > 10.0.0.2:2", "none", 0, "none"},
		{"a later fragment has no ports", fragment, "udp 10.0.0.1:0 > 10.0.0.2:0", "none", 0, "none"},
		{"echo", icmp(8, nil), "icmp 10.0.0.2:7 > 10.0.0.1:7", "none", 0, "none"},
		{"port unreachable", icmp(3, dgram), "icmp 10.0.0.2:0 > 10.0.0.1:0", "none", 0, "udp 10.0.0.1:1 > 10.0.0.2:2"},
		{"ipip", ipv4(b, a, nat.IPIP, dgram), "udp 10.0.0.1:1 > 10.0.0.2:2", "ipip 10.0.0.2:0 > 10.0.0.1:0", 0, "none"},
		{"ipip around rubbish", ipv4(b, a, nat.IPIP, dgram[:10]), "ipip 10.0.0.2:0 > 10.0.0.1:0", "none", 0, "none"},
		{"vxlan", ipv4(b, a, nat.UDP, udpHeader(9, 4789, vxlan(0x0800, dgram))), "udp 10.0.0.1:1 > 10.0.0.2:2", "udp 10.0.0.2:9 > 10.0.0.1:4789", 0, "none"},
		{"vxlan around ARP", ipv4(b, a, nat.UDP, udpHeader(9, 4789, vxlan(0x0806, dgram))), "udp 10.0.0.2:9 > 10.0.0.1:4789", "none", 0, "none"},
		{"cut short", dgram[:12], "none", "none", 0, "none"},
		{"no ports", dgram[:20], "udp 10.0.0.1:0 > 10.0.0.2:0", "none", 0, "none"},
		{"ipv6", []byte{0x60, 0, 0, 0}, "none", "none", 0, "none"},
		{"nothing", nil, "none", "none", 0, "none"},
		{"tcp over IPv6", ipv6(a6, b6, nat.TCP, tcpHeader(1, 2, 0x12)), "tcp [fd00::1]:1 > [fd00::2]:2", "none", 0x12, "none"},
		{"behind extension headers", ipv6(a6, b6, 0, append([]byte{60, 0, 0, 0, 0, 0, 0, 0, 17, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, udpHeader(1, 2, nil)...)), "udp [fd00::1]:1 > [fd00::2]:2", "none", 0, "none"},
		{"a first fragment of IPv6", ipv6(a6, b6, 44, append([]byte{17, 0, 0, 1, 0, 0, 0, 9}, udpHeader(1, 2, nil)...)), "udp [fd00::1]:1 > [fd00::2]:2", "none", 0, "none"},
		{"a later fragment of IPv6", ipv6(a6, b6, 44, append([]byte{17, 0, 0, 8, 0, 0, 0, 9}, udpHeader(1, 2, nil)...)), "udp [fd00::1]:0 > [fd00::2]:0", "none", 0, "none"},
		{"an extension header cut short", ipv6(a6, b6, 0, []byte{17, 1, 0, 0, 0, 0, 0, 0}), "none", "none", 0, "none"},
		{"echo of ICMPv6", icmp6(128, nil), "icmpv6 [fd00::2]:7 > [fd00::1]:7", "none", 0, "none"},
		{"a neighbour's advertisement", icmp6(136, nil), "icmpv6 [fd00::2]:0 > [fd00::1]:0", "none", 0, "none"},
		{"unreachable of ICMPv6", icmp6(1, dgram6), "icmpv6 [fd00::2]:0 > [fd00::1]:0", "none", 0, "udp [fd00::1]:1 > [fd00::2]:2"},
		{"IPv6 in vxlan", ipv6(b6, a6, nat.UDP, udpHeader(9, 4789, vxlan(0x86dd, dgram6))), "udp [fd00::1]:1 > [fd00::2]:2", "udp [fd00::2]:9 > [fd00::1]:4789", 0, "none"},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := witness.ParseHeader(row.packet)
			require.Equal(t, row.tuple, o.Hop.Tuple.String())
			require.Equal(t, row.outer, o.Hop.Outer.String())
			require.Equal(t, row.flags, o.TCPFlags)
			require.Equal(t, row.inside, o.ICMP.Inside.String())
		})
	}
}

func TestQueueDrops(t *testing.T) {
	const file = "    0   4321     0 2 65531     3     4      100  1\n    1   4321     0 2 65531     0     5      100  1\nrubbish\n"
	require.Equal(t, uint64(12), witness.QueueDrops([]byte(file)))
	require.Zero(t, witness.QueueDrops(nil))
}

// Whatever comes in by a socket is read without a panic, and what is not a message is an error or nothing.
func FuzzRead(f *testing.F) {
	f.Add(ipv4(netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), nat.IPIP, ipv4(netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), nat.TCP, tcpHeader(1, 2, 2))))
	f.Add(ipv6(netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00::2"), 44, []byte{60, 0, 0, 1, 0, 0, 0, 9, 17, 0, 0, 0, 0, 0, 0, 0}))
	f.Add([]byte{24, 0, 0, 0, 17, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 4, 0, 1, 0})
	f.Add([]byte{16, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		o := witness.ParseHeader(b)
		if !o.Hop.Tuple.IsValid() {
			require.False(t, o.Hop.Outer.IsValid())
		}
		witness.ReadAnything(b)
	})
}
