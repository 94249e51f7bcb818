package test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"natlab/nat"
	"natlab/nat/packet"
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

func (d drawn) n(below int) int { return rapid.IntRange(0, below-1).Draw(d.t, "n") }

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
var tracking = regexp.MustCompile(`-j (DNAT|SNAT|MASQUERADE|REDIRECT|NETMAP|CONNMARK)|-m (conntrack|connmark)`)

var (
	ipv4Words = regexp.MustCompile(`\b\d+\.\d+\.\d+\.\d+(/\d+)?`)
	withPort  = regexp.MustCompile(`(\d+\.\d+\.\d+\.\d+(?:-\d+\.\d+\.\d+\.\d+)?):(\d+)`)
)

// settings draws the node's sysctls: mostly those that a node has.
func (d drawn) settings() map[string]string {
	s := map[string]string{
		"net/netfilter/nf_conntrack_tcp_be_liberal": pick(d, []string{"0", "0", "0", "1"}),
		"net/netfilter/nf_conntrack_tcp_loose":      pick(d, []string{"1", "1", "1", "0"}),
		"net/netfilter/nf_conntrack_checksum":       pick(d, []string{"1", "1", "1", "0"}),
		// longer than a round
		"net/netfilter/nf_conntrack_sctp_timeout_cookie_wait":       "30",
		"net/netfilter/nf_conntrack_sctp_timeout_cookie_echoed":     "30",
		"net/netfilter/nf_conntrack_sctp_timeout_shutdown_sent":     "60",
		"net/netfilter/nf_conntrack_sctp_timeout_shutdown_recd":     "60",
		"net/netfilter/nf_conntrack_sctp_timeout_shutdown_ack_sent": "60",
	}
	forwards := pick(d, []string{"1", "1", "1", "1", "1", "0"})
	if d.family == nat.IPv6 {
		s[forwarding6] = forwards
		return s
	}
	s["net/ipv4/ip_forward"] = forwards
	s["net/ipv4/conf/all/rp_filter"] = pick(d, []string{"0", "0", "0", "1", "2"})
	s["net/ipv4/conf/all/route_localnet"] = pick(d, []string{"0", "0", "1"})
	return s
}

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
	if d.chance(4) && strings.Contains(c.hooks, "o") {
		fmt.Fprintf(&m, " %s-o %s", d.not(), pick(d, []string{"in0", "out0", "pod0", "o+", "lo"}))
	}
	proto := ""
	if d.chance(2) {
		proto = pick(d, []string{"tcp", "tcp", "udp", "icmp", "sctp"})
		fmt.Fprintf(&m, " -p %s%s", proto, d.transport(proto))
	}
	if d.chance(3) {
		m.WriteString(d.extension(table))
	}
	return m.String() + d.target(table, c, proto)
}

