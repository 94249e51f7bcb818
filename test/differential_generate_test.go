package test

import (
	"fmt"
	"regexp"
	"strings"

	"pgregory.net/rapid"

	"natlab/nat"
)

// The pools that rules and packets are drawn from, so that they meet.
var (
	prefixPool = []string{
		"192.168.1.10/32", "192.168.1.0/24", "10.0.0.20/32", "10.0.0.0/24", "10.244.0.5/32", "10.244.0.0/16", "10.96.0.1/32",
		"10.96.0.0/16", "192.168.1.1/32", "10.0.0.1/32", "128.0.0.0/1",
	}
	sourcePool = []string{"192.168.1.10", "192.168.1.11", "10.0.0.20", "10.0.0.21", "10.244.0.5", "10.244.0.6", "192.168.1.1", "10.244.0.1", "203.0.113.9"}
	destPool   = []string{"10.96.0.1", "10.96.0.2", "192.168.1.1", "10.0.0.1", "10.0.0.20", "10.244.0.5", "192.168.1.10", "203.0.113.7", "10.99.0.1"}
	portPool   = []uint16{80, 443, 8080, 53, 1000, 600, 40000, 40001, 30080}
	markPool   = []string{"0x4000/0x4000", "0x1/0xff", "0x0/0x4000", "0x8000/0x8000"}
)

// drawn draws from a rapid test.
type drawn struct {
	t      *rapid.T
	family nat.Family
	kernel nat.Kernel
}

// n is below a bound: 0 where there is no test to draw from.
func (d drawn) n(below int) int {
	if d.t == nil {
		return 0
	}
	return rapid.IntRange(0, below-1).Draw(d.t, "n")
}

// evenly is a number of so many bits, each as likely as the other, where n likes small ones.
func (d drawn) evenly(bits int) (n int) {
	for range bits {
		n <<= 1
		if d.t != nil && rapid.Bool().Draw(d.t, "bit") {
			n++
		}
	}
	return n
}

// chance is true once in n times.
func (d drawn) chance(n int) bool { return d.n(n) == n-1 }

func pick[T any](d drawn, from []T) T { return from[d.n(len(from))] }

// not is "! " once in five times.
func (d drawn) not() string {
	if d.chance(5) {
		return "! "
	}
	return ""
}

// ruleChain is a chain to fill: what may be asked and done in it.
type ruleChain struct {
	name  string
	hooks string   // of "in", "out", "fwd": which devices are known: "i", "o"
	calls []string // user chains behind it
	nat   string   // "dst", "src", "masq" in the nat table
}

// textIn is a rule set's text for IPv4, or what stands for it in IPv6.
func textIn(family nat.Family, text string) string {
	if family == nat.IPv4 {
		return text
	}
	text = withPort.ReplaceAllString(text, "[$1]:$2")
	text = ipv4Words.ReplaceAllStringFunc(text, func(word string) string {
		if strings.Contains(word, "/") {
			return prefixIn(family, word).String()
		}
		return addressIn(family, word).String()
	})
	return strings.NewReplacer(
		"-p icmp", "-p ipv6-icmp", "-m icmp", "-m icmp6", "--icmp-type 8", "--icmpv6-type 128", "--icmp-type 3/3", "--icmpv6-type 1/4",
		"--icmp-type 3", "--icmpv6-type 1", "icmp-port-unreachable", "icmp6-port-unreachable", "icmp-host-unreachable", "icmp6-addr-unreachable",
		"icmp-admin-prohibited", "icmp6-adm-prohibited", "icmp-net-unreachable", "icmp6-no-route", "BLACKHOLE", "UNREACHABLE",
	).Replace(text)
}

// tracking matches the text of rule sets with which the kernel tracks connections.
var tracking = regexp.MustCompile(`-j (DNAT|SNAT|MASQUERADE|REDIRECT|NETMAP|CONNMARK|CONNSECMARK)|-m (conntrack|connmark)`)

var (
	ipv4Words = regexp.MustCompile(`\b\d+\.\d+\.\d+\.\d+(/\d+)?`)
	withPort  = regexp.MustCompile(`(\d+\.\d+\.\d+\.\d+(?:-\d+\.\d+\.\d+\.\d+)?):(\d+)`)
)

