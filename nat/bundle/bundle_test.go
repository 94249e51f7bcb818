package bundle

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/diagnosis"
	"natlab/nat/gateway"
	"natlab/nat/rules"
	"natlab/topology"
	"natlab/topology/dump"
)

// text is a bundle of sections, each a name and what it printed.
func text(sections ...string) string {
	var b strings.Builder
	b.WriteString("=== natlab bundle 1\n")
	for i := 0; i < len(sections); i += 2 {
		b.WriteString("=== " + sections[i] + "\n" + sections[i+1] + "\n=== exit 0\n")
	}
	return b.String() + "=== end\n"
}

func TestSockets(t *testing.T) {
	t.Parallel()
	addr := netip.MustParseAddr
	for _, row := range []struct {
		name, text string
		want       []gateway.Socket
	}{
		{"none", "Netid State  Recv-Q Send-Q Local Address:Port Peer Address:PortProcess\n", []gateway.Socket{}},
		{"of IPv4", "tcp   LISTEN 0 128 127.0.0.1:631 0.0.0.0:* users:((\"cupsd\",pid=1,fd=7))\n", []gateway.Socket{{Proto: nat.TCP, Addr: addr("127.0.0.1"), Port: 631}}},
		{"any of IPv4", "udp UNCONN 0 0 0.0.0.0:68 0.0.0.0:*\n", []gateway.Socket{{Proto: nat.UDP, Addr: addr("0.0.0.0"), Port: 68}}},
		{"on a device", "udp UNCONN 0 0 127.0.0.53%lo:53 0.0.0.0:*\n", []gateway.Socket{{Proto: nat.UDP, Addr: addr("127.0.0.53"), Port: 53}}},
		{"of both families", "tcp LISTEN 0 4096 *:10250 *:*\n", []gateway.Socket{{Proto: nat.TCP, Port: 10250}}},
		{"any of IPv6, which may be both", "tcp LISTEN 0 128 [::]:22 [::]:*\ntcp LISTEN 0 128 :::23 :::*\n", []gateway.Socket{{Proto: nat.TCP, Port: 22}, {Proto: nat.TCP, Port: 23}}},
		{"link-local", "udp UNCONN 0 0 [fe80::1]%eth0:546 [::]:*\n", []gateway.Socket{{Proto: nat.UDP, Addr: addr("fe80::1"), Port: 546}}},
		{"another protocol", "sctp LISTEN 0 128 0.0.0.0:9 0.0.0.0:*\n", []gateway.Socket{}},
		{
			"rows of /proc", "# /proc/net/tcp\n   0: 0100007F:0035 00000000:0000 0A 00000000:00000000\n# /proc/net/udp6\n 1: 00000000000000000000000000000000:0044 00000000000000000000000000000000:0000 07\n# /proc/net/tcp6\n 1: 000080FE000000000000000001000000:0050 0:0 0A\n",
			[]gateway.Socket{{Proto: nat.TCP, Addr: addr("127.0.0.1"), Port: 53}, {Proto: nat.UDP, Port: 68}, {Proto: nat.TCP, Addr: addr("fe80::1"), Port: 80}},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			n, err := Read(strings.NewReader(text("sockets", row.text)))
			require.NoError(t, err)
			require.Equal(t, row.want, n.Facts.Sockets)
		})
	}
}

// What a bundle does not tell is noted, and doubted where it decides.
func TestUnknown(t *testing.T) {
	t.Parallel()
	n, err := Read(strings.NewReader("=== natlab bundle 1\n=== ipset save\n\n=== ! ipset: not found\n=== exit 127\n=== sysctl\n\n=== ! no\n=== exit 1\n=== iptables-save\n\n=== ! denied\n=== exit 4\n"))
	require.NoError(t, err)
	require.True(t, n.Facts.NoAddresses)
	require.Nil(t, n.Facts.Sockets)
	require.Nil(t, n.Facts.Sets)
	require.Equal(t, []string{
		"the bundle is cut off: what is not in it may be on the node",
		`it has no section "ip -d address": no address and no device of the node is known`,
		`it has no section "ip -4 rule": rules of routing are taken as the kernel has them at first`,
		`it has no section "ip -4 route show table all": no route of that family is known`,
		`it has no section "ip -6 rule": rules of routing are taken as the kernel has them at first`,
		`it has no section "ip -6 route show table all": no route of that family is known`,
		`section "sysctl": no: settings are taken as a router has them: forwarding is on`,
		`section "iptables-save": denied: its rules are not known`,
		"it has no rules of iptables: none of its programs printed any",
		`section "ipset save": the node has no such program: what rules ask of sets is not known`,
		`it has no section "sockets": every port of the node counts as one where a process listens`,
	}, n.Notes)
	require.Len(t, n.Doubts, 7, "%v", n.Doubts)
}

