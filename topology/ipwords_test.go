package topology

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The node in words: its devices are those that are named, and a next hop finds its device.
func TestNodeWords(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		words NodeWords
		want  []string // devices, addresses, routes and settings, as they are printed
	}{
		{"nothing", NodeWords{}, []string{"eth0", "default dev eth0", "::/0 dev eth0"}},
		{
			"a next hop in a network of the node",
			NodeWords{Addresses: []string{"eth0=10.0.0.2/24", "eth1=10.1.0.2/24"}, Routes: []string{"default via 10.1.0.1"}},
			[]string{"eth0", "eth1", "10.0.0.2/24 dev eth0", "10.1.0.2/24 dev eth1", "default via 10.1.0.1 dev eth1"},
		},
		{"loopback is there", NodeWords{Addresses: []string{"lo=10.0.0.2/32"}, Routes: []string{"blackhole 10.0.0.0/8"}}, []string{"10.0.0.2/32 dev lo", "blackhole 10.0.0.0/8"}},
		{"settings as sysctl -a prints them", NodeWords{Routes: []string{"default dev a"}, Sysctls: []string{"net.ipv4.conf.a.rp_filter = 2"}}, []string{"a", "default dev a", "net/ipv4/conf/a/rp_filter=2"}},
		{"the lowest metric goes first", NodeWords{Routes: []string{"default dev a metric 600", "10.0.0.0/8 dev c", "default dev b metric 100"}}, []string{"c", "b", "a", "10.0.0.0/8 dev c", "default dev b", "default dev a"}},
		{"settings", NodeWords{Routes: []string{"default dev a"}, Sysctls: []string{"net.ipv4.conf.a.rp_filter=2", "net/ipv4/conf/a.1/rp_filter=0"}}, []string{"a", "default dev a", "net/ipv4/conf/a/rp_filter=2", "net/ipv4/conf/a.1/rp_filter=0"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			ns, notes, err := row.words.Node()
			require.NoError(t, err, row.name)
			require.Empty(t, notes)
			var got []string
			for _, d := range ns.Devices {
				got = append(got, d.Name)
			}
			for _, a := range ns.Addresses {
				got = append(got, a.String())
			}
			for _, r := range ns.Routes {
				got = append(got, r.String())
			}
			for _, s := range ns.Sysctls[2:] {
				got = append(got, s.String())
			}
			assert.Equal(t, row.want, got, row.name)
			assert.Equal(t, []Sysctl{{Key: "net/ipv4/ip_forward", Value: "1"}, {Key: "net/ipv6/conf/all/forwarding", Value: "1"}}, ns.Sysctls[:2], row.name)
		})
	}
	for want, words := range map[string]NodeWords{
		`address "eth0": want DEVICE=ADDRESS/LENGTH`:                  {Addresses: []string{"eth0"}},
		`address "=10.0.0.1/8": want DEVICE=ADDRESS/LENGTH`:           {Addresses: []string{"=10.0.0.1/8"}},
		`route "default via 10.0.0.1": no address of the node is in`:  {Routes: []string{"default via 10.0.0.1"}},
		`route "default": want via ADDRESS or dev DEVICE`:             {Routes: []string{"default"}},
		`sysctl "rp_filter": want KEY=VALUE, such as net.ipv4.conf.a`: {Sysctls: []string{"rp_filter"}},
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			ns, _, err := words.Node()
			require.ErrorContains(t, err, want)
			require.Zero(t, ns)
		})
	}
}
