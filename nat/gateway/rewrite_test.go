package gateway_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/iptables"
	"natlab/nat/packet"
)

// Targets that change a packet and let it go on: it is forwarded by one way, as they left it, and the answer comes back.
func TestTargetsGoOn(t *testing.T) {
	t.Parallel()
	const chain = "*mangle\n:FORWARD ACCEPT [0:0]\n"
	ns := twoNetworks()
	for i := range ns.Devices {
		if ns.Devices[i].Name == "pods" {
			ns.Devices[i].MTU = 1420
		}
	}
	tuple, err := nat.ParseTuple("tcp 192.168.1.9:40000 > 10.244.1.5:80")
	require.NoError(t, err)
	syn := func(options ...byte) packet.TCP { return packet.TCP{Flags: 0xc2, Options: options} }
	sent := packet.Fields{TTL: 64, TOS: 3, TCP: syn(2, 4, 5, 180, 1, 3, 3, 7)}
	for _, row := range []struct {
		rule string
		want packet.Fields
	}{
		{"-p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu", packet.Fields{TOS: 3, TCP: syn(2, 4, 5, 100, 1, 3, 3, 7)}},
		{"-p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 536", packet.Fields{TOS: 3, TCP: syn(2, 4, 2, 24, 1, 3, 3, 7)}},
		{"-p tcp -j TCPOPTSTRIP --strip-options mss", packet.Fields{TOS: 3, TCP: syn(1, 1, 1, 1, 1, 3, 3, 7)}},
		{"-j TTL --ttl-inc 3", packet.Fields{TTL: 66, TOS: 3, TCP: sent.TCP}},
		{"-j DSCP --set-dscp-class EF", packet.Fields{TOS: 0xbb, TCP: sent.TCP}},
		{"-j TOS --set-tos 0x10", packet.Fields{TOS: 0x10, TCP: sent.TCP}},
		{"-j ECN --ecn-ip-ect 0", packet.Fields{TCP: sent.TCP}},
	} {
		t.Run(row.rule, func(t *testing.T) {
			t.Parallel()
			rs, err := iptables.ParseString(chain+"-A FORWARD "+row.rule+"\nCOMMIT\n", nat.IPv4)
			require.NoError(t, err)
			g, err := gateway.NewGateway(ns, gateway.Rules{rs}, gateway.NodeOptions{})
			require.NoError(t, err)
			outs, _, _ := g.Handle(packet.Build(tuple, sent).Bytes(), "eth0", time.Unix(1, 0))
			require.Len(t, outs, 1, row.rule)
			if row.want.TTL == 0 {
				row.want.TTL = 63
			}
			require.Equal(t, packet.Build(tuple, row.want).Bytes(), outs[0].Packet, row.rule)

			x, err := gateway.Explain(ns, gateway.Rules{rs}, gateway.Facts{}, askIn(tuple, "eth0"), nil)
			require.NoError(t, err)
			require.Len(t, x.Prediction, 1, row.rule)
			require.Equal(t, nat.EndAnswered, x.Prediction[0].End, row.rule)
		})
	}
}
