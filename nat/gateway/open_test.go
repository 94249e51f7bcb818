package gateway_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/iptables"
)

// A target that cannot be read is never held for what it is not: one that translates does so, one that goes on goes on, of
// another one nothing is known. What is asked of the request and of its answer are two questions.
func TestExplainUnreadTargets(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		rules string
		ends  []nat.End
	}{
		{"*nat\n-A PREROUTING -p tcp -j DNAT [unsupported revision]\nCOMMIT\n", []nat.End{nat.EndUnknown}},
		{"*nat\n-A POSTROUTING -p tcp -j SNAT [unsupported revision]\nCOMMIT\n", []nat.End{nat.EndUnknown}},
		{"*nat\n-A PREROUTING -p udp -j DNAT [unsupported revision]\nCOMMIT\n", []nat.End{nat.EndAnswered}},
		{"*mangle\n-A FORWARD -j CONNMARK [unsupported revision]\nCOMMIT\n", []nat.End{nat.EndAnswered}},
		{"*mangle\n-A FORWARD -j TARPIT --tarpit\nCOMMIT\n", []nat.End{nat.EndUnknown, nat.EndUnknown, nat.EndAnswered}},
		{"-A PREROUTING -s 192.168.1.9 -j NOT-THERE\n", []nat.End{nat.EndUnknown, nat.EndAnswered}},
		{"# iptables -t nat -nvL\nChain PREROUTING (policy ACCEPT 0 packets, 0 bytes)\n" +
			" pkts bytes target     prot opt in     out     source               destination\n" +
			"    0     0 DNAT       tcp  --  *      *       0.0.0.0/0            0.0.0.0/0            DNAT [unsupported revision]\n", []nat.End{nat.EndUnknown}},
		{"# iptables -L -n\nChain FORWARD (policy DROP)\ntarget     prot opt source               destination\n" +
			"ACCEPT     all  --  0.0.0.0/0            0.0.0.0/0\n", []nat.End{nat.EndAnswered, nat.EndLost, nat.EndLost}},
	} {
		t.Run(row.rules, func(t *testing.T) {
			t.Parallel()
			read, err := iptables.Read(row.rules)
			require.NoError(t, err, row.rules)
			s, err := gateway.ParseSpec("tcp 192.168.1.9:40000 > 10.244.1.5:80")
			require.NoError(t, err)
			s.In = "eth0"
			x, err := gateway.Explain(twoNetworks(), read.Rulesets, gateway.Facts{}, s.Ask, nil)
			require.NoError(t, err)
			var ends []nat.End
			for _, o := range x.Prediction {
				ends = append(ends, o.End)
				require.True(t, o.End == nat.EndAnswered || o.Why != "")
			}
			require.Equal(t, row.ends, ends, row.rules)
		})
	}
}
