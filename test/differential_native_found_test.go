package test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
)

// foundNative is a difference that was found between the emulator and the kernel with tables of nf_tables' own.
type foundNative struct {
	name    string
	rules   string // lines that nft takes, of IPv4; base chains count as registered as they stand
	packets []given
	where   where
	// misread: nft reads its listing as something else, or refuses it. natlab alone reads it, as what it has been made of.
	misread bool
}

// nativeText is rules' text for IPv4, or what stands for it in IPv6.
func nativeText(family nat.Family, text string) string {
	if family == nat.IPv4 {
		return text
	}
	return textIn(family, strings.NewReplacer(
		"table ip ", "table ip6 ", "chain ip ", "chain ip6 ", "rule ip ", "rule ip6 ", "set ip ", "set ip6 ", "map ip ", "map ip6 ",
		"ip saddr", "ip6 saddr", "ip daddr", "ip6 daddr", "dnat ip to", "dnat ip6 to", "ipv4_addr", "ipv6_addr", "meta l4proto icmp", "meta l4proto ipv6-icmp", "protocol icmp", "protocol ipv6-icmp",
	).Replace(text))
}

// inOrder is the order in which the base chains of a text register.
func inOrder(text string) (order []string) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 5 || f[1] != "chain" || f[4] != "{" {
			continue
		}
		order = append(order, strings.Join(f[2:5], " "))
	}
	for i, at := range order {
		order[i] = strings.TrimSuffix(at, " {")
	}
	return order
}

// nativeChain is a table with a chain of some rules.
func nativeChain(table, head string, rules ...string) string {
	out := "add table " + table + "\nadd chain " + table + " c { type " + head + "; policy accept; }\n"
	for _, r := range rules {
		out += "add rule " + table + " c " + r + "\n"
	}
	return out
}

