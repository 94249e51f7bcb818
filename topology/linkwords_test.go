package topology

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What people post of a node with a bridge: ip -d link, shortened where it goes on.
const bridgeText = `$ ip -d link
1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN mode DEFAULT group default qlen 1000
    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00 promiscuity 0 minmtu 0 maxmtu 0 addrgenmode eui64 numtxqueues 1
2: eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 9001 qdisc mq state UP mode DEFAULT group default qlen 1000
    link/ether 0a:58:c0:a8:01:0a brd ff:ff:ff:ff:ff:ff promiscuity 0 minmtu 68 maxmtu 9216 addrgenmode eui64
    altname enp0s3
    RX:  bytes packets errors dropped  missed   mcast
    1234567    8901      0       0       0       0
5: cni0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1450 qdisc noqueue state UP mode DEFAULT group default qlen 1000
    link/ether 66:b8:30:07:ed:60 brd ff:ff:ff:ff:ff:ff promiscuity 0  allmulti 0 minmtu 68 maxmtu 65535
    bridge forward_delay 1500 hello_time 200 max_age 2000 stp_state 0 priority 32768 vlan_filtering 0 nf_call_iptables 1 nf_call_ip6tables 0 nf_call_arptables 0
6: veth1@if2: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1450 qdisc noqueue master cni0 state UP mode DEFAULT group default qlen 1000
    link/ether 62:90:9c:3c:cc:d4 brd ff:ff:ff:ff:ff:ff link-netnsid 0 promiscuity 1  allmulti 1 minmtu 68 maxmtu 65535
    veth
    bridge_slave state forwarding priority 32 cost 2 hairpin on guard off root_block off fastleave off learning on isolated off locked off
7: wg1: <POINTOPOINT,NOARP,UP,LOWER_UP> mtu 1420 qdisc noqueue state UNKNOWN mode DEFAULT group default qlen 1000
    link/none promiscuity 0  allmulti 0 minmtu 0 maxmtu 2147483552
    wireguard addrgenmode none
8: bond0: <BROADCAST,MULTICAST,MASTER,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP mode DEFAULT group default qlen 1000
    link/ether 0a:58:c0:a8:01:0b brd ff:ff:ff:ff:ff:ff promiscuity 0
    bond mode active-backup active_slave eth1 miimon 100
9: eth1: <BROADCAST,MULTICAST,SLAVE,UP,LOWER_UP> mtu 1500 qdisc mq master bond0 state UP mode DEFAULT group default qlen 1000
    link/ether 0a:58:c0:a8:01:0b brd ff:ff:ff:ff:ff:ff promiscuity 0
    bond_slave state ACTIVE mii_status UP link_failure_count 0
10: tunl0@NONE: <NOARP,UP,LOWER_UP> mtu 1480 qdisc noqueue state UNKNOWN mode DEFAULT group default qlen 1000
    link/ipip 0.0.0.0 brd 0.0.0.0 promiscuity 0
    ipip any remote any local any ttl inherit nopmtudisc
`

// linkJSONText is what ip -j -d addr prints, in part.
const linkJSONText = `[{},{"ifindex":5,"ifname":"br9","mtu":1500,"link_type":"ether","address":"66:b8:30:07:ed:60","linkinfo":{"info_kind":"bridge","info_data":{"nf_call_iptables":0,"nf_call_ip6tables":1}},"addr_info":[]},
	{"ifindex":4,"link":"v1p","ifname":"v1","mtu":1500,"master":"br9","link_type":"ether","linkinfo":{"info_kind":"veth","info_slave_kind":"bridge","info_slave_data":{"hairpin":true,"isolated":false}}},
	{"ifname":"tap1","mtu":1500,"link_type":"ether","linkinfo":{"info_kind":"tun","info_data":{"type":"tap"}}},{"ifname":"tun1","mtu":1500,"link_type":"none","linkinfo":{"info_kind":"tun","info_data":{"type":"tun"}}}]`

// deviceWords are devices in words: name, kind, what tells of it, the bridge that it is a port of, and the switches.
func deviceWords(ns Namespace) (out []string) {
	for _, d := range ns.Devices {
		text := fmt.Sprint(d.Name, " ", d.Kind, " ", d.KindFrom)
		if d.Master != "" {
			text += " of " + d.Master
		}
		for _, s := range []struct {
			name string
			Switch
		}{{"hairpin", d.Hairpin}, {"calls", d.Calls}, {"calls6", d.Calls6}} {
			if s.Switch != SwitchOpen {
				text += " " + s.name + " " + s.String()
			}
		}
		out = append(out, text)
	}
	return out
}

