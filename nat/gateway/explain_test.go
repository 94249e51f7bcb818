package gateway_test

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/conntrack"
	"natlab/nat/gateway"
	"natlab/nat/ipset"
	"natlab/nat/iptables"
	"natlab/topology"
)

// twoNetworks is a node between 192.168.1.0/24 and 10.244.1.0/24.
func twoNetworks() topology.Namespace {
	ns := topology.Namespace{Member: "node", Kind: topology.KindNode, Sysctls: []topology.Sysctl{{Key: "net/ipv4/ip_forward", Value: "1"}}}
	for dev, address := range map[string]string{"eth0": "192.168.1.1/24", "pods": "10.244.1.1/24"} {
		ns.Devices = append(ns.Devices, topology.Device{Name: dev, Kind: topology.Veth})
		ns.Addresses = append(ns.Addresses, topology.Address{Device: dev, Prefix: netip.MustParsePrefix(address)})
	}
	return ns
}

const nodeRules = `*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:SVC - [0:0]
:MASQ - [0:0]
-A PREROUTING -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j SVC
-A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE --random-fully
-A SVC ! -s 10.244.0.0/16 -j MASQ
-A SVC -p tcp -m statistic --mode random --probability 0.25 -j DNAT --to-destination 10.244.1.5:8080
-A SVC -p tcp -j DNAT --to-destination 10.244.1.6:8080
-A MASQ -j MARK --set-xmark 0x4000/0x4000
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
-A INPUT -p tcp -m tcp --dport 22 -j REJECT --reject-with tcp-reset
-A FORWARD -d 10.244.1.9/32 -m set --match-set friends src -j ACCEPT
-A FORWARD -d 10.244.1.9/32 -j DROP
COMMIT
`

// askIn is a packet that comes in by a device.
func askIn(tuple nat.Tuple, dev string) gateway.Ask {
	ask := gateway.AskOf(tuple)
	ask.In = dev
	return ask
}

func explain(t *testing.T, sets ipset.Sets, packet string) *gateway.Explanation {
	t.Helper()
	return explainBy(t, sets, packet, nil)
}

func explainBy(t *testing.T, sets ipset.Sets, packet string, dice conntrack.Chance) *gateway.Explanation {
	t.Helper()
	tuple, err := nat.ParseTuple(packet)
	require.NoError(t, err)
	rs, err := iptables.ParseString(nodeRules, nat.IPv4)
	require.NoError(t, err)
	dev, ok := gateway.Arrives(twoNetworks(), tuple.Src().Addr())
	require.True(t, ok)
	x, err := gateway.Explain(twoNetworks(), gateway.Rules{rs}, gateway.Facts{Sets: sets}, askIn(tuple, dev), dice)
	require.NoError(t, err)
	return x
}

// Both ways of a Service, with their probabilities, the line of each rule, the answer, and the port that chance chose.
func TestExplainService(t *testing.T) {
	x := explain(t, nil, "tcp 192.168.1.9:40000 > 10.96.0.1:80")
	require.Len(t, x.Prediction, 2)
	for i, want := range []struct {
		probability float64
		endpoint    string
		lines       []int
	}{{0.25, "10.244.1.5:8080", []int{6, 8, 11, 9, 7}}, {0.75, "10.244.1.6:8080", []int{6, 8, 11, 10, 7}}} {
		o := x.Prediction[i]
		require.InDelta(t, want.probability, o.Probability, 1e-9)
		require.Equal(t, nat.EndAnswered, o.End)
		require.Equal(t, want.endpoint, o.Endpoint.String())
		require.Equal(t, "10.244.1.1:0", o.ServerPeer.String(), "AnyPort")
		require.Equal(t, "10.96.0.1:80", o.ClientPeer.String())
		var lines []int
		for _, s := range o.Request.Steps {
			if s.Line > 0 {
				lines = append(lines, s.Line)
			}
		}
		require.Equal(t, want.lines, lines)
		require.Len(t, o.Conns, 1)
		require.Equal(t, "SEEN_REPLY|CONFIRMED|SRC_NAT|DST_NAT|SRC_NAT_DONE|DST_NAT_DONE", o.Conns[0].Status.String())
		require.Equal(t, nat.TapPost, o.Reply.Hops[len(o.Reply.Hops)-1].Tap)
	}
}

