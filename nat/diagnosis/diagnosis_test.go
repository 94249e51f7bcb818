package diagnosis

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/conntrack"
	"natlab/nat/gateway"
	"natlab/nat/ipset"
	"natlab/nat/iptables"
	"natlab/nat/nftables"
	"natlab/topology"
)

// caseOf is a node with eth0 192.0.2.10/24 and a default route, eth1 198.51.100.10/24, and cni0, a bridge of 10.42.0.0/24 with the ports v5
// and v6, that forwards.
func caseOf(t *testing.T, packet string, rules ...string) Case {
	t.Helper()
	s, err := gateway.ParseSpec(packet)
	require.NoError(t, err)
	if s.In = s.Device; s.In == "node" {
		s.In = ""
	}
	prefix := netip.MustParsePrefix
	c := Case{
		Ask: s.Ask,
		Namespace: topology.Namespace{
			Member: "n", Kind: topology.KindNode,
			Devices: []topology.Device{
				{Name: "eth0", Kind: topology.Veth},
				{Name: "eth1", Kind: topology.Veth},
				{Name: "cni0", Kind: topology.Bridge},
				{Name: "v5", Kind: topology.Veth, Master: "cni0", Hairpin: topology.SwitchOn, Behind: []netip.Addr{netip.MustParseAddr("10.42.0.5")}},
				{Name: "v6", Kind: topology.Veth, Master: "cni0", Hairpin: topology.SwitchOff, Behind: []netip.Addr{netip.MustParseAddr("10.42.0.6")}},
			},
			Addresses: []topology.Address{
				{Device: "eth0", Prefix: prefix("192.0.2.10/24")},
				{Device: "eth1", Prefix: prefix("198.51.100.10/24")},
				{Device: "cni0", Prefix: prefix("10.42.0.1/24")},
			},
			Routes: []topology.Route{{Dst: prefix("0.0.0.0/0"), Via: netip.MustParseAddr("192.0.2.1"), Device: "eth0"}},
			Sysctls: []topology.Sysctl{
				{Key: "net/ipv4/ip_forward", Value: "1"},
				{Key: "net/bridge/bridge-nf-call-iptables", Value: "1"},
			},
		},
	}
	for _, text := range rules {
		rs, err := iptables.ParseString(text, nat.IPv4)
		require.NoError(t, err)
		c.Rules = append(c.Rules, rs)
	}
	return c
}

func (c Case) answer(t *testing.T) Answer {
	t.Helper()
	x, err := gateway.Explain(c.Namespace, c.Rules, c.Facts, c.Ask, nil)
	require.NoError(t, err)
	return c.Diagnose(x.Prediction)
}

const (
	fromOutside = "tcp 192.0.2.99:40000 > 192.0.2.10:8080 in eth0"
	published   = "*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.42.0.5:80\nCOMMIT\n"
	forward     = "*filter\n:FORWARD ACCEPT [0:0]\n"
	service     = "*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n:KUBE-MARK-MASQ - [0:0]\n-A PREROUTING -d 10.43.0.5/32 -j KUBE-MARK-MASQ\n-A PREROUTING -d 10.43.0.5/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.42.0.5:80\n" +
		"-A PREROUTING -d 10.43.0.6/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.42.0.6:80\n-A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE\n"
	marked = service + "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\nCOMMIT\n"
)

