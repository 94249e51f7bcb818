package test

import (
	"fmt"
	"strings"

	"natlab/nat"
)

// match draws a condition.
func (t *nativeTable) match(k nativeKind) string {
	switch t.n(16) {
	case 0, 1, 2:
		return t.addressMatch()
	case 3, 4, 5:
		return t.portMatch()
	case 6:
		return t.deviceMatch()
	case 7, 8:
		return t.connMatch()
	case 9:
		return t.markMatch("meta")
	case 10:
		return t.fibMatch(k)
	case 11:
		return t.concatMatch()
	case 12:
		return t.headerMatch()
	case 13:
		return t.rememberingMatch()
	case 14:
		return t.metaMatch(k)
	}
	return t.protocolMatch()
}

func (t *nativeTable) addressMatch() string {
	left := t.ip() + " " + t.side() + " "
	switch t.n(8) {
	case 0:
		return left + t.isnt() + t.prefix(pick(t.drawn, prefixPool))
	case 1:
		return left + t.isnt() + t.addr("10.0.0.1") + "-" + t.addr("10.244.0.5")
	case 2:
		return left + t.isnt() + "{ " + some(t.drawn, t.nets()) + " }"
	case 3:
		return left + t.isnt() + "{ " + t.addr("10.0.0.20") + ", " + t.addr("192.168.1.10") + ", " + t.addr("10.96.0.1") + " }"
	case 4:
		return left + t.isnt() + t.set(pick(t.drawn, []string{"hosts", "nets", "seen"}))
	case 5:
		mask, value := "255.255.0.255", pick(t.drawn, []string{"10.0.0.20", "10.244.0.5", "192.168.0.10"})
		if t.family == nat.IPv6 {
			mask = "ffff::ff"
			value = pick(t.drawn, []string{"fd00::14", "fd00::5"})
		}
		return left + "& " + mask + " " + pick(t.drawn, []string{"==", "!="}) + " " + value
	case 6:
		return left + pick(t.drawn, []string{"<", "<="}) + " " + t.anyAddr() // with a ">" behind it nft lists them as one range, whatever they are of
	}
	return left + t.isnt() + t.anyAddr()
}

func (t *nativeTable) portMatch() string {
	left := pick(t.drawn, []string{"tcp", "tcp", "udp", "sctp", "th", "udplite", "dccp"}) + " " + pick(t.drawn, []string{"sport", "dport", "dport"}) + " "
	switch t.n(6) {
	case 0:
		return left + t.isnt() + "{ " + some(t.drawn, nativePorts) + " }"
	case 1:
		return left + t.isnt() + "80-600"
	case 2:
		return left + pick(t.drawn, []string{"<", "<="}) + " " + t.anyPort()
	case 3:
		return left + t.isnt() + t.set("ports")
	}
	return left + t.isnt() + t.anyPort()
}

func (t *nativeTable) deviceMatch() string {
	left := pick(t.drawn, []string{"iif", "oif", "iifname", "oifname", "iifname", "oifname"}) + " "
	device := pick(t.drawn, []string{`"in0"`, `"out0"`, `"pod0"`, `"lo"`})
	switch {
	case t.chance(4):
		return left + t.isnt() + `{ "in0", "lo" }`
	case strings.Contains(left, "name") && t.chance(3):
		return left + t.isnt() + pick(t.drawn, []string{`"p*"`, `"o*"`, `{ "in*", "lo" }`, `{ "in0", "o*" }`, `"none"`})
	}
	return left + t.isnt() + device
}