// A seed chooses one way and its port, the same each time; seeds choose both ways, about as often as they are likely.
func TestExplainOne(t *testing.T) {
	const packet = "tcp 192.168.1.9:40000 > 10.96.0.1:80"
	seen := map[string]int{}
	for seed := range uint64(400) {
		roll := func() nat.Outcome {
			x := explainBy(t, nil, packet, rand.New(rand.NewPCG(seed, 0))) //nolint:gosec // the same again
			require.Len(t, x.Prediction, 1)
			return x.Prediction[0]
		}
		o := roll()
		require.Equal(t, o, roll())
		require.Equal(t, nat.EndAnswered, o.End)
		require.NotEqual(t, nat.AnyPort, o.ServerPeer.Port())
		seen[o.Endpoint.String()]++
	}
	require.Len(t, seen, 2)
	require.InDelta(t, 100, seen["10.244.1.5:8080"], 30)
}

// How packets end: for the node itself, by a rule, nowhere.
func TestExplainEnds(t *testing.T) {
	for packet, want := range map[string]nat.End{
		"tcp 192.168.1.9:40000 > 192.168.1.1:8080": nat.EndAnswered,
		"tcp 192.168.1.9:40000 > 192.168.1.1:22":   nat.EndRejected,
		"udp 192.168.1.9:40000 > 10.244.1.7:53":    nat.EndAnswered,
		"icmp 192.168.1.9:7 > 10.244.1.7:7":        nat.EndAnswered,
		"tcp 10.244.1.5:40000 > 192.168.1.9:80":    nat.EndAnswered,
		"tcp 192.168.1.1:40000 > 10.244.1.7:80":    nat.EndAnswered,
		"tcp 192.168.1.9:40000 > 8.8.8.8:80":       nat.EndUnreachable, // no route
	} {
		t.Run(packet, func(t *testing.T) {
			x := explain(t, nil, packet)
			require.Len(t, x.Prediction, 1, packet)
			require.Equal(t, want, x.Prediction[0].End, "%s: %s", packet, x.Prediction[0].Why)
		})
	}
}

// An ICMP packet is what its type says: a reply that nobody asked for is INVALID, and nobody answers it.
func TestExplainICMP(t *testing.T) {
	t.Parallel()
	rs, err := iptables.ParseString(`*filter
:INPUT ACCEPT [0:0]
-A INPUT -p icmp -m icmp --icmp-type 0 -m conntrack --ctstate INVALID -j RETURN
-A INPUT -p icmp -m icmp --icmp-type 3/4 -j RETURN
-A INPUT -p icmp -m icmp --icmp-type 8 -m conntrack --ctstate NEW -j ACCEPT
COMMIT
`, nat.IPv4)
	require.NoError(t, err)
	for _, row := range []struct {
		packet string
		rule   int
		end    nat.End
		why    string
	}{
		{"icmp 192.168.1.9 > 192.168.1.1", 3, nat.EndAnswered, ""},
		{"icmp 192.168.1.9:7 > 192.168.1.1:7", 3, nat.EndAnswered, ""},
		{"icmp 192.168.1.9 > 192.168.1.1 type 8", 3, nat.EndAnswered, ""},
		{"icmp 192.168.1.9:5 > 192.168.1.1:5 type 0", 1, nat.EndLost, "nobody answers icmp of type 0, code 0"},
		{"icmp 192.168.1.9 > 192.168.1.1 type 3/4", 2, nat.EndLost, "nobody answers icmp of type 3, code 4"},
		{"icmp 192.168.1.9 > 192.168.1.1 type 13", 0, nat.EndAnswered, ""},
		{"tcp 192.168.1.9:1 > 192.168.1.1:2 flags R", 0, nat.EndLost, "nobody answers an RST"},
	} {
		t.Run(row.packet, func(t *testing.T) {
			t.Parallel()
			spec, err := gateway.ParseSpec(row.packet)
			require.NoError(t, err)
			spec.In = "eth0"
			x, err := gateway.Explain(twoNetworks(), gateway.Rules{rs}, gateway.Facts{}, spec.Ask, nil)
			require.NoError(t, err)
			require.Len(t, x.Prediction, 1, row.packet)
			o := x.Prediction[0]
			require.Equal(t, row.end, o.End, "%s: %s", row.packet, o.Why)
			require.Equal(t, row.why, o.Why, row.packet)
			require.Equal(t, row.rule, o.Request.Steps[0].Rule, row.packet)
		})
	}
}