// ruleset draws a rule set's text.
func (d drawn) ruleset() string {
	var b strings.Builder
	if d.chance(3) {
		b.WriteString(d.table("raw", []ruleChain{{name: "PREROUTING", hooks: "i", calls: []string{"R1"}}, {name: "OUTPUT", hooks: "o", calls: []string{"R1"}}, {name: "R1"}}))
	}
	if d.chance(2) {
		b.WriteString(d.table("mangle", []ruleChain{
			{name: "PREROUTING", hooks: "i", calls: []string{"M1"}},
			{name: "INPUT", hooks: "i", calls: []string{"M1"}},
			{name: "FORWARD", hooks: "io", calls: []string{"M1"}},
			{name: "OUTPUT", hooks: "o", calls: []string{"M1"}},
			{name: "POSTROUTING", hooks: "o", calls: []string{"M1"}},
			{name: "M1"},
		}))
	}
	if !d.chance(8) {
		b.WriteString(d.table("nat", []ruleChain{
			{name: "PREROUTING", hooks: "i", calls: []string{"D1", "D2"}, nat: "dst"},
			{name: "INPUT", hooks: "i", calls: nil, nat: "src"},
			{name: "OUTPUT", hooks: "o", calls: []string{"D1", "D2"}, nat: "dst"},
			{name: "POSTROUTING", hooks: "o", calls: []string{"S1", "S2"}, nat: "masq"},
			{name: "D1", calls: []string{"D2"}, nat: "dst"},
			{name: "D2", nat: "dst"},
			{name: "S1", calls: []string{"S2"}, nat: "masq"},
			{name: "S2", nat: "masq"},
		}))
	}
	if !d.chance(3) {
		b.WriteString(d.table("filter", []ruleChain{
			{name: "INPUT", hooks: "i", calls: []string{"F1", "F2"}},
			{name: "FORWARD", hooks: "io", calls: []string{"F1", "F2"}},
			{name: "OUTPUT", hooks: "o", calls: []string{"F1", "F2"}},
			{name: "F1", calls: []string{"F2"}},
			{name: "F2"},
		}))
	}
	return b.String()
}

func (d drawn) table(name string, chains []ruleChain) string {
	var head, body strings.Builder
	fmt.Fprintf(&head, "*%s\n", name)
	for _, c := range chains {
		policy := "-"
		if strings.ToUpper(c.name) == c.name && len(c.name) > 2 {
			policy = "ACCEPT"
			if name == "filter" && d.chance(12) {
				policy = "DROP"
			}
		}
		fmt.Fprintf(&head, ":%s %s [0:0]\n", c.name, policy)
		for range d.n(5) {
			fmt.Fprintf(&body, "-A %s%s\n", c.name, d.rule(name, c))
		}
	}
	return head.String() + body.String() + "COMMIT\n"
}

// rule draws a rule's matches and target.
func (d drawn) rule(table string, c ruleChain) string {
	var m strings.Builder
	if d.chance(3) {
		fmt.Fprintf(&m, " %s-s %s", d.not(), pick(d, prefixPool))
	}
	if d.chance(3) {
		fmt.Fprintf(&m, " %s-d %s", d.not(), pick(d, prefixPool))
	}
	if d.chance(4) && strings.Contains(c.hooks, "i") {
		fmt.Fprintf(&m, " %s-i %s", d.not(), pick(d, []string{"in0", "out0", "pod0", "p+", "lo"}))
	}
	if d.chance(10) && c.hooks == "" { // the chains that call it are of all hooks
		fmt.Fprintf(&m, " %s%s %s", d.not(), pick(d, []string{"-i", "-o"}), pick(d, []string{"in0", "out0", "p+", "lo"}))
	}
	if d.chance(4) && strings.Contains(c.hooks, "o") {
		fmt.Fprintf(&m, " %s-o %s", d.not(), pick(d, []string{"in0", "out0", "pod0", "o+", "lo"}))
	}
	proto := ""
	if d.chance(2) {
		proto = pick(d, []string{"tcp", "tcp", "tcp", "udp", "udp", "icmp", "sctp"})
		if d.chance(5) {
			proto = pick(d, []string{"udplite", "dccp", "gre", "esp", "ah", "ipcomp", "ipencap", "igmp", "ospf", "mobility-header", "253", "255"})
		}
		ask, not := d.transport(proto), d.notProtocol(proto)
		if ask == "" && not == "" && d.chance(2) {
			ask = d.securityTransport(proto)
		}
		fmt.Fprintf(&m, " %s-p %s%s", not, proto, ask)
	}
	if d.chance(3) {
		m.WriteString(d.extension(table))
	}
	if d.chance(12) {
		m.WriteString(d.further(table, c))
	}
	if d.chance(15) {
		m.WriteString(d.setMatch())
	}
	return m.String() + d.target(table, c, proto)
}

// notProtocol is "! " now and then for a protocol that no other match behind it needs.
func (d drawn) notProtocol(proto string) string {
	switch proto {
	case "tcp", "udp", "icmp", "sctp", "udplite", "dccp":
		return ""
	}
	return d.not()
}

func (d drawn) transport(proto string) string {
	port := func() string {
		p := pick(d, portPool)
		if d.chance(4) {
			return fmt.Sprintf("%d:%d", p, p+1000)
		}
		return fmt.Sprint(p)
	}
	switch proto {
	case "tcp", "udp", "icmp", "sctp":
	case "udplite", "dccp":
		if d.chance(2) {
			return fmt.Sprintf(" -m multiport %s%s %s,%s", d.not(), pick(d, []string{"--dports", "--sports", "--ports"}), port(), port())
		}
		fallthrough
	default:
		return ""
	}
	switch {
	case proto == "icmp":
		return pick(d, []string{"", " -m icmp --icmp-type 8", " -m icmp ! --icmp-type 3/3", " -m icmp --icmp-type 3"})
	case d.chance(5):
		return fmt.Sprintf(" -m multiport %s--dports %s,%s", d.not(), port(), port())
	case proto == "tcp" && d.chance(4):
		return pick(d, []string{" -m tcp --tcp-flags FIN,SYN,RST,ACK SYN", " -m tcp ! --tcp-flags SYN,ACK SYN,ACK", " -m tcp --tcp-flags RST RST"})
	case d.chance(3):
		return fmt.Sprintf(" -m %s %s--sport %s", proto, d.not(), port())
	case d.chance(4):
		return ""
	}
	return fmt.Sprintf(" -m %s %s--dport %s", proto, d.not(), port())
}