// Each code, and what decides it: a case that has it, and the same one without what is to blame.
func TestCodes(t *testing.T) {
	t.Parallel()
	off := func(key, value string) func(*Case) {
		return func(c *Case) {
			c.Namespace.Sysctls = append(c.Namespace.Sysctls, topology.Sysctl{Key: key, Value: value})
		}
	}
	route := func(r topology.Route) func(*Case) {
		return func(c *Case) { c.Namespace.Routes = append(c.Namespace.Routes, r) }
	}
	set := func(member string) func(*Case) {
		return func(c *Case) {
			sets, err := ipset.Parse("create good hash:ip\nadd good " + member + "\n")
			if err != nil {
				panic(err)
			}
			c.Facts.Sets = sets
		}
	}
	table := func(r topology.Route) func(*Case) {
		return func(c *Case) {
			c.Namespace.Routes = append(c.Namespace.Routes, r)
			c.Namespace.Rules = []topology.RoutingRule{{Priority: 9, Table: r.Table, Suppress: -1}, {Priority: 32766, Suppress: -1}}
		}
	}
	entry := func(line string) func(*Case) {
		return func(c *Case) {
			all, err := conntrack.ParseEntries(line)
			if err != nil {
				panic(err)
			}
			c.Facts.Entries = all
		}
	}
	nothing := func(*Case) {}
	prefix := netip.MustParsePrefix
	for _, row := range []struct {
		code, packet string
		rules, sound []string // with what is to blame, and without; sound nil: the same rules
		wrong, right func(*Case)
		word         Word
		names        string
	}{
		{"policy.drop", fromOutside, []string{published + "*filter\n:FORWARD DROP [0:0]\nCOMMIT\n"}, []string{published}, nothing, nothing, Broken, "the policy of filter FORWARD drops the packet"},
		{"rule.drop", fromOutside, []string{published + forward + ":DOCKER-USER - [0:0]\n-A FORWARD -j DOCKER-USER\n-A DOCKER-USER -s 192.0.2.99/32 -j DROP\nCOMMIT\n"}, []string{published}, nothing, nothing, Broken, "filter DOCKER-USER:1 (Docker), line 10"},
		{"rule.drop", fromOutside, []string{published + forward + "-A FORWARD -s 10.42.0.5/32 -j DROP\nCOMMIT\n"}, []string{published}, nothing, nothing, Broken, "drops the answer"},
		{"rule.reject", fromOutside, []string{published + forward + "-A FORWARD -j REJECT --reject-with icmp-port-unreachable\nCOMMIT\n"}, []string{published}, nothing, nothing, Broken, "rejects the packet"},
		{"rpfilter.drop", "tcp 203.0.113.7:40000 > 192.0.2.10:8080 in eth1", []string{published}, nil, off("net/ipv4/conf/eth1/rp_filter", "1"), route(topology.Route{Dst: prefix("203.0.113.0/24"), Via: netip.MustParseAddr("198.51.100.1"), Device: "eth1"}), Broken, "comes in by eth1"},
		{"route.asymmetric", "tcp 203.0.113.7:40000 > 192.0.2.10:8080 in eth1", []string{published}, nil, nothing, route(topology.Route{Dst: prefix("203.0.113.0/24"), Via: netip.MustParseAddr("198.51.100.1"), Device: "eth1"}), Works, "leaves by eth0"},
		{"forwarding.off", fromOutside, []string{published}, nil, off("net/ipv4/ip_forward", "0"), nothing, Broken, "net.ipv4.ip_forward is 0"},
		{"forwarding.off", fromOutside, []string{published}, nil, off("net/ipv4/conf/eth0/forwarding", "0"), nothing, Broken, "net.ipv4.conf.eth0.forwarding is 0"},
		{"localnet.off", "tcp 192.0.2.99:40000 > 192.0.2.10:8080 in eth0", []string{strings.ReplaceAll(published, "10.42.0.5", "127.0.0.1")}, nil, nothing, off("net/ipv4/conf/eth0/route_localnet", "1"), Broken, "net.ipv4.conf.eth0.route_localnet is 0"},
		{"bridge.bypass", "tcp 10.42.0.6:40000 > 10.43.0.5:80 in cni0", []string{service + "COMMIT\n"}, nil, off("net/bridge/bridge-nf-call-iptables", "0"), nothing, Broken, "net.bridge.bridge-nf-call-iptables is 0"},
		{"hairpin.off", "tcp 10.42.0.6:40000 > 10.43.0.6:80 in cni0", []string{strings.ReplaceAll(marked, "-d 10.43.0.5/32 -j KUBE", "-d 10.43.0.6/32 -j KUBE")}, nil, nothing, func(c *Case) { c.Namespace.Devices[4].Hairpin = topology.SwitchOn }, Broken, "v6"},
		{"listener.missing", "tcp 192.0.2.99:40000 > 192.0.2.10:22 in eth0", nil, nil, func(c *Case) {
			c.Facts.Sockets = []gateway.Socket{{Proto: nat.TCP, Addr: netip.MustParseAddr("127.0.0.1"), Port: 22}}
		}, func(c *Case) { c.Facts.Sockets = []gateway.Socket{{Proto: nat.TCP, Port: 22}} }, Broken, "nothing listens at 192.0.2.10:22"},
		{"route.missing", "tcp 192.0.2.99:40000 > 203.0.113.7:80 in eth0", nil, nil, func(c *Case) { c.Namespace.Routes = nil }, nothing, Broken, "no route to 203.0.113.7, where the packet goes"},
		{"route.closed", "tcp 192.0.2.99:40000 > 10.44.0.1:80 in eth0", nil, nil, route(topology.Route{Dst: prefix("10.44.0.0/16"), Type: topology.Unreachable}), nothing, Broken, `"unreachable 10.44.0.0/16"`},
		{"dnat.stale", fromOutside, []string{strings.ReplaceAll(published, "10.42.0.5", "10.44.0.5")}, nil, route(topology.Route{Dst: prefix("10.44.0.0/16"), Type: topology.Blackhole}), route(topology.Route{Dst: prefix("10.44.0.0/16"), Device: "cni0"}), Broken, "nat PREROUTING:1, line 4"},
		{"route.closed", "tcp 192.0.2.99:40000 > 203.0.113.7:80 in eth0", nil, nil, table(topology.Route{Dst: prefix("0.0.0.0/0"), Table: "7", Type: topology.Unreachable}), nothing, Broken, `rule of routing 9 leads to table 7, where the route "unreachable default table 7" ends`},
		{"route.closed", "tcp 192.0.2.99:40000 > 203.0.113.7:80 in eth0", nil, nil, func(c *Case) {
			c.Namespace.Rules = []topology.RoutingRule{{Priority: 9, Action: topology.RouteToProhibit, Suppress: -1}, {Priority: 32766, Suppress: -1}}
		}, nothing, Broken, "rule of routing 9 ends it"},
		{"masquerade.missing", "tcp 203.0.113.9:40000 > 192.0.2.10:81 in eth0", []string{"*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -m tcp --dport 81 -j DNAT --to-destination 192.0.2.99:80\nCOMMIT\n"}, []string{"*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -m tcp --dport 81 -j DNAT --to-destination 192.0.2.99:80\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n"}, nothing, nothing, Depends, "nobody masquerades the packet"},
		{
			"conntrack.stale", "udp 192.0.2.99:40000 > 192.0.2.10:53 in eth0",
			[]string{strings.ReplaceAll(strings.ReplaceAll(published, "tcp", "udp"), "8080", "53") + forward + "-A FORWARD -d 10.42.0.9/32 -j DROP\nCOMMIT\n"},
			nil,
			entry("udp 17 20 src=192.0.2.99 dst=192.0.2.10 sport=40000 dport=53 [UNREPLIED] src=10.42.0.9 dst=192.0.2.99 sport=53 dport=40000 mark=0 use=1"), nothing, Broken, "conntrack -D -p udp -s 192.0.2.99 -d 192.0.2.10",
		},
		{"dnat.missed", "tcp 10.42.0.6:40000 > 10.43.0.5:80 in cni0", []string{marked + "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -d 10.43.0.5/32 -j NOTRACK\nCOMMIT\n"}, []string{marked}, nothing, nothing, Depends, "raw PREROUTING:1, line 13: -A PREROUTING -d 10.43.0.5/32 -j NOTRACK takes the packet out"},
		{"dnat.missed", "tcp 10.42.0.6:40000 > 10.43.0.5:81 in cni0", []string{marked}, nil, nothing, route(topology.Route{Dst: prefix("10.43.0.0/16"), Device: "eth1"}), Depends, "is for 10.43.0.5, and the packet was not translated"},
		{"dnat.missed", "tcp 192.0.2.99:40000 > 192.0.2.240:81 in eth0", []string{"*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n-A PREROUTING -j KUBE-SERVICES\n-A KUBE-SERVICES -d 192.0.2.240/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.42.0.5:80\nCOMMIT\n"}, []string{"*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -d 192.0.2.240/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.42.0.5:80\nCOMMIT\n"}, nothing, nothing, Depends, "is for 192.0.2.240, and the packet was not translated"},
		{"backend.shadowed", fromOutside, []string{published, "*filter\n:FORWARD DROP [0:0]\nCOMMIT\n"}, []string{published}, func(c *Case) { c.Backends = []string{"iptables-nft", "iptables-legacy"} }, nothing, Broken, "without those of iptables-legacy the packet works"},
		{"set.member", fromOutside, []string{published + forward + "-A FORWARD -i eth0 -m set ! --match-set good src -j DROP\nCOMMIT\n"}, nil, set("192.0.2.77"), set("192.0.2.99"), Broken, "the set good has no member for it"},
		{"mark.missing", "tcp 10.42.0.5:40000 > 10.43.0.5:80 in cni0", []string{service + "COMMIT\n"}, []string{marked}, nothing, nothing, Broken, "sends the packet to KUBE-MARK-MASQ to be marked"},
		{"mark.cleared", "tcp 10.42.0.5:40000 > 10.43.0.5:80 in cni0", []string{marked + "*mangle\n:FORWARD ACCEPT [0:0]\n-A FORWARD -j MARK --set-xmark 0x1/0xffffffff\nCOMMIT\n"}, []string{marked}, nothing, nothing, Broken, "mangle FORWARD:1"},
		{"masquerade.missing", "tcp 10.42.0.6:40000 > 203.0.113.7:80 in cni0", nil, []string{"*nat\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n"}, nothing, nothing, Depends, "no rule masquerades 10.42.0.6"},
		{"masquerade.missing", "tcp 192.0.2.98:40000 > 192.0.2.10:81 in eth0", []string{"*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -m tcp --dport 81 -j DNAT --to-destination 192.0.2.99:80\nCOMMIT\n"}, []string{"*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -m tcp --dport 81 -j DNAT --to-destination 192.0.2.99:80\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n"}, nothing, nothing, Broken, "nobody masquerades the packet"},
	} {
		t.Run(row.code+" "+row.names, func(t *testing.T) {
			t.Parallel()
			c := caseOf(t, row.packet, row.rules...)
			row.wrong(&c)
			a := c.answer(t)
			require.Equal(t, row.word, a.Verdict, "%s", a)
			require.NotEmpty(t, a.Causes, "%s", a)
			require.Equal(t, row.code, a.Causes[0].Code, "%s", a)
			require.Contains(t, a.Causes[0].What, row.names)
			_, err := Find(row.code)
			require.NoError(t, err)

			if row.sound == nil {
				row.sound = row.rules
			}
			c = caseOf(t, row.packet, row.sound...)
			row.right(&c)
			a = c.answer(t)
			require.Equal(t, Works, a.Verdict, "%s", a)
			require.Empty(t, a.Causes, "%s", a)
		})
	}
}