// nft's own tables are followed, but for those that iptables-nft prints, and those of bridges and devices are kept; of a listing that cannot be read only
// their names are known.
func TestForeignTables(t *testing.T) {
	t.Parallel()
	const listing = `table ip nat {
	chain PREROUTING {
		type nat hook prerouting priority dstnat; policy accept;
	}
}
table ip filter {
	chain mine {
		type filter hook input priority filter; policy accept;
		tcp dport 22 drop
	}
}
table ip mangle {
	chain forward {
		type filter hook forward priority mangle; policy accept;
	}
}
table bridge nat {
	chain in {
		type filter hook prerouting priority 0; policy accept;
	}
}
table inet firewalld { # progname firewalld
	chain filter_FORWARD {
		type filter hook forward priority filter + 10; policy accept;
		drop
	}
}
table ip libvirt_network {
	chain x {
	}
}
table ip podman {
	chain post {
		type nat hook postrouting priority srcnat; policy accept;
	}
}
table netdev cilium {
	chain in {
		type filter hook ingress device "eth0" priority 0; policy accept;
	}
}
`
	of := func(table, network string) diagnosis.Doubt {
		d := diagnosis.Doubt{What: "what the rules of nft table " + table + " do, which natlab does not read"}
		d.Of, _ = netip.ParsePrefix(network)
		return d
	}
	for _, row := range []struct {
		listing string
		tables  []string
		doubts  []diagnosis.Doubt
	}{
		{listing, []string{"ip filter", "ip mangle", "bridge nat", "inet firewalld", "ip libvirt_network", "ip podman", "netdev cilium"}, nil},
		{listing + "nonsense\n", nil, []diagnosis.Doubt{of("ip filter", "0.0.0.0/0"), of("ip mangle", "0.0.0.0/0"), of("inet firewalld", ""), of("ip podman", "0.0.0.0/0"), of("netdev cilium", "")}},
	} {
		n, err := Read(strings.NewReader(text("iptables-nft-save", "# Table `filter' is incompatible, use 'nft' tool.\n*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n",
			"iptables-legacy-save", "*mangle\n:FORWARD ACCEPT [0:0]\nCOMMIT\n", "nft list ruleset", row.listing)))
		require.NoError(t, err)
		var doubts []diagnosis.Doubt
		for _, d := range n.Doubts {
			if strings.Contains(d.What, "nft table") {
				doubts = append(doubts, d)
			}
		}
		require.Equal(t, row.doubts, doubts)
		var tables []string
		for i := range n.Facts.NFT.Tables {
			tables = append(tables, n.Facts.NFT.Tables[i].FullName())
		}
		require.Equal(t, row.tables, tables)
	}
}

