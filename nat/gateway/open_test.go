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

// An address that no route but a default one leads to may be behind a device that rules name and nobody has placed.
func TestExplainUnplaced(t *testing.T) {
	t.Parallel()
	const drop = ":FORWARD DROP [0:0]\n"
	for _, row := range []struct {
		name, rules, packet string
		unplaced            []string
		routed              bool
		want                []string // of each way how it ends, and what it depends on
	}{
		{"where it goes", drop + "-A FORWARD -o wg0 -j ACCEPT\n-A FORWARD -m state --state ESTABLISHED -j ACCEPT\n", "tcp 192.0.2.99:40000 > 10.8.0.2:80 in eth0", []string{"wg0"}, false, []string{"answered 10.8.0.2 is behind wg0 true", "lost 10.8.0.2 is behind wg0 false"}},
		{"where it comes from", drop + "-A FORWARD -i wg0 -j ACCEPT\n-A FORWARD -m state --state ESTABLISHED -j ACCEPT\n", "tcp 10.8.0.2:40000 > 192.0.2.99:80 in eth0", []string{"wg0"}, true, []string{"answered 10.8.0.2 is behind wg0 true", "lost 10.8.0.2 is behind wg0 false"}},
		{"it was told where it comes from", drop + "-A FORWARD -i wg0 -j ACCEPT\n", "tcp 10.8.0.2:40000 > 192.0.2.99:80 in eth0", []string{"wg0"}, false, []string{"lost"}},
		{"a network of the node's", drop + "-A FORWARD -o wg0 -j ACCEPT\n", "tcp 10.8.0.2:40000 > 192.0.2.99:80 in eth0", []string{"wg0"}, false, []string{"lost"}},
		{"it makes no difference", drop + "-A FORWARD -i wg0 -j ACCEPT\n", "tcp 192.0.2.99:40000 > 10.8.0.2:80 in eth0", []string{"wg0"}, false, []string{"lost"}},
		{"every device is placed", drop + "-A FORWARD -o wg0 -j ACCEPT\n", "tcp 192.0.2.99:40000 > 10.8.0.2:80 in eth0", nil, false, []string{"lost"}},
		{"one of two", drop + "-A FORWARD -o wg1 -j ACCEPT\n-A FORWARD -i wg0 -j ACCEPT\n-A FORWARD -m state --state ESTABLISHED -j ACCEPT\n", "tcp 192.0.2.99:40000 > 10.8.0.2:80 in eth0", []string{"wg0", "wg1"}, false, []string{"answered 10.8.0.2 is behind wg1 true", "lost 10.8.0.2 is behind wg1 false"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			rs, err := iptables.ParseString("*filter\n"+row.rules+"COMMIT\n", nat.IPv4)
			require.NoError(t, err)
			ns, _, err := topology.NodeWords{Addresses: []string{"eth0=192.0.2.10/24"}, Routes: []string{"default via 192.0.2.1"}}.Node()
			require.NoError(t, err)
			s, err := gateway.ParseSpec(row.packet)
			require.NoError(t, err)
			s.In, s.Routed = s.Device, row.routed
			x, err := gateway.Explain(ns, gateway.Rules{rs}, gateway.Facts{Unplaced: row.unplaced}, s.Ask, nil)
			require.NoError(t, err)
			require.Equal(t, row.want, endings(x))
		})
	}
}

