package audit

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat/nftables"
	"natlab/topology"
)

// nativeAgents are tables of nf_tables' own that other programs keep on healthy nodes, as nft lists them. They are written from the programs'
// documentation and code.
var nativeAgents = map[string]string{
	"a firewall that lets translated packets through": `table inet filter {
	set admins {
		type ipv4_addr
		flags interval
		elements = { 192.0.2.0/24 }
	}
	chain input {
		type filter hook input priority filter; policy drop;
		ct state vmap { invalid : drop, established : accept, related : accept }
		iifname "lo" accept
		ip saddr @admins tcp dport 22 accept
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
		ct state vmap { invalid : drop, established : accept, related : accept }
		ct status dnat accept
		iifname "virbr0" oifname != "virbr0" accept
	}
}`,
	"a firewall that lets the pods' network through": `table inet filter {
	chain forward {
		type filter hook forward priority filter; policy drop;
		ct state established,related accept
		ip daddr 10.244.0.0/16 accept
	}
}`,
	"a firewall that drops of some devices": `table ip filter2 {
	chain forward {
		type filter hook forward priority filter; policy accept;
		iifname "eth7" drop
		iifname . tcp dport { "eth7" . 80, "eth8" . 443 } drop
		ip saddr 203.0.113.0/24 reject with icmp admin-prohibited
		tcp flags & (fin | syn | rst | ack) != syn ct state new drop
		limit rate over 1000/second drop
	}
	chain prerouting {
		type filter hook prerouting priority raw; policy accept;
		ip saddr 198.51.100.7 drop
		ct state invalid drop
	}
}`,
	"containers beside": `table ip docker-bridges {
	map filter-forward-in-jumps {
		type ifname : verdict
		elements = { "docker0" : jump filter-forward-in__docker0 }
	}
	chain filter-FORWARD {
		type filter hook forward priority filter; policy accept;
		oifname vmap @filter-forward-in-jumps
	}
	chain filter-forward-in__docker0 {
		ct state established,related counter accept
		counter drop comment "UNPUBLISHED PORT DROP"
	}
	chain nat-PREROUTING {
		type nat hook prerouting priority dstnat; policy accept;
		fib daddr type local counter jump nat-prerouting-and-output
	}
	chain nat-prerouting-and-output {
		iifname != "docker0" tcp dport 8080 counter dnat to 172.17.0.2:80 comment "DNAT"
		ip daddr 127.0.0.1 tcp dport 8081 counter dnat to 172.17.0.2:81 comment "DNAT"
	}
	chain raw-PREROUTING {
		type filter hook prerouting priority raw; policy accept;
		ip daddr 127.0.0.1 iifname != "lo" tcp dport 8081 counter drop comment "LOOPBACK"
		ip daddr 172.17.0.2 iifname != "docker0" counter drop comment "DROP DIRECT ACCESS"
	}
}`,
	"host ports": `table inet cni_hostport {
	comment "CNI portmap plugin"
	chain hostports {
		tcp dport 8085 dnat ip to 10.244.169.89:80 comment "0a1b2c"
	}
	chain hostip_hostports {
		ip daddr 192.168.26.105 udp dport 5353 dnat ip to 10.244.169.89:53 comment "0a1b2c"
	}
	chain prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		jump hostip_hostports
		fib daddr type local jump hostports
	}
	chain output {
		type nat hook output priority dstnat; policy accept;
		jump hostip_hostports
		fib daddr type local jump hostports
	}
}`,
	"tunnels": `table ip wg-quick-wg0 {
	chain preraw {
		type filter hook prerouting priority raw; policy accept;
		iifname != "wg0" ip daddr 10.9.0.2 fib saddr type != local drop
	}
	chain premangle {
		type filter hook prerouting priority mangle; policy accept;
		meta l4proto udp meta mark set ct mark
	}
	chain postmangle {
		type filter hook postrouting priority mangle; policy accept;
		meta l4proto udp meta mark 0x0000ca6c ct mark set meta mark
	}
}
table ip tailnet {
	chain forward {
		type filter hook forward priority filter; policy accept;
		iifname "tailscale0*" meta mark set meta mark & 0xff00ffff | 0x00040000
		meta mark & 0x00ff0000 == 0x00040000 accept
		oifname "tailscale0*" ip saddr 100.64.0.0/10 drop
	}
}`,
}