// What else a section tells.
func TestSections(t *testing.T) {
	t.Parallel()
	n, err := Read(strings.NewReader(text(
		"hostname", "n1\n", "date -u +%s", "2026-01-02T03:04:05Z\n", "uname -r", "6.1.0-18-amd64\n", "ip xfrm policy count", "\t SPD IN  0 OUT 0 FWD 0\n",
		"ip -d address", "2: cni0: <UP> mtu 1500\n    link/ether 02:00:00:00:00:01 brd ff:ff:ff:ff:ff:ff promiscuity 0\n    bridge forward_delay 1500\n    inet 10.42.0.1/24 scope global cni0\n"+
			"3: v5@if2: <UP> mtu 1500 master cni0\n    link/ether 02:00:00:00:00:02 brd ff:ff:ff:ff:ff:ff promiscuity 1\n    veth\n    bridge_slave state forwarding hairpin off\n"+
			"4: kube-ipvs0: <NOARP> mtu 1500\n    link/ether 02:00:00:00:00:03 brd ff:ff:ff:ff:ff:ff promiscuity 0\n    dummy\n    inet 10.96.0.1/32 scope global kube-ipvs0\n",
		"bridge fdb show", "02:00:00:00:00:55 dev v5 master cni0\n33:33:00:00:00:01 dev v5 self permanent\n",
		"ip neigh", "10.42.0.5 dev cni0 lladdr 02:00:00:00:00:55 REACHABLE\n10.42.0.9 dev cni0 FAILED\n",
		"ip -4 route show table all", "10.42.0.0/24 dev cni0 proto kernel scope link src 10.42.0.1\n10.7.0.0/16 \n\tnexthop via 10.42.0.7 dev cni0 weight 1 \n\tnexthop via 10.42.0.8 dev cni0 weight 1 \n",
		"ip -6 route show table all", "",
		"sysctl", "net.ipv4.conf.cni0.forwarding = 0\nnet.ipv4.ip_forward = 1\nnet.core.x = a\n  b = c\n",
	)))
	require.NoError(t, err)
	require.Equal(t, "n1", n.Name)
	require.Equal(t, "2026-01-02T03:04:05Z", n.Time)
	require.Equal(t, nat.Kernel{Major: 6, Minor: 1}, n.Facts.Kernel)
	require.Equal(t, rules.No, n.Facts.IPsec)
	require.Equal(t, []netip.Addr{netip.MustParseAddr("10.42.0.5")}, n.Namespace.Devices[1].Behind)
	require.Equal(t, []topology.Sysctl{
		{Key: "net/ipv4/ip_forward", Value: "1"},
		{Key: "net/ipv4/conf/cni0/forwarding", Value: "0"},
		{Key: "net/core/x", Value: "a"},
		{Key: "net/bridge/bridge-nf-call-iptables", Value: "0"},
		{Key: "net/bridge/bridge-nf-call-ip6tables", Value: "0"},
	}, n.Namespace.Sysctls, "what sets others comes first; br_netfilter is not loaded")
	require.Equal(t, "10.7.0.0/16 via 10.42.0.7 dev cni0", n.Namespace.Routes[1].String())
	require.Equal(t, "10.7.0.0/16 via 10.42.0.8 dev cni0", n.Namespace.Others[0].String())
	require.Contains(t, n.Doubts, diagnosis.Doubt{What: "where IPVS (kube-ipvs0) sends the packet", Of: netip.MustParsePrefix("10.96.0.1/32")})
}

// Routes that name their next hops by nhid lead where ip nexthop tells, and where it does not it is not known.
func TestNextHopObjects(t *testing.T) {
	t.Parallel()
	n, err := Read(strings.NewReader(text(
		"ip -d address", "2: eth0: <UP> mtu 1500\n    link/ether 02:00:00:00:00:01 brd ff:ff:ff:ff:ff:ff promiscuity 0\n    inet 10.0.0.2/24 scope global eth0\n",
		"ip -4 route show table all", "10.1.0.0/16 nhid 3 proto zebra metric 20\n10.2.0.0/16 nhid 1\n10.3.0.0/16 nhid 4\n10.4.0.0/16 nhid 9\n10.5.0.0/16 nhid 5\n10.6.0.0/16 nhid 1 via 10.0.0.1 dev eth0\n",
		"ip -6 route show table all", "default dev eth0 metric 1024\nfd00::/8 nhid 8\nunreachable default dev lo metric 4294967295 error -101\n",
		"ip nexthop", "id 1 via 10.0.0.1 dev eth0 scope link proto zebra\nid 2 via 10.0.0.7 dev eth0 onlink\nid 3 group 1/2,3 proto zebra\nid 4 blackhole\nid 5 group 1/6\nid 8 via fe80::1 dev eth0\n",
	)))
	require.NoError(t, err)
	var routes []string
	for _, r := range n.Namespace.Routes {
		routes = append(routes, r.Dst.String()+": "+r.String())
	}
	require.Equal(t, []string{
		"10.2.0.0/16: 10.2.0.0/16 via 10.0.0.1 dev eth0", "10.3.0.0/16: blackhole 10.3.0.0/16", "10.6.0.0/16: 10.6.0.0/16 via 10.0.0.1 dev eth0",
		"fd00::/8: fd00::/8 via fe80::1 dev eth0", "10.1.0.0/16: 10.1.0.0/16 via 10.0.0.1 dev eth0", "::/0: ::/0 dev eth0", "::/0: unreachable ::/0",
	}, routes)
	require.Equal(t, "10.1.0.0/16 via 10.0.0.7 dev eth0 onlink", n.Namespace.Others[0].String())
	require.Contains(t, n.Doubts, diagnosis.Doubt{What: "where the next hop 9 of route 10.4.0.0/16 leads (ip nexthop)", Of: netip.MustParsePrefix("10.4.0.0/16"), Route: true})
}