func (t *nativeTable) connMatch() string {
	switch t.n(10) {
	case 0, 1, 2:
		return "ct state " + t.isnt() + pick(t.drawn, []string{"new", "established", "established,related", "invalid", "untracked", "new,untracked", "{ new, invalid }"})
	case 3:
		return "ct status " + t.isnt() + pick(t.drawn, []string{"dnat", "snat", "dnat,snat", "seen-reply", "assured", "confirmed"})
	case 4:
		return "ct direction " + t.isnt() + pick(t.drawn, []string{"original", "reply"})
	case 5:
		return t.markMatch("ct")
	case 6:
		return "ct " + pick(t.drawn, []string{"original", "reply"}) + " " + t.ip() + " " + t.side() + " " + t.isnt() + pick(t.drawn, []string{t.anyAddr(), t.prefix(pick(t.drawn, prefixPool))})
	case 7:
		return "meta l4proto " + pick(t.drawn, []string{"tcp", "udp", "sctp"}) + " ct " + pick(t.drawn, []string{"original", "reply"}) + " " + pick(t.drawn, []string{"proto-src", "proto-dst"}) + " " + t.isnt() + pick(t.drawn, []string{t.anyPort(), "80-600"})
	case 8:
		return "ct " + pick(t.drawn, []string{"original", "reply"}) + " protocol " + pick(t.drawn, []string{"!= tcp", "!= udp", "{ 1, 17, 58 }"}) // with one alone nft leaves it out where it lists a port behind it
	}
	return "ct state . ct mark { new . 0x0, established . 0x1, invalid . 0x4000 }"
}

func (t *nativeTable) markMatch(of string) string {
	left := of + " mark "
	switch t.n(6) {
	case 0:
		return left + "& 0x4000 " + pick(t.drawn, []string{"==", "!="}) + " " + pick(t.drawn, []string{"0x4000", "0"})
	case 1:
		return left + "and 0xff == " + pick(t.drawn, []string{"0x1", "0x2", "0x0"})
	case 2:
		return left + t.isnt() + "0x1-0x4000"
	case 3:
		return left + t.isnt() + "{ 0x1, 0x10-0x20, 0x4000 }"
	case 4:
		return left + pick(t.drawn, []string{"<", "<="}) + " 0x100"
	}
	return left + t.isnt() + pick(t.drawn, []string{"0x0", "0x1", "0x2", "0x4000"})
}

func (t *nativeTable) fibMatch(k nativeKind) string {
	kinds := pick(t.drawn, []string{"local", "local", "unicast", "{ local, broadcast }", "broadcast", "multicast", "blackhole", "{ unreachable, prohibit }"})
	switch {
	case k.back && t.chance(2):
		return "fib saddr" + pick(t.drawn, []string{" . iif", "", " . mark", " . mark . iif"}) + " " + pick(t.drawn, []string{"oif missing", "oif exists", `oif "in0"`, `oifname != "out0"`})
	case k.back && t.chance(4):
		return "fib daddr oif " + pick(t.drawn, []string{"missing", "exists", `"out0"`})
	case k.back && t.chance(3):
		return "fib daddr . iif type " + t.isnt() + kinds
	case len(k.hooks) > 0 && k.hooks[0] == "postrouting" && t.chance(3):
		return "fib saddr . oif type " + t.isnt() + kinds
	}
	return "fib " + t.side() + " type " + t.isnt() + kinds
}

func (t *nativeTable) concatMatch() string {
	ip := t.ip()
	switch t.n(6) {
	case 0:
		return ip + " daddr . meta l4proto . th dport " + t.isnt() + t.set("services")
	case 1:
		return ip + " saddr . tcp dport " + t.isnt() + t.set("pairs")
	case 2:
		return fmt.Sprintf("%s saddr . %s daddr %s{ %s . %s, %s . %s }", ip, ip, t.isnt(), t.prefix("10.0.0.0/24"), t.prefix("10.0.0.0/8"), t.addr("192.168.1.10"), t.addr("10.96.0.1"))
	case 3:
		return "meta l4proto . th dport { tcp . 80, udp . 53, tcp . 443-8080, sctp . 1000 }"
	case 4:
		return "iifname . " + ip + " saddr " + t.isnt() + `{ "in0" . ` + t.addr("192.168.1.10") + `, "pod0" . ` + t.addr("10.244.0.5") + " }"
	}
	return "meta mark . meta l4proto { 0x0 . tcp, 0x1 . udp, 0x4000 . tcp }"
}