// What each program tells, and several together.
func TestLinks(t *testing.T) {
	t.Parallel()
	const port = "4: v1@if3: <BROADCAST,UP> mtu 1500 master cni0 state forwarding priority 32 cost 2\n    hairpin off guard off isolated off\n"
	for _, row := range []struct {
		name    string
		texts   []string
		devices []string
	}{
		{"ip -d link", []string{bridgeText}, []string{
			"lo loopback told", "eth0 veth told", "cni0 bridge told calls on calls6 off", "veth1 veth told of cni0 hairpin on", "wg1 point-to-point told", "bond0 veth told",
			"eth1 veth told", "tunl0 ipip told",
		}},
		{"bridge -d link", []string{port}, []string{"v1 veth told of cni0 hairpin off", "cni0 bridge told"}},
		{"bridge link", []string{strings.SplitAfter(port, "\n")[0]}, []string{"v1 veth told of cni0", "cni0 bridge told"}},
		{"of an old release", []string{"4: v1 state UP @(null): <BROADCAST,UP> mtu 1500 master cni0 state forwarding priority 32 cost 2\n"}, []string{"v1 veth told of cni0", "cni0 bridge told"}},
		{"ip link alone", []string{"2: lan: <BROADCAST,UP> mtu 1500 qdisc noqueue state UP\n    link/ether 66:b8:30:07:ed:60 brd ff:ff:ff:ff:ff:ff\n4: v1@if3: <UP> mtu 1500 qdisc noqueue master lan state UP\n    link/ether 66:b8:30:07:ed:61 brd ff:ff:ff:ff:ff:ff\n"}, []string{"lan veth open", "v1 veth told"}},
		{"and bridge link", []string{"2: lan: <BROADCAST,UP> mtu 1500 qdisc noqueue state UP\n    link/ether 66:b8:30:07:ed:60 brd ff:ff:ff:ff:ff:ff\n", strings.Replace(port, "cni0", "lan", 1)}, []string{"lan bridge told", "v1 veth told of lan hairpin off"}},
		{"a bond is no bridge", []string{"4: p1: <UP> mtu 1500 qdisc mq master bond0 state UP\n    link/ether 66:b8:30:07:ed:61 brd ff:ff:ff:ff:ff:ff\n"}, []string{"p1 veth open"}},
		{"ip -j -d addr", []string{linkJSONText}, []string{"br9 bridge told calls off calls6 on", "v1 veth told of br9 hairpin on", "tap1 veth told", "tun1 point-to-point told"}},
		{"bridge -j -d link", []string{`[{"ifname":"v1","link":"v1p","mtu":1500,"master":"br9","state":"forwarding","priority":32,"hairpin":false}]`}, []string{"v1 veth told of br9 hairpin off", "br9 bridge told"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			ns, notes, err := NodeWords{Links: row.texts, Routes: []string{"blackhole 10.0.0.0/8"}}.Node()
			require.NoError(t, err)
			require.Empty(t, notes)
			require.Equal(t, row.devices, deviceWords(ns))
		})
	}
}

// The addresses that ip addr prints, each once, and the route to a peer.
func TestLinkAddresses(t *testing.T) {
	t.Parallel()
	const text = `1: lo: <LOOPBACK,UP> mtu 65536 qdisc noqueue state UNKNOWN group default qlen 1000
    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00
    inet 127.0.0.1/8 scope host lo
       valid_lft forever preferred_lft forever
    inet 10.9.9.9/32 scope global lo
    inet6 ::1/128 scope host noprefixroute
2: eth0: <BROADCAST,UP> mtu 1500 qdisc mq state UP group default qlen 1000
    link/ether 0a:58:c0:a8:01:0a brd ff:ff:ff:ff:ff:ff
    inet 192.168.1.10/24 metric 100 brd 192.168.1.255 scope global dynamic eth0
       valid_lft 3000sec preferred_lft 3000sec
    inet 192.168.1.11/24 scope global secondary eth0:1
    inet6 fe80::858:c0ff:fea8:10a/64 scope link
    inet6 2001:db8::a/64 scope global tentative dadfailed
3: ppp0: <POINTOPOINT,UP> mtu 1400 qdisc mq state UNKNOWN
    link/ppp
    inet 10.8.0.1 peer 10.8.0.2/32 scope global ppp0
`
	const one = "2: eth0    inet 192.168.1.10/24 brd 192.168.1.255 scope global eth0\\       valid_lft forever preferred_lft forever\n"
	for _, row := range []struct {
		name              string
		texts             []string
		addresses, routes string
		notes             string
	}{
		{"ip addr", []string{text}, "10.9.9.9/32 dev lo, 192.168.1.10/24 dev eth0, 192.168.1.11/24 dev eth0, fe80::858:c0ff:fea8:10a/64 dev eth0 scope link, 10.8.0.1/32 dev ppp0", "10.8.0.2 dev ppp0 proto kernel scope link", "link: eth0: 2001:db8::a/64 is not used: another host may have it (duplicate address detection)"},
		{"ip -o addr, twice", []string{one + one, one}, "192.168.1.10/24 dev eth0", "", ""},
		{"ip -j addr", []string{`[{"ifname":"eth0","addr_info":[{"family":"inet","local":"192.168.1.10","prefixlen":24,"scope":"global"},{"family":"inet6","local":"fe80::1","prefixlen":64,"scope":"link"}]},{"ifname":"ppp0","addr_info":[{"local":"10.8.0.1","address":"10.8.0.2","prefixlen":32,"scope":"global"}]}]`}, "192.168.1.10/24 dev eth0, fe80::1/64 dev eth0 scope link, 10.8.0.1/32 dev ppp0", "10.8.0.2 dev ppp0 proto kernel scope link", ""},
		{"what is not modelled is told", []string{"4: v1@if3: <UP> mtu 1500 master br9 state forwarding priority 32 cost 2\n    hairpin off isolated on\n", one}, "192.168.1.10/24 dev eth0", "", "link: v1: isolated on is not modelled"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			ns, notes, err := NodeWords{Links: row.texts}.Node()
			require.NoError(t, err)
			require.Equal(t, row.addresses, strings.Join(texts(ns.Addresses), ", "))
			require.Equal(t, row.routes, strings.Join(texts(ns.Routes), ", "))
			require.Equal(t, row.notes, strings.Join(notes, ", "))
		})
	}
}