// nativeText parses a listing.
func nativeText(t *testing.T, text string) nftables.Ruleset {
	t.Helper()
	rs, err := nftables.ParseText(text)
	require.NoError(t, err)
	require.Empty(t, rs.Unread(), "the row has rules that are not read")
	return rs
}

// On healthy nodes with other agents' own tables nothing is found, in either mode of kube-proxy.
func TestNativeAgentsAreLeftAlone(t *testing.T) {
	t.Parallel()
	all := maps.Clone(nativeAgents)
	files, err := filepath.Glob("../../test/testdata/native/*.nft")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		all[filepath.Base(file)] = strings.NewReplacer("policy drop", "policy accept", "10.244.0.", "172.31.0.").Replace(string(text))
	}
	for name, text := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rs, err := nftables.ParseText(text)
			require.NoError(t, err)
			n := healthy(t)
			n.Native = rs
			found, err := Check(n)
			require.NoError(t, err)
			require.Empty(t, found)

			n = nativeNode(t, 0, "v1.37", nil)
			n.Native.Tables = append(n.Native.Tables, rs.Tables...)
			found, err = Check(n)
			require.NoError(t, err)
			require.Empty(t, found)
		})
	}
}

// What another agent's own table does to what comes for Services is found, alone, with the rule that does it.
func TestNativeOthers(t *testing.T) {
	t.Parallel()
	base := func(typ, hook, priority, policy, rules string) string {
		return "table inet mine {\n\tchain sub {\n\t\tdrop\n\t}\n\tchain c {\n\t\ttype " + typ + " hook " + hook + " priority " + priority + "; policy " + policy + ";\n\t\t" + rules + "\n\t}\n}"
	}
	for _, row := range []struct {
		name, text string
		want       Kind // "" for none
		what       string
	}{
		{"policy", base("filter", "forward", "filter", "drop", "ct state established,related accept"), ForwardPolicy, "the policy of c is drop"},
		{"policy behind what accepts others", base("filter", "forward", "filter", "drop", "iifname \"docker0\" accept\n\t\tip saddr 192.0.2.0/24 accept\n\t\tmeta mark & 0x00004000 == 0x00004000 accept"), ForwardPolicy, "the policy of c is drop"},
		{"policy of what may accept", base("filter", "forward", "filter", "drop", "meta mark 0x00000064 accept"), "", ""},
		{"policy of bridged devices", base("filter", "forward", "filter", "drop", `iifname { "cni0", "eth0" } accept`), "", ""},
		{"at the end", base("filter", "forward", "filter", "accept", "ct state established,related accept\n\t\treject with icmpx admin-prohibited"), Dropped, "reject with icmpx admin-prohibited"},
		{"by a chain", base("filter", "forward", "filter + 10", "accept", "meta l4proto tcp jump sub"), Dropped, `"drop" takes`},
		{"by goto", base("filter", "forward", "filter", "accept", "ct direction original goto sub"), Dropped, `"drop" takes`},
		{"what is translated", base("filter", "forward", "filter", "accept", "ct status dnat drop"), Dropped, "ct status dnat drop"},
		{"by a verdict map", base("filter", "forward", "filter", "accept", "tcp dport vmap { 22 : accept, 9000-9100 : goto sub }"), Dropped, `"drop" takes`},
		{"by a state's map", base("filter", "forward", "filter", "accept", "ct state vmap { established : accept, new : drop }"), Dropped, "new : drop"},
		{"by a set", base("filter", "forward", "filter", "accept", "ip daddr . tcp dport { 10.244.38.0/24 . 9000 } drop"), Dropped, "velero/minio"},
		{"another port", base("filter", "forward", "filter", "accept", "ip daddr . tcp dport { 10.244.38.0/24 . 9 } drop"), "", ""},
		{"another protocol", base("filter", "forward", "filter", "accept", "sctp dport != 9 drop\n\t\ticmp type echo-request drop\n\t\tip6 nexthdr tcp drop"), "", ""},
		{"by number", base("filter", "forward", "filter", "accept", "tcp dport > 1023 drop"), Dropped, "tcp dport > 1023"},
		{"behind a return", base("filter", "forward", "filter", "accept", "meta nfproto ipv4 return\n\t\tdrop"), "", ""},
		{"behind one that may return", base("filter", "forward", "filter", "accept", "iifname \"eth0\" return\n\t\tdrop"), "", ""},
		{"before translation", base("filter", "prerouting", "raw", "accept", "ip daddr 10.96.0.0/12 drop"), Dropped, "10.96.0.0/12"},
		{"in front of connection tracking", base("filter", "prerouting", "raw", "accept", "ct state new drop"), "", ""},
		{"behind translation", base("filter", "prerouting", "filter", "accept", "ip daddr 10.96.0.0/12 drop"), "", ""},
		{"of endpoints, behind translation", base("filter", "prerouting", "filter", "accept", "ip daddr 10.244.38.178 drop"), Dropped, "10.244.38.178"},
		{"on its way out", base("filter", "postrouting", "srcnat + 10", "accept", "ip daddr 10.244.38.178 drop"), Dropped, "10.244.38.178"},
		{"to the node itself", base("filter", "input", "filter", "drop", "ct state established accept"), "", ""},
		{"translated first", base("nat", "prerouting", "dstnat - 5", "accept", "ip daddr 10.96.0.0/12 meta l4proto tcp dnat ip to 192.0.2.1:9000"), EarlyVerdict, "10.96.0.0/12"},
		{"translated at a node port", base("nat", "prerouting", "dstnat", "accept", "fib daddr type local tcp dport 30450 dnat ip to 192.0.2.1:9000"), EarlyVerdict, "30450"},
		{"translated behind", base("nat", "prerouting", "dstnat + 5", "accept", "ip daddr 10.96.0.0/12 meta l4proto tcp dnat ip to 192.0.2.1:9000"), "", ""},
		{"translated elsewhere", base("nat", "prerouting", "dstnat", "accept", "tcp dport 8080 dnat ip to 192.0.2.1:9000"), "", ""},
		{"to a pod that is gone", base("nat", "prerouting", "dstnat", "accept", "tcp dport 8080 dnat ip to 10.244.169.99:80"), StaleDNAT, "no pod of the node has address 10.244.169.99"},
		{"to pods that are gone, by a map", base("nat", "prerouting", "dstnat", "accept", "dnat ip to tcp dport map { 8080 : 10.244.169.99 . 80 }"), StaleDNAT, "10.244.169.99"},
		{"twice", base("nat", "prerouting", "dstnat", "accept", "tcp dport 8080 dnat ip to 192.0.2.1:80\n\t\ttcp dport 8080 dnat ip to 192.0.2.2:80"), ShadowedDNAT, "192.0.2.2:80"},
		{"by turns", base("nat", "prerouting", "dstnat", "accept", "tcp dport 8080 numgen random mod 2 0 dnat ip to 192.0.2.1:80\n\t\ttcp dport 8080 dnat ip to 192.0.2.2:80"), "", ""},
		{"loopback", base("nat", "prerouting", "dstnat", "accept", "ip daddr 127.0.0.1 tcp dport 8080 dnat ip to 192.0.2.1:80"), LoopbackPublished, "127.0.0.1"},
		{"loopback alone", base("nat", "prerouting", "dstnat", "accept", "iifname \"lo\" ip daddr 127.0.0.1 tcp dport 8080 dnat ip to 192.0.2.1:80"), "", ""},
		{"mark set", base("filter", "prerouting", "mangle", "accept", "udp dport 9 meta mark set 0x00004001"), MarkTaken, "sets bit 0x4000"},
		{"mark added", base("filter", "forward", "mangle", "accept", "udp dport 9 meta mark set meta mark | 0x0000c000"), MarkTaken, "sets bit 0x4000"},
		{"mark cleared", base("filter", "forward", "mangle", "accept", "udp dport 9 meta mark set 0x00000001"), MarkTaken, "clears bit 0x4000"},
		{"mark restored", base("filter", "postrouting", "mangle", "accept", "udp dport 9 meta mark set ct mark"), MarkTaken, "overwrites bit 0x4000"},
		{"mark cleared before it is given", base("filter", "prerouting", "mangle", "accept", "udp dport 9 meta mark set 0x00000001"), "", ""},
		{"other bits", base("filter", "forward", "mangle", "accept", "meta mark set meta mark & 0xffff4000 ^ 0x00000002"), "", ""},
		{"not called", strings.Replace(base("filter", "forward", "filter", "drop", ""), "{", "{\n\tflags dormant", 1), "", ""},
		{"of IPv6", strings.Replace(base("filter", "forward", "filter", "drop", ""), "inet", "ip6", 1), "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			for mode, n := range map[string]Node{"iptables": healthy(t), "nftables": nativeNode(t, 0, "v1.37", nil)} {
				n.Cluster.Pods = append(n.Cluster.Pods, topology.Pod{Name: "one", Node: node})
				n.Native.Tables = append(n.Native.Tables, nativeText(t, row.text).Tables...)
				found, err := Check(n)
				require.NoError(t, err)
				if row.want == "" {
					require.Empty(t, found, mode)
					continue
				}
				require.Len(t, found, 1, "%s: %v", mode, found)
				f := found[0]
				require.Equal(t, row.want, f.Kind, "%s: %v", mode, f)
				require.Contains(t, f.What, row.what)
				require.Equal(t, native, f.Backend)
				require.Contains(t, f.Table, " mine")
				require.NotEmpty(t, f.Why)
				require.NotEmpty(t, f.Remedy)
			}
		})
	}
}

