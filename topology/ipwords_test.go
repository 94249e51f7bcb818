package topology

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A route is read as ip(8) prints it, and printed again: want is "" where that is the same text.
func TestParseRoute(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ text, want string }{
		{"default via 10.0.0.1 dev eth0", ""},
		{"default dev wg0", ""},
		{"default via fe80::1 dev eth0", ""},
		{"::/0 dev eth0", ""},
		{"0.0.0.0/0 via fe80::1 dev eth0", ""},
		{"10.244.1.0/24 via 192.168.1.2 dev eth0 src 192.168.1.3 onlink", ""},
		{"  10.244.1.0/24   via 192.168.1.2", "10.244.1.0/24 via 192.168.1.2"},
		{"10.0.0.7/32 dev cali1", "10.0.0.7 dev cali1"},
		{"2001:db8::/32 via 2001:db8::1", ""},
		{"blackhole 10.1.0.0/16", ""},
		{"blackhole default", ""},
		{"unicast 10.0.0.7 dev cali1", "10.0.0.7 dev cali1"},
		{"unreachable 10.244.239.128/26 metric 4278198272", "unreachable 10.244.239.128/26"},
		{"unreachable 2001:db8:2::/48 dev lo metric 1024", "unreachable 2001:db8:2::/48"},
		{"prohibit 10.1.0.0/16", ""},
		{"throw 10.1.0.0/16", ""},
		// What does not decide where a packet goes.
		{"10.244.1.0/24 via 192.168.1.2 dev eth0 proto bird metric 100 mtu 1400 scope global", "10.244.1.0/24 via 192.168.1.2 dev eth0"},
	} {
		t.Run(row.text, func(t *testing.T) {
			t.Parallel()
			r, err := parseRoute(row.text)
			require.NoError(t, err, row.text)
			if row.want == "" {
				row.want = row.text
			}
			require.Equal(t, row.want, r.String())
			again, err := parseRoute(r.String())
			require.NoError(t, err)
			require.Equal(t, r, again)
		})
	}
}

func TestParseRouteErrors(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ text, want string }{
		{"", "want a destination"},
		{"blackhole", "want a destination"},
		{"10.0.0.0/8", "want via ADDRESS or dev DEVICE"},
		{"10.0.0.0/8 via", "via is not followed by anything"},
		{"10.0.0.0/8 via here", "here"},
		{"10.0.0.0/33 dev eth0", "33"},
		{"10.0.0.1/8 dev eth0", "want 10.0.0.0/8"},
		{"10.0.0.0/8 by eth0", `"by" is not known`},
	} {
		t.Run(row.text, func(t *testing.T) {
			t.Parallel()
			r, err := parseRoute(row.text)
			require.ErrorContains(t, err, row.want, row.text)
			require.Zero(t, r)
		})
	}
}

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
		{"settings", NodeWords{Routes: []string{"default dev a"}, Sysctls: []string{"net.ipv4.conf.a.rp_filter=2", "net/ipv4/conf/a.1/rp_filter=0"}}, []string{"a", "default dev a", "net/ipv4/conf/a/rp_filter=2", "net/ipv4/conf/a.1/rp_filter=0"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			ns, err := row.words.Node()
			require.NoError(t, err, row.name)
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
			ns, err := words.Node()
			require.ErrorContains(t, err, want)
			require.Zero(t, ns)
		})
	}
}

func FuzzParseRoute(f *testing.F) {
	for _, text := range []string{
		"default via 10.0.0.1 dev eth0 src 10.0.0.2 onlink", "blackhole 10.1.0.0/16", "::/0 dev a", "0.0.0.0/0 via ::1", "::ffff:1.2.3.4 dev a proto kernel",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseRoute(text)
		if err != nil {
			require.Zero(t, r)
			return
		}
		again, err := parseRoute(r.String())
		require.NoError(t, err, r)
		require.Equal(t, r, again)
	})
}