// What is not known of a set is followed both ways and named; with the set's members there is one.
func TestExplainUnknown(t *testing.T) {
	const packet = "tcp 192.168.1.9:40000 > 10.244.1.9:80"
	x := explain(t, nil, packet)
	require.Len(t, x.Prediction, 2)
	require.Equal(t, nat.EndAnswered, x.Prediction[0].End)
	require.Equal(t, nat.EndLost, x.Prediction[1].End)
	require.Equal(t, []nat.Assumption{{What: "-m set --match-set friends src", Of: "node " + packet, Holds: false}}, x.Prediction[1].Assumed)
	require.InDelta(t, 1, x.Prediction[1].Probability, 0, "nobody knows a probability of that")
	friends, err := ipset.Parse("create friends hash:net\nadd friends 192.168.1.8/30\n")
	require.NoError(t, err)
	x = explain(t, friends, packet)
	require.Len(t, x.Prediction, 1)
	require.Equal(t, nat.EndAnswered, x.Prediction[0].End)
}

// For each rule: hit, the condition that failed first, or what kept the packet away.
func TestWhy(t *testing.T) {
	for _, row := range []struct{ packet, what, want string }{
		{"tcp 192.168.1.9:40000 > 10.96.0.1:80", "SVC:1", "nat SVC:1 (line 8) was hit"},
		{"tcp 10.244.1.5:40000 > 10.96.0.1:80", "SVC:1", "nat SVC:1 (line 8) wants ! -s 10.244.0.0/16: source 10.244.1.5"},
		{"tcp 10.244.1.5:40000 > 10.96.0.1:80", "nat:MASQ", "nat MASQ:1 (line 11) was not reached: SVC:1, which leads to it, wants ! -s 10.244.0.0/16: source 10.244.1.5"},
		{"tcp 192.168.1.9:40000 > 10.96.0.1:81", "MASQ", "nat MASQ:1 (line 11) was not reached: PREROUTING:1, which leads to it, wants -m tcp --dport 80: destination port 81"},
		{"tcp 192.168.1.9:40000 > 10.96.0.1:80", "POSTROUTING:1", "nat POSTROUTING:1 (line 7) was hit"},
		{"tcp 10.244.1.5:40000 > 10.96.0.1:80", "nat POSTROUTING:1", "nat POSTROUTING:1 (line 7) wants -m mark --mark 0x4000/0x4000: mark 0x0"},
		{"tcp 192.168.1.9:40000 > 192.168.1.1:22", "FORWARD:2", "filter FORWARD:2 (line 18) was not reached: the packet comes to no hook of the table that leads to FORWARD, or ended before: rejected by"},
		{"tcp 192.168.1.9:40000 > 10.244.1.7:80", "-A FORWARD -d 10.244.1.9/32 -j DROP", "filter FORWARD:2 (line 18) wants -d 10.244.1.9/32: destination 10.244.1.7"},
	} {
		t.Run(row.packet, func(t *testing.T) {
			all, err := explain(t, nil, row.packet).Why(row.what)
			require.NoError(t, err, row.what)
			require.True(t, strings.HasPrefix(all[0].String(), row.want), "%s\nwant %s\ngot  %s", row.packet, row.want, all[0])
		})
	}
	_, err := explain(t, nil, "tcp 192.168.1.9:40000 > 10.96.0.1:80").Why("NOBODY")
	require.ErrorContains(t, err, `why "NOBODY"`)
}

// Where no rule makes the kernel track connections, the nat table is not asked, and that is the reason.
func TestWhyNothingIsTracked(t *testing.T) {
	t.Parallel()
	rs, err := iptables.ParseString("*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j MARK --set-xmark 0x8000/0x8000\nCOMMIT\n", nat.IPv4)
	require.NoError(t, err)
	spec, err := gateway.ParseSpec("tcp 192.168.1.9:40000 > 10.96.0.1:80 in eth0")
	require.NoError(t, err)
	x, err := gateway.Explain(twoNetworks(), gateway.Rules{rs}, gateway.Facts{}, spec.Ask, nil)
	require.NoError(t, err)
	all, err := x.Why("PREROUTING:1")
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Contains(t, all[0].String(), "none of these rules makes the kernel track connections")
}

