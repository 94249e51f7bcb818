package audit

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/kubeproxy"
	"natlab/nat/view"
	"natlab/nat/xtables"
	"natlab/topology"
	"natlab/topology/topologytest"
)

const node = "vms105"

// cluster is the reference cluster, with a UDP port for its DNS.
func cluster(t *testing.T) topology.Cluster {
	t.Helper()
	c, _, err := topology.Load(topology.ReferenceSource())
	require.NoError(t, err)
	return c
}

// healthy is a node that holds what kube-proxy wrote.
func healthy(t *testing.T) Node {
	t.Helper()
	c := cluster(t)
	rs, err := kubeproxy.Rules(c, node, kubeproxy.Options{})
	require.NoError(t, err)
	return Node{Cluster: c, Name: node, Backend: legacy, Held: []Held{held(t, legacy, rs)}, Tools: []view.Version{{1, 8, 9}}}
}

func held(t *testing.T, backend string, rs iptables.Ruleset) Held {
	t.Helper()
	tables, err := xtables.Writer{Version: view.Newest}.Tables(rs)
	require.NoError(t, err)
	back := xtables.Ruleset(nat.IPv4, nil, tables...)
	return Held{Backend: backend, Rules: back, Tables: tables}
}

// edit changes the text of what the node's first backend holds.
func (n *Node) edit(t *testing.T, change func(string) string) {
	t.Helper()
	before := n.Held[0].Rules.String()
	after := change(before)
	require.NotEqual(t, before, after, "nothing was planted")
	n.Held[0] = held(t, n.Held[0].Backend, parse(t, after))
}

func parse(t *testing.T, text string) iptables.Ruleset {
	t.Helper()
	rs, err := iptables.ParseString(text, nat.IPv4)
	require.NoError(t, err)
	return rs
}

// drop takes away the first line that holds all the words.
func drop(words ...string) func(string) string {
	return func(s string) string { _, rest, before := cut(s, words); return before + rest }
}

// swap puts a line in the place of the first that holds all the words; LINE in it stands for the old one.
func swap(with string, words ...string) func(string) string {
	return func(s string) string {
		line, rest, before := cut(s, words)
		return before + strings.ReplaceAll(with, "LINE", strings.TrimSuffix(line, "\n")) + "\n" + rest
	}
}

func cut(s string, words []string) (line, rest, before string) {
	at := 0
	for _, l := range strings.SplitAfter(s, "\n") {
		ok := true
		for _, w := range words {
			ok = ok && strings.Contains(l, w)
		}
		if ok {
			return l, s[at+len(l):], s[:at]
		}
		at += len(l)
	}
	return "", "", s
}

func TestAHealthyNodeHasNoFinding(t *testing.T) {
	for _, n := range cluster(t).Nodes {
		for _, release := range topology.Releases() {
			c := cluster(t)
			o := kubeproxy.Options{Release: release}
			rs, err := kubeproxy.Rules(c, n.Name, o)
			require.NoError(t, err)
			found, err := Check(Node{Cluster: c, Name: n.Name, Options: o, Held: []Held{held(t, legacy, rs)}, Tools: []view.Version{{1, 8, 9}}})
			require.NoError(t, err)
			require.Empty(t, found, "%s %s", n.Name, release)
		}
	}
}