func (t *nativeTable) headerMatch() string {
	all := []string{
		"tcp flags syn", "tcp flags & (syn | ack) == syn", "tcp flags != 0", "tcp flags ! rst", "tcp flags == syn", "tcp flags { syn, syn | ack }", "tcp flags syn / fin,syn,rst,ack",
		"tcp window < 1001", "tcp doff 5", "tcp sequence 1000-1005", "udp length < 20", "udp checksum 0", "tcp sport . tcp dport { 80 . 80-443, 443 . 1000 }",
	}
	if t.family == nat.IPv6 {
		all = append(all, "ip6 hoplimit < 3", "ip6 hoplimit 64", "ip6 length < 60", "icmpv6 type echo-request", "icmpv6 type { echo-request, echo-reply }", "icmpv6 code 0",
			"ip6 dscp cs1", "ip6 dscp != cs0", "ip6 nexthdr tcp", "ip6 nexthdr != { tcp, udp }", "ip6 version 6", "icmpv6 type . icmpv6 code { echo-request . 0 }", "icmpv6 id 8", "ip6 flowlabel 0", "ip6 ecn ce")
	} else {
		all = append(all, "ip ttl < 3", "ip ttl 64", "ip length < 60", "ip length 60-100", "icmp type echo-request", "icmp type { echo-request, echo-reply }", "icmp code 0",
			"ip dscp cs1", "ip dscp != cs0", "ip dscp { cs1, ef }", "ip protocol tcp", "ip protocol != { tcp, udp }", "ip version 4", "ip hdrlength 5", "ip frag-off & 0x1fff != 0", "ip frag-off & 0x4000 == 0x4000",
			"icmp id 8", "icmp type . icmp code { echo-request . 0 }", "ip ecn ce", "ip id != 5", "ip checksum != 0")
	}
	return pick(t.drawn, all)
}

// rememberingMatch is one that earlier packets decide, whatever time goes by.
func (t *nativeTable) rememberingMatch() string {
	switch t.n(8) {
	case 6:
		t.sets["credit"] = true
		return `limit name "credit"`
	case 7:
		t.sets["volume"] = true
		return `quota name "volume"`
	case 0:
		return fmt.Sprintf("limit rate %s1/day burst %d packets", pick(t.drawn, []string{"", "over "}), 1+t.n(6))
	case 1:
		return fmt.Sprintf("quota %s%d bytes", pick(t.drawn, []string{"", "over ", "until "}), 100+t.n(10)*70)
	case 2:
		mod := 1 + t.n(4)
		return fmt.Sprintf("numgen inc mod %d %s %d", mod, pick(t.drawn, []string{"", "!=", "<", ">="}), t.n(mod))
	case 3:
		return fmt.Sprintf("jhash %s mod %d seed %#x%s %s %d", t.hashed(), 2+t.n(5), 1+t.n(1000), pick(t.drawn, []string{"", " offset 1"}), pick(t.drawn, []string{"", "!=", "<"}), t.n(3))
	case 4:
		return t.ip() + " saddr . th dport " + t.set("flows")
	}
	return t.ip() + " " + t.side() + " " + t.set("seen")
}

// hashed is what a hash is made of.
func (t *nativeTable) hashed() string {
	ip := t.ip()
	return pick(t.drawn, []string{ip + " saddr", ip + " daddr", ip + " saddr . " + ip + " daddr", ip + " saddr . tcp dport", "tcp sport . tcp dport", "meta mark", "ct mark"})
}

func (t *nativeTable) metaMatch(k nativeKind) string {
	all := []string{
		"meta length < 60", "meta length 60-1000", "meta pkttype host", "meta pkttype { broadcast, multicast }", "meta ipsec missing",
	}
	if strings.HasPrefix(t.name, "inet ") { // of tables of one family nft leaves it out where it lists an address behind it, even what no packet is
		all = append(all, "meta nfproto ipv4", "meta nfproto ipv6", "meta protocol ip", "meta protocol ip6")
	}
	if k.leaves() {
		all = append(all, "rt mtu 1360", "rt mtu < 1300", "rt mtu != 1260")
	}
	if len(k.hooks) > 0 && (k.hooks[0] == "output" || k.hooks[0] == "postrouting") {
		all = append(all, "meta skuid 0", "meta skgid != 0", "meta skuid 1-1000")
	}
	return pick(t.drawn, all)
}

func (t *nativeTable) protocolMatch() string {
	return "meta l4proto " + t.isnt() + pick(t.drawn, []string{"tcp", "udp", "{ tcp, udp }", "sctp", "icmp", "ipv6-icmp", "{ icmp, ipv6-icmp }", "132", "136"})
}