// A packet that is answered on a way that hangs on what the node does not tell is not said to work.
func TestDoubtfulWays(t *testing.T) {
	t.Parallel()
	const mark = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -i cni0 -j MARK --set-xmark 0x40000/0xff0000\nCOMMIT\n*nat\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -m mark --mark 0x40000/0xff0000 -j MASQUERADE\nCOMMIT\n"
	none := func(*Case) {}
	routes := func(all ...topology.Route) func(*Case) {
		return func(c *Case) { c.Namespace.Routes = append(c.Namespace.Routes, all...) }
	}
	prefix, addr := netip.MustParsePrefix, netip.MustParseAddr
	for _, row := range []struct {
		name, packet, rules string
		set                 func(*Case)
		word                Word
		why, code           string
	}{
		{"the answer leaves by one uplink with the other's address", "tcp 203.0.113.7:40000 > 198.51.100.10:22 in eth1", "", none, Depends, "whether the network behind eth0 lets the answer out, which leaves there with the address 198.51.100.10 of eth1", "route.asymmetric"},
		{"nobody told by which of two it comes in", "tcp 203.0.113.7:40000 > 198.51.100.10:22 in eth0", "", func(c *Case) { c.Ask.Routed = true }, Depends, "on whether the packet comes in by eth1, which is not known: if so, it depends on whether the network behind eth0", "route.asymmetric"},
		{"it was told", "tcp 203.0.113.7:40000 > 198.51.100.10:22 in eth0", "", none, Works, "", ""},
		{"a host of the link has but one way", "tcp 192.0.2.99:40000 > 198.51.100.10:22 in eth0", "", func(c *Case) { c.Ask.Routed = true }, Works, "", ""},
		{"a mark that is taken away behind the routes", "tcp 10.42.0.6:40000 > 203.0.113.7:80 in cni0", mark + "*mangle\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -j MARK --set-xmark 0x0/0xf0000\nCOMMIT\n", none, Depends, "on whether somebody behind eth0 translates 10.42.0.6", "mark.cleared"},
		{"nobody takes it away", "tcp 10.42.0.6:40000 > 203.0.113.7:80 in cni0", mark, none, Works, "", ""},
		{"the table nat is not told", "tcp 10.42.0.6:40000 > 203.0.113.7:80 in cni0", forward + "COMMIT\n", func(c *Case) { c.RulesOpen = true }, Depends, "on whether a rule of table nat masquerades the packet, of which nothing is told", ""},
		{"a route is missing that others have", "tcp 10.42.0.6:40000 > 10.42.3.7:80 in cni0", "", routes(topology.Route{Dst: prefix("10.42.2.0/24"), Via: addr("192.0.2.12"), Device: "eth0"}), Depends, "on whether 192.0.2.1 knows a way to 10.42.3.7", "route.missing"},
		{"no other has one", "tcp 10.42.0.6:40000 > 10.42.3.7:80 in cni0", "", none, Works, "", ""},
		{"a network's gateway is another", "tcp 10.42.0.6:40000 > 192.0.2.77:80 in cni0", "", none, Depends, "on whether 192.0.2.77 sends its answer to 10.42.0.6 by the node: the gateway of its network is 192.0.2.1", "masquerade.missing"},
		{"it is another node", "tcp 10.42.0.6:40000 > 192.0.2.12:80 in cni0", "", routes(topology.Route{Dst: prefix("10.42.2.0/24"), Via: addr("192.0.2.12"), Device: "eth0"}), Works, "", ""},
		{"the node is masqueraded", "tcp 10.42.0.6:40000 > 192.0.2.77:80 in cni0", "*nat\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n", none, Works, "", ""},
		{"no gateway is told", "tcp 10.42.0.6:40000 > 198.51.100.77:80 in cni0", "", none, Works, "", ""},
		{"the port is published for another address", "tcp 192.0.2.99:40000 > 192.0.2.10:8080 in eth0", strings.ReplaceAll(published, "-A PREROUTING", "-A PREROUTING -d 127.0.0.1/32"), none, Depends, "on whether a process of the node takes the packet too", "dnat.missed"},
		{"sockets are told", "tcp 192.0.2.99:40000 > 192.0.2.10:8080 in eth0", strings.ReplaceAll(published, "-A PREROUTING", "-A PREROUTING -d 127.0.0.1/32"), func(c *Case) { c.Facts.Sockets = []gateway.Socket{{Proto: nat.TCP, Port: 8080}} }, Works, "", ""},
		{"another port is", "tcp 192.0.2.99:40000 > 192.0.2.10:8081 in eth0", published, none, Works, "", ""},
		{"a bridge with VLAN filtering, from port to port", "tcp 10.42.0.5:40000 > 10.42.0.6:80 in cni0", "", func(c *Case) { c.Namespace.Devices[2].Filters = true }, Depends, "on which VLANs the ports of cni0 are in", ""},
		{"past the rules", "tcp 10.42.0.5:40000 > 10.42.0.6:80 in cni0", "", func(c *Case) {
			c.Namespace.Devices[2].Filters = true
			c.Namespace.Sysctls[1].Value = "0"
		}, Depends, "on which VLANs the ports of cni0 are in", ""},
		{"through it to the node", "tcp 10.42.0.5:40000 > 10.42.0.1:80 in cni0", "", func(c *Case) { c.Namespace.Devices[2].Filters = true }, Works, "", ""},
		{"whether the node itself answers", "tcp 192.0.2.99:40000 > 10.42.0.200:80 in eth0", "", func(c *Case) { c.Facts.NoAddresses = true }, Depends, "on whether 10.42.0.200 is an address of the node", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			var rules []string
			if row.rules != "" {
				rules = append(rules, row.rules)
			}
			c := caseOf(t, row.packet, rules...)
			row.set(&c)
			a := c.answer(t)
			require.Equal(t, row.word, a.Verdict, "%s", a)
			require.Contains(t, a.Why, row.why)
			if row.code == "" {
				require.Empty(t, a.Causes)
				return
			}
			require.NotEmpty(t, a.Causes)
			require.Equal(t, row.code, a.Causes[0].Code)
		})
	}
}