func (d drawn) transport(proto string) string {
	port := func() string {
		p := pick(d, portPool)
		if d.chance(4) {
			return fmt.Sprintf("%d:%d", p, p+1000)
		}
		return fmt.Sprint(p)
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

// fields are what a fresh packet has besides its tuple.
func (d drawn) fields(proto nat.Proto, id uint16) packet.Fields {
	f := packet.Fields{ID: id | 0x8000, DF: d.chance(2), TTL: pick(d, []uint8{64, 64, 64, 2, 1}), TOS: pick(d, []uint8{0, 0x10})}
	switch proto {
	case nat.TCP:
		f.TCP = packet.TCP{
			Flags: pick(d, []uint8{2, 2, 2, 2, 16, 18, 17, 4, 20, 24, 0, 3, 0x2 | 0xc0}), Seq: 1000, Ack: 5000,
			Window: pick(d, []uint16{64240, 64240, 1000, 0, 1}), Options: d.options(),
		}
		if d.chance(4) {
			f.Payload = make([]byte, 10)
		}
	case nat.UDP:
		f.Payload = make([]byte, d.n(3)*9)
	case nat.ICMP:
		f.Type = pick(d, []uint8{8, 8, 8, 0, 13, 9, 30})
		f.Payload = []byte("ping")
	case nat.ICMPv6:
		f.Type = pick(d, []uint8{128, 128, 128, 129, 200, 143})
		f.Payload = []byte("ping")
	case nat.SCTP:
		f.Rest, f.Payload = d.chunks(nat.Original)
	case 47: // of GRE only a header that says nothing more can be translated (gre_manip_pkt)
		f.Payload = make([]byte, 16)
	default:
		f.Payload = append(pick(d, [][]byte{{0, 0}, {0, 0}, {0xff, 0xff}, {1, 2}}), make([]byte, 14)...)
	}
	if d.chance(12) && proto != nat.ICMPv6 { // long enough for some links to be too narrow; IPv6 would split its own answer
		f.Payload = append(f.Payload, make([]byte, pick(d, []int{1270, 1350, 1430}))...)
	}
	return f
}

// The verification tags that the ends of the test's SCTP associations choose, by the direction in which they are sent.
var sctpTags = [...]uint32{nat.Original: 0x2222, nat.Reply: 0x1111}

// chunks draws an SCTP packet's verification tag, mostly the right one, and its chunks.
func (d drawn) chunks(dir nat.Direction) (tag uint32, chunks []byte) {
	kinds := []byte{1, 1, 2, 2, 10, 10, 11, 11, 0, 3, 4, 5, 6, 7, 8, 9, 14}
	for range pick(d, []int{1, 1, 1, 1, 2, 0}) {
		kind := pick(d, kinds)
		body := make([]byte, 16)
		binary.BigEndian.PutUint32(body, sctpTags[1-dir])
		if d.chance(12) {
			body = body[:pick(d, []int{0, 5, 8})]
		}
		flags := byte(0)
		if d.chance(8) {
			flags = 1
		}
		if tag = sctpTags[dir]; kind == 1 {
			tag = 0
		}
		chunks = append(chunks, kind, flags, 0, byte(4+len(body)))
		chunks = append(chunks, body...)
		chunks = append(chunks, make([]byte, -len(body)&3)...)
	}
	if d.chance(8) {
		tag = pick(d, []uint32{0, 0x1111, 0x2222, 0x3333})
	}
	if len(chunks) > 0 && d.chance(20) {
		clear(chunks[2:4]) // a chunk without a length
	}
	return tag, chunks
}

func (d drawn) options() []byte {
	return pick(d, [][]byte{nil, {2, 4, 5, 180}, {3, 3, 7, 0}, {4, 2, 3, 3, 2, 1, 1, 0}, {1, 1, 5, 10, 0, 0, 4, 0, 0, 0, 4, 50}})
}

// fragments cuts a packet up: mostly in order, now and then with one too early or twice. All are there: the kernel would
// keep what waits for others beyond the rule set's time.
// Where they are not put together the first one has the whole header: of less x_tables drops what it is asked for
// (hotdrop), and nf_tables does not.
func (d drawn) fragments(p *packet.Packet, tracked bool) [][]byte {
	var sizes []int
	for left := p.Len() - 20; left > 0; {
		n := min(left, pick(d, []int{8, 16, 24, 600, 1280}))
		if !tracked && len(sizes) == 0 {
			n = min(left, max(n, 40))
		}
		sizes, left = append(sizes, n), left-n
	}
	list := p.Split(65535, sizes)
	a, b := d.n(len(list)), d.n(len(list))
	switch d.n(5) {
	case 0:
		list[a], list[b] = list[b], list[a]
	case 1:
		list = slices.Insert(list, a, list[b])
	}
	return list
}

// tuple draws the tuple of a fresh packet.
func (d drawn) tuple() nat.Tuple {
	proto := pick(d, []nat.Proto{nat.TCP, nat.TCP, nat.UDP, nat.ICMP, nat.SCTP, 47, 99})
	var sport, dport uint16
	switch proto {
	case nat.TCP, nat.UDP, nat.SCTP:
		sport, dport = pick(d, portPool), pick(d, portPool)
	case nat.ICMP:
		sport = pick(d, []uint16{7, 8})
		dport = sport
	}
	if proto == nat.ICMP && d.family == nat.IPv6 {
		proto = nat.ICMPv6
	}
	src, dst := addressIn(d.family, pick(d, sourcePool)), addressIn(d.family, pick(d, destPool))
	return nat.TupleOf(proto, netip.AddrPortFrom(src, sport), netip.AddrPortFrom(dst, dport))
}

// deviceOf is where a packet of this source comes from; "" for the node itself.
func deviceOf(src netip.Addr) string {
	if b := src.As16(); src.Is6() && !src.IsLoopback() {
		src = netip.AddrFrom4([4]byte(b[12:]))
	}
	switch s := src.String(); {
	case s == "192.168.1.1", s == "192.168.1.2", s == "10.0.0.1", s == "10.244.0.1", src.IsLoopback():
		return ""
	case strings.HasPrefix(s, "10.0."):
		return "out0"
	case strings.HasPrefix(s, "10.244."):
		return "pod0"
	}
	return "in0"
}
