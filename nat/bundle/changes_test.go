package bundle

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
)

// nativeTables is one table of nft's own.
const nativeTables = `table inet filter {
	quota q {
		25 mbytes used 512 bytes
	}

	set hosts {
		type ipv4_addr
		flags interval
		elements = { 192.0.2.7 }
	}

	set seen {
		type ipv4_addr
		flags dynamic,timeout
		timeout 1m
		elements = { 198.51.100.9 expires 9s }
	}

	map ways {
		type ipv4_addr : verdict
		elements = { 10.0.0.1 : jump other }
	}

	chain other {
	}

	chain forward {
		type filter hook forward priority filter; policy accept;
		tcp dport 22 counter packets 5 bytes 6 accept comment "one"
		ip daddr @hosts drop
		add @seen { ip saddr }
		ip daddr vmap @ways
		quota name "q" drop
	}
}
`

func TestChanges(t *testing.T) {
	t.Parallel()
	const link = "2: eth0: <UP> mtu 1500\n    link/ether 02:00:00:00:00:01 brd ff:ff:ff:ff:ff:ff promiscuity 0\n    inet 192.0.2.10/24 scope global eth0\n"
	base := []string{
		"iptables-nft-save", "*nat\n:PREROUTING ACCEPT [1:2]\n:X - [0:0]\n-A PREROUTING -d 10.0.0.1/32 -j X\n-A PREROUTING -d 10.0.0.2/32 -j ACCEPT\nCOMMIT\n",
		"ip -d address", link,
		"ip -4 route show table all", "default via 192.0.2.1 dev eth0\n10.7.0.0/16 via 192.0.2.7 dev eth0 table 7\n",
		"ip -6 route show table all", "fe80::/64 dev eth0 proto kernel metric 256 expires 7sec pref medium\n",
		"ip -4 rule", "0:\tfrom all lookup local\n32766:\tfrom all lookup main\n",
		"ipset save", "create s hash:ip family inet hashsize 1024 maxelem 65536 timeout 9 bucketsize 12 initval 0x1\nadd s 192.0.2.7 timeout 8\n",
		"conntrack", "udp 17 29 src=10.0.0.9 dst=10.0.0.1 sport=1 dport=53 src=10.0.0.5 dst=10.0.0.9 sport=53 dport=1 mark=0 use=1\n",
		"sysctl", "net.ipv4.ip_forward = 1\nnet.netfilter.nf_conntrack_count = 4\n",
		"sockets", "tcp LISTEN 0 128 0.0.0.0:22 0.0.0.0:*\n",
		"nft list ruleset", nativeTables,
	}
	for _, row := range []struct {
		name, old, new string
		want           []Change
	}{
		{"nothing", "", "", nil},
		{"counters, timers and seeds", "[1:2]", "[3:4]", nil},
		{"an entry's time", "udp 17 29", "udp 17 28", nil},
		{"a member's time", "timeout 8", "timeout 7", nil},
		{"a set's seed", "initval 0x1", "initval 0x2", nil},
		{"a route's time", "expires 7sec", "expires 6sec", nil},
		{"how many entries there are", "count = 4", "count = 5", nil},
		{"a rule", "-d 10.0.0.1/32 -j X", "-d 10.0.0.3/32 -j X", []Change{{"rule", "iptables-nft ipv4 nat PREROUTING", "-A PREROUTING -d 10.0.0.1/32 -j X", ""}, {"rule", "iptables-nft ipv4 nat PREROUTING", "", "-A PREROUTING -d 10.0.0.3/32 -j X"}}},
		{"a rule twice", "-A PREROUTING -d 10.0.0.1/32 -j X\n", "-A PREROUTING -d 10.0.0.1/32 -j X\n-A PREROUTING -d 10.0.0.1/32 -j X\n", []Change{{"rule", "iptables-nft ipv4 nat PREROUTING", "", "-A PREROUTING -d 10.0.0.1/32 -j X"}}},
		{"the order of rules", "-A PREROUTING -d 10.0.0.1/32 -j X\n-A PREROUTING -d 10.0.0.2/32 -j ACCEPT\n", "-A PREROUTING -d 10.0.0.2/32 -j ACCEPT\n-A PREROUTING -d 10.0.0.1/32 -j X\n", []Change{{"order", "iptables-nft ipv4 nat PREROUTING", "rule 1: -A PREROUTING -d 10.0.0.1/32 -j X", "rule 1: -A PREROUTING -d 10.0.0.2/32 -j ACCEPT"}}},
		{"a policy", ":PREROUTING ACCEPT", ":PREROUTING DROP", []Change{{"policy", "iptables-nft ipv4 nat PREROUTING", "ACCEPT", "DROP"}}},
		{"a route of another table", "10.7.0.0/16 via 192.0.2.7 dev eth0 table 7\n", "", []Change{{"route", "ip -4 route", "10.7.0.0/16 via 192.0.2.7 dev eth0 table 7", ""}}},
		{"a rule of routing", "0:\tfrom all lookup local\n", "0:\tfrom all lookup local\n9:\tfrom 10.0.0.1 lookup 7\n", []Change{{"ip rule", "ip -4 rule", "", "9: from 10.0.0.1 lookup 7"}}},
		{"a member", "add s 192.0.2.7", "add s 192.0.2.8", []Change{{"set", "", "add s 192.0.2.7", ""}, {"set", "", "", "add s 192.0.2.8"}}},
		{"a sysctl", "ip_forward = 1", "ip_forward = 0", []Change{{"sysctl", "net.ipv4.ip_forward", "1", "0"}}},
		{"an address", "inet 192.0.2.10/24", "inet 192.0.2.11/24", []Change{{"address", "", "192.0.2.10/24 dev eth0", ""}, {"address", "", "", "192.0.2.11/24 dev eth0"}}},
		{"a device's MTU", "mtu 1500", "mtu 1400", []Change{{"device", "", "eth0 mtu 1500", ""}, {"device", "", "", "eth0 mtu 1400"}}},
		{"what nft counts", "packets 5 bytes 6", "packets 7 bytes 8", nil},
		{"a quota's use", "used 512 bytes", "used 1 kbytes", nil},
		{"an element's time", "expires 9s", "expires 8s", nil},
		{"what packets put into a set", "elements = { 198.51.100.9 expires 9s }", "elements = { 198.51.100.8 expires 9s }", nil},
		{"a comment", `comment "one"`, `comment "two"`, nil},
		{"a rule of nft", "tcp dport 22", "tcp dport 23", []Change{{"rule", "nft inet filter forward", "tcp dport 22 accept", ""}, {"rule", "nft inet filter forward", "", "tcp dport 23 accept"}}},
		{"the order of nft's rules", "tcp dport 22 counter packets 5 bytes 6 accept comment \"one\"\n\t\tip daddr @hosts drop", "ip daddr @hosts drop\n\t\ttcp dport 22 accept", []Change{{"order", "nft inet filter forward", "rule 1: tcp dport 22 accept", "rule 1: ip daddr @hosts drop"}}},
		{"a policy of nft", "policy accept", "policy drop", []Change{{"policy", "nft inet filter forward", "accept", "drop"}}},
		{"a priority", "priority filter", "priority 10", []Change{{"chain", "nft inet filter forward", "type filter hook forward priority filter; policy accept;", "type filter hook forward priority filter + 10; policy accept;"}}},
		{"a chain that a hook calls", "chain other {", "chain other {\n\t\ttype filter hook input priority 0; policy drop;", []Change{{"chain", "nft inet filter other", "", "type filter hook input priority filter; policy drop;"}}},
		{"an element", "192.0.2.7 }", "192.0.2.8 }", []Change{{"element", "nft inet filter hosts", "192.0.2.7", ""}, {"element", "nft inet filter hosts", "", "192.0.2.8"}}},
		{"an element of a map", "10.0.0.1 : jump other", "10.0.0.1 : drop", []Change{{"element", "nft inet filter ways", "10.0.0.1 : jump other", ""}, {"element", "nft inet filter ways", "", "10.0.0.1 : drop"}}},
		{"a set's kind", "flags interval", "flags interval,timeout", []Change{{"object", "nft inet filter", "set hosts { type ipv4_addr flags interval }", "set hosts { type ipv4_addr flags interval,timeout }"}}},
		{"a quota", "25 mbytes", "50 mbytes", []Change{{"object", "nft inet filter", "quota q { quota 25 mbytes }", ""}, {"object", "nft inet filter", "", "quota q { quota 50 mbytes }"}}},
		{"a table that sleeps", "table inet filter {", "table inet filter {\n\tflags dormant", []Change{{"chain", "nft inet filter", "", "dormant"}}},
		{"a table more", "table inet filter {", "table ip mine {\n\tchain c {\n\t\ttype nat hook prerouting priority -100; policy accept;\n\t\ttcp dport 80 redirect to :8080\n\t}\n}\ntable inet filter {", []Change{{"rule", "nft ip mine c", "", "tcp dport 80 redirect to :8080"}, {"chain", "nft ip mine c", "", "type nat hook prerouting priority dstnat; policy accept;"}}},
		{"a socket", "0.0.0.0:22", "127.0.0.1:22", []Change{{"socket", "", "tcp 0.0.0.0 port 22", ""}, {"socket", "", "", "tcp 127.0.0.1 port 22"}}},
		{"an entry that is translated otherwise", "src=10.0.0.5", "src=10.0.0.6", []Change{{"entry", "udp 10.0.0.9:1 > 10.0.0.1:53", "udp 10.0.0.5:53 > 10.0.0.9:1", "udp 10.0.0.6:53 > 10.0.0.9:1"}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a := text(base...)
			b := a
			if row.old != "" {
				require.Contains(t, a, row.old)
				b = strings.Replace(a, row.old, row.new, 1)
			}
			got, untold, err := Changes(read(t, a), read(t, b))
			require.NoError(t, err)
			require.Empty(t, untold)
			require.Equal(t, row.want, got)
			for _, c := range got {
				require.Contains(t, Kinds(), c.Kind)
			}
		})
	}
}

