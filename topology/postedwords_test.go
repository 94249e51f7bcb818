package topology

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// Devices and addresses in short forms and those of net-tools are the same as ip addr prints them.
func TestLinksAsPeoplePostThem(t *testing.T) {
	t.Parallel()
	const want = "cni0=10.42.0.1/24 eth0=192.168.1.20/24 tun0=10.9.0.1/32 "
	for name, text := range map[string]string{
		"ip -br addr":     "lo               UNKNOWN        127.0.0.1/8 ::1/128 \neth0             UP             192.168.1.20/24 metric 100 \ncni0@if5         UP             10.42.0.1/24 \ntun0             UNKNOWN        10.9.0.1 peer 10.9.0.2/32 \nwlan0            DOWN           \n",
		"ifconfig":        "eth0: flags=4163<UP,BROADCAST,RUNNING,MULTICAST>  mtu 1500\n        inet 192.168.1.20  netmask 255.255.255.0  broadcast 192.168.1.255\n        ether 52:54:00:12:34:56  txqueuelen 1000  (Ethernet)\n        RX packets 1000  bytes 100 (100.0 B)\n\ncni0: flags=4099<UP>  mtu 1450\n        inet 10.42.0.1  netmask 255.255.255.0\n\ntun0: flags=4305<UP,POINTOPOINT>  mtu 1500\n        inet 10.9.0.1  netmask 255.255.255.255  destination 10.9.0.2\n",
		"with prompts":    "[root@node ~]# ip a\n2: eth0: <UP> mtu 1500\n    inet 192.168.1.20/24 scope global eth0\n       valid_lft forever preferred_lft forever\n    inet6 fe80::xxxx/64 scope link\n3: cni0: <UP> mtu 1450\n    inet 10.42.0.1/24 scope global cni0\n4: tun0: <UP> mtu 1450\n    inet 10.9.0.1 peer 10.9.0.2/32 scope global tun0\n[root@node ~]#\n",
		"without blanks":  "2: eth0: <UP> mtu 1500\nlink/ether 52:54:00:12:34:56 brd ff:ff:ff:ff:ff:ff\ninet 192.168.1.20/24 scope global eth0\nvalid_lft forever preferred_lft forever\n3: cni0: <UP> mtu 1450\ninet 10.42.0.1/24 scope global cni0\n4: tun0: <UP> mtu 1450\ninet 10.9.0.1 peer 10.9.0.2/32 scope global tun0\n",
		"ifconfig of old": "eth0      Link encap:Ethernet  HWaddr 52:54:00:12:34:56\n          inet addr:192.168.1.20  Bcast:192.168.1.255  Mask:255.255.255.0\n          UP BROADCAST RUNNING MULTICAST  MTU:1500  Metric:1\n\ncni0      Link encap:Ethernet  HWaddr 52:54:00:12:34:57\n          inet addr:10.42.0.1  Mask:255.255.255.0\ntun0      Link encap:UNSPEC  HWaddr 00-00\n          inet addr:10.9.0.1  P-t-P:10.9.0.2  Mask:255.255.255.255\n",
	} {
		ns, _, err := NodeWords{Links: []string{text}}.Node()
		require.NoError(t, err, name)
		got := ""
		for _, device := range []string{"cni0", "eth0", "tun0"} {
			for _, a := range ns.Addresses {
				if a.Device == device {
					got += device + "=" + a.Prefix.String() + " "
				}
			}
		}
		require.Equal(t, want, got, name)
		require.Len(t, ns.Routes, 1, "%s: the peer's", name)
		require.Equal(t, "10.9.0.2/32", ns.Routes[0].Dst.String(), name)
	}
	ns, _, err := NodeWords{Links: []string{"eth0             UP             52:54:00:12:34:56 <BROADCAST,MULTICAST,UP,LOWER_UP> \nveth1@if2        UP             c6:a1:02:55:66:77 <BROADCAST,UP> \n", "eth0 UP 2001:db8::5/64 fe80::1/64\n"}}.Node()
	require.NoError(t, err, "ip -br link")
	require.Len(t, ns.Addresses, 2)
	require.Equal(t, "2001:db8::5/64", ns.Addresses[0].Prefix.String())
	ns, _, err = NodeWords{Links: []string{"bridge name\tbridge id\t\tSTP enabled\tinterfaces\nbr0\t\t8000.b6c25a112233\tno\t\tveth1\n\t\t\t\t\t\t\tveth2\nbr1\t\t8000.02420a000001\tyes\t\t\n"}}.Node()
	require.NoError(t, err, "brctl show")
	var ports []string
	for _, d := range ns.Devices {
		ports = append(ports, fmt.Sprintf("%t %s of %s", d.Kind == Bridge, d.Name, d.Master))
	}
	require.Subset(t, ports, []string{"true br0 of ", "true br1 of ", "false veth1 of br0", "false veth2 of br0"})
	for _, text := range []string{"eth0 SOMEHOW 10.0.0.1/24\n", "eth0 UP nonsense\n", "eth0: flags=1<UP>  mtu 1500\n        inet 10.0.0.1  netmask 255.0.255.0\n"} {
		_, _, err := NodeWords{Links: []string{text}}.Node()
		require.Error(t, err, text)
	}
}