// The differences that generated packets have shown between the emulator and the kernel with tables of nf_tables' own, each in few packets.
func TestDifferentialNativeFound(t *testing.T) {
	t.Parallel()
	const prerouting, input, forward, output = "filter hook prerouting priority 0", "filter hook input priority 0", "filter hook forward priority 0", "filter hook output priority 0"
	const toPod, toService, out = "udp 192.168.1.10:1000 > 10.244.0.5:53", "udp 192.168.1.10:1000 > 10.96.0.1:53", "udp 192.168.1.1:1000 > 10.0.0.20:53"
	all := []foundNative{
		{"what is rejected before it has a route is told of from where the way back leaves", nativeChain("inet t", prerouting, "reject"), []given{
			{dev: "in0", tuple: toPod},
			{dev: "in0", tuple: "udp 192.168.1.10:1000 > 10.0.0.1:53"},
			{dev: "in0", tuple: "udp 192.168.1.1:1000 > 10.244.0.5:53"},
			{dev: "in0", tuple: "udp 192.168.1.1:1000 > 192.168.1.2:53"},
		}, both, false},
		{"and what came from all is not", nativeChain("ip t", prerouting, "reject"), []given{{dev: "in0", tuple: "udp 255.255.255.255:1000 > 192.168.1.10:53"}}, only4, false},
		{"a reset before there is a route", nativeChain("inet t", prerouting, "meta l4proto tcp reject with tcp reset"), []given{
			{dev: "in0", tuple: "tcp 192.168.1.10:1000 > 10.0.0.1:80", flags: 2, seq: 1000},
			{dev: "in0", tuple: "tcp 192.168.1.1:1000 > 10.244.0.5:80", flags: 2, seq: 1000},
		}, both, false},
		{"NAT registers with the first chain that translates", nativeChain("ip a", "nat hook output priority -100", "udp dport 53 dnat to 10.244.0.5") +
			nativeChain("ip b", "filter hook output priority -100", "ip daddr 10.0.0.20 meta mark set 0x1"), []given{{tuple: out}}, both, false},
		{"and before a chain that does so after", nativeChain("ip b", "filter hook output priority -100", "ip daddr 10.0.0.20 meta mark set 0x1") +
			nativeChain("ip a", "nat hook output priority -100", "udp dport 53 dnat to 10.244.0.5"), []given{{tuple: out}}, both, false},
		{"a chain that translates tracks nothing without a rule that does", nativeChain("ip t", "nat hook prerouting priority -100", "accept"), []given{{dev: "in0", tuple: toPod}}, both, false},
		{"nor does a rule that translates the other family", nativeChain("inet t", "nat hook prerouting priority -100", "ip daddr 10.96.0.1 accept") +
			"add table inet u\nadd chain inet u n\nadd rule inet u n dnat ip6 to fd00::1\n", []given{{dev: "in0", tuple: toPod}}, only4, false},
		{"one that nothing leads to tracks", "add table ip t\nadd chain ip t n\nadd rule ip t n ct state new accept\n", []given{{dev: "in0", tuple: toPod}}, both, false},
		{"two states that a packet is not both of", nativeChain("ip t", forward, "ct state != new,untracked meta mark set 0x1", "ct state new,untracked meta mark set 0x2", "ct state == new,untracked meta mark set 0x4"), []given{{dev: "in0", tuple: toPod}}, both, true},
		{"sums of flags in sets", nativeChain("ip t", forward, "tcp flags { syn, syn | ack } meta mark set 0x1", "tcp flags vmap { syn | ack : drop }", "tcp flags != syn,ack counter"), []given{
			{dev: "in0", tuple: "tcp 192.168.1.10:1000 > 10.244.0.5:80", flags: 2, seq: 1000},
			{dev: "pod0", tuple: "tcp 10.244.0.5:80 > 192.168.1.10:1000", flags: 18, seq: 5000, ack: 1001},
			{dev: "in0", tuple: "tcp 192.168.1.10:1000 > 10.244.0.5:80", flags: 16, seq: 1001, ack: 5001},
		}, both, false},
		{"an error is of the protocol of its connection", nativeChain("ip t", forward, "ct original protocol udp meta mark set 0x1", "ct reply protocol icmp meta mark set 0x2"), []given{
			{dev: "in0", tuple: toPod},
			{dev: "pod0", tuple: "icmp 10.244.0.5:0 > 192.168.1.10:0", kind: 3, about: toPod},
		}, both, false},
		{"a hash with a seed", nativeChain("ip t", forward, "meta mark set jhash ip saddr . udp dport mod 64 seed 0x7 offset 1", "meta mark set jhash meta mark mod 64 seed 0x9", "meta mark set jhash udp dport mod 256 seed 0x1", "jhash ip saddr mod 2 seed 0x5 0 drop"), []given{
			{dev: "in0", tuple: toPod},
			{dev: "in0", tuple: "udp 192.168.1.11:1000 > 10.244.0.5:80"},
			{dev: "in0", tuple: "udp 203.0.113.9:1000 > 10.244.0.5:443"},
		}, both, false},
		{"bits of headers that have no name", nativeChain("ip t", forward, "meta l4proto udp @th,16,32 & 0xffff0000 == 0x00350000 meta mark set 0x1", "@nh,0,4 4 drop"), []given{{dev: "in0", tuple: toPod}}, both, false},
		{"the type of an address that routes refuse, or of no one", nativeChain("ip t", prerouting, "fib saddr type unicast meta mark set 0x1", "fib daddr type blackhole meta mark set 0x2", "fib daddr type { unreachable, prohibit } drop"), []given{
			{dev: "in0", tuple: "udp 192.168.1.10:1000 > 10.99.0.1:53"},
			{dev: "in0", tuple: "udp 0.0.0.0:1000 > 10.0.0.20:53"},
			{dev: "in0", tuple: "udp 192.168.1.10:1000 > 10.98.0.1:53"},
			{dev: "in0", tuple: "udp 192.168.1.10:1000 > 10.97.0.1:53"},
		}, both, false},
		{"the type of an address as a device has it", nativeChain("ip t", prerouting, "fib daddr . iif type unicast drop", "fib daddr . iif type local meta mark set 0x1"), []given{
			{dev: "out0", tuple: "udp 10.0.0.20:1000 > 192.168.1.1:53"},
			{dev: "in0", tuple: "udp 192.168.1.10:1000 > 192.168.1.1:53"},
		}, both, false},
		{"the device that a way leads to", nativeChain("ip t", prerouting, "fib saddr . iif oif missing meta mark set 0x1", `fib saddr oif "out0" drop`, `fib daddr oifname "pod0" meta mark set 0x2`, "fib saddr . iif oif exists accept"), []given{
			{dev: "in0", tuple: toPod},
			{dev: "in0", tuple: "udp 10.0.0.20:1000 > 10.244.0.5:53"},
			{dev: "in0", tuple: "udp 192.168.1.1:1000 > 10.244.0.5:53"},
		}, both, false},
		{"the device that a way leads to, of what the node sends to itself, where it comes in", nativeChain("ip t", prerouting, "fib saddr oif exists meta mark set 0x1", `fib daddr oif "lo" counter`) +
			nativeChain("ip u", input, `fib saddr oif "lo" counter`, "fib saddr oif exists meta mark set 0x2", "fib daddr . iif oif missing drop"), []given{
			{tuple: "udp 10.244.0.1:1000 > 192.168.1.1:53"},
			{tuple: "tcp 10.0.0.1:1000 > 10.0.0.1:80", flags: 2, seq: 1000},
			{dev: "in0", tuple: "udp 192.168.1.10:1000 > 192.168.1.1:53"},
		}, newer, false},
		{"a way leads to all of a link", nativeChain("ip t", prerouting, "fib saddr oif exists drop"), []given{{dev: "in0", tuple: "udp 192.168.1.255:1000 > 10.244.0.5:53"}}, only4, false},
		{"a device without frames tells none that are for many", nativeChain("ip t", prerouting, "meta pkttype { broadcast, multicast } drop", "meta pkttype host counter"), []given{
			{dev: "in0", tuple: "udp 192.168.1.10:1000 > 255.255.255.255:53"},
			{dev: "in0", tuple: "udp 192.168.1.10:1000 > 224.0.0.1:53"},
			{tuple: "udp 192.168.1.1:1000 > 192.168.1.255:53"},
		}, only4, false},
		{"what an element was put there with holds where it is found, too", "add table ip t\nadd set ip t seen { type ipv4_addr; flags dynamic; size 9; }\n" +
			"add chain ip t c { type " + forward + "; policy accept; }\nadd rule ip t c ip saddr @seen meta mark set 0x1\nadd rule ip t c update @seen { ip saddr } meta mark set 0x2 accept\n" +
			"add chain ip t d { type filter hook prerouting priority 0; policy accept; }\nadd rule ip t d add @seen { ip saddr limit rate over 1/day burst 2 packets } drop\n", []given{
			{dev: "in0", tuple: toPod}, {dev: "in0", tuple: toPod}, {dev: "in0", tuple: toPod}, {dev: "in0", tuple: toPod}, {dev: "in0", tuple: toPod},
		}, both, false},
		{"what came back by lo keeps its route where it is rejected", nativeChain("ip t", prerouting, "meta l4proto tcp reject with tcp reset"), []given{
			{tuple: "tcp 127.255.255.255:1000 > 192.168.1.1:80", flags: 2, seq: 1000},
		}, only4, false},
		{"the packet that uses a quota up", nativeChain("ip t", forward, "quota 56 bytes meta mark set 0x1", "quota over 56 bytes counter"), []given{
			{dev: "in0", tuple: toPod}, {dev: "in0", tuple: toPod}, {dev: "in0", tuple: toPod},
		}, only4, false},
		{"UDP of a header that is not as conntrack has summed it", nativeChain("ip t", input, "ct state new udp dport 1 drop", "udp sport 1000 ip6 hoplimit set 5", "udp sport 1001 ip6 dscp set cs1", "udp sport 1002 ip6 hoplimit set 5 ip6 hoplimit set 64", "udp sport 1003 ip6 hoplimit set 64"), []given{
			{dev: "in0", tuple: "udp 192.168.1.10:1000 > 192.168.1.1:53", payload: make([]byte, 68)},
			{dev: "in0", tuple: "udp 192.168.1.10:1000 > 192.168.1.1:54", payload: make([]byte, 69)},
			{dev: "in0", tuple: "udp 192.168.1.10:1001 > 192.168.1.1:53", payload: make([]byte, 69)},
			{dev: "in0", tuple: "udp 192.168.1.10:1002 > 192.168.1.1:53", payload: make([]byte, 69)},
			{dev: "in0", tuple: "udp 192.168.1.10:1003 > 192.168.1.1:53", payload: make([]byte, 69)},
			{dev: "in0", tuple: "tcp 192.168.1.10:1000 > 192.168.1.1:80", flags: 2, seq: 1000, payload: make([]byte, 69)},
		}, only6, false},
		{"UDP of a header that conntrack has not summed, or as it is since", nativeChain("ip t", "filter hook prerouting priority -300", "udp sport 1000 ip6 hoplimit set 5", "udp sport 1001 notrack") + nativeChain("ip u", input, "ct state new udp dport 1 drop", "udp sport 1001 ip6 hoplimit set 5"), []given{
			{dev: "in0", tuple: "udp 192.168.1.10:1000 > 192.168.1.1:53", payload: make([]byte, 69)},
			{dev: "in0", tuple: "udp 192.168.1.10:1001 > 192.168.1.1:53", payload: make([]byte, 69)},
		}, only6, false},
		{"a reset that has no route closes nothing", nativeChain("ip t", prerouting, "ct state established tcp flags ack reject with tcp reset"), []given{
			{tuple: "tcp 127.0.0.1:1000 > 192.168.1.10:80", flags: 2, seq: 1000},
			{dev: "in0", tuple: "tcp 192.168.1.10:80 > 127.0.0.1:1000", flags: 16, seq: 5000, ack: 1001},
		}, only4, false},
		{"what is told of an untracked packet is untracked by another rule", nativeChain("ip t", "filter hook output priority -300", "notrack") +
			nativeChain("ip u", output, "ct state untracked counter", "ct state invalid,related counter", "tcp flags rst reject"), []given{
			{dev: "in0", tuple: "tcp 192.168.1.10:1000 > 192.168.1.1:80", flags: 2, seq: 1000},
		}, both, false},
		{"an error to all of a link: a protocol that no one takes", nativeChain("ip t", output, "counter"), []given{{dev: "out0", tuple: "99 10.0.0.255:0 > 192.168.1.1:0", payload: make([]byte, 8)}}, only4, false},
		{"an error to all of a link: a port", nativeChain("ip t", output, "counter"), []given{{dev: "out0", tuple: "udp 10.0.0.255:80 > 192.168.1.1:80"}}, only4, false},
		{"an error to all of a link: a reject", nativeChain("ip t", input, "reject"), []given{{dev: "out0", tuple: "udp 10.0.0.255:80 > 192.168.1.1:80"}}, only4, false},
		{"an error to all of a link: an end of the way", nativeChain("ip t", output, "counter"), []given{{dev: "out0", tuple: "udp 10.0.0.255:80 > 10.244.0.5:80", ttl: 1}}, only4, false},
		{"an error to all of a link: a ping", nativeChain("ip t", output, "counter"), []given{{dev: "out0", tuple: "icmp 10.0.0.255:8 > 192.168.1.1:8"}}, only4, false},
		{"an error to all of a link: a reset", nativeChain("ip t", output, "counter"), []given{{dev: "out0", tuple: "tcp 10.0.0.255:80 > 192.168.1.1:80", flags: 2, seq: 1000}}, only4, false},
		{"what a node hears of what it sends to many has no socket", nativeChain("ip t", "filter hook postrouting priority 0", "meta skuid 0 meta mark set 0x1", "meta skgid 0-10 counter"), []given{
			{tuple: "udp 10.244.0.1:53 > 10.0.0.255:30080"},
			{tuple: "udp 10.244.0.1:53 > 224.0.0.251:5353"},
		}, both, false},
		{"ports that a map redirects to", nativeChain("ip t", "nat hook prerouting priority -100", "meta l4proto udp redirect to udp dport map { 53 : 5353, 80-90 : 8080 }"), []given{
			{dev: "in0", tuple: "udp 192.168.1.10:1000 > 10.0.0.1:53"},
			{dev: "in0", tuple: "udp 192.168.1.10:1001 > 10.0.0.1:85"},
			{dev: "in0", tuple: "udp 192.168.1.10:1001 > 10.0.0.1:91"},
		}, both, false},
		{"a condition of a family that nft does not list", nativeChain("inet t", "nat hook prerouting priority -100", "ip daddr 10.96.0.1 meta protocol ip6 dnat ip to ip daddr map { 10.96.0.1 : 10.244.0.5 }"), []given{{dev: "in0", tuple: toService}}, only4, false},
		{"a condition of a family that nft does not list, of IPv6", nativeChain("inet t", "nat hook prerouting priority -100", "ip daddr 10.96.0.1 meta protocol ip dnat ip to ip daddr map { 10.96.0.1 : 10.244.0.5 }"), []given{{dev: "in0", tuple: toService}}, only6, false},
		{"a condition of a protocol that nft does not list", nativeChain("inet t", forward, "meta l4proto icmp th sport { 1, 1000 } drop"), []given{{dev: "in0", tuple: toPod}}, both, false},
		{"what a rule does between a condition and what needs it", nativeChain("ip t", "nat hook prerouting priority -100", "meta l4proto tcp meta mark set 0x4000 meta l4proto { tcp, udp } redirect to th dport map { 80 : 8080 }"), []given{{dev: "in0", tuple: toService}}, both, true},
		{"a field that a rule sets", nativeChain("ip t", forward, "ip ttl set 5", "ip dscp set cs1"), []given{{dev: "in0", tuple: toPod}}, only4, false},
		{"a maximum segment size that a rule sets", nativeChain("inet t", forward, "tcp option maxseg size set 1000 meta mark set 0x1", "meta mark 0x1 counter"), []given{
			{dev: "in0", tuple: "tcp 192.168.1.10:1000 > 10.244.0.5:80", flags: 2, seq: 1000, tcpOptions: []byte{2, 4, 5, 180}},
			{dev: "in0", tuple: "tcp 192.168.1.10:1001 > 10.244.0.5:80", flags: 2, seq: 1000, tcpOptions: []byte{1, 1, 2, 4, 1, 0, 0, 0}},
			{dev: "in0", tuple: "tcp 192.168.1.10:1002 > 10.244.0.5:80", flags: 2, seq: 1000, tcpOptions: []byte{1, 2, 4, 5, 180, 0, 0, 0}},
			{dev: "in0", tuple: "tcp 192.168.1.10:1003 > 10.244.0.5:80", flags: 2, seq: 1000, tcpOptions: []byte{2, 3, 5, 0}},
			{dev: "in0", tuple: "tcp 192.168.1.10:1004 > 10.244.0.5:80", flags: 2, seq: 1000, tcpOptions: []byte{1, 1, 2, 4}},
			{dev: "in0", tuple: "tcp 192.168.1.10:1005 > 10.244.0.5:80", flags: 2, seq: 1000, tcpOptions: []byte{2, 5, 5, 180, 7, 0, 0, 0}},
			{dev: "in0", tuple: "tcp 192.168.1.10:1006 > 10.244.0.5:80", flags: 2, seq: 1000},
			{dev: "in0", tuple: toPod},
		}, newer, false},
		{"a limit and a quota that several rules share", "add table inet t\nadd limit inet t l { rate 1/day burst 3 packets; }\nadd quota inet t q { over 150 bytes; }\n" +
			"add chain inet t c { type " + prerouting + "; policy accept; }\nadd rule inet t c limit name \"l\" meta mark set 0x1\nadd rule inet t c quota name \"q\" meta mark set 0x2\n" +
			"add chain inet t d { type " + forward + "; policy accept; }\nadd rule inet t d limit name \"l\" counter\nadd rule inet t d quota name \"q\" drop\n", []given{
			{dev: "in0", tuple: toPod}, {dev: "in0", tuple: toPod}, {dev: "in0", tuple: toPod}, {dev: "in0", tuple: toPod},
		}, both, false},
		{"UDP-Lite to all of a link, with the node's own copy of it", nativeChain("ip t", output, "ct state new meta mark set 0x1", "ct state invalid meta mark set 0x2") +
			nativeChain("ip u", "filter hook postrouting priority 0", "ct state new counter", "ct state established counter") +
			nativeChain("ip v", "filter hook prerouting priority 0", "meta pkttype broadcast counter", "ct state new meta mark set 0x4", "ct state established meta mark set 0x8", "ct state invalid meta mark set 0x10") +
			nativeChain("ip w", input, "meta mark 0x4 counter", "meta mark 0x8 counter", "udplite dport 81 drop"), []given{
			{tuple: "udplite 192.168.1.1:1000 > 192.168.1.255:80"},
			{tuple: "udplite 192.168.1.1:1000 > 192.168.1.255:80"},
			{tuple: "udplite 192.168.1.1:1001 > 192.168.1.255:81"},
			{tuple: "udplite 10.0.0.1:1000 > 10.0.0.255:80"},
			{tuple: "udplite 10.0.0.1:1000 > 10.0.0.0:80"},
			{tuple: "udplite 127.255.255.255:40001 > 10.0.0.0:600"},
			{tuple: "udplite 192.168.1.1:1000 > 255.255.255.255:80"},
			{tuple: "udplite 192.168.1.1:1000 > 224.0.0.1:80"},
			{dev: "in0", tuple: "udplite 192.168.1.10:1000 > 192.168.1.255:80"},
		}, only4, false},
		{"the maximum segment size that routes of both ways have room for", nativeChain("inet t", forward, "tcp option maxseg size set rt mtu", "rt mtu 1360 meta mark set 0x1", "rt mtu 1260 meta mark set 0x2"), []given{
			{dev: "in0", tuple: "tcp 192.168.1.10:1000 > 10.244.0.5:80", flags: 2, seq: 1000, tcpOptions: []byte{2, 4, 5, 180}},
			{dev: "pod0", tuple: "tcp 10.244.0.5:80 > 192.168.1.10:1000", flags: 18, seq: 5000, ack: 1001, tcpOptions: []byte{2, 4, 5, 180}},
			{dev: "in0", tuple: "tcp 192.168.1.10:1001 > 10.0.0.20:80", flags: 2, seq: 1000, tcpOptions: []byte{2, 4, 5, 180}},
			{dev: "in0", tuple: "tcp 192.168.1.10:1002 > 10.0.0.20:80", flags: 2, seq: 1000, tcpOptions: []byte{2, 4, 1, 0}},
			{dev: "in0", tuple: "tcp 203.0.113.9:1003 > 10.244.0.5:80", flags: 2, seq: 1000, tcpOptions: []byte{2, 4, 5, 180}},
			{dev: "pod0", tuple: "tcp 10.99.0.1:1004 > 10.244.0.5:80", flags: 2, seq: 1000, tcpOptions: []byte{2, 4, 5, 180}},
		}, both, false},
		{"and that of what the node sends, to itself, too", nativeChain("inet t", output, "tcp option maxseg size set rt mtu", "rt mtu 536 meta mark set 0x1", "rt mtu 65495 meta mark set 0x2", "rt mtu > 65000 meta mark set 0x4") + nativeChain("inet u", "filter hook postrouting priority 0", "tcp option maxseg size set rt mtu"), []given{
			{tuple: "tcp 192.168.1.1:1000 > 10.0.0.20:80", flags: 2, seq: 1000, tcpOptions: []byte{2, 4, 5, 180}},
			{tuple: "tcp 10.0.0.1:1001 > 10.244.0.5:80", flags: 2, seq: 1000, tcpOptions: []byte{2, 4, 5, 180}},
			{tuple: "tcp 192.168.1.1:1002 > 192.168.1.1:80", flags: 2, seq: 1000, tcpOptions: []byte{2, 4, 255, 255}},
			{tuple: "tcp 192.168.1.1:1003 > 10.0.0.1:80", flags: 2, seq: 1000, tcpOptions: []byte{2, 4, 255, 210}},
		}, both, false},
		{"a field that a rule of inet sets", nativeChain("inet t", forward, "udp dport 53 ip6 hoplimit set 5", "ip6 dscp set cs1", "ip6 hoplimit 5 meta mark set 0x1"), []given{{dev: "in0", tuple: toPod}}, only6, false},
		{"the way to a group of the link is that by which the packet came", nativeChain("ip t", prerouting, `fib daddr oif "out0" meta mark set 0x1`, `fib daddr . iif oif "out0" meta mark set meta mark | 0x2`, `fib daddr oif "in0" meta mark set meta mark | 0x4`), []given{
			{dev: "out0", tuple: "udp [fd00::a00:14]:1000 > [ff02::5]:80"},
			{dev: "in0", tuple: "udp [fd00::c0a8:10a]:1000 > [ff02::5]:80"},
			{dev: "pod0", tuple: "udp [fd00::af4:5]:1000 > [ff02::1]:80"},
			{dev: "out0", tuple: "udp [fd00::a00:14]:1000 > [ff05::5]:80"},
			{dev: "out0", tuple: "udp [fd00::a00:14]:1000 > [ff01::5]:80"},
		}, only6, false},
		{"where a packet leads to that NAT has routed anew", nativeChain("ip t", "nat hook output priority -100", "ip daddr 10.0.0.20 dnat to 192.168.1.10", "ip daddr 192.168.1.11 dnat to 10.0.0.20") + nativeChain("ip u", "filter hook output priority 1", "rt mtu < 1300 meta mark set 0x1", "rt mtu > 1300 meta mark set 0x2", "tcp flags syn tcp option maxseg size set rt mtu", `oif "out0" counter`), []given{
			{tuple: "tcp 10.0.0.1:1000 > 10.0.0.20:80", flags: 2, seq: 1000, tcpOptions: []byte{2, 4, 255, 210}},
			{tuple: "tcp 192.168.1.1:1001 > 192.168.1.11:80", flags: 2, seq: 1000, tcpOptions: []byte{2, 4, 255, 210}},
			{tuple: "udp 10.0.0.1:1002 > 10.0.0.20:80"},
			{tuple: "udp 10.0.0.1:1003 > 10.0.0.21:80"},
		}, both, false},
		{"pieces out of which a header came to the first one", nativeChain("ip t", "nat hook prerouting priority -100", "tcp flags syn tcp option maxseg size set 1400 dnat to 10.244.0.6", "meta l4proto { tcp, sctp, dccp } dnat to 10.244.0.6"), []given{
			{dev: "in0", tuple: "tcp 192.168.1.10:1001 > 10.0.0.20:80", flags: 2, seq: 1000, tcpOptions: []byte{2, 4, 5, 180}, payload: make([]byte, 50), pieces: []int{16, 16, 8, 34}},
			{dev: "in0", tuple: "tcp 192.168.1.10:1002 > 10.0.0.20:80", flags: 2, seq: 1000, tcpOptions: []byte{2, 4, 5, 180, 1, 1, 1, 0}, payload: make([]byte, 50), pieces: []int{16, 16, 8, 38}},
			{dev: "in0", tuple: "tcp 192.168.1.10:1003 > 10.0.0.20:80", flags: 2, seq: 1000, tcpOptions: []byte{2, 4, 5, 180, 1, 1, 1, 1, 1, 1, 1, 0}, payload: make([]byte, 50), pieces: []int{16, 8, 16, 8, 34}},
			{dev: "in0", tuple: "tcp 192.168.1.10:1004 > 10.0.0.20:80", flags: 2, seq: 1000, tcpOptions: []byte{3, 3, 7, 0}, payload: make([]byte, 50), pieces: []int{8, 8, 8, 8, 8, 8, 26}},
			{dev: "in0", tuple: "tcp 192.168.1.10:1005 > 10.0.0.20:80", flags: 2, seq: 1000, tcpOptions: []byte{3, 3, 7, 0}, payload: make([]byte, 50), pieces: []int{24, 8, 42}},
			{dev: "in0", tuple: "tcp 192.168.1.10:1006 > 10.0.0.20:80", flags: 16, seq: 1000, payload: make([]byte, 50), pieces: []int{16, 16, 8, 30}},
			{dev: "in0", tuple: "tcp 192.168.1.10:1007 > 10.0.0.20:80", flags: 2, seq: 1000, tcpOptions: []byte{2, 4, 5, 180}, pieces: []int{16, 8}},
			{dev: "in0", tuple: "sctp 192.168.1.10:1008 > 10.0.0.20:80", payload: chunk(1, 0x1111), pieces: []int{8, 8, 16}},
			{dev: "in0", tuple: "sctp 192.168.1.10:1009 > 10.0.0.20:80", payload: chunk(1, 0x1111), pieces: []int{16, 16}},
			{dev: "in0", tuple: "dccp 192.168.1.10:1010 > 10.0.0.20:80", payload: make([]byte, 50), pieces: []int{8, 8, 16, 38}},
			{dev: "in0", tuple: "udp 192.168.1.10:1011 > 10.0.0.20:80", payload: make([]byte, 50), pieces: []int{8, 8, 42}},
			{dev: "pod0", tuple: "icmp 10.244.0.6:0 > 192.168.1.10:0", kind: 3, about: "tcp 192.168.1.10:1001 > 10.244.0.6:80", pieces: []int{24, 8, 16}},
			{dev: "pod0", tuple: "icmp 10.244.0.6:0 > 192.168.1.10:0", kind: 3, about: "tcp 192.168.1.10:1001 > 10.244.0.6:80", pieces: []int{32, 16}},
		}, only4, false},
		{"a reset asks for TCP where it stands, not at the rule's head as nft reads it", nativeChain("ip t", prerouting, "ip dscp set cs1 meta l4proto tcp reject with tcp reset"), []given{
			{dev: "in0", tuple: toPod, set: map[int]byte{1: 0xff}},
			{dev: "in0", tuple: "gre 192.168.1.10:0 > 10.96.0.2:0", set: map[int]byte{1: 0x3}},
		}, only4, true},
		{"ranges of numbers in the machine's order", nativeChain("ip t", forward, "meta mark set 0x300", "meta mark { 0x2ff-0x301, 0x1000 } meta mark set 0x2", "meta mark . udp dport { 0x1-0x5 . 53 } drop", "meta skuid { 1-1000, 5000 } accept"), []given{{dev: "in0", tuple: toPod}}, both, false},
	}
	onNativeTwins(t, func(t *testing.T, w *twins) {
		t.Helper()
		for _, c := range all {
			if c.where.includes(w) {
				t.Run(c.name, func(t *testing.T) { w.foundNative(t, c, false) })
				t.Run(c.name+", as listed", func(t *testing.T) { w.foundNative(t, c, true) })
			}
		}
	})
}

// foundNative gives both sides the packets of a difference, to the rules or to what nft lists of them: anew where the machine stood still for so long that connections may have expired.
func (w *twins) foundNative(t *testing.T, c foundNative, listed bool) {
	t.Helper()
	const tries = 5
	for left := tries; left > 0; left-- {
		w.settings = plainSettings(w.family)
		text := nativeText(w.family, c.rules)
		rs := nativeRules{text: text, order: inOrder(text), listed: listed, misread: listed && c.misread}
		w.loadNative(t, &rs)
		require.Zero(t, rs.refused, "nft does not take all of\n%s", c.rules)
		require.Equal(t, listed, rs.listed, "nft does not take its own listing")
		require.Equal(t, listed && c.misread, rs.misread, "nft reads its own listing as something else")
		what := ""
		for _, g := range c.packets {
			for _, part := range g.parts(t, w) {
				if diff := w.give(t, g.dev, part, 0); diff != "" {
					what += g.tuple + ": " + diff + "\n"
				}
			}
		}
		if got, want := w.ends(t); got != want {
			what += "connections in the emulator:\n" + got + "\nconnections in the kernel:\n" + want
		}
		if w.overdue() && left > 1 {
			continue
		}
		require.Empty(t, what)
		return
	}
}