// Each row plants one fault, and that one is found, and no other.
func TestPlantedFaultsAreFound(t *testing.T) {
	const sep = "KUBE-SEP-OLNIRCQFCXAN5USW" // velero/minio:console at 10.244.169.89:9090
	rows := []struct {
		name   string
		change func(string) string
		kind   Kind
		issue  string
		what   string
	}{
		{"the mark's rule is gone", drop("-A KUBE-MARK-MASQ"), Missing, "kubernetes#32415", "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000"},
		{"the mark is not cleared", drop("-A KUBE-POSTROUTING", "0x4000/0x0"), Missing, "kubernetes#92035", "0x4000/0x0"},
		{"no hairpin", drop("-A "+sep, "KUBE-MARK-MASQ"), Missing, "kubernetes#20475", sep},
		{"an endpoint is never chosen", drop("-A KUBE-SVC-K6NOPV6C6M2DHO7B", sep), Missing, "kubernetes#121362", sep},
		{"KUBE-SERVICES is not called", drop("-A OUTPUT", "-j KUBE-SERVICES"), Missing, "kubernetes#81517", "KUBE-SERVICES"},
		{"INVALID is let through", drop("-A KUBE-FORWARD", "INVALID"), Missing, "kubernetes#74839", "INVALID"},
		{"the wrong port", swap("-A "+sep+" -p tcp -m comment --comment \"velero/minio:console\" -m tcp -j DNAT --to-destination 10.244.169.89:9091", "-A "+sep, "DNAT"), Changed, "kubernetes#114537", ":9091"},
		{"the wrong share", swap("-A KUBE-SVC-K6NOPV6C6M2DHO7B -m statistic --mode random --probability 0.10000000009 -j KUBE-SEP-OLNIRCQFCXAN5USW", "-A KUBE-SVC-K6NOPV6C6M2DHO7B", "probability"), Changed, "kubernetes#121362", "0.1000"},
		{"someone's rule in a chain of kube-proxy's", swap("LINE\n-A KUBE-SERVICES -d 10.96.0.99/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-JD5MR3NA4I4DYORP", "-A KUBE-SERVICES", "10.96.0.10/32"), Extra, "", "10.96.0.99"},
		{"a chain of a Service that is gone", swap("LINE\n:KUBE-SVC-GONEGONEGONEGONE - [0:0]", ":KUBE-SVC-K6NOPV6C6M2DHO7B"), Extra, "", "KUBE-SVC-GONEGONEGONEGONE"},
		{"the mark is tested after it was cleared", func(s string) string {
			const test, clearing = "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN\n", "-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0\n"
			return strings.Replace(s, test+clearing, clearing+test, 1)
		}, OutOfOrder, "kubernetes#92035", "KUBE-POSTROUTING"},
		{"node ports before the rest", func(s string) string {
			line, rest, before := cut(s, []string{"-A KUBE-SERVICES", "must be the last rule"})
			first := strings.Index(before, "-A KUBE-SERVICES -d")
			return before[:first] + line + before[first:] + rest
		}, OutOfOrder, "", "must be the last rule"},
		{"a rule twice", swap("LINE\nLINE", "-A KUBE-MARK-MASQ"), Duplicate, "kubernetes#82361", "KUBE-MARK-MASQ"},
		{"the call of KUBE-SERVICES twice", swap("LINE\nLINE", "-A PREROUTING", "KUBE-SERVICES"), Duplicate, "kubernetes#82361", "KUBE-SERVICES"},
		{"the canary is gone", drop(":KUBE-PROXY-CANARY"), Canary, "kubernetes#81517", "KUBE-PROXY-CANARY"},
		{"ACCEPT before KUBE-POSTROUTING", swap("-A POSTROUTING -s 10.244.0.0/16 -d 10.244.0.0/16 -j ACCEPT\nLINE", "-A POSTROUTING", "KUBE-POSTROUTING"), EarlyVerdict, "kubernetes#20391", "-j ACCEPT"},
		{"ACCEPT in a chain called before KUBE-POSTROUTING", func(s string) string {
			s = strings.Replace(s, ":KUBE-MARK-MASQ", ":FLANNEL-POSTRTG - [0:0]\n:KUBE-MARK-MASQ", 1)
			s = strings.Replace(s, "-A POSTROUTING", "-A POSTROUTING -j FLANNEL-POSTRTG\n-A FLANNEL-POSTRTG -j ACCEPT\n-A POSTROUTING", 1)
			return s
		}, EarlyVerdict, "kubernetes#20391", "FLANNEL-POSTRTG"},
		{"a host port before KUBE-SERVICES", swap("-A PREROUTING -p tcp -m addrtype --dst-type LOCAL -m tcp --dport 80 -j DNAT --to-destination 10.244.1.1:80\nLINE", "-A PREROUTING", "KUBE-SERVICES"), EarlyVerdict, "plugins#222", "DNAT"},
		{"another agent clears the mark", swap("LINE\n-A POSTROUTING -m mark --mark 0x20/0x20 -j MARK --set-xmark 0x0/0x4000", ":KUBE-PROXY-CANARY"), MarkTaken, "kubernetes#19983", "clears bit 0x4000"},
		{"another agent writes the whole mark", swap("LINE\n-A PREROUTING -i eth1 -j MARK --set-xmark 0x1/0xffffffff", ":KUBE-PROXY-CANARY"), MarkTaken, "kubernetes#19983", "clears bit 0x4000"},
		{"a REJECT is left", func(s string) string {
			filter := strings.Index(s, "*filter")
			commit := filter + strings.Index(s[filter:], "COMMIT")
			return s[:commit] + "-A KUBE-SERVICES -d 10.98.180.238/32 -p tcp -m tcp --dport 9099 -j REJECT --reject-with icmp-port-unreachable\n" + s[commit:]
		}, StaleReject, "kubernetes#102314", "10.98.180.238"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			n := healthy(t)
			n.edit(t, row.change)
			found, err := Check(n)
			require.NoError(t, err)
			require.Len(t, found, 1, "%v", found)
			f := found[0]
			require.Equal(t, row.kind, f.Kind, f)
			require.Contains(t, f.What, row.what)
			require.Contains(t, f.Issue, row.issue)
			require.NotEmpty(t, f.Why)
			require.NotEmpty(t, f.Remedy)
			require.Equal(t, node, f.Node)
		})
	}
}

