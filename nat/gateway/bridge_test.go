package gateway_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/iptables"
	"natlab/topology"
)

// bridgeRules translate 10.43.0.50 to 10.42.0.6, and drop 10.42.0.7; what 10.42.0.6 asks itself is masqueraded.
const bridgeRules = `*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -d 10.43.0.50/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.42.0.6:8080
-A PREROUTING -d fd00:43::50/128 -p tcp -m tcp --dport 80 -j DNAT --to-destination [fd00:42::6]:8080
-A POSTROUTING -s 10.42.0.6/32 -d 10.42.0.6/32 -j MASQUERADE
COMMIT
*filter
:FORWARD ACCEPT [0:0]
-A FORWARD -d 10.42.0.7/32 -j DROP
COMMIT
`

// bridgeNode is a node with a device that has 10.42.0.1/24 and fd00:42::1/64, another, and the ports of its bridge as they are given.
func bridgeNode(t *testing.T, device string, sysctls []string, ports ...topology.Device) topology.Namespace {
	t.Helper()
	ns, _, err := topology.NodeWords{Addresses: []string{device + "=10.42.0.1/24", device + "=fd00:42::1/64", "eth1=192.168.9.1/24"}, Sysctls: sysctls}.Node()
	require.NoError(t, err)
	ns.Devices = append(ns.Devices, ports...)
	return ns
}

// ownCalls switches a bridge's own nf_call_iptables on.
func ownCalls(ns topology.Namespace) topology.Namespace {
	ns.Devices[0].Calls = topology.SwitchOn
	return ns
}

// by is a packet that comes in by a device that is named.
func by(packet, device string) string { return packet + " in " + device }

// wordsOf is a node of which no more is known than these routes and settings; without routes all is behind eth0.
func wordsOf(t *testing.T, sysctls []string, routes ...string) topology.Namespace {
	t.Helper()
	ns, _, err := topology.NodeWords{Routes: routes, Sysctls: sysctls}.Node()
	require.NoError(t, err)
	return ns
}

// endsOf are the ways of a packet, each with what it depends on: "answered", "lost if x, not y".
func endsOf(t *testing.T, ns topology.Namespace, packet string) string {
	t.Helper()
	spec, err := gateway.ParseSpec(packet)
	require.NoError(t, err)
	family := nat.FamilyOf(spec.Tuple.Dst().Addr())
	var kept []string
	for line := range strings.Lines(bridgeRules) {
		if six := strings.Contains(line, "fd00"); !six && !strings.Contains(line, "10.4") || six == (family == nat.IPv6) {
			kept = append(kept, line)
		}
	}
	rs, err := iptables.ParseString(strings.Join(kept, ""), family)
	require.NoError(t, err)
	dev, ok := gateway.Arrives(ns, spec.Tuple.Src().Addr())
	require.True(t, ok)
	if spec.In = dev; spec.Device != "" {
		spec.In = spec.Device
	}
	x, err := gateway.Explain(ns, gateway.Rules{rs}, gateway.Facts{}, spec.Ask, nil)
	require.NoError(t, err)
	var out []string
	for _, o := range x.Prediction {
		text := o.End.String()
		for i, a := range o.Assumed {
			text += map[bool]string{true: " if ", false: ", "}[i == 0] + map[bool]string{false: "not "}[a.Holds] + a.What
		}
		out = append(out, text)
	}
	return strings.Join(out, "; ")
}

func port(name string, hairpin topology.Switch) topology.Device {
	return topology.Device{Name: name, Kind: topology.Veth, Master: "cni0", Hairpin: hairpin}
}