// What decides beside the rules, or who joined a group, is not known from them.
func TestBesideTheRules(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ packet, rules, want string }{
		{fromOutside, published + "*filter\n:FORWARD ACCEPT [0:0]\n:CILIUM_FORWARD - [0:0]\nCOMMIT\n", "on what Cilium's eBPF programs do with the packet, of which the rules tell nothing; without that it is works: "},
		{fromOutside, published + "*filter\n:FORWARD DROP [0:0]\n:ANTREA-FORWARD - [0:0]\nCOMMIT\n", "on what Antrea's flows in Open vSwitch do with the packet, of which the rules tell nothing; without that it is broken: "},
		{"udp 192.0.2.99:5353 > 224.0.0.251:5353 in eth0", published, "on whether a process of the node has joined 224.0.0.251: none was told; without that it is broken: "},
	} {
		a := caseOf(t, row.packet, row.rules).answer(t)
		require.Equal(t, Depends, a.Verdict)
		require.Contains(t, a.Why, row.want)
	}
	for device, owner := range map[string]string{"cilium_host": "Cilium's", "antrea-gw0": "Antrea's", "ovn-k8s-mp0": "OVN-Kubernetes'", "ovn0": "Kube-OVN's", "bpfin.cali": "Calico's eBPF"} {
		c := caseOf(t, fromOutside, published)
		c.Namespace.Devices = append(c.Namespace.Devices, topology.Device{Name: device, Kind: topology.Veth})
		a := c.answer(t)
		require.Equal(t, Depends, a.Verdict, device)
		require.Contains(t, a.Why, "on what "+owner, device)
	}
}