// Pods of macvlan and ipvlan are beside the node's rules, and it does not reach its own: packets for them are in doubt, of CNI's files.
func TestPodsUponADevice(t *testing.T) {
	t.Parallel()
	const (
		links = "2: eth0: <UP> mtu 1500\n    link/ether 02:00:00:00:00:01 brd ff:ff:ff:ff:ff:ff promiscuity 1\n    inet 192.168.1.20/24 scope global eth0\n"
		what  = "whether it is a pod of CNI's network lan, %s on top of eth0: what eth0 carries for one meets no rule of the node, and the node itself reaches none of its own"
	)
	for _, row := range []struct{ name, conf, kind, of string }{
		{"one plugin", `{"name": "lan", "type": "macvlan", "master": "eth0", "ipam": {"type": "host-local", "subnet": "192.168.1.0/24", "rangeStart": "192.168.1.192", "rangeEnd": "192.168.1.223"}}`, "macvlan", "192.168.1.192/27"},
		{"a list", `{"name": "lan", "plugins": [{"type": "ipvlan", "mode": "l2", "master": "eth0", "ipam": {"ranges": [[{"subnet": "10.9.0.0/16"}]]}}, {"type": "tuning"}]}`, "ipvlan", "10.9.0.0/16"},
		{"the device of the default route", `{"name": "lan", "type": "macvlan", "ipam": {"addresses": [{"address": "10.8.0.7/24"}]}}`, "macvlan", "10.8.0.0/24"},
		{"whereabouts", `{"name": "lan", "type": "macvlan", "master": "eth0", "ipam": {"range": "10.7.0.1-10.7.0.9/24"}}`, "macvlan", "10.7.0.0/24"},
		{"DHCP", `{"name": "lan", "type": "macvlan", "master": "eth0", "ipam": {"type": "dhcp"}}`, "macvlan", "192.168.1.0/24"},
		{"another", `{"name": "lan", "type": "bridge", "bridge": "cni0"}`, "", ""},
		{"what is no JSON", `{`, "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			n, err := Read(strings.NewReader(text("ip -d address", links, "ip -4 route show table all", "default via 192.168.1.1 dev eth0\n192.168.1.0/24 dev eth0 scope link\n", "ip -4 rule", "0: from all lookup local\n32766: from all lookup main\n", "ip -6 rule", "", "ip -6 route show table all", "",
				"sysctl", "net.ipv4.ip_forward = 1\n", "iptables-save", "*filter\nCOMMIT\n", "cat /etc/cni/net.d/10-lan.conf", row.conf)))
			require.NoError(t, err)
			if row.kind == "" {
				require.Empty(t, n.Doubts)
				return
			}
			require.Equal(t, []diagnosis.Doubt{{What: fmt.Sprintf(what, row.kind), Of: netip.MustParsePrefix(row.of), Pods: true}}, n.Doubts)
			s, err := gateway.ParseSpec("tcp 192.168.1.20:40000 > " + netip.MustParsePrefix(row.of).Addr().Next().String() + ":80")
			require.NoError(t, err)
			c := n.Case(s.Ask)
			x, err := gateway.Explain(c.Namespace, c.Rules, c.Facts, c.Ask, nil)
			require.NoError(t, err)
			a := c.Diagnose(x.Prediction)
			require.Equal(t, diagnosis.Depends, a.Verdict, a.Why)
			require.Contains(t, a.Why, "reaches none of its own")
		})
	}
}

