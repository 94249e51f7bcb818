package portmap_test

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/portmap"
	"natlab/topology"
)

// bare is what a node has before the plugin writes.
const bare = `*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-SERVICES - [0:0]
-A PREROUTING -j KUBE-SERVICES
-A OUTPUT -j KUBE-SERVICES
-A POSTROUTING -j KUBE-POSTROUTING
COMMIT
`

// added are the rules that a text has and bare has not, without "-A ", comments and a Pod's chain's hash.
func added(t *testing.T, family nat.Family, pods ...topology.Pod) (out []string) {
	t.Helper()
	before, err := iptables.ParseString(bare, family)
	require.NoError(t, err)
	after := portmap.Add(before, topology.Cluster{Pods: pods}, "n1")
	again, err := iptables.ParseString(after.String(), family)
	require.NoError(t, err, "what prints parses")
	require.Equal(t, after.String(), again.String())
	require.Equal(t, bare, before.String(), "the rules that were given stay as they are")
	for line := range strings.Lines(after.String()) {
		if rule, ok := strings.CutPrefix(strings.TrimSpace(line), "-A "); ok && !strings.Contains(bare, line) {
			rule = regexp.MustCompile(` -m comment --comment "[^"\\]*(\\.[^"\\]*)*"`).ReplaceAllString(rule, "")
			out = append(out, regexp.MustCompile(`CNI-DN-[0-9a-f]{21}`).ReplaceAllString(rule, "DN"))
		}
	}
	return out
}

// shared is what every node with a hostPort has.
var shared = []string{
	"PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT",
	"OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT",
	"POSTROUTING -j CNI-HOSTPORT-MASQ",
}

// behind is what stands behind them.
var behind = []string{
	"CNI-HOSTPORT-SETMARK -j MARK --set-xmark 0x2000/0x2000",
	"CNI-HOSTPORT-MASQ -m mark --mark 0x2000/0x2000 -j MASQUERADE",
}

func pod(name string, ports ...topology.HostPort) topology.Pod {
	return topology.Pod{
		Namespace: "d", Name: name, Node: "n1", HostPorts: ports, IPs: []netip.Addr{netip.MustParseAddr("10.42.0.9"), netip.MustParseAddr("fd00::9")},
	}
}

func port(host, container uint16, protocol, ip string) topology.HostPort {
	h := topology.HostPort{Port: host, Container: container, Protocol: protocol}
	if ip != "" {
		h.IP = netip.MustParseAddr(ip)
	}
	return h
}