// A text may be one table of several: what another one does with a mark that the packet is given is not known.
func TestTablesThatAreNotTold(t *testing.T) {
	t.Parallel()
	const drops = "*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-MARK-DROP - [0:0]\n-A PREROUTING -p tcp -m tcp --dport 22 -j KUBE-MARK-DROP\n-A KUBE-MARK-DROP -j MARK --set-xmark 0x8000/0x8000\n-A PREROUTING -p udp -j DNAT --to-destination 10.42.0.5\n"
	for _, row := range []struct {
		name, rules string
		open        bool
		want        Word
		why         string
	}{
		{"nat alone", drops + "COMMIT\n", true, Depends, "on what a rule of the table filter does with mark 0x8000"},
		{"all that there is", drops + "COMMIT\n", false, Works, "answered by"},
		{"a rule that is told asks for the mark", drops + "-A PREROUTING -m mark --mark 0x8000/0x8000\nCOMMIT\n", true, Works, "; of the rules nothing is told of table filter"},
		{"filter is told", drops + "COMMIT\n*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n", true, Works, "answered by"},
		{"filter alone", "*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n", true, Works, "; of the rules nothing is told of table nat"},
	} {
		c := caseOf(t, "tcp 192.0.2.99:40000 > 192.0.2.10:22 in eth0", row.rules)
		c.RulesOpen = row.open
		a := c.answer(t)
		require.Equal(t, row.want, a.Verdict, row.name)
		require.Contains(t, a.Why, row.why, row.name)
		require.Equal(t, row.open && !strings.Contains(row.rules, "nat") || row.open && !strings.Contains(row.rules, "filter"), strings.Contains(a.Why, "told of table") || a.Verdict == Depends, row.name)
	}
}

// That a process listens on the node is told by its sockets alone.
func TestWhoListens(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		packet  string
		sockets []gateway.Socket
		open    bool
	}{
		{"tcp 192.0.2.99:40000 > 192.0.2.10:22 in eth0", nil, true},
		{"tcp 192.0.2.99:40000 > 192.0.2.10:22 in eth0", []gateway.Socket{{Proto: nat.TCP, Port: 22}}, false},
		{"tcp 127.0.0.1:40000 > 127.0.0.1:22 in node", nil, true},
		{"icmp 192.0.2.99 > 192.0.2.10 in eth0", nil, false},
		{"tcp 192.0.2.99:40000 > 198.51.100.9:22 in eth0", nil, false},
	} {
		c := caseOf(t, row.packet)
		c.Facts.Sockets = row.sockets
		a := c.answer(t)
		require.Equal(t, Works, a.Verdict)
		require.Equal(t, row.open, strings.Contains(a.Why, "where none listens there, it is refused"), a.Why)
	}
}