// What others may rightly do is no finding.
func TestOthersRulesAreLeftAlone(t *testing.T) {
	for name, change := range map[string]func(string) string{
		"flannel returns on the mark":     swap("-A POSTROUTING -m mark ! --mark 0x4000/0x4000 -j ACCEPT\nLINE", "-A POSTROUTING", "KUBE-POSTROUTING"),
		"masquerade of pods to the world": swap("-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE\nLINE", "-A POSTROUTING", "KUBE-POSTROUTING"),
		"a DNAT of another address":       swap("-A PREROUTING -d 192.0.2.1/32 -j DNAT --to-destination 10.244.1.1\nLINE", "-A PREROUTING", "KUBE-SERVICES"),
		"Calico's marks":                  swap("LINE\n-A PREROUTING -j MARK --set-xmark 0x10000/0xf0000", ":KUBE-PROXY-CANARY"),
		"kubelet's chains":                swap("LINE\n:KUBE-KUBELET-CANARY - [0:0]\n:KUBE-IPTABLES-HINT - [0:0]", ":KUBE-PROXY-CANARY"),
		"a comment that differs":          swap("-A KUBE-MARK-MASQ -m comment --comment \"another\" -j MARK --set-xmark 0x4000/0x4000", "-A KUBE-MARK-MASQ"),
		"a rule of the node's own firewall": func(s string) string {
			return strings.Replace(s, "-A INPUT", "-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\n-A INPUT", 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := healthy(t)
			n.edit(t, change)
			found, err := Check(n)
			require.NoError(t, err)
			require.Empty(t, found)
		})
	}
}

func TestNothingThere(t *testing.T) {
	n := healthy(t)
	n.Held = nil
	found, err := Check(n)
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Contains(t, found[0].What, "none of kube-proxy's rules")
}

func TestBothBackends(t *testing.T) {
	n := healthy(t)
	stale := parse(t, strings.ReplaceAll(n.Held[0].Rules.String(), "--to-destination 10.244.169.89", "--to-destination 10.244.9.9"))
	n.Held = append(n.Held, Held{Backend: nft, Rules: stale})
	found, err := Check(n)
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, BothBackends, found[0].Kind)
	require.Contains(t, found[0].Why, "which one that is the kernel does not tell")
	n.First = nft
	found, err = Check(n)
	require.NoError(t, err)
	require.Contains(t, found[0].Why, "made last, here iptables-nft")
	require.Equal(t, "kubernetes#109811", found[0].Issue)

	// A REJECT that only the other backend has, and a hint that points there.
	n.Held[1].Rules = parse(t, "*filter\n:FORWARD ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n-A KUBE-SERVICES -d 10.98.180.238/32 -j REJECT --reject-with icmp-port-unreachable\nCOMMIT\n"+
		"*mangle\n:PREROUTING ACCEPT [0:0]\n:KUBE-IPTABLES-HINT - [0:0]\nCOMMIT\n")
	found, err = Check(n)
	require.NoError(t, err)
	require.Equal(t, []Kind{StaleReject, BothBackends, Hint}, kinds(found))
}