// What is not known of a bridge is named where the packet depends on it, and nowhere else.
func TestBridge(t *testing.T) {
	t.Parallel()
	const (
		calls, hairpin = "net.bridge.bridge-nf-call-iptables is 1", "the port of cni0 that 10.42.0.6 is behind is in hairpin mode"
		calls6         = "net.bridge.bridge-nf-call-ip6tables is 1"
		beside         = "10.42.0.6 and 10.42.0.5 reach each other without the node"
		around         = "10.0.0.1, which 10.42.0.6 is behind, hands the answer to 10.42.0.5 without the node"
		peer           = "the peer of wg0, which 10.42.0.6 is behind, hands the answer to 10.42.0.5 without the node"
		tunnelled      = "10.42.0.9, which 10.42.0.6 is behind, hands the answer to 10.42.0.5 without the node"
		shorter        = "10.42.0.6 answers 192.168.9.2 by way of 10.42.0.254 and not by the node, being on one link with both"
		alone          = "what is behind lan reaches one another through the node alone"
	)
	no, yes := []string{"net.bridge.bridge-nf-call-iptables=0"}, []string{"net.bridge.bridge-nf-call-iptables = 1"}
	on, off, open := topology.SwitchOn, topology.SwitchOff, topology.SwitchOpen
	another, itself, third := "tcp 10.42.0.5:40000 > 10.43.0.50:80", "tcp 10.42.0.6:40000 > 10.43.0.50:80", "tcp 10.42.0.5:40000 > 10.42.0.7:80"
	for _, row := range []struct {
		name, packet string
		ns           topology.Namespace
		want         string
	}{
		// flannel#1702, kube-proxy#19, kubernetes#116453: the answer is switched, and nobody translates it back.
		{"no rules on the bridge", another, bridgeNode(t, "cni0", no), "lost"},
		{"rules on the bridge", another, bridgeNode(t, "cni0", yes), "answered"},
		{"not known", another, bridgeNode(t, "cni0", nil), "answered if " + calls + "; lost if not " + calls},
		{"not known of IPv6", "tcp [fd00:42::5]:40000 > [fd00:43::50]:80", bridgeNode(t, "cni0", yes), "answered if " + calls6 + "; lost if not " + calls6},
		{"no rules for IPv6", "tcp [fd00:42::5]:40000 > [fd00:43::50]:80", bridgeNode(t, "cni0", []string{"net.bridge.bridge-nf-call-ip6tables=0"}), "lost"},

		// minikube#1568, kubernetes#13375: what would leave by the port that it came in by.
		{"itself, nothing known", itself, bridgeNode(t, "cni0", nil), "answered if " + calls + ", " + hairpin + "; lost if " + calls + ", not " + hairpin + "; answered if not " + calls},
		{"itself, no rules on the bridge", itself, bridgeNode(t, "cni0", no, port("v1", off)), "answered"},
		{"itself, hairpin off", itself, bridgeNode(t, "cni0", yes, port("v1", off), port("v2", off)), "lost"},
		{"itself, hairpin on", itself, bridgeNode(t, "cni0", yes, port("v1", on)), "answered"},
		{"itself, by a port of which it is not known", itself, bridgeNode(t, "cni0", yes, port("v1", on), port("v2", off)), "answered if " + hairpin + "; lost if not " + hairpin},
		{"itself, a setting not known", itself, bridgeNode(t, "cni0", yes, port("v1", open)), "answered if " + hairpin + "; lost if not " + hairpin},
		{"itself, by a port that has it", by(itself, "v1"), bridgeNode(t, "cni0", yes, port("v1", on), port("v2", off)), "answered"},
		{"itself, by a port that has it not", by(itself, "v2"), bridgeNode(t, "cni0", yes, port("v1", on), port("v2", off)), "lost"},
		{"by a port, to elsewhere", by("tcp 10.42.0.5:40000 > 192.168.9.2:80", "v1"), bridgeNode(t, "cni0", nil, port("v1", off)), "answered"},
		{"the bridge's own switch is as good as the node's", another, ownCalls(bridgeNode(t, "cni0", no)), "answered"},
		{"but tells not that br_netfilter is there", another, ownCalls(bridgeNode(t, "cni0", nil)), "answered if " + calls + "; lost if not " + calls},
		{"another, hairpin off", another, bridgeNode(t, "cni0", yes, port("v1", off)), "answered"},

		// What no rule translates passes by FORWARD, too.
		{"dropped between ports", third, bridgeNode(t, "cni0", yes), "lost"},
		{"not dropped without rules", third, bridgeNode(t, "cni0", no), "answered"},
		{"dropped, or not", third, bridgeNode(t, "cni0", nil), "lost if " + calls + "; answered if not " + calls},
		{"from elsewhere it is routed", "tcp 192.168.9.2:40000 > 10.42.0.7:80", bridgeNode(t, "cni0", nil), "lost"},
		{"a Service from elsewhere", "tcp 192.168.9.2:40000 > 10.43.0.50:80", bridgeNode(t, "cni0", nil), "answered"},
		{"to elsewhere", "tcp 10.42.0.5:40000 > 192.168.9.2:80", bridgeNode(t, "cni0", nil), "answered"},
		{"the node itself", "tcp 10.42.0.5:40000 > 10.42.0.1:80", bridgeNode(t, "cni0", nil), "answered"},

		// Without addresses nobody knows who is beside whom.
		{"nothing known of the node", another, wordsOf(t, nil), "lost if " + beside + "; answered if not " + beside},
		{"nothing known but the bridge", another, wordsOf(t, no, "default dev cni0"), "lost if " + beside + "; answered if not " + beside},
		{"nor whether its packets meet rules", another, wordsOf(t, nil, "default dev cni0"), "answered if " + calls + "; lost if not " + calls + ", " + beside + "; answered if not " + calls + ", not " + beside},
		{"a tunnel is the only way", another, wordsOf(t, nil, "default dev wg0"), "answered"},
		{"of two networks", "tcp 10.41.0.5:40000 > 10.43.0.50:80", wordsOf(t, nil), "answered"},
		{"what nobody translated", "tcp 10.42.0.5:40000 > 10.42.0.6:80", wordsOf(t, nil), "answered"},
		{"behind a router", another, wordsOf(t, nil, "default via 10.0.0.1 dev eth0"), "lost if " + around + "; answered if not " + around},
		{"beside the client's router", "tcp 192.168.9.2:40000 > 10.43.0.50:80", wordsOf(t, nil, "10.42.0.0/24 dev eth0", "default via 10.42.0.254 dev eth0"), "lost if " + shorter + "; answered if not " + shorter},
		{"beside the client's router, not translated", "tcp 192.168.9.2:40000 > 10.42.0.6:80", wordsOf(t, nil, "10.42.0.0/24 dev eth0", "default via 10.42.0.254 dev eth0"), "answered"},
		{"alone on its link", "tcp 192.168.9.2:40000 > 10.43.0.50:80", wordsOf(t, nil, "10.42.0.6/32 dev eth0", "default via 10.42.0.254 dev eth0"), "answered"},
		{"behind another router than the client", another, wordsOf(t, nil, "default via 10.0.0.1 dev eth0", "10.42.0.5/32 dev eth1"), "answered"},
		{"in a tunnel that leaves by the client's link", another, wordsOf(t, nil, "10.42.0.0/24 dev eth0", "10.42.0.6/32 via 10.42.0.9 dev tunl0 onlink"), "lost if " + tunnelled + "; answered if not " + tunnelled},
		{"in a tunnel that leaves by the default route", another, wordsOf(t, nil, "default via 10.0.0.1 dev eth0", "10.42.0.6/32 via 10.42.0.9 dev vxlan.calico onlink", "10.42.0.9/32 dev vxlan.calico"), "lost if " + tunnelled + "; answered if not " + tunnelled},
		{"in a tunnel without a router", another, wordsOf(t, nil, "default via 10.0.0.1 dev eth0", "10.42.0.6/32 dev wg0"), "lost if " + peer + "; answered if not " + peer},
		{"in a tunnel, from a pod", another, wordsOf(t, nil, "default via 10.0.0.1 dev eth0", "10.42.0.6/32 via 10.0.0.9 dev tunl0 onlink", "10.42.0.5/32 dev cali1"), "answered"},

		// What is no bridge, or may be one.
		{"two hosts on one link", another, bridgeNode(t, "eth0", nil), "lost"},
		{"two peers of a tunnel", another, bridgeNode(t, "wg0", nil), "answered"},
		{"a device of which nothing is known", another, bridgeNode(t, "lan", yes), "answered if lan is a bridge; answered if not lan is a bridge, " + alone + "; lost if not lan is a bridge, not " + alone},
		{"the same, from elsewhere", "tcp 192.168.9.2:40000 > 10.43.0.50:80", bridgeNode(t, "lan", nil), "answered"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, row.want, endsOf(t, row.ns, row.packet))
		})
	}
}