// A port that is translated at another address of the node, as node ports of kube-proxy's nftables mode are: who takes it at this one is not told.
func TestPublishedAtAnotherAddress(t *testing.T) {
	t.Parallel()
	const ports = "*nat\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:PORTS - [0:0]\n-A OUTPUT -d 192.0.2.10/32 -j PORTS\n-A PORTS -p tcp -j DNAT --to-destination 10.42.0.5:80\nCOMMIT\n"
	a := caseOf(t, "tcp 127.0.0.1:40000 > 127.0.0.1:30080 in node", ports).answer(t)
	require.Equal(t, Depends, a.Verdict, "%s", a)
	require.Contains(t, a.Why, "on whether a process of the node takes the packet too")
	require.Equal(t, "dnat.missed", a.Causes[0].Code)
	require.Contains(t, a.Causes[0].What, "PORTS:1")
	a = caseOf(t, "tcp 127.0.0.1:40000 > 127.0.0.1:30080 in node", strings.ReplaceAll(ports, "-p tcp -j", "-p udp -j")).answer(t)
	require.Equal(t, Works, a.Verdict, "%s", a)
}

// Rules of nf_tables' own are told of as those of iptables are.
func TestNativeRules(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ statement, code, what string }{
		{"reject with icmpx admin-prohibited", "rule.reject", "inet firewalld filter_INPUT:1 (firewalld), line 4: reject with icmpx admin-prohibited rejects the packet"},
		{"tcp dport 8080 drop", "rule.drop", "inet firewalld filter_INPUT:1 (firewalld), line 4: tcp dport 8080 drop drops the packet"},
	} {
		rs, err := nftables.ParseText("table inet firewalld {\n\tchain filter_INPUT {\n\t\ttype filter hook input priority filter + 10; policy accept;\n\t\t" + row.statement + "\n\t}\n}\n")
		require.NoError(t, err)
		c := caseOf(t, "tcp 192.0.2.99:40000 > 192.0.2.10:8080 in eth0")
		c.Facts.NFT = rs
		a := c.answer(t)
		require.Equal(t, Broken, a.Verdict, "%s", a)
		require.NotEmpty(t, a.Causes, "%s", a)
		require.Equal(t, row.code, a.Causes[0].Code)
		require.Equal(t, row.what, a.Causes[0].What)
		require.Len(t, a.Decides, 1)
	}
}

// A chain that is not in the text may mark the packet: nobody tells that no rule there does.
func TestChainThatIsNotTold(t *testing.T) {
	t.Parallel()
	read, err := iptables.Read("-A PREROUTING -d 10.43.0.5/32 -j KUBE-SVC\n-A KUBE-SVC -j KUBE-MARK-MASQ\n-A KUBE-SVC -p tcp -j DNAT --to-destination 10.42.0.6:80\n")
	require.NoError(t, err)
	c := caseOf(t, "tcp 10.42.0.5:40000 > 10.43.0.5:80 in cni0")
	c.Rules = gateway.Rules{read.Rulesets[0]}
	a := c.answer(t)
	require.Equal(t, Depends, a.Verdict, "%s", a)
	require.Contains(t, a.Why, "on whether -j KUBE-MARK-MASQ decides about the packet, which is not known")
	for _, cause := range a.Causes {
		require.NotEqual(t, "mark.missing", cause.Code, "%s", a)
	}
}

// Who answers may depend on what is not known, with nothing to blame; and that no route was told is no proof that there is none.
func TestNothingToBlame(t *testing.T) {
	t.Parallel()
	const owner = "*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p tcp -m owner --uid-owner 1337 -j RETURN\n-A OUTPUT -p tcp -j REDIRECT --to-ports 15001\nCOMMIT\n"
	c := caseOf(t, "tcp 192.0.2.10:40000 > 203.0.113.7:80 in node", owner)
	a := c.answer(t)
	require.Equal(t, Depends, a.Verdict, "%s", a)
	require.Empty(t, a.Causes, "%s", a)

	c = caseOf(t, "tcp 192.0.2.99:40000 > 203.0.113.7:80 in eth0")
	c.Namespace.Routes = nil
	for _, open := range []bool{false, true} {
		c.RoutesOpen = open
		a = c.answer(t)
		require.Equal(t, map[bool]Word{false: Broken, true: Depends}[open], a.Verdict, "%s", a)
		require.Equal(t, open, strings.HasPrefix(a.Why, "on whether the node has a route to 203.0.113.7: none was told; without that it is broken: unreachable"), "%s", a)
	}
}

// The codes of TestCodes are all that there are.
func TestPages(t *testing.T) {
	t.Parallel()
	require.True(t, slices.IsSortedFunc(Codes(), func(a, b Page) int { return strings.Compare(a.Code, b.Code) }))
	for _, p := range Codes() {
		require.NotContains(t, []string{p.Title, p.Means, p.See, p.Cure}, "")
		require.Contains(t, p.String(), p.Cure)
	}
	_, err := Find("no.such")
	require.ErrorContains(t, err, `no code "no.such"; there are backend.shadowed, bridge.bypass`)
}

