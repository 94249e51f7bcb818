package topology

import (
	"net/netip"
	"testing"

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
		{"default via inet6 fe80::1 dev eth0", "0.0.0.0/0 via fe80::1 dev eth0"},
		// What does not decide where a packet goes.
		{"172.17.0.0/16 dev docker0 proto kernel scope link src 172.17.0.1 linkdown", "172.17.0.0/16 dev docker0 src 172.17.0.1"},
		{"default via fe80::1 dev eth0 proto ra metric 1024 expires 1700sec hoplimit 64 pref medium", "default via fe80::1 dev eth0"},
		{"unreachable default dev lo metric 4294967295 error -101 pref medium", "unreachable ::/0"},
		{"10.0.0.0/8 nhid 12 via 10.1.0.1 dev eth0 mtu lock 1400 advmss 1360 initcwnd 10 offload rt_offload", "10.0.0.0/8 via 10.1.0.1 dev eth0"},
		{"default via 10.0.0.1 dev eth0 table main", "default via 10.0.0.1 dev eth0"},
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
			require.Equal(t, r.Route, again.Route)
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
		{"default via x.x.x.x dev eth0", "the address was made unreadable"},
		{"10.X.X.0/24 dev eth0", "the address was made unreadable"},
		{"...", "lines were taken out of the text here"},
		{"10.0.0.0/8 via here", "here"},
		{"10.0.0.0/33 dev eth0", "33"},
		{"10.0.0.1/8 dev eth0", "want 10.0.0.0/8"},
		{"10.0.0.0/8 by eth0", `"by" is not known`},
		{"default via 10.0.0.1 nexthop via 10.0.0.2 dev eth0", "the route has a next hop in front of it"},
		{"default nexthop", "nexthop is not followed by anything"},
		{"default nexthop weight 1", "nexthop: want via ADDRESS or dev DEVICE"},
		{"default nexthop via here", "nexthop: "},
		{"10.0.0.0/8 nhid 7 proto zebra", "what ip nexthop show id 7 prints"},
		{"default tos 0x10 via 10.0.0.1", "natlab chooses routes by the destination alone"},
		{"default dev eth0 metric many", "many"},
		{"default via inet", "inet"},
	} {
		t.Run(row.text, func(t *testing.T) {
			t.Parallel()
			r, err := parseRoute(row.text)
			require.ErrorContains(t, err, row.want, row.text)
			require.Zero(t, r)
		})
	}
}

// A node uses those routes that the kernel would, and tells of the others.
func TestRoutesOfOtherTables(t *testing.T) {
	t.Parallel()
	const down = "172.17.0.0/16 dev docker0 linkdown"
	for _, row := range []struct {
		name, route string
		sysctl      string
		note        string // "": the route is used; "-": it is one of the kernel's own, and nothing is told
	}{
		{"another table", "default via 10.0.0.1 dev eth0 table 2", "", "no rule of routing (ip rule) that leads to table 2 is known"},
		{"the table default", "default via 10.0.0.1 dev eth0 table default", "", ""},
		{"a local address", "local 10.0.0.2 dev eth0 table local proto kernel scope host src 10.0.0.2", "", "-"},
		{"an address that was left out", "local 10.9.0.2 dev eth1 table local proto kernel scope host src 10.9.0.2", "", "add it by DEVICE=ADDRESS/LENGTH"},
		{"loopback", "local 127.0.0.0/8 dev lo table local proto kernel scope host src 127.0.0.1", "", "-"},
		{"a broadcast address", "broadcast 10.0.0.255 dev eth0 table local proto kernel scope link src 10.0.0.2", "", "-"},
		{"groups of IPv6", "multicast ff00::/8 dev eth0 table local proto kernel metric 256 pref medium", "", "-"},
		{"a device without its carrier", down, "", ""},
		{"which the node is told to mind", down, "net.ipv4.conf.docker0.ignore_routes_with_linkdown=1", "no carrier"},
		{"or its devices to come", down, "net.ipv4.conf.default.ignore_routes_with_linkdown=1", "no carrier"},
		{"all devices have no setting of this kind", down, "net.ipv4.conf.all.ignore_routes_with_linkdown=1", ""},
		{"a device that is down", "172.17.0.0/16 dev docker0 dead linkdown", "", "its device is down"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			words := NodeWords{Addresses: []string{"eth0=10.0.0.2/24"}, Routes: []string{row.route}}
			if row.sysctl != "" {
				words.Sysctls = []string{row.sysctl}
			}
			ns, notes, err := words.Node()
			require.NoError(t, err)
			switch row.note {
			case "":
				require.Empty(t, notes)
				require.Len(t, ns.Routes, 1)
			case "-":
				require.Empty(t, notes)
				require.Empty(t, ns.Routes)
			default:
				require.Len(t, notes, 1)
				require.Contains(t, notes[0], row.note)
				require.Empty(t, ns.Routes)
			}
		})
	}
}

func FuzzParseRoute(f *testing.F) {
	for _, text := range []string{
		"default via 10.0.0.1 dev eth0 src 10.0.0.2 onlink", "blackhole 10.1.0.0/16", "::/0 dev a", "0.0.0.0/0 via ::1", "::ffff:1.2.3.4 dev a proto kernel",
		"local 10.0.0.1 dev eth0 table local proto kernel", "default via inet6 fe80::1 dev a mtu lock 1400 metric 100 linkdown",
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
		require.Equal(t, r.Route, again.Route)
	})
}