// What only one bundle tells is said, and not taken for gone.
func TestChangesOfWhatIsNotTold(t *testing.T) {
	t.Parallel()
	const rules = "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -d 10.0.0.1/32 -j ACCEPT\nCOMMIT\n"
	all := []string{
		"iptables-legacy-save", rules, "iptables-nft-save", rules, "nft list ruleset", nativeTables, "sysctl", "net.ipv4.ip_forward = 1\n",
		"ip -d address", "2: eth0: <UP> mtu 1500\n    inet 192.0.2.10/24 scope global eth0\n", "ip -4 route show table all", "default dev eth0\n",
		"ipset save", "create s hash:ip family inet\n", "sockets", "tcp LISTEN 0 128 0.0.0.0:22 0.0.0.0:*\n",
	}
	whole := read(t, text(all...))
	for i := 0; i < len(all); i += 2 {
		t.Run(all[i], func(t *testing.T) {
			t.Parallel()
			for how, less := range map[string]string{
				"not there": text(append(append([]string{}, all[:i]...), all[i+2:]...)...),
				"failed":    strings.Replace(text(all...), all[i+1]+"\n=== exit 0", "\n=== exit 1", 1),
			} {
				require.NotEqual(t, text(all...), less, how)
				for _, turned := range []bool{false, true} {
					a, b, silent := whole, read(t, less), "B"
					if turned {
						a, b, silent = b, a, "A"
					}
					changes, untold, err := Changes(a, b)
					require.NoError(t, err)
					require.Empty(t, changes, how)
					require.Len(t, untold, 1, how)
					require.Contains(t, untold[0], "bundle "+silent)
				}
			}
		})
	}
	broken := read(t, strings.Replace(text(all...), "table inet filter {", "table inet filter {{", 1))
	changes, untold, err := Changes(whole, broken)
	require.NoError(t, err)
	require.Empty(t, changes)
	require.Len(t, untold, 1)
}