func TestWord(t *testing.T) {
	t.Parallel()
	end := netip.MustParseAddrPort
	answered := func(at string, chance float64, assumed ...nat.Assumption) nat.Outcome {
		return nat.Outcome{Probability: chance, End: nat.EndAnswered, Server: "s", Endpoint: end(at), ServerPeer: end("10.0.0.9:1"), Assumed: assumed}
	}
	lost := func(chance float64, assumed ...nat.Assumption) nat.Outcome {
		return nat.Outcome{Probability: chance, End: nat.EndLost, Where: "n filter FORWARD:1", Why: "dropped", Assumed: assumed}
	}
	x := func(holds bool) nat.Assumption { return nat.Assumption{What: "X", Of: "n", Holds: holds} }
	open := nat.Outcome{Probability: 1, Why: "not modelled"}
	for _, row := range []struct {
		name string
		ways nat.Prediction
		word Word
		why  string
	}{
		{"one way", nat.Prediction{answered("10.0.0.1:80", 1)}, Works, "answered by 10.0.0.1:80, s, which sees 10.0.0.9:1"},
		{"two endpoints", nat.Prediction{answered("10.0.0.1:80", .5), answered("10.0.0.2:80", .5)}, Works, "answered by 10.0.0.1:80, s, which sees 10.0.0.9:1, or by one of 1 more"},
		{"lost", nat.Prediction{lost(1)}, Broken, "lost at n filter FORWARD:1: dropped"},
		{"lost by chance", nat.Prediction{answered("10.0.0.1:80", .75), lost(.25)}, Broken, "with probability 0.25 lost at n filter FORWARD:1: dropped"},
		{"lost if X", nat.Prediction{lost(1, x(true)), answered("10.0.0.1:80", 1, x(false))}, Depends, "on whether X, which is not known: if so, broken (lost at n filter FORWARD:1: dropped); if not, works (answered by 10.0.0.1:80, s, which sees 10.0.0.9:1)"},
		{"the same, told the other way round", nat.Prediction{answered("10.0.0.1:80", 1, x(false)), lost(1, x(true))}, Depends, "on whether X, which is not known: if so, broken (lost at n filter FORWARD:1: dropped); if not, works (answered by 10.0.0.1:80, s, which sees 10.0.0.9:1)"},
		{"another endpoint if X", nat.Prediction{answered("10.0.0.1:80", 1, x(true)), answered("10.0.0.2:80", 1, x(false))}, Depends, "on whether X, which is not known: if so, works (answered by 10.0.0.1:80, s, which sees 10.0.0.9:1); if not, works (answered by 10.0.0.2:80, s, which sees 10.0.0.9:1)"},
		{"the same endpoint anyway", nat.Prediction{answered("10.0.0.1:80", 1, x(true)), answered("10.0.0.1:80", 1, x(false))}, Works, "answered by 10.0.0.1:80, s, which sees 10.0.0.9:1"},
		{"not followed", nat.Prediction{open}, Unknown, "not modelled"},
		{"no way", nil, Unknown, "no way of the packet was followed"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a := Of(row.ways)
			require.Equal(t, row.word, a.Verdict)
			require.Equal(t, row.why, a.Why)
		})
	}
}

// What natlab does not follow of a node makes an answer depend on it, where it may decide.
func TestDoubts(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		doubt Doubt
		word  Word
	}{
		{"of every packet", Doubt{What: "X"}, Depends},
		{"of the route that is used", Doubt{What: "X", Of: netip.MustParsePrefix("0.0.0.0/0"), Route: true}, Depends},
		{"of another route", Doubt{What: "X", Of: netip.MustParsePrefix("203.0.113.0/24"), Route: true}, Works},
		{"of a network that is none of a route", Doubt{What: "X", Of: netip.MustParsePrefix("203.0.114.0/24")}, Depends},
		{"of an address that the answer goes to", Doubt{What: "X", Of: netip.MustParsePrefix("192.0.2.99/32")}, Depends},
		{"of its family", Doubt{What: "X", Of: netip.MustParsePrefix("0.0.0.0/0")}, Depends},
		{"of the other family", Doubt{What: "X", Of: netip.MustParsePrefix("::/0")}, Works},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c := caseOf(t, "tcp 192.0.2.99:40000 > 203.0.114.7:80 in eth0")
			c.Doubts = []Doubt{row.doubt}
			a := c.answer(t)
			require.Equal(t, row.word, a.Verdict, "%s", a)
			require.Equal(t, row.word == Depends, strings.HasPrefix(a.Why, "on X; without that it is works: "), a.Why)
		})
	}
}

func TestOwner(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ table, chain, target, text, owner string }{
		{"filter", "KUBE-SERVICES", "", "", "kube-proxy"},
		{"filter", "KUBE-ROUTER-FORWARD", "", "", "kube-router"},
		{"filter", "KUBE-NWPLCY-ABC", "", "", "kube-router"},
		{"filter", "cali-FORWARD", "", "", "Calico"},
		{"filter", "FLANNEL-POSTRTG", "", "", "flannel"},
		{"filter", "DOCKER-ISOLATION-STAGE-1", "", "", "Docker"},
		{"filter", "NETAVARK-1D8721804F16F", "", "", "Podman (Netavark)"},
		{"filter", "CNI-HOSTPORT-DNAT", "", "", "CNI portmap"},
		{"filter", "ts-forward", "", "", "Tailscale"},
		{"filter", "ISTIO_OUTPUT", "", "", "Istio"},
		{"filter", "ufw-before-input", "", "", "ufw"},
		{"filter", "LIBVIRT_FWO", "", "", "libvirt"},
		{"filter", "f2b-sshd", "", "", "fail2ban"},
		{"filter", "AWS-SNAT-CHAIN-0", "", "", "AWS VPC CNI"},
		{"filter", "FWDI_public", "", "", "firewalld"},
		{"filter", "FORWARD", "DOCKER", "-A FORWARD -j DOCKER", "Docker"},
		{"filter", "POSTROUTING", "MASQUERADE", `-A POSTROUTING -m comment --comment "flanneld masq" -j MASQUERADE`, "flannel"},
		{"filter", "FORWARD", "ACCEPT", "-A FORWARD -o docker0 -j ACCEPT", "Docker"},
		{"inet firewalld", "filter_INPUT", "reject", "reject with icmpx admin-prohibited", "firewalld"},
		{"ip docker-bridges", "nat-prerouting", "dnat", "dnat to 172.17.0.2:80", "Docker"},
		{"inet mine", "input", "drop", "drop", ""},
		{"filter", "FORWARD", "DROP", "-A FORWARD -j DROP", ""},
	} {
		t.Run(row.table+" "+row.chain+" "+row.target, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, row.owner, ruleOwner(row.table, row.chain, row.target, row.text))
		})
	}
}

