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

// fuzzRules ask for much of a packet, and change it.
const fuzzRules = wireRules + `*mangle
:PREROUTING ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
-A PREROUTING -m length --length 0:30 -j MARK --set-xmark 0x1
-A PREROUTING -p tcp -m tcp --tcp-option 2 -j TTL --ttl-inc 1
-A PREROUTING -p icmp -m icmp --icmp-type 8 -j TOS --set-tos 0x10
-A PREROUTING -m ttl --ttl-lt 3 -j DSCP --set-dscp 0x0a
-A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 500
-A FORWARD -p tcp -m u32 --u32 "0>>22&0x3C@12>>26&0x3C@0=0x0" -j DROP
COMMIT
`

// Whatever a packet holds, each hook comes to an end with it: it is dropped, or goes on as a packet that can be read again. What is read of
// one hook after the other is the same packet's.
func FuzzAt(f *testing.F) {
	rs, err := iptables.ParseString(fuzzRules, nat.IPv4)
	require.NoError(f, err)
	syn := segmentOf("192.168.1.9:5000", "10.96.0.1:80", 2, 1, 0)
	answer := segmentOf("10.244.1.9:80", "10.244.1.1:5000", 18, 7, 2)
	tooLate := packet.Build(nat.TupleOf(nat.ICMP, netip.MustParseAddrPort("192.168.1.1:0"), netip.MustParseAddrPort("192.168.1.9:0")), packet.Fields{Type: 11, Payload: syn}).Bytes()
	piece := bytes.Clone(syn)
	piece[6] = 0x20
	for _, seed := range [][]byte{syn, answer, tooLate, piece, syn[:24], {0x45}, {}} {
		f.Add(seed, answer, uint8(0))
		f.Add(syn, seed, uint8(1))
	}
	f.Fuzz(func(t *testing.T, first, second []byte, how uint8) {
		g, err := gateway.NewGateway(twoNetworks(), gateway.Rules{rs}, gateway.NodeOptions{})
		require.NoError(t, err)
		at := time.Unix(1, 0)
		for _, b := range [][]byte{syn, first, second, first} {
			for _, s := range []gateway.Seen{
				{Hook: nat.PreRouting, In: "eth0"},
				{Hook: nat.Forward, In: "eth0", Out: "pods"},
				{Hook: nat.PostRouting, Out: "pods"},
				{Hook: nat.Input, In: "eth0"},
				{Hook: nat.Output, Out: "lo"},
				{Hook: nat.PostRouting, Out: "lo"},
				{Hook: nat.PreRouting, In: "lo"},
			} {
				if how>>uint(s.Hook)&1 != 0 {
					continue
				}
				s.Packet, s.Unsummed = bytes.Clone(b), how&0x80 != 0
				r := g.At(s, at)
				if r.Verdict != nat.Accept {
					require.NotEmpty(t, r.Why)
					continue
				}
				again, err := packet.Parse(r.Packet)
				require.NoError(t, err)
				require.Equal(t, len(r.Packet), again.Len())
				b = bytes.Clone(r.Packet)
				for _, a := range r.Answers {
					_, err := packet.Parse(a.Packet)
					require.NoError(t, err)
				}
			}
		}
	})
}