// What is no such text is refused, with the line.
func TestWrongLinks(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, text, want string }{
		{"nothing", "\n", "link: there is no device in it: want what ip -d link, ip -d addr or bridge -d link prints"},
		{"arp's", "Address                  HWtype  HWaddress           Flags Mask            Iface\n", `link: line 1: "Address                  HWtype  HWaddress           Flags Mask            Iface" is no line of ip link, ip addr or bridge link`},
		{"an address of no device", "    inet 10.0.0.1/24\n", `link: line 1: "    inet 10.0.0.1/24" is no line of ip link, ip addr or bridge link`},
		{"no address", "2: eth0: <UP> mtu 1500\n    inet 10.0.0/24 scope global eth0\n", `link: line 2: "10.0.0/24" is no address: netip.ParsePrefix("10.0.0/24"): ParseAddr("10.0.0"): IPv4 address too short`},
		{"no peer", "2: eth0: <UP> mtu 1500\n    inet 10.0.0.1 peer x scope global eth0\n", `link: line 2: peer "x" is no address: netip.ParsePrefix("x"): no '/'`},
		{"half an address", "2: eth0: <UP> mtu 1500\n    inet\n", "link: line 2: an address is missing"},
		{"no number", "2: eth0: <UP> mtu many qdisc mq\n", "link: line 1: mtu many: want a number"},
		{"no JSON", "[{]", "link: not what ip -j or bridge -j prints: invalid character ']' looking for beginning of object key string"},
		{"no address in JSON", `[{"ifname":"a","addr_info":[{"local":"10.0.0.1","prefixlen":33}]}]`, "link: a: 10.0.0.1/33 is no address"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			_, _, err := NodeWords{Links: []string{row.text}}.Node()
			require.EqualError(t, err, row.want)
		})
	}
}

func FuzzLinks(f *testing.F) {
	f.Add(bridgeText)
	f.Add(`[{"ifname":"v1","link":"v1p","mtu":1500,"master":"br9","priority":32,"hairpin":false,"addr_info":[{"local":"10.0.0.1","prefixlen":24}]}]`)
	f.Fuzz(func(t *testing.T, text string) {
		ns, _, err := NodeWords{Links: []string{text}}.Node()
		if err != nil {
			require.Empty(t, ns)
			return
		}
		require.NotEmpty(t, ns.Devices)
		for _, a := range ns.Addresses {
			require.True(t, a.Prefix.IsValid())
		}
	})
}

func TestVLANFiltering(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"3: br0: <UP> mtu 1500\n    link/ether 02:00:00:00:00:01 brd ff:ff:ff:ff:ff:ff promiscuity 0\n    bridge forward_delay 0 vlan_filtering 1 vlan_protocol 802.1Q\n":      true,
		"3: br0: <UP> mtu 1500\n    link/ether 02:00:00:00:00:01 brd ff:ff:ff:ff:ff:ff promiscuity 0\n    bridge forward_delay 0 vlan_filtering 0 vlan_protocol 802.1Q\n":      false,
		`[{"ifname":"br0","link_type":"ether","promiscuity":0,"linkinfo":{"info_kind":"bridge","info_data":{"forward_delay":0,"vlan_filtering":1,"vlan_protocol":"802.1Q"}}}]`: true,
	} {
		ns, notes, err := NodeWords{Links: []string{text}}.Node()
		require.NoError(t, err)
		require.Empty(t, notes)
		require.Equal(t, want, ns.Devices[0].Filters, text)
	}
}