// A device that hears another hardware address than its own has a macvlan on top of it, whose end may be a pod's: which host that is is not told, but
// one that told the node another hardware address is not it.
func TestMacvlansElsewhere(t *testing.T) {
	t.Parallel()
	const links = "2: eth0: <UP> mtu 1500\n    link/ether 02:00:00:00:00:01 brd ff:ff:ff:ff:ff:ff promiscuity 1\n    inet 192.168.1.20/24 scope global eth0\n"
	const group, own, other = "33:33:00:00:00:01 dev eth0 self permanent\n", "02:00:00:00:00:01 dev eth0 self permanent\n", "02:00:00:00:00:77 dev eth0 self permanent\n"
	for _, row := range []struct {
		name, fdb, neighbours, to string
		want                      diagnosis.Word
	}{
		{"a macvlan elsewhere", group + other, "", "192.168.1.77", diagnosis.Depends},
		{"none", group + own, "", "192.168.1.77", diagnosis.Works},
		{"a host that is met", group + other, "192.168.1.77 dev eth0 lladdr 02:00:00:00:00:99 STALE\n", "192.168.1.77", diagnosis.Works},
		{"one that is met as the macvlan", group + other, "192.168.1.77 dev eth0 lladdr 02:00:00:00:00:77 STALE\n", "192.168.1.77", diagnosis.Depends},
		{"one that is not found", group + other, "192.168.1.77 dev eth0 FAILED\n", "192.168.1.77", diagnosis.Depends},
		{"one beyond the gateway", group + other, "", "203.0.113.7", diagnosis.Works},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			n, err := Read(strings.NewReader(text("ip -d address", links, "ip -4 route show table all", "default via 192.168.1.1 dev eth0\n192.168.1.0/24 dev eth0 scope link\n", "ip -4 rule", "0: from all lookup local\n32766: from all lookup main\n", "ip -6 rule", "", "ip -6 route show table all", "",
				"sysctl", "net.ipv4.ip_forward = 1\n", "iptables-save", "*filter\nCOMMIT\n", "bridge fdb show", row.fdb, "ip neigh", row.neighbours)))
			require.NoError(t, err)
			s, err := gateway.ParseSpec("tcp 192.168.1.20:40000 > " + row.to + ":80")
			require.NoError(t, err)
			c := n.Case(s.Ask)
			x, err := gateway.Explain(c.Namespace, c.Rules, c.Facts, c.Ask, nil)
			require.NoError(t, err)
			a := c.Diagnose(x.Prediction)
			require.Equal(t, row.want, a.Verdict, a.Why)
			require.Equal(t, row.want == diagnosis.Depends, strings.Contains(a.Why, "with the hardware address 02:00:00:00:00:77"), a.Why)
		})
	}
}

// Rules of routing that lead what is for pods elsewhere leave it open whether it comes there, and do not change who is behind a bridge: what one pod answers
// another the bridge carries past the rules.
func TestRulesOfRoutingAndPods(t *testing.T) {
	t.Parallel()
	const links = "2: eth0: <UP> mtu 1500\n    inet 192.168.1.20/24 scope global eth0\n3: eth1: <UP> mtu 1500\n    inet 192.168.2.20/24 scope global eth1\n" +
		"4: cni0: <UP> mtu 1500\n    link/ether 02:00:00:00:00:04 brd ff:ff:ff:ff:ff:ff promiscuity 0\n    bridge forward_delay 0\n    inet 10.20.0.1/24 scope global cni0\n"
	const routes = "default via 192.168.1.1 dev eth0\n192.168.1.0/24 dev eth0 scope link\n192.168.2.0/24 dev eth1 scope link\n10.20.0.0/24 dev cni0 scope link\ndefault via 192.168.2.1 dev eth1 table 101\n"
	const main = "0: from all lookup local\n32766: from all lookup main\n"
	for _, row := range []struct {
		name, rule, packet, in string
		want                   diagnosis.Word
		says                   string
	}{
		{"to a pod", "", "udp 192.168.1.99:40000 > 10.20.0.11:53", "eth0", diagnosis.Works, ""},
		{"to a pod, led elsewhere", "100: from all iif eth0 lookup 101\n", "udp 192.168.1.99:40000 > 10.20.0.11:53", "eth0", diagnosis.Depends, "brings the packet to 10.20.0.11, which is in the network of cni0"},
		{"an answer to a pod, led elsewhere", "100: from all iif eth0 lookup 101\n", "udp 10.20.0.11:40000 > 203.0.113.7:53", "cni0", diagnosis.Depends, "brings the answer to 10.20.0.11, which is in the network of cni0"},
		{"to the world, led elsewhere", "100: from all iif cni0 lookup 101\n", "udp 10.20.0.11:40000 > 192.168.2.7:53", "cni0", diagnosis.Works, ""},
		{"past the rules", "", "udp 10.20.0.12:40000 > 10.96.0.1:53", "cni0", diagnosis.Broken, "cni0 carries the answer from port to port"},
		{"past the rules, with a rule that is not for pods", "100: not from 10.0.0.0/8 lookup 101\n", "udp 10.20.0.12:40000 > 10.96.0.1:53", "cni0", diagnosis.Broken, "cni0 carries the answer from port to port"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			n, err := Read(strings.NewReader(text("ip -d address", links, "ip -4 route show table all", routes, "ip -4 rule", row.rule+main, "ip -6 rule", "", "ip -6 route show table all", "",
				"sysctl", "net.ipv4.ip_forward = 1\nnet.bridge.bridge-nf-call-iptables = 0\n", "ipset save", "", "nft list ruleset", "",
				"iptables-save", "*nat\n-A PREROUTING -d 10.96.0.1/32 -j DNAT --to-destination 10.20.0.11\n-A POSTROUTING -s 10.20.0.0/24 ! -d 10.0.0.0/8 -j MASQUERADE\nCOMMIT\n")))
			require.NoError(t, err)
			s, err := gateway.ParseSpec(row.packet)
			require.NoError(t, err)
			s.In = row.in
			c := n.Case(s.Ask)
			x, err := gateway.Explain(c.Namespace, c.Rules, c.Facts, c.Ask, nil)
			require.NoError(t, err)
			a := c.Diagnose(x.Prediction)
			require.Equal(t, row.want, a.Verdict, a.Why)
			require.Contains(t, a.Why, row.says)
		})
	}
}