// Where rules of iptables are not known, they are not missing; what nft lists of kube-proxy's own is no other agent's.
func TestUntold(t *testing.T) {
	t.Parallel()
	n := healthy(t)
	n.Untold = "ip6tables-save: not permitted"
	found, err := Check(n)
	require.NoError(t, err)
	require.Empty(t, found, "kube-proxy's are there")

	n.Held = nil
	n.Native = nativeText(t, `table ip nat {
	chain PREROUTING {
		type nat hook prerouting priority dstnat; policy accept;
		counter packets 0 bytes 0 jump KUBE-SERVICES
	}
	chain KUBE-SERVICES {
		ip daddr 10.96.0.0/12 meta l4proto tcp counter packets 0 bytes 0 jump KUBE-SEP-A
	}
	chain KUBE-SEP-A {
		counter packets 0 bytes 0 jump KUBE-MARK-MASQ
		meta l4proto tcp counter packets 0 bytes 0 dnat to 10.244.38.178:9090
	}
	chain KUBE-MARK-MASQ {
		counter packets 0 bytes 0 meta mark set mark or 0x4000
	}
}
table ip filter {
	chain FORWARD {
		type filter hook forward priority filter; policy accept;
		reject
	}
}`)
	found, err = Check(n)
	require.NoError(t, err)
	require.Equal(t, []Kind{Unreadable, Dropped}, kinds(found), "%v", found)
	require.Contains(t, found[0].What, "not permitted")

	n.Untold, n.Native = "", nftables.Ruleset{}
	found, err = Check(n)
	require.NoError(t, err)
	require.Equal(t, []Kind{Missing}, kinds(found))
}