// The way is told device by device and rule by rule, with the packet as it came and as it left.
func TestPaths(t *testing.T) {
	t.Parallel()
	c := caseOf(t, fromOutside, published+forward+"-A FORWARD -d 10.42.0.5/32 -j ACCEPT\nCOMMIT\n")
	x, err := gateway.Explain(c.Namespace, c.Rules, c.Facts, c.Ask, nil)
	require.NoError(t, err)
	there, back := Paths(x.Prediction)
	show := func(legs []Leg) (out []string) {
		for _, l := range legs {
			at := l.Device
			if l.Rule != nil {
				at = fmt.Sprintf("%s %s:%d", l.Rule.Table, l.Rule.Chain, l.Rule.Rule)
			}
			out = append(out, fmt.Sprintf("%s %s %s > %s", l.Hook, at, l.In.Dst(), l.Out.Dst()))
		}
		return out
	}
	require.Equal(t, []string{
		"PREROUTING eth0 192.0.2.10:8080 > 192.0.2.10:8080",
		"PREROUTING nat PREROUTING:1 192.0.2.10:8080 > 10.42.0.5:80",
		"FORWARD filter FORWARD:1 10.42.0.5:80 > 10.42.0.5:80",
		"POSTROUTING cni0 10.42.0.5:80 > 10.42.0.5:80",
	}, show(there))
	require.Equal(t, []string{
		"PREROUTING cni0 192.0.2.99:40000 > 192.0.2.99:40000",
		"POSTROUTING eth0 192.0.2.99:40000 > 192.0.2.99:40000",
	}, show(back))
}

// Where no source port is told, an old connection from one of them decides for that port alone.
func TestAnyPort(t *testing.T) {
	t.Parallel()
	udp := strings.ReplaceAll(strings.ReplaceAll(published, "tcp", "udp"), "8080", "53") + forward + "-A FORWARD -d 10.42.0.9/32 -j DROP\nCOMMIT\n"
	for _, row := range []struct {
		name, entry string
		word        Word
	}{
		{"none", "", Works},
		{"to an endpoint that is gone", "udp 17 20 src=192.0.2.99 dst=192.0.2.10 sport=5353 dport=53 [UNREPLIED] src=10.42.0.9 dst=192.0.2.99 sport=53 dport=5353 mark=0 use=1", Depends},
		{"to one that is there", "udp 17 20 src=192.0.2.99 dst=192.0.2.10 sport=5353 dport=53 src=10.42.0.6 dst=192.0.2.99 sport=53 dport=5353 mark=0 use=1", Works},
		{"of another client", "udp 17 20 src=192.0.2.98 dst=192.0.2.10 sport=5353 dport=53 [UNREPLIED] src=10.42.0.9 dst=192.0.2.98 sport=53 dport=5353 mark=0 use=1", Works},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c := caseOf(t, "udp 192.0.2.99 > 192.0.2.10:53 in eth0", udp)
			c.AnyPort = true
			all, err := conntrack.ParseEntries(row.entry)
			require.NoError(t, err)
			c.Facts.Entries = all
			a := c.answer(t)
			require.Equal(t, row.word, a.Verdict, "%s", a)
			if row.word == Depends {
				require.Contains(t, a.Why, "on the source port: from 5353 it belongs to an old connection and is broken")
				require.Equal(t, "conntrack.stale", a.Causes[0].Code)
			}
		})
	}
}

// Where ways of the packet are left out, no cure is looked for: it would have as many, each as costly, and could not tell that it helps.
func TestNoCureWhereWaysAreLeftOut(t *testing.T) {
	t.Parallel()
	c := caseOf(t, fromOutside, published)
	c.Namespace.Sysctls = append(c.Namespace.Sysctls, topology.Sysctl{Key: "net/ipv4/ip_forward", Value: "0"})
	x, err := gateway.Explain(c.Namespace, c.Rules, c.Facts, c.Ask, nil)
	require.NoError(t, err)
	require.NotEmpty(t, c.Diagnose(x.Prediction).Causes)
	require.Empty(t, c.Diagnose(append(x.Prediction, nat.Outcome{Why: "more ways " + gateway.NotFollowed})).Causes)
}