// What the plugin writes for a port, as nodes have it (k3s-io/k3s#1414).
func TestRules(t *testing.T) {
	t.Parallel()
	elsewhere, host := pod("w", port(80, 8000, "TCP", "")), pod("w", port(80, 8000, "TCP", ""))
	elsewhere.Node, host.HostNetwork = "n2", true
	for _, row := range []struct {
		name   string
		family nat.Family
		pods   []topology.Pod
		top    []string // of CNI-HOSTPORT-DNAT
		own    []string // of the Pods' chains
	}{
		{"tcp", nat.IPv4, []topology.Pod{pod("w", port(80, 8000, "TCP", ""))}, []string{"-p tcp -m multiport --dports 80"}, []string{"-s 10.42.0.9/32 -p tcp -m tcp --dport 80 -j CNI-HOSTPORT-SETMARK", "-s 127.0.0.1/32 -p tcp -m tcp --dport 80 -j CNI-HOSTPORT-SETMARK", "-p tcp -m tcp --dport 80 -j DNAT --to-destination 10.42.0.9:8000"}},
		{"of an address", nat.IPv4, []topology.Pod{pod("w", port(53, 5353, "UDP", "192.0.2.1"))}, []string{"-p udp -m multiport --dports 53"}, []string{"-s 10.42.0.9/32 -d 192.0.2.1/32 -p udp -m udp --dport 53 -j CNI-HOSTPORT-SETMARK", "-s 127.0.0.1/32 -d 192.0.2.1/32 -p udp -m udp --dport 53 -j CNI-HOSTPORT-SETMARK", "-d 192.0.2.1/32 -p udp -m udp --dport 53 -j DNAT --to-destination 10.42.0.9:5353"}},
		{"of no address", nat.IPv4, []topology.Pod{pod("w", port(53, 5353, "SCTP", "0.0.0.0"))}, []string{"-p sctp -m multiport --dports 53"}, []string{"-s 10.42.0.9/32 -p sctp -m sctp --dport 53 -j CNI-HOSTPORT-SETMARK", "-s 127.0.0.1/32 -p sctp -m sctp --dport 53 -j CNI-HOSTPORT-SETMARK", "-p sctp -m sctp --dport 53 -j DNAT --to-destination 10.42.0.9:5353"}},
		{"of IPv6, where localhost is not marked", nat.IPv6, []topology.Pod{pod("w", port(80, 8000, "TCP", ""))}, []string{"-p tcp -m multiport --dports 80"}, []string{"-s fd00::9/128 -p tcp -m tcp --dport 80 -j CNI-HOSTPORT-SETMARK", "-p tcp -m tcp --dport 80 -j DNAT --to-destination [fd00::9]:8000"}},
		{"of an address of the other family", nat.IPv6, []topology.Pod{pod("w", port(80, 8000, "TCP", "192.0.2.1"))}, nil, nil},
		{"of another node, and on the host network", nat.IPv4, []topology.Pod{elsewhere, host}, nil, nil},
		{"none", nat.IPv4, []topology.Pod{pod("w")}, nil, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			var want []string
			for _, rule := range row.top {
				want = append(want, "CNI-HOSTPORT-DNAT "+rule+" -j DN")
			}
			for _, rule := range row.own {
				want = append(want, "DN "+rule)
			}
			if row.top != nil {
				want = append(append(want, shared...), behind...)
			}
			require.ElementsMatch(t, want, added(t, row.family, row.pods...))
		})
	}
}

// The later Pod comes first, and one rule leads to fifteen ports at most.
func TestOrder(t *testing.T) {
	t.Parallel()
	var many []topology.HostPort
	for i := range uint16(16) {
		many = append(many, port(1000+i, 1, "TCP", ""))
	}
	var got []string
	for _, rule := range added(t, nat.IPv4, pod("first", many...), pod("second", port(80, 8000, "TCP", ""), port(81, 8000, "UDP", ""))) {
		if top, ok := strings.CutPrefix(rule, "CNI-HOSTPORT-DNAT "); ok {
			got = append(got, top)
		}
	}
	require.Equal(t, []string{
		"-p udp -m multiport --dports 81 -j DN", "-p tcp -m multiport --dports 80 -j DN",
		"-p tcp -m multiport --dports 1015 -j DN", "-p tcp -m multiport --dports 1000,1001,1002,1003,1004,1005,1006,1007,1008,1009,1010,1011,1012,1013,1014 -j DN",
	}, got)
}

// In front of kube-proxy's in POSTROUTING, behind them elsewhere.
func TestPlaces(t *testing.T) {
	t.Parallel()
	rs, err := iptables.ParseString(bare, nat.IPv4)
	require.NoError(t, err)
	nat, _ := portmap.Add(rs, topology.Cluster{Pods: []topology.Pod{pod("w", port(80, 8000, "TCP", ""))}}, "n1").Table("nat")
	for chain, want := range map[string]string{
		"PREROUTING": "KUBE-SERVICES CNI-HOSTPORT-DNAT", "OUTPUT": "KUBE-SERVICES CNI-HOSTPORT-DNAT", "POSTROUTING": "CNI-HOSTPORT-MASQ KUBE-POSTROUTING",
	} {
		c, _ := nat.Chain(chain)
		var got []string
		for _, r := range c.Rules {
			text := r.Text(chain)
			got = append(got, text[strings.LastIndex(text, " ")+1:])
		}
		require.Equal(t, want, strings.Join(got, " "), chain)
	}
}