func (d drawn) extension(table string) string {
	switch d.n(8) {
	case 0:
		return fmt.Sprintf(" -m mark %s--mark %s", d.not(), pick(d, markPool))
	case 1:
		if table == "raw" {
			return ""
		}
		return fmt.Sprintf(" -m conntrack %s--ctstate %s", d.not(), pick(d, []string{"NEW", "RELATED,ESTABLISHED", "INVALID", "DNAT", "SNAT", "UNTRACKED", "ESTABLISHED", "NEW,RELATED"}))
	case 2:
		return fmt.Sprintf(" -m addrtype %s--dst-type %s", d.not(), pick(d, []string{"LOCAL", "UNICAST", "BLACKHOLE"}))
	case 3:
		return fmt.Sprintf(" -m addrtype %s--src-type LOCAL", d.not())
	case 4:
		every := 2 + d.n(3)
		return fmt.Sprintf(" -m statistic --mode nth --every %d --packet %d", every, d.n(every))
	case 5:
		return fmt.Sprintf(" -m connmark %s--mark %s", d.not(), pick(d, markPool))
	case 6:
		return fmt.Sprintf(" -m limit --limit 1/hour --limit-burst %d", 1+d.n(4))
	}
	return fmt.Sprintf(" -m comment --comment %q", pick(d, []string{"a b", "x"}))
}

func (d drawn) target(table string, c ruleChain, proto string) string {
	if len(c.calls) > 0 && d.chance(3) {
		return pick(d, []string{" -j ", " -j ", " -g "}) + pick(d, c.calls)
	}
	if d.chance(20) {
		return d.furtherTarget(table, c)
	}
	if d.chance(25) {
		return d.setTarget(table)
	}
	switch d.n(10) {
	case 0:
		return ""
	case 1:
		return " -j RETURN"
	case 2, 3:
		return " -j ACCEPT"
	case 4:
		if table != "nat" && d.chance(2) {
			return " -j DROP"
		}
	}
	switch table {
	case "raw":
		return pick(d, []string{" -j CT --notrack", " -j ACCEPT", " -j MARK --set-xmark 0x1/0xff"})
	case "mangle":
		return pick(d, []string{
			" -j MARK --set-xmark 0x4000/0x4000", " -j MARK --set-xmark 0x1/0x1", " -j CONNMARK --save-mark --nfmask 0xffffffff --ctmask 0xffffffff",
			" -j CONNMARK --restore-mark --nfmask 0xff --ctmask 0xff", " -j CONNMARK --set-xmark 0x8000/0x8000",
		})
	case "filter":
		kinds := []string{"icmp-port-unreachable", "icmp-host-unreachable", "icmp-admin-prohibited", "icmp-net-unreachable"}
		if proto == "tcp" {
			kinds = append(kinds, "tcp-reset", "tcp-reset")
		}
		return " -j REJECT --reject-with " + pick(d, kinds)
	}
	return d.natTarget(c, proto)
}

func (d drawn) natTarget(c ruleChain, proto string) string {
	ports := proto == "tcp" || proto == "udp" || proto == "sctp"
	random := pick(d, []string{"", "", " --random-fully", " --random"})
	switch c.nat {
	case "dst":
		to := pick(d, []string{"10.244.0.5", "10.0.0.20", "192.168.1.10", "10.244.0.5-10.244.0.8", "192.168.1.1"})
		if ports && d.chance(2) {
			to += pick(d, []string{":8080", ":80", ":5024-6023"}[:d.portRanges()])
		}
		if ports && d.chance(6) {
			return " -j REDIRECT --to-ports 8080"
		}
		return " -j DNAT --to-destination " + to + pick(d, []string{"", "", " --persistent"})
	case "src":
		return " -j SNAT --to-source " + pick(d, []string{"10.0.0.77", "192.168.1.10"})
	}
	switch d.n(4) {
	case 0:
		to := pick(d, []string{"10.0.0.1", "192.168.1.1", "10.0.0.50-10.0.0.53"})
		if ports && d.chance(2) {
			to += ":5024-6023"
		}
		return " -j SNAT --to-source " + to + random
	case 1:
		return " -j MARK --set-xmark 0x4000/0x4000"
	case 2:
		return " -j NETMAP --to 10.0.0.0/24"
	}
	if ports && d.chance(3) {
		return " -j MASQUERADE --to-ports 5024-6023" + random
	}
	return " -j MASQUERADE" + random
}

// portRanges is how many ways there are to write a DNAT's port: that of a range is random on some kernels.
func (d drawn) portRanges() int {
	if !d.kernel.Has(nat.FirstPortOfDNAT) {
		return 2
	}
	return 3
}