// A route with several next hops is one by the first that is there, and has the others beside it.
func TestRouteOfSeveralNextHops(t *testing.T) {
	t.Parallel()
	const two = "10.7.0.0/16 nhid 12 proto bgp src 10.0.0.2 metric 20 \n\tnexthop via 10.0.0.7 dev eth0 weight 1 \n\tnexthop via 10.0.1.8 "
	for _, row := range []struct {
		name, route, sysctl string
		first               string
		others              []string
	}{
		{"two", two + "dev eth1 weight 1", "", "10.7.0.0/16 via 10.0.0.7 dev eth0 src 10.0.0.2", []string{"10.7.0.0/16 via 10.0.1.8 dev eth1 src 10.0.0.2"}},
		{"whose device an address tells", two + "weight 1", "", "10.7.0.0/16 via 10.0.0.7 dev eth0 src 10.0.0.2", []string{"10.7.0.0/16 via 10.0.1.8 dev eth1 src 10.0.0.2"}},
		{"one of them dead", "10.7.0.0/16 nexthop via 10.0.0.7 dev eth0 weight 1 dead linkdown nexthop via 10.0.1.8 dev eth1 weight 1", "", "10.7.0.0/16 via 10.0.1.8 dev eth1", nil},
		{"without its carrier", "10.7.0.0/16 nexthop via 10.0.0.7 dev eth0 weight 1 linkdown nexthop via 10.0.1.8 dev eth1", "", "10.7.0.0/16 via 10.0.0.7 dev eth0", []string{"10.7.0.0/16 via 10.0.1.8 dev eth1"}},
		{"which the node minds", "10.7.0.0/16 nexthop via 10.0.0.7 dev eth0 weight 1 linkdown nexthop via 10.0.1.8 dev eth1", "net.ipv4.conf.eth0.ignore_routes_with_linkdown=1", "10.7.0.0/16 via 10.0.1.8 dev eth1", nil},
		{"of IPv6", "default proto ra metric 1024 pref medium nexthop dev eth0 nexthop dev eth1", "", "::/0 dev eth0", []string{"::/0 dev eth1"}},
		{"the same one twice", "10.7.0.0/16 nexthop dev eth0 weight 2 nexthop dev eth0 weight 1", "", "10.7.0.0/16 dev eth0", []string{"10.7.0.0/16 dev eth0"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			words := NodeWords{Addresses: []string{"eth0=10.0.0.2/24", "eth1=10.0.1.2/24"}, Routes: []string{row.route}}
			if row.sysctl != "" {
				words.Sysctls = []string{row.sysctl}
			}
			ns, notes, err := words.Node()
			require.NoError(t, err)
			require.Empty(t, notes)
			require.Len(t, ns.Routes, 1)
			require.Equal(t, row.first, ns.Routes[0].String())
			var others []string
			for _, r := range ns.Others {
				others = append(others, r.String())
			}
			require.Equal(t, row.others, others)
		})
	}
}

// What IPv6 alone has in its routes tells that a route to everything is of IPv6.
func TestDefaultOfIPv6(t *testing.T) {
	t.Parallel()
	r, err := parseRoute("default dev wg0 metric 1024 pref medium")
	require.NoError(t, err)
	require.Equal(t, netip.PrefixFrom(netip.IPv6Unspecified(), 0), r.Dst)
}

// Where no address is told, routes tell of some: what the kernel made for them, and preferred sources.
func TestAddressesOfRoutes(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, routes string
		want         []string
	}{
		{"ip route", "default via 172.16.0.1 dev ens160 proto dhcp src 172.16.0.11 metric 100\n10.244.1.5 dev cali5 scope link\n172.16.0.0/24 dev ens160 proto kernel scope link src 172.16.0.11", []string{"ens160=172.16.0.11/24"}},
		{"a preferred source alone", "default via 172.16.0.1 dev ens160 src 172.16.0.11", []string{"ens160=172.16.0.11/32"}},
		{"the table local", "local 10.0.0.9 dev eth0 table local proto kernel scope host src 10.0.0.2\nlocal 10.0.0.2 dev eth0 table local proto kernel scope host src 10.0.0.2\n10.0.0.0/24 dev eth0 proto kernel scope link src 10.0.0.2\nlocal 127.0.0.0/8 dev lo table local proto kernel scope host src 127.0.0.1", []string{"eth0=10.0.0.2/24", "eth0=10.0.0.9/32"}},
		{"none", "10.244.1.0/24 dev cni0", nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			ns, notes, err := NodeWords{Routes: []string{row.routes}}.Node()
			require.NoError(t, err)
			var got []string
			for _, a := range ns.Addresses {
				require.True(t, a.NoRoute)
				got = append(got, a.Device+"="+a.Prefix.String())
			}
			require.Equal(t, row.want, got)
			require.Len(t, notes, len(row.want))
		})
	}
	ns, _, err := NodeWords{Addresses: []string{"eth0=10.0.0.3/24"}, Routes: []string{"10.0.0.0/24 dev eth0 src 10.0.0.2"}}.Node()
	require.NoError(t, err)
	require.Len(t, ns.Addresses, 1, "told ones are all")
}