// Of two rule sets, one packet for each place where their outcomes part, and none where they do the same in other words.
func TestDifferences(t *testing.T) {
	for _, row := range []struct {
		name, from, to string
		places         []string
	}{
		{"the same", "", "", nil},
		{"in other words", "-A SVC ! -s 10.244.0.0/16 -j MASQ", "-A SVC ! -s 10.244.0.0/16 -j MARK --set-xmark 0x4000/0x4000", nil},
		{"no masquerade", "-A MASQ -j MARK --set-xmark 0x4000/0x4000\n", "", []string{"MASQ"}},
		{"another endpoint", "10.244.1.6:8080", "10.244.1.7:8080", []string{"SVC"}},
		{"another weight", "--probability 0.25", "--probability 0.5", []string{"SVC"}},
		{"a port that is let in", "--dport 22", "--dport 23", []string{"INPUT", ""}},
	} {
		t.Run(row.name, func(t *testing.T) {
			a, err := iptables.ParseString(nodeRules, nat.IPv4)
			require.NoError(t, err)
			b, err := iptables.ParseString(strings.Replace(nodeRules, row.from, row.to, 1), nat.IPv4)
			require.NoError(t, err)
			all, tried, err := gateway.Differences(twoNetworks(), gateway.Rules{a}, gateway.Rules{b}, gateway.Facts{})
			require.NoError(t, err)
			require.Greater(t, tried, 50)
			var places []string
			for _, d := range all {
				place := ""
				if d.PartA != nil && d.PartA.Rule > 0 {
					place = d.PartA.Chain
				}
				places = append(places, place)
			}
			require.ElementsMatch(t, row.places, places)
		})
	}
}

// A rule that asks for the port that a connection was opened to, behind the DNAT that changed it, is answered: there is one
// way, and the reply is let pass by what it asks of the connection too.
func TestExplainAsksTheConnection(t *testing.T) {
	const text = `*nat
:PREROUTING ACCEPT [0:0]
-A PREROUTING -d 192.168.1.1/32 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.244.1.5:80
COMMIT
*filter
:FORWARD DROP [0:0]
-A FORWARD -p tcp -m conntrack --ctorigdst 192.168.1.1 --ctorigdstport 8080 --ctdir ORIGINAL -j ACCEPT
-A FORWARD -m conntrack --ctreplsrcport 80 --ctstatus SEEN_REPLY --ctdir REPLY -j ACCEPT
COMMIT
`
	rs, err := iptables.ParseString(text, nat.IPv4)
	require.NoError(t, err)
	for packet, end := range map[string]nat.End{
		"tcp 192.168.1.9:40000 > 192.168.1.1:8080": nat.EndAnswered,
		"tcp 192.168.1.9:40000 > 10.244.1.5:80":    nat.EndLost,
	} {
		tuple, err := nat.ParseTuple(packet)
		require.NoError(t, err)
		x, err := gateway.Explain(twoNetworks(), gateway.Rules{rs}, gateway.Facts{}, askIn(tuple, "eth0"), nil)
		require.NoError(t, err)
		require.Len(t, x.Prediction, 1, packet)
		require.Equal(t, end, x.Prediction[0].End, packet)
		require.Empty(t, x.Prediction[0].Unknown, packet)
	}
}

// An answer that is put into another zone than the request does not belong to its connection, and keeps its addresses.
func TestExplainZones(t *testing.T) {
	for rule, end := range map[string]nat.End{
		"-A PREROUTING -j CT --zone 1\n":              nat.EndAnswered,
		"-A PREROUTING -i eth0 -j CT --zone-orig 1\n": nat.EndAnswered,
		"-A PREROUTING -i eth0 -j CT --zone 1\n":      nat.EndLost,
	} {
		t.Run(rule, func(t *testing.T) {
			rs, err := iptables.ParseString("*raw\n"+rule+"COMMIT\n"+nodeRules, nat.IPv4)
			require.NoError(t, err)
			tuple, err := nat.ParseTuple("tcp 192.168.1.9:40000 > 10.96.0.1:80")
			require.NoError(t, err)
			x, err := gateway.Explain(twoNetworks(), gateway.Rules{rs}, gateway.Facts{}, askIn(tuple, "eth0"), nil)
			require.NoError(t, err)
			for _, o := range x.Prediction {
				require.Equal(t, end, o.End, rule)
			}
		})
	}
}