// Why an answer is dropped is told, with what was taken for granted.
func TestBridgeWhy(t *testing.T) {
	t.Parallel()
	rs, err := iptables.ParseString("*nat\n-A PREROUTING -d 10.43.0.50/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.42.0.6:8080\nCOMMIT\n", nat.IPv4)
	require.NoError(t, err)
	for _, row := range []struct{ device, to, end, why string }{
		{"cni0", "10.43.0.50:80", "lost", "cni0, a bridge by its name, carries the answer from port to port without the rules, since net.bridge.bridge-nf-call-iptables is not 1: 10.42.0.5 asked 10.43.0.50:80, and drops what comes as tcp 10.42.0.6:8080 > 10.42.0.5:40000"},
		{"cni0", "10.42.0.6:80", "answered", "cni0, a bridge by its name, carries the answer from port to port without the rules, since net.bridge.bridge-nf-call-iptables is not 1"},
		{"eth0", "10.43.0.50:80", "lost", "10.42.0.6 and 10.42.0.5 are on one link, behind eth0, and the answer goes from the one to the other without the node: 10.42.0.5 asked 10.43.0.50:80, and drops what comes as tcp 10.42.0.6:8080 > 10.42.0.5:40000"},
		{"eth0", "10.42.0.6:80", "answered", "10.42.0.6 and 10.42.0.5 are on one link, behind eth0, and the answer goes from the one to the other without the node"},
	} {
		t.Run(row.device+" "+row.to, func(t *testing.T) {
			t.Parallel()
			ns := bridgeNode(t, row.device, []string{"net.bridge.bridge-nf-call-iptables=0"})
			spec, err := gateway.ParseSpec(fmt.Sprintf("tcp 10.42.0.5:40000 > %s", row.to))
			require.NoError(t, err)
			spec.In = row.device
			x, err := gateway.Explain(ns, gateway.Rules{rs}, gateway.Facts{}, spec.Ask, nil)
			require.NoError(t, err)
			require.Len(t, x.Prediction, 1)
			require.Equal(t, row.end+": "+row.why, x.Prediction[0].End.String()+": "+x.Prediction[0].Why)
		})
	}
}