func kinds(found []Finding) []Kind {
	var out []Kind
	for _, f := range found {
		out = append(out, f.Kind)
	}
	return out
}

// What the tools on the node make of the rules.
func TestRevisions(t *testing.T) {
	n := healthy(t)
	for _, row := range []struct {
		tool view.Version
		what string
	}{
		{view.Version{1, 4, 21}, "iptables 1.4.21 reads 11 DNATs of revision 2 as revision 0"},
		{view.Version{1, 6, 1}, "iptables 1.6.1 shows 11 DNATs of revision 2 as [unsupported revision]"},
		{view.Version{1, 8, 2}, ""},
	} {
		t.Run(row.what, func(t *testing.T) {
			n.Tools = []view.Version{row.tool}
			found, err := Check(n)
			require.NoError(t, err)
			if row.what == "" {
				require.Empty(t, found)
				return
			}
			require.Len(t, found, 1)
			require.Equal(t, Revision, found[0].Kind)
			require.Equal(t, row.what, found[0].What)
		})
	}

	// What an old iptables wrote, a new one refuses to show.
	tables, err := xtables.Writer{Version: view.Version{1, 4, 21}}.Tables(n.Held[0].Rules)
	require.NoError(t, err)
	n.Held[0].Tables, n.Tools = tables, []view.Version{{1, 8, 9}}
	found, err := Check(n)
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, "iptables 1.8.9 shows 11 DNATs of revision 0 as [unsupported revision]", found[0].What)
}

func TestConnections(t *testing.T) {
	addr := netip.MustParseAddrPort
	tuple := func(p nat.Proto, src, dst string) nat.Tuple { return nat.TupleOf(p, addr(src), addr(dst)) }
	const client, vip, endpoint, gone = "10.244.31.123:40000", "10.98.180.238:9099", "10.244.169.89:9090", "10.244.169.99:9090"
	rows := []struct {
		name            string
		proto           nat.Proto
		original, reply [2]string
		status          nat.Status
		kind            Kind
		issue           string
	}{
		{"healthy", nat.TCP, [2]string{client, vip}, [2]string{endpoint, client}, nat.SeenReply | nat.DstNAT, "", ""},
		{"nothing of ours", nat.UDP, [2]string{client, "192.0.2.1:53"}, [2]string{"192.0.2.1:53", client}, 0, "", ""},
		{"another protocol", nat.UDP, [2]string{client, vip}, [2]string{vip, client}, 0, "", ""},
		{"SYN before the rules", nat.TCP, [2]string{client, vip}, [2]string{vip, client}, 0, MirrorConn, "kubernetes#101607"},
		{"SYN to an endpoint that is gone", nat.TCP, [2]string{client, vip}, [2]string{gone, client}, nat.DstNAT, StaleConn, "kubernetes#19029"},
		{"an old connection may end by itself", nat.TCP, [2]string{client, vip}, [2]string{gone, client}, nat.DstNAT | nat.SeenReply, "", ""},
		{"node port", nat.TCP, [2]string{"192.168.26.1:4000", "192.168.26.105:30450"}, [2]string{gone, "192.168.26.105:4000"}, nat.DstNAT, StaleConn, "kubernetes#19029"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			n := healthy(t)
			n.Conns = []nat.Conn{{Original: tuple(row.proto, row.original[0], row.original[1]), Reply: tuple(row.proto, row.reply[0], row.reply[1]), Status: row.status}}
			found, err := Check(n)
			require.NoError(t, err)
			if row.kind == "" {
				require.Empty(t, found)
				return
			}
			require.Len(t, found, 1)
			require.Equal(t, row.kind, found[0].Kind)
			require.Equal(t, row.issue, found[0].Issue)
			require.Contains(t, found[0].Remedy, "conntrack -D -p tcp")
		})
	}

	// The same for UDP, whose entries live as long as the client sends.
	n := healthy(t)
	for i, s := range n.Cluster.Services {
		if s.Name == "minio" {
			for j := range s.Ports {
				n.Cluster.Services[i].Ports[j].Protocol = "UDP"
			}
		}
	}
	rs, err := kubeproxy.Rules(n.Cluster, node, kubeproxy.Options{})
	require.NoError(t, err)
	n.Held[0] = held(t, legacy, rs)
	n.Conns = []nat.Conn{
		{Original: tuple(nat.UDP, client, vip), Reply: tuple(nat.UDP, vip, client)},
		{Original: tuple(nat.UDP, client, vip), Reply: tuple(nat.UDP, gone, client), Status: nat.DstNAT | nat.SeenReply},
	}
	found, err := Check(n)
	require.NoError(t, err)
	require.Equal(t, []Kind{MirrorConn, StaleConn}, kinds(found))
	require.Equal(t, "kubernetes#48370", found[0].Issue)
}

