package nat_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
)

// Entries are printed as conntrack -L of conntrack-tools 1.4 prints them.
func TestEntry(t *testing.T) {
	t.Parallel()
	tuple := func(p nat.Proto, src, dst string) nat.Tuple {
		return nat.TupleOf(p, netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst))
	}
	for _, row := range []struct {
		entry         nat.Entry
		line, decoded string
	}{
		{
			nat.Entry{Conn: nat.Conn{
				Original: tuple(nat.TCP, "10.0.1.2:5000", "10.96.0.1:80"), Reply: tuple(nat.TCP, "10.0.2.2:8080", "10.0.2.1:61000"),
				Status: nat.SeenReply | nat.Assured, Mark: 1,
			}, Seconds: 431999, State: "ESTABLISHED", Use: 2},
			"tcp      6 431999 ESTABLISHED src=10.0.1.2 dst=10.96.0.1 sport=5000 dport=80 src=10.0.2.2 dst=10.0.2.1 sport=8080 dport=61000 [ASSURED] mark=1 use=2",
			"DNAT to 10.0.2.2:8080, SNAT to 10.0.2.1:61000",
		},
		{
			nat.Entry{Conn: nat.Conn{
				Original: tuple(nat.UDP, "10.0.1.2:5000", "10.0.2.2:53"), Reply: tuple(nat.UDP, "10.0.2.2:53", "10.0.1.2:5000"),
			}, Seconds: 29, Zone: 7, Counted: true, Packets: [2]uint64{1, 0}, Bytes: [2]uint64{60, 0}},
			"udp      17 29 src=10.0.1.2 dst=10.0.2.2 sport=5000 dport=53 packets=1 bytes=60 [UNREPLIED] src=10.0.2.2 dst=10.0.1.2 sport=53 dport=5000 packets=0 bytes=0 mark=0 zone=7 use=1",
			"not translated, unreplied",
		},
		{
			nat.Entry{Conn: nat.Conn{
				Original: tuple(nat.ICMPv6, "[fd00::1]:9", "[fd00::2]:9"), Reply: tuple(nat.ICMPv6, "[fd00::3]:9", "[fd00::1]:9"), Status: nat.SeenReply,
			}, Seconds: 3, Kind: 128, AnswerKind: 129},
			"icmpv6   58 3 src=fd00::1 dst=fd00::2 type=128 code=0 id=9 src=fd00::3 dst=fd00::1 type=129 code=0 id=9 mark=0 use=1",
			"DNAT to [fd00::3]:9",
		},
		{
			nat.Entry{Conn: nat.Conn{Original: tuple(89, "10.0.0.1:0", "10.0.0.2:0"), Reply: tuple(89, "10.0.0.2:0", "10.0.0.1:0"), Status: nat.SeenReply}, Seconds: 600},
			"unknown  89 600 src=10.0.0.1 dst=10.0.0.2 src=10.0.0.2 dst=10.0.0.1 mark=0 use=1",
			"not translated",
		},
	} {
		require.Equal(t, row.line, row.entry.String())
		require.Equal(t, row.decoded, row.entry.Decoded())
	}
}