// A route of a table that no rule told leads to is followed, too, where it leads to an end of the packet's.
func TestExplainUnruled(t *testing.T) {
	t.Parallel()
	const ruled = "a rule of routing leads to table 52"
	for _, row := range []struct {
		name, packet string
		rules        []string
		want         []string
	}{
		{"to it", "tcp 192.0.2.99:40000 > 100.70.1.2:80 in eth0", nil, []string{"answered " + ruled + " true", "lost " + ruled + " false"}},
		{"from it", "tcp 100.70.1.2:40000 > 192.0.2.99:80 in ts0", nil, []string{"answered " + ruled + " true", "lost " + ruled + " false"}},
		{"elsewhere", "tcp 192.0.2.99:40000 > 10.70.1.2:80 in eth0", nil, []string{"lost"}},
		{"the rule is told, and the kernel's own are there", "tcp 192.0.2.99:40000 > 100.70.1.2:80 in eth0", []string{"5270: from all lookup 52"}, []string{"answered"}},
		{"all rules are told", "tcp 192.0.2.99:40000 > 100.70.1.2:80 in eth0", []string{"0: from all lookup local", "32766: from all lookup main"}, []string{"lost"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			rs, err := iptables.ParseString("*filter\n:FORWARD DROP [0:0]\n-A FORWARD -i ts0 -j ACCEPT\n-A FORWARD -o ts0 -j ACCEPT\nCOMMIT\n", nat.IPv4)
			require.NoError(t, err)
			ns, _, err := topology.NodeWords{
				Addresses: []string{"eth0=192.0.2.10/24", "ts0=100.101.102.103/32"}, Rules: row.rules,
				Routes: []string{"default via 192.0.2.1", "100.64.0.0/10 dev ts0 table 52"},
			}.Node()
			require.NoError(t, err)
			s, err := gateway.ParseSpec(row.packet)
			require.NoError(t, err)
			s.In = s.Device
			x, err := gateway.Explain(ns, gateway.Rules{rs}, gateway.Facts{}, s.Ask, nil)
			require.NoError(t, err)
			require.Equal(t, row.want, endings(x))
		})
	}
}

// endings are how each way ends, and what it depends on.
func endings(x *gateway.Explanation) (out []string) {
	for _, o := range x.Prediction {
		way := o.End.String()
		for _, a := range o.Assumed {
			way += fmt.Sprintf(" %s %t", a.What, a.Holds)
		}
		out = append(out, way)
	}
	return out
}

// A setting that nobody told is followed both ways where it may matter.
func TestExplainUntold(t *testing.T) {
	t.Parallel()
	const (
		toLoopback = "-A PREROUTING -d 192.0.2.1/32 -j DNAT --to-destination 127.0.0.11\n-A OUTPUT -p tcp -m tcp --dport 30080 -j DNAT --to-destination 192.0.2.99:80\n-A POSTROUTING -o eth0 -j MASQUERADE\n"
		localnet   = "net.ipv4.conf.all.route_localnet is 1"
		back       = "net.ipv4.conf.all.rp_filter is 1"
	)
	for _, row := range []struct {
		name, packet string
		told         string
		want         []string
	}{
		{"to an address of loopback's", "tcp 192.0.2.99:40000 > 192.0.2.1:80 in eth0", "", []string{"answered " + localnet + " true", "lost " + localnet + " false"}},
		{"it is told", "tcp 192.0.2.99:40000 > 192.0.2.1:80 in eth0", "net.ipv4.conf.eth0.route_localnet=1", []string{"answered"}},
		{"from one", "tcp 127.0.0.1:40000 > 127.0.0.1:30080 in node", "", []string{"answered " + localnet + " true", "lost " + localnet + " false"}},
		{"of loopback alone", "tcp 127.0.0.1:40000 > 127.0.0.1:80 in node", "", []string{"answered"}},
		{"another way back", "tcp 8.8.8.8:40000 > 192.0.2.10:80 in eth1", "", []string{"lost " + back + " true", "answered " + back + " false"}},
		{"the same way back", "tcp 8.8.8.8:40000 > 192.0.2.10:80 in eth0", "", []string{"answered"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			rs, err := iptables.ParseString("*nat\n"+toLoopback+"COMMIT\n", nat.IPv4)
			require.NoError(t, err)
			words := topology.NodeWords{Addresses: []string{"eth0=192.0.2.10/24", "eth1=10.9.0.2/24", "lo=127.0.0.1/8"}, Routes: []string{"default via 192.0.2.9"}}
			if row.told != "" {
				words.Sysctls = []string{row.told}
			}
			ns, _, err := words.Node()
			require.NoError(t, err)
			s, err := gateway.ParseSpec(row.packet)
			require.NoError(t, err)
			if s.In = s.Device; s.In == "node" {
				s.In = ""
			}
			untold := []topology.Sysctl{{Key: "net/ipv4/conf/all/route_localnet", Value: "1"}, {Key: "net/ipv4/conf/all/rp_filter", Value: "1"}}
			x, err := gateway.Explain(ns, gateway.Rules{rs}, gateway.Facts{Untold: untold}, s.Ask, nil)
			require.NoError(t, err)
			require.Equal(t, row.want, endings(x))
		})
	}
}