// In a cluster of more than 1,000 endpoints kube-proxy leaves chains that no rule calls for up to iptables.syncPeriod:
// they are no fault, in whatever release. One that a rule calls is, and so is what it calls.
func TestStaleChainsOfALargeCluster(t *testing.T) {
	const svc, sep = "KUBE-SVC-GONEGONEGONEGONE", "KUBE-SEP-GONEGONEGONEGONE"
	stale := func(s string) string {
		s = strings.Replace(s, ":KUBE-SERVICES - [0:0]\n:KUBE-SVC-", ":KUBE-SERVICES - [0:0]\n:"+svc+" - [0:0]\n:"+sep+" - [0:0]\n:KUBE-SVC-", 1)
		return strings.Replace(s, "-A KUBE-SERVICES -d", "-A "+svc+" -j "+sep+"\n-A "+sep+" -s 10.1.1.1/32 -j KUBE-MARK-MASQ\n-A KUBE-SERVICES -d", 1)
	}
	called := func(s string) string {
		return strings.Replace(stale(s), "-A KUBE-MARK-MASQ", "-A KUBE-SERVICES -d 10.96.99.99/32 -j "+svc+"\n-A KUBE-MARK-MASQ", 1)
	}
	for _, row := range []struct {
		name     string
		services int // of three endpoints each
		change   func(string) string
		found    int
	}{
		{"1,002 endpoints", 334, stale, 0},
		{"999 endpoints", 333, stale, 2},
		{"1,002 endpoints, and a rule that calls", 334, called, 3},
	} {
		t.Run(row.name, func(t *testing.T) {
			for _, release := range []string{"v1.25", "v1.28", "v1.37"} {
				o := kubeproxy.Options{Release: release}
				c := topologytest.ManyServices(row.services)
				rs, err := kubeproxy.Rules(c, "node-1", o)
				require.NoError(t, err)
				found, err := Check(Node{Cluster: c, Name: "node-1", Options: o, Held: []Held{{Backend: legacy, Rules: parse(t, row.change(rs.String()))}}})
				require.NoError(t, err)
				require.Len(t, found, row.found, "%s %s: %v", row.name, release, found)
			}
		})
	}
}

// Where the kernel has no nfacct objects kube-proxy leaves out what counts in them, and all else is as it was.
func TestNoCounters(t *testing.T) {
	c := topologytest.ManyServices(2)
	c.Services[0].Type, c.Services[0].Ports[0].NodePort = topology.NodePort, 30080
	o := kubeproxy.Options{Release: "v1.37", NoCounters: true}
	rs, err := kubeproxy.Rules(c, "node-1", o)
	require.NoError(t, err)
	o.NoCounters = false
	counted, err := kubeproxy.Rules(c, "node-1", o)
	require.NoError(t, err)
	require.NotEqual(t, counted.String(), rs.String())
	for name, text := range map[string]string{"without": rs.String(), "with": counted.String()} {
		found, err := Check(Node{Cluster: c, Name: "node-1", Options: o, Held: []Held{{Backend: legacy, Rules: parse(t, text)}}})
		require.NoError(t, err)
		require.Empty(t, found, name)
		found, err = Check(Node{Cluster: c, Name: "node-1", Options: o, Held: []Held{{Backend: legacy, Rules: parse(t, drop("-A KUBE-FORWARD", "INVALID")(text))}}})
		require.NoError(t, err)
		require.Len(t, found, 1, "%s: %v", name, found)
		require.Equal(t, "kubernetes#74839", found[0].Issue)
	}
}