// Routes and rules in tables and as JSON are the same as ip(8) prints them.
func TestRoutesAsPeoplePostThem(t *testing.T) {
	t.Parallel()
	routes := func(texts ...string) (out []string) {
		ns, _, err := NodeWords{Routes: texts, Addresses: []string{"eth0=192.168.1.20/24"}}.Node()
		require.NoError(t, err)
		for _, r := range append(ns.Routes, ns.Others...) {
			out = append(out, r.String())
		}
		return out
	}
	require.Equal(t, routes("10.42.0.0/16 dev cni0", "default via 192.168.1.1 dev eth0 metric 100", "unreachable 10.9.0.0/16"), routes(`Kernel IP routing table
Destination     Gateway         Genmask         Flags Metric Ref    Use Iface
0.0.0.0         192.168.1.1     0.0.0.0         UG    100    0        0 eth0
10.42.0.0       0.0.0.0         255.255.0.0     U     0      0        0 cni0
10.9.0.0        -               255.255.0.0     !     0      -        0 -
10.8.0.0        0.0.0.0         255.255.0.0     H     0      0        0 eth1
`), "route -n")
	require.Equal(t, routes("10.42.0.0/16 dev cni0", "default proto static metric 100 nexthop via 192.168.1.1 dev eth0 weight 1 nexthop via 192.168.1.2 dev eth0 weight 1", "blackhole 10.7.0.0/16"),
		routes(`[{"dst":"default","protocol":"static","metric":100,"flags":[],"nexthops":[{"gateway":"192.168.1.1","dev":"eth0","weight":1,"flags":[]},{"gateway":"192.168.1.2","dev":"eth0","weight":1,"flags":[]}]},
{"type":"unicast","dst":"10.42.0.0/16","dev":"cni0","scope":"link","flags":["linkdown"]},{"type":"blackhole","dst":"10.7.0.0/16","flags":[]}]`), "ip -j route")
	for _, row := range []struct{ words, json string }{
		{"0: from all lookup local", `[{"priority":0,"src":"all","table":"local"}]`},
		{"100: not from 10.0.0.0/8 fwmark 0x1/0xff iif eth0 lookup 7 suppress_prefixlength 0", `[{"priority":100,"not":null,"src":"10.0.0.0","srclen":8,"fwmark":"0x1","fwmask":"0xff","iif":"eth0","table":"7","suppress_prefixlen":0}]`},
		{"7: from all to 10.1.0.0/16 uidrange 0-99 ipproto tcp dport 80-90 lookup main", `[{"priority":7,"src":"all","dst":"10.1.0.0","dstlen":16,"uid_start":0,"uid_end":99,"ipproto":"tcp","dport_start":80,"dport_end":90,"table":"main"}]`},
		{"8: from all unreachable", `[{"priority":8,"src":"all","action":"unreachable"}]`},
		{"1000: from all lookup [l3mdev-table]", `[{"priority":1000,"src":"all","l3mdev":null}]`},
	} {
		want, _, err := NodeWords{Rules: []string{row.words}}.Node()
		require.NoError(t, err)
		got, _, err := NodeWords{Rules: []string{row.json}}.Node()
		require.NoError(t, err, row.json)
		require.Equal(t, want.Rules, got.Rules, row.json)
	}
	for _, text := range []string{`[{"dst":"default","gateway":"192.168.1.1","dev":"eth0","colour":"red"}]`, `[{"dst":`, `[{"dst":"default","encap":"mpls","gateway":"192.168.1.1","dev":"eth0"}]`} {
		_, _, err := NodeWords{Routes: []string{text}}.Node()
		require.Error(t, err, text)
	}
	_, _, err := NodeWords{Rules: []string{`[{"priority":1,"src":"all","table":"7","colour":"red"}]`}}.Node()
	require.ErrorContains(t, err, `"colour" is not known`)
}
