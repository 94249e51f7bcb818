package gateway_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/iptables"
	"natlab/topology"
)

// An address that no route but a default one leads to may be behind a device that rules name and nobody has placed.
func TestExplainUnplaced(t *testing.T) {
	t.Parallel()
	const drop = ":FORWARD DROP [0:0]\n"
	for _, row := range []struct {
		name, rules, packet string
		unplaced            []string
		routed              bool
		want                []string // of each way how it ends, and what it depends on
	}{
		{"where it goes", drop + "-A FORWARD -o wg0 -j ACCEPT\n-A FORWARD -m state --state ESTABLISHED -j ACCEPT\n", "tcp 192.0.2.99:40000 > 10.8.0.2:80 in eth0", []string{"wg0"}, false, []string{"answered 10.8.0.2 is behind wg0 true", "lost 10.8.0.2 is behind wg0 false"}},
		{"where it comes from", drop + "-A FORWARD -i wg0 -j ACCEPT\n-A FORWARD -m state --state ESTABLISHED -j ACCEPT\n", "tcp 10.8.0.2:40000 > 192.0.2.99:80 in eth0", []string{"wg0"}, true, []string{"answered 10.8.0.2 is behind wg0 true", "lost 10.8.0.2 is behind wg0 false"}},
		{"it was told where it comes from", drop + "-A FORWARD -i wg0 -j ACCEPT\n", "tcp 10.8.0.2:40000 > 192.0.2.99:80 in eth0", []string{"wg0"}, false, []string{"lost"}},
		{"a network of the node's", drop + "-A FORWARD -o wg0 -j ACCEPT\n", "tcp 10.8.0.2:40000 > 192.0.2.99:80 in eth0", []string{"wg0"}, false, []string{"lost"}},
		{"it makes no difference", drop + "-A FORWARD -i wg0 -j ACCEPT\n", "tcp 192.0.2.99:40000 > 10.8.0.2:80 in eth0", []string{"wg0"}, false, []string{"lost"}},
		{"every device is placed", drop + "-A FORWARD -o wg0 -j ACCEPT\n", "tcp 192.0.2.99:40000 > 10.8.0.2:80 in eth0", nil, false, []string{"lost"}},
		{"one of two", drop + "-A FORWARD -o wg1 -j ACCEPT\n-A FORWARD -i wg0 -j ACCEPT\n-A FORWARD -m state --state ESTABLISHED -j ACCEPT\n", "tcp 192.0.2.99:40000 > 10.8.0.2:80 in eth0", []string{"wg0", "wg1"}, false, []string{"answered 10.8.0.2 is behind wg1 true", "lost 10.8.0.2 is behind wg1 false"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			rs, err := iptables.ParseString("*filter\n"+row.rules+"COMMIT\n", nat.IPv4)
			require.NoError(t, err)
			ns, _, err := topology.NodeWords{Addresses: []string{"eth0=192.0.2.10/24"}, Routes: []string{"default via 192.0.2.1"}}.Node()
			require.NoError(t, err)
			s, err := gateway.ParseSpec(row.packet)
			require.NoError(t, err)
			s.In, s.Routed = s.Device, row.routed
			x, err := gateway.Explain(ns, gateway.Rules{rs}, gateway.Facts{Unplaced: row.unplaced}, s.Ask, nil)
			require.NoError(t, err)
			var got []string
			for _, o := range x.Prediction {
				way := o.End.String()
				for _, a := range o.Assumed {
					way += fmt.Sprintf(" %s %t", a.What, a.Holds)
				}
				got = append(got, way)
			}
			require.Equal(t, row.want, got)
		})
	}
}

// An address that nobody told is not known to be missing.
func TestExplainMasqueradeWithoutAddresses(t *testing.T) {
	t.Parallel()
	rs, err := iptables.ParseString("*nat\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n", nat.IPv4)
	require.NoError(t, err)
	ns, _, err := topology.NodeWords{}.Node()
	require.NoError(t, err)
	s, err := gateway.ParseSpec("tcp 192.0.2.99:40000 > 10.8.0.2:80 in eth0")
	require.NoError(t, err)
	s.In = s.Device
	for _, row := range []struct {
		unknown bool
		want    nat.End
	}{{true, nat.EndUnknown}, {false, nat.EndLost}} {
		x, err := gateway.Explain(ns, gateway.Rules{rs}, gateway.Facts{NoAddresses: row.unknown}, s.Ask, nil)
		require.NoError(t, err)
		require.Equal(t, row.want, x.Prediction[len(x.Prediction)-1].End, x.Prediction[len(x.Prediction)-1].Why)
	}
}