// A bridge with VLAN filtering carries packets from port to port as any other where all its ports are in one VLAN.
func TestVLANs(t *testing.T) {
	t.Parallel()
	const links = "2: br0: <UP> mtu 1500\n    link/ether 02:00:00:00:00:01 brd ff:ff:ff:ff:ff:ff promiscuity 0\n    bridge forward_delay 0 vlan_filtering 1\n" +
		"3: p1@if2: <UP> mtu 1500 master br0\n    link/ether 02:00:00:00:00:02 brd ff:ff:ff:ff:ff:ff promiscuity 1\n    veth\n    bridge_slave state forwarding hairpin off\n"
	for _, row := range []struct {
		name, vlans string
		want        bool
	}{
		{"not told", "", true},
		{"one VLAN", "port              vlan-id  \nbr0               1 PVID Egress Untagged\np1                1 PVID Egress Untagged\n", false},
		{"another VLAN", "port              vlan-id  \nbr0               1 PVID Egress Untagged\np1                10 PVID Egress Untagged\n", true},
		{"several", "port              vlan-id  \nbr0               1 PVID Egress Untagged\np1                1 PVID Egress Untagged\n                  10\n", true},
		{"tagged", "port              vlan-id  \nbr0               1\np1                1\n", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			sections := []string{"ip -d address", links}
			if row.vlans != "" {
				sections = append(sections, "bridge vlan show", row.vlans)
			}
			n, err := Read(strings.NewReader(text(sections...)))
			require.NoError(t, err)
			require.Equal(t, "br0", n.Namespace.Devices[0].Name)
			require.Equal(t, row.want, n.Namespace.Devices[0].Filters)
		})
	}
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, text, want string }{
		{"rules", text("hostname", "n\n", "iptables-nft-save", "*nat\n-A PREROUTING -j\nCOMMIT\n"), `section "iptables-nft-save": line 8`},
		{"sets", text("ipset save", "add x 1\n"), `section "ipset save": line 3: set x`},
		{"links", text("ip -d address", "hello\n"), `section "ip -d address": line 3: "hello" is no line of ip link`},
		{"a route", text("ip -d address", "2: eth0: <UP> mtu 1500\n", "ip -4 route show table all", "default via 10.0.0.1 dev eth0 how 7\n"), `section "ip -4 route show table all": line 7: route "default via 10.0.0.1 dev eth0 how 7": "how" is not known`},
		{"entries", text("conntrack", "tcp\n"), `section "conntrack": line 3: want an entry`},
		{"sockets", text("sockets", "tcp LISTEN 0 0 here there\n"), `section "sockets": line 3: "here": want ADDRESS:PORT`},
		{"the kernel", text("uname -r", "new\n"), `section "uname -r": kernel "new"`},
		{"no bundle", "x", "not a bundle"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			n, err := Read(strings.NewReader(row.text))
			require.ErrorContains(t, err, row.want)
			require.Nil(t, n)
		})
	}
}

func FuzzRead(f *testing.F) {
	f.Add(text("ip -d address", "2: eth0: <UP> mtu 1500\n    inet 192.0.2.10/24 scope global eth0\n", "ip -4 route show table all", "default via 192.0.2.1 dev eth0\n", "sockets", "tcp LISTEN 0 0 *:1 *:*\n"))
	f.Fuzz(func(t *testing.T, text string) {
		n, err := Read(strings.NewReader(text))
		require.Equal(t, err == nil, n != nil)
	})
}

// Each kind of change, told from two bundles that differ in it alone; whatever order their other lines have.
func read(t *testing.T, text string) dump.Bundle {
	t.Helper()
	b, err := dump.Read(strings.NewReader(text))
	require.NoError(t, err)
	return b
}
