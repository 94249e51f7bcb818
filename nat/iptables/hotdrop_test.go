package iptables_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/packet"
	"natlab/nat/rules"
)

// A packet that is malformed for a match is dropped by it, whatever the rule's target and whether the match is inverted; a
// condition that fails in front of it keeps the match from looking.
func TestHotdrop(t *testing.T) {
	t.Parallel()
	tuple, err := nat.ParseTuple("tcp 10.0.0.1:40000 > 10.0.0.2:80")
	require.NoError(t, err)
	malformed := packet.Build(tuple, packet.Fields{})
	malformed.Transport()[12] = 4 << 4 // a header of 16 bytes
	whole := malformed.Bytes()
	short, err := packet.Parse(append(whole[:2:2], append([]byte{0, 20 + 19}, whole[4:]...)...))
	require.NoError(t, err)
	for _, row := range []struct {
		rule string
		wire *packet.Packet
		want nat.Verdict
	}{
		{"-p tcp -m tcpmss --mss 1 -j ACCEPT", malformed, nat.Drop},
		{"-p tcp -m tcpmss ! --mss 1", malformed, nat.Drop},
		{"-p tcp -m tcpmss --mss 1 -m mark --mark 0x1", malformed, nat.Drop},
		{"-p tcp -m mark --mark 0x1 -m tcpmss --mss 1", malformed, nat.Accept},
		{"-p tcp -m tcpmss --mss 1 -m tcp --dport 81", malformed, nat.Drop},
		{"-p tcp -m tcp --dport 81 -m tcpmss --mss 1", malformed, nat.Accept},
		{"-s 10.0.0.2/32 -p tcp -m tcpmss --mss 1", malformed, nat.Accept},
		{"-p tcp -m tcp --dport 80", &short, nat.Drop},
		{"-p tcp -m tcp --dport 81", &short, nat.Drop},
		{"-p tcp -m tcp --dport 80 -j DROP", &short, nat.Drop},
		{"-p tcp -m tcp", &short, nat.Drop},
		{"-p tcp -m mark --mark 0x1 -m tcp", &short, nat.Accept},
		{"-p tcp -m mark --mark 0x0 -m multiport --dports 81", &short, nat.Accept},
		{"-p udp -m udp --dport 80", &short, nat.Accept},
		{"-p tcp", &short, nat.Accept},
	} {
		t.Run(row.rule, func(t *testing.T) {
			t.Parallel()
			text := "*filter\n:FORWARD ACCEPT [0:0]\n:A - [0:0]\n-A FORWARD -j A\n"
			for range 2 { // the second time long enough for an index
				rs, err := iptables.ParseString(text+"-A A "+row.rule+"\nCOMMIT\n", nat.IPv4)
				require.NoError(t, err)
				pkt := rules.Packet{Tuple: tuple, Wire: row.wire}
				linear := iptables.NewProgram(rs.Tables[0]).Run(nat.Forward, "", &pkt, unsure{t})
				require.Equal(t, row.want, linear.Verdict, row.rule)

				compiled := iptables.Compile(rs.Tables[0])
				var hits []iptables.Hit
				verdict, _ := compiled.Run(nat.Forward, &pkt, unsure{t}, &hits)
				require.Equal(t, row.want, verdict, row.rule)
				steps := compiled.Steps("", nat.Forward, tuple, hits)
				require.Equal(t, linear.Steps, steps, row.rule)
				if last := steps[len(steps)-1]; row.want == nat.Drop {
					require.Equal(t, iptables.WhyHotdrop, last.Why)
					require.Contains(t, last.Text, row.rule)
				}
				all, _ := compiled.Ways(nat.Forward, &pkt, unsure{t}, nil)
				require.Len(t, all, 1)
				require.Equal(t, row.want, all[0].Verdict, row.rule)
				for range 16 {
					text += "-A A -d 10.0.0.9/32 -j DROP\n"
				}
			}
		})
	}
}