// An address that nobody told is not known to be missing.
func TestExplainMasqueradeWithoutAddresses(t *testing.T) {
	t.Parallel()
	rs, err := iptables.ParseString("*nat\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n", nat.IPv4)
	require.NoError(t, err)
	ns, _, err := topology.NodeWords{}.Node()
	require.NoError(t, err)
	s, err := gateway.ParseSpec("tcp 192.0.2.99:40000 > 10.8.0.2:80 in eth0")
	require.NoError(t, err)
	s.In = s.Device
	for _, row := range []struct {
		unknown bool
		want    nat.End
	}{{true, nat.EndUnknown}, {false, nat.EndLost}} {
		x, err := gateway.Explain(ns, gateway.Rules{rs}, gateway.Facts{NoAddresses: row.unknown}, s.Ask, nil)
		require.NoError(t, err)
		require.Equal(t, row.want, x.Prediction[len(x.Prediction)-1].End, x.Prediction[len(x.Prediction)-1].Why)
	}
}

// Of several next hops a hash chooses: each is followed, and named. A source that comes by any of them comes by the way back (fib_info_nh_uses_dev).
func TestExplainNextHops(t *testing.T) {
	t.Parallel()
	const (
		two = "default nexthop via 192.0.2.1 dev eth0 weight 1 nexthop via 198.51.100.1 dev eth1 weight 1"
		by1 = "the hash of the flow chooses the next hop via 198.51.100.1 dev eth1 of route 0.0.0.0/0"
	)
	seven := strings.ReplaceAll(by1, "0.0.0.0/0", "10.7.0.0/16")
	for _, row := range []struct {
		name, route, rule, packet string
		want                      []string
	}{
		{"out", two, "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -o eth0 -j ACCEPT\n-A FORWARD -m state --state ESTABLISHED -j ACCEPT\nCOMMIT\n", "tcp 10.0.0.9:40000 > 203.0.113.7:80 in lan", []string{"lost " + by1 + " true", "answered " + by1 + " false"}},
		{"back", two, "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -i lan -o eth0 -j DROP\nCOMMIT\n", "tcp 203.0.113.7:40000 > 10.0.0.9:80 in eth1", []string{"answered " + by1 + " true", "lost " + by1 + " false"}},
		{"neither", two, "*filter\n:FORWARD DROP [0:0]\nCOMMIT\n", "tcp 10.0.0.9:40000 > 10.0.0.1:80 in lan", []string{"answered"}},
		{"of a table", "10.7.0.0/16 table 7 nexthop via 192.0.2.1 dev eth0 nexthop via 198.51.100.1 dev eth1", "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -o eth0 -j ACCEPT\n-A FORWARD -m state --state ESTABLISHED -j ACCEPT\nCOMMIT\n", "tcp 10.0.0.9:40000 > 10.7.0.1:80 in lan", []string{"lost " + seven + " true", "answered " + seven + " false"}},
		{"-m rpfilter, by the second", two, "*raw\n-A PREROUTING -i eth1 -m rpfilter --invert -j DROP\nCOMMIT\n", "tcp 203.0.113.7:40000 > 198.51.100.2:80 in eth1", []string{"answered " + by1 + " true", "answered " + by1 + " false"}},
		{"-m rpfilter, by neither", two, "*raw\n-A PREROUTING -i lan -m rpfilter --invert -j DROP\nCOMMIT\n", "tcp 203.0.113.7:40000 > 198.51.100.2:80 in lan", []string{"lost"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			rs, err := iptables.ParseString(row.rule, nat.IPv4)
			require.NoError(t, err)
			words := topology.NodeWords{
				Addresses: []string{"eth0=192.0.2.10/24", "eth1=198.51.100.2/24", "lan=10.0.0.1/24"}, Routes: []string{row.route},
				Rules: []string{"0: from all lookup local", "7: from all lookup 7", "32766: from all lookup main"},
			}
			ns, _, err := words.Node()
			require.NoError(t, err)
			s, err := gateway.ParseSpec(row.packet)
			require.NoError(t, err)
			s.In = s.Device
			x, err := gateway.Explain(ns, gateway.Rules{rs}, gateway.Facts{}, s.Ask, nil)
			require.NoError(t, err)
			require.Equal(t, row.want, endings(x))
		})
	}
}

