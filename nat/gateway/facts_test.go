package gateway_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/iptables"
	"natlab/nat/rules"
)

// Rules that ask for IPsec where a node has none, and where that is not known: they do not contradict each other, and what
// the outcome depends on is named.
func TestExplainIPsec(t *testing.T) {
	t.Parallel()
	const in, esp = "-m policy --dir in --pol ipsec", "-m policy --dir in --pol ipsec --proto esp"
	for _, row := range []struct {
		rules string
		ipsec rules.Answer
		want  [][]string // of each way the end, and what it depends on
	}{
		{"-A INPUT " + esp + " -j DROP\n", rules.No, [][]string{{"answered"}}},
		{"-A INPUT " + in + " -j DROP\n", rules.Unknown, [][]string{{"lost", in}, {"answered", in}}},
		{"-A INPUT " + esp + " -j DROP\n", rules.Unknown, [][]string{{"lost", esp}, {"answered", esp}}},
		{"-A INPUT -m policy --dir in --pol none -j DROP\n-A INPUT " + in + " -j DROP\n", rules.Unknown, [][]string{{"lost"}}},
		{"-A INPUT " + esp + " -j DROP\n-A INPUT -m policy --dir in --pol none -j DROP\n", rules.Unknown, [][]string{{"lost", esp}, {"lost", esp, in}, {"answered", esp, in}}},
		{"-A INPUT -m policy --dir in --pol none -j ACCEPT\n-A INPUT " + in + " -j ACCEPT\n-A INPUT -j DROP\n", rules.Yes, [][]string{{"answered"}}},
	} {
		t.Run(row.rules, func(t *testing.T) {
			t.Parallel()
			rs, err := iptables.ParseString("*filter\n"+row.rules+"COMMIT\n", nat.IPv4)
			require.NoError(t, err)
			s, err := gateway.ParseSpec("tcp 192.168.1.9:40000 > 192.168.1.1:80")
			require.NoError(t, err)
			s.In = "eth0"
			x, err := gateway.Explain(twoNetworks(), gateway.Rules{rs}, gateway.Facts{IPsec: row.ipsec}, s.Ask, nil)
			require.NoError(t, err)
			var ways [][]string
			for _, o := range x.Prediction {
				way := []string{o.End.String()}
				for _, a := range o.Assumed {
					way = append(way, a.What)
				}
				ways = append(ways, way)
			}
			require.Equal(t, row.want, ways, "IPsec: %s", row.ipsec)
		})
	}
}