// What is not printed of iptables' rules is named, and nothing where all is.
func TestUntoldRules(t *testing.T) {
	t.Parallel()
	const rules = "*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n"
	both := text("iptables-legacy-save", rules, "iptables-nft-save", rules)
	for _, row := range []struct{ name, text, four, six string }{
		{"all of IPv4", both, "", "no program"},
		{"all", text("iptables-save", rules, "ip6tables-save", rules), "", ""},
		{"nothing", text("hostname", "one\n"), "no program", "no program"},
		{"one that is not there", strings.Replace(both, "=== iptables-legacy-save\n"+rules+"\n=== exit 0", "=== iptables-legacy-save\n\n=== exit 127", 1), "", "no program"},
		{"one that failed", strings.Replace(both, "=== iptables-legacy-save\n"+rules+"\n=== exit 0", "=== iptables-legacy-save\n\n=== ! you must be root\n=== exit 4", 1), "you must be root", "no program"},
		{"nft's", text("iptables-legacy-save", rules, "ip6tables-save", "# Generated by ip6tables-save v1.8.9\n"+rules, "nft list ruleset", "table ip nat {\n\tchain KUBE-SERVICES {\n\t}\n}\n"), "table ip nat", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			n, err := Of(read(t, row.text))
			require.NoError(t, err)
			for family, want := range map[nat.Family]string{nat.IPv4: row.four, nat.IPv6: row.six} {
				got := n.UntoldRules(family)
				require.Contains(t, got, want)
				require.Equal(t, want == "", got == "", got)
			}
		})
	}
}