// rp_filter=1 takes a packet by any of the next hops of the way back to its source, and by no other device.
func TestStrictFilterOfNextHops(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]nat.End{"eth0": nat.EndAnswered, "eth1": nat.EndAnswered, "lan": nat.EndLost} {
		t.Run(in, func(t *testing.T) {
			t.Parallel()
			ns, _, err := topology.NodeWords{
				Addresses: []string{"eth0=192.0.2.10/24", "eth1=198.51.100.2/24", "lan=10.0.0.1/24"},
				Routes:    []string{"default nexthop via 192.0.2.1 dev eth0 nexthop via 198.51.100.1 dev eth1"},
				Sysctls:   []string{"net.ipv4.conf.all.rp_filter=1"},
			}.Node()
			require.NoError(t, err)
			s, err := gateway.ParseSpec("tcp 203.0.113.7:40000 > 192.0.2.10:80 in " + in)
			require.NoError(t, err)
			s.In = s.Device
			x, err := gateway.Explain(ns, nil, gateway.Facts{}, s.Ask, nil)
			require.NoError(t, err)
			for _, o := range x.Prediction {
				require.Equal(t, want, o.End, o.Why)
			}
		})
	}
}

// A node of which no address is told rejects a packet, too: whose address the answer has is not known.
func TestRejectWithoutAddresses(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ packet, rule string }{
		{"tcp 192.0.2.99:40000 > 10.42.0.7:80 in eth0", "-j REJECT --reject-with icmp-port-unreachable"},
		{"tcp 192.0.2.99:40000 > 10.42.0.7:80 in eth0", "-p tcp -j REJECT --reject-with tcp-reset"},
		{"udp 2001:db8::99:40000 > 2001:db8:1::7:53 in eth0", "-j REJECT --reject-with icmp6-port-unreachable"},
	} {
		t.Run(row.packet+row.rule, func(t *testing.T) {
			t.Parallel()
			s, err := gateway.ParseSpec(strings.NewReplacer("2001:db8::99:", "[2001:db8::99]:", "2001:db8:1::7:", "[2001:db8:1::7]:").Replace(row.packet))
			require.NoError(t, err)
			rs, err := iptables.ParseString("*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD "+row.rule+"\nCOMMIT\n", nat.FamilyOf(s.Tuple.Dst().Addr()))
			require.NoError(t, err)
			ns, _, err := topology.NodeWords{Routes: []string{"default dev eth0", "::/0 dev eth0"}}.Node()
			require.NoError(t, err)
			s.In = s.Device
			x, err := gateway.Explain(ns, gateway.Rules{rs}, gateway.Facts{NoAddresses: true}, s.Ask, nil)
			require.NoError(t, err)
			require.Equal(t, nat.EndRejected, x.Prediction[len(x.Prediction)-1].End)
		})
	}
}
