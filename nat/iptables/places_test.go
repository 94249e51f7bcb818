package iptables

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
)

func TestPlaces(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, rules, want, devices string }{
		{"Docker's masquerade", "*nat\n-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE\nCOMMIT\n", "docker0 172.17.0.0/16 line 2", "docker0"},
		{"by SNAT", "*nat\n-A POSTROUTING -s 172.18.0.0/16 ! -o br-1 -j SNAT --to-source 192.0.2.1\nCOMMIT\n", "br-1 172.18.0.0/16 line 2", "br-1"},
		{"accepted where they leave", "*filter\n-A FORWARD -d 192.168.122.0/24 -o virbr0 -j ACCEPT\nCOMMIT\n", "virbr0 192.168.122.0/24 line 2", "virbr0"},
		{"accepted where they come", "*filter\n-A FORWARD -s 192.168.122.0/24 -i virbr0 -j ACCEPT\nCOMMIT\n", "virbr0 192.168.122.0/24 line 2", "virbr0"},
		{"told twice", "*filter\n-A FORWARD -s 10.8.0.0/24 -i wg0 -j ACCEPT\n-A FORWARD -d 10.8.0.0/24 -o wg0 -j ACCEPT\nCOMMIT\n", "wg0 10.8.0.0/24 line 2", "wg0"},
		{"behind two", "*filter\n-A FORWARD -s 10.8.0.0/24 -i wg0 -j ACCEPT\n-A FORWARD -s 10.8.0.0/24 -i wg1 -j ACCEPT\nCOMMIT\n", "", "wg0 wg1"},
		{"dropped: it may be a lie", "*filter\n-A FORWARD -s 10.0.0.0/8 -i eth1 -j DROP\nCOMMIT\n", "", "eth1"},
		{"masqueraded where they leave", "*nat\n-A POSTROUTING -s 10.8.0.0/24 -o eth0 -j MASQUERADE\nCOMMIT\n", "", "eth0"},
		{"all", "*nat\n-A POSTROUTING -s 0.0.0.0/0 ! -o eth0 -j MASQUERADE\nCOMMIT\n", "", "eth0"},
		{"all but some", "*filter\n-A FORWARD ! -d 10.0.0.0/8 -o eth0 -j ACCEPT\nCOMMIT\n", "", "eth0"},
		{"a pattern and lo", "*filter\n-A FORWARD -d 10.0.0.0/8 -o cali+ -j ACCEPT\n-A INPUT -i lo -j ACCEPT\nCOMMIT\n", "", ""},
		{"without a target", "*filter\n-A FORWARD -d 10.0.0.0/8 -o eth0\nCOMMIT\n", "", "eth0"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			rs, err := Parse(strings.NewReader(row.rules), nat.IPv4)
			require.NoError(t, err)
			var got []string
			for _, p := range rs.Places() {
				got = append(got, fmt.Sprintf("%s %s line %d", p.Device, p.Network, p.Line))
			}
			require.Equal(t, row.want, strings.Join(got, ", "))
			require.Equal(t, row.devices, strings.Join(rs.Devices(), " "))
		})
	}
}