// What connections carry is counted where a rule asks for it, and a label that a request gets is there for the answer.
func TestExplainCountsAndLabels(t *testing.T) {
	for rules, end := range map[string]nat.End{
		"-A FORWARD -i eth0 -m connbytes --connbytes 1:1 --connbytes-mode packets --connbytes-dir both -j ACCEPT\n" +
			"-A FORWARD -i pods -m connbytes --connbytes 2:2 --connbytes-mode packets --connbytes-dir both -j ACCEPT\n": nat.EndAnswered,
		"-A FORWARD -m connbytes --connbytes 40:40 --connbytes-mode bytes --connbytes-dir original -j ACCEPT\n":    nat.EndAnswered,
		"-A FORWARD -m connbytes --connbytes 1:1 --connbytes-mode packets --connbytes-dir both -j ACCEPT\n":        nat.EndLost,
		"-A FORWARD -i eth0 -m connlabel --label 7 --set -j ACCEPT\n-A FORWARD -m connlabel --label 7 -j ACCEPT\n": nat.EndAnswered,
		"-A FORWARD -i eth0 -m connlabel --label 7 --set -j ACCEPT\n-A FORWARD -m connlabel --label 8 -j ACCEPT\n": nat.EndLost,
	} {
		t.Run(rules, func(t *testing.T) {
			rs, err := iptables.ParseString("*filter\n:FORWARD DROP [0:0]\n"+rules+"COMMIT\n", nat.IPv4)
			require.NoError(t, err)
			tuple, err := nat.ParseTuple("tcp 192.168.1.9:40000 > 10.244.1.5:80")
			require.NoError(t, err)
			x, err := gateway.Explain(twoNetworks(), gateway.Rules{rs}, gateway.Facts{}, askIn(tuple, "eth0"), nil)
			require.NoError(t, err)
			require.Len(t, x.Prediction, 1, rules)
			require.Equal(t, end, x.Prediction[0].End, rules)
		})
	}
}

// kubernetes#89869: kube-proxy in ipvs mode, and the contents of its sets: a node's load balancer address is in both, so nobody
// masquerades. What a rule on the way adds to a set is there for the next one; a set of which nothing is known may have anything,
// and another thing after that.
func TestExplainSets(t *testing.T) {
	const ipvs = `*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:BALANCER - [0:0]
-A PREROUTING -m set --match-set BALANCER dst,dst -j BALANCER
-A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE
-A BALANCER -m set --match-set LOCAL dst,dst -j RETURN
-A BALANCER -j MARK --set-xmark 0x4000/0x4000
COMMIT
`
	const filter = "*filter\n:FORWARD DROP [0:0]\n%COMMIT\n"
	const balancer = "create BALANCER hash:ip,port family inet\nadd BALANCER 10.244.1.9,tcp:80\n"
	rule := func(text string) string { return strings.Replace(filter, "%", text, 1) }
	const knock = "-A FORWARD -i eth0 -m set ! --match-set k src -j SET --add-set k src\n-A FORWARD -i eth0 -m set --match-set k src -j ACCEPT\n"
	for _, row := range []struct {
		name, sets, rules string
		want              []string
	}{
		{"ipvs", balancer + "create LOCAL hash:ip,port family inet\nadd LOCAL 10.244.1.9,tcp:80\n", ipvs, []string{"answered 192.168.1.9:40000"}},
		{"ipvs, not local", balancer + "create LOCAL hash:ip,port family inet\n", ipvs, []string{"answered 10.244.1.1:40000"}},
		{"ipvs, not known", balancer, ipvs, []string{"answered 192.168.1.9:40000", "answered 10.244.1.1:40000"}},
		{"added", "create k hash:ip\n", rule(knock + "-A FORWARD -i pods -m set --match-set k dst -j ACCEPT\n"), []string{"answered 192.168.1.9:40000"}},
		{"deleted", "create k hash:ip\nadd k 192.168.1.9\n", rule("-A FORWARD -j SET --del-set k src\n-A FORWARD -m set --match-set k src -j ACCEPT\n"), []string{"lost"}},
		{
			"counters", "create k hash:ip counters\nadd k 192.168.1.9 packets 7\n", rule("-A FORWARD -i eth0 -m set --match-set k src --packets-gt 5 -j DROP\n-A FORWARD -j ACCEPT\n"),
			[]string{"lost", "answered 192.168.1.9:40000"},
		},
		{"nobody knows", "", rule("-A FORWARD -i pods -j ACCEPT\n-A FORWARD -m set --match-set k src -j ACCEPT\n-A FORWARD -m set ! --match-set k src -j DROP\n-A FORWARD -j ACCEPT\n"), []string{"answered 192.168.1.9:40000", "lost"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			sets, err := ipset.Parse(row.sets)
			require.NoError(t, err)
			rs, err := iptables.ParseString(row.rules, nat.IPv4)
			require.NoError(t, err)
			tuple, err := nat.ParseTuple("tcp 192.168.1.9:40000 > 10.244.1.9:80")
			require.NoError(t, err)
			x, err := gateway.Explain(twoNetworks(), gateway.Rules{rs}, gateway.Facts{Sets: sets}, askIn(tuple, "eth0"), nil)
			require.NoError(t, err)
			var got []string
			for _, o := range x.Prediction {
				end := o.End.String()
				if o.ServerPeer.IsValid() {
					end += " " + o.ServerPeer.String()
				}
				got = append(got, end)
			}
			require.Equal(t, row.want, got)
		})
	}
}
