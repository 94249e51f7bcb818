package test

import (
	"fmt"
	"strings"

	"natlab/nat"
)

// change draws what a rule does besides its verdict.
func (t *nativeTable) change(k nativeKind) string {
	ip := t.ip()
	switch t.n(11) {
	case 10:
		all := []string{"tcp option maxseg size set 536", "tcp option maxseg size set 1000", "tcp flags syn tcp option maxseg size set 1400"}
		if k.leaves() {
			all = append(all, "tcp option maxseg size set rt mtu", "tcp flags syn tcp option maxseg size set rt mtu")
		}
		return pick(t.drawn, all)
	case 0, 1, 2:
		return "meta mark set " + t.markValue("meta")
	case 3:
		return "ct mark set " + t.markValue("ct")
	case 4:
		return pick(t.drawn, []string{"add", "update"}) + " " + t.set("seen") + " { " + ip + " " + t.side() + pick(t.drawn, []string{"", "", " timeout 1h", " limit rate over 1/day burst 2 packets", " counter"}) + " }"
	case 5:
		return pick(t.drawn, []string{"add", "update", "delete"}) + " " + t.set("flows") + " { " + ip + " saddr . th dport }"
	case 6:
		return "update " + t.set("learnt") + " { " + ip + " saddr : " + pick(t.drawn, []string{"meta mark", "0x2"}) + " }"
	case 7:
		if t.family == nat.IPv6 {
			return pick(t.drawn, []string{"ip6 hoplimit set 5", "ip6 dscp set cs1"})
		}
		return pick(t.drawn, []string{"ip ttl set 5", "ip dscp set cs1", "ip ttl set 1"})
	case 8:
		if k.early || t.chance(4) {
			return "notrack"
		}
	}
	return "counter"
}

// markValue draws what a mark becomes.
func (t *nativeTable) markValue(of string) string {
	switch t.n(9) {
	case 0:
		return of + " mark | 0x4000"
	case 1:
		return of + " mark ^ 0x4000"
	case 2:
		return of + " mark & 0xff"
	case 3:
		return t.ip() + " " + t.side() + " map " + t.set("marks")
	case 4:
		return "tcp dport map { 80 : 0x1, 443-8080 : 0x2 }"
	case 5:
		return fmt.Sprintf("numgen inc mod %d offset %d", 1+t.n(3), t.n(3))
	case 6:
		return fmt.Sprintf("jhash %s mod 4 seed 0x7 offset 1", t.hashed())
	case 7:
		if of == "meta" {
			return pick(t.drawn, []string{"ct mark", t.ip() + " saddr map " + t.set("learnt")})
		}
		return "meta mark"
	}
	return pick(t.drawn, []string{"0x1", "0x2", "0x4000"})
}

// end draws how a rule ends, "" for a rule that only changes something.
func (t *nativeTable) end(k nativeKind) string {
	switch n := t.n(12); {
	case n < 5 && k.nat != "":
		return t.translation(k)
	case n < 2:
		return ""
	case n < 4 && len(k.calls) > 0:
		return pick(t.drawn, []string{"jump ", "jump ", "goto "}) + pick(t.drawn, k.calls)
	case n == 5:
		return t.verdictMap(k)
	case n == 6:
		return pick(t.drawn, []string{"return", "return", "continue"})
	case n == 7 && t.chance(2):
		return "drop"
	case n == 8 && t.rejects(k):
		return t.reject()
	case n == 9:
		return "meta mark set " + t.markValue("meta")
	}
	return "accept"
}

// rejects reports whether the kernel takes a reject in the chain.
func (t *nativeTable) rejects(k nativeKind) bool {
	return k.nat == "" && len(k.hooks) > 0 && k.hooks[0] != "postrouting"
}

func (t *nativeTable) reject() string {
	all := []string{"reject", "reject with tcp reset"}
	switch {
	case strings.HasPrefix(t.name, "inet "):
		all = append(all, "reject with icmpx admin-prohibited", "reject with icmpx no-route", "reject with icmpx host-unreachable")
	case t.family == nat.IPv6:
		all = append(all, "reject with icmpv6 no-route", "reject with icmpv6 admin-prohibited", "reject with icmpv6 addr-unreachable")
	default:
		all = append(all, "reject with icmp host-unreachable", "reject with icmp net-unreachable", "reject with icmp admin-prohibited", "reject with icmp prot-unreachable")
	}
	r := pick(t.drawn, all)
	if strings.HasSuffix(r, "reset") {
		return "meta l4proto tcp " + r
	}
	return r
}

// target is a verdict of a map.
func (t *nativeTable) target(k nativeKind) string {
	all := []string{"accept", "drop", "return", "continue"}
	for _, c := range k.calls {
		all = append(all, "jump "+c, "goto "+c)
	}
	return pick(t.drawn, all)
}

func (t *nativeTable) verdictMap(k nativeKind) string {
	ip := t.ip()
	switch t.n(7) {
	case 0:
		return fmt.Sprintf("%s daddr . meta l4proto . th dport vmap { %s . tcp . 80 : %s, %s . udp . 53 : %s, %s . tcp . 443 : %s }", ip, t.addr("10.96.0.1"), t.target(k), t.addr("10.0.0.20"), t.target(k), t.addr("192.168.1.1"), t.target(k))
	case 1:
		return fmt.Sprintf("%s %s vmap { %s : %s, %s : %s, %s : %s }", ip, t.side(), t.prefix("10.0.0.0/24"), t.target(k), t.addr("192.168.1.10"), t.target(k), t.addr("10.96.0.1"), t.target(k))
	case 2:
		return fmt.Sprintf("meta mark vmap { 0x0 : %s, 0x1 : %s, 0x4000 : %s }", t.target(k), t.target(k), t.target(k))
	case 3:
		return fmt.Sprintf("ct state vmap { new : %s, established : %s, related : %s, invalid : %s }", t.target(k), t.target(k), t.target(k), t.target(k))
	case 4:
		return fmt.Sprintf("numgen inc mod 3 vmap { 0 : %s, 1 : %s }", t.target(k), t.target(k))
	case 5:
		return fmt.Sprintf("tcp dport vmap { 80 : %s, 443-8080 : %s, * : %s }", t.target(k), t.target(k), t.target(k))
	}
	return fmt.Sprintf(`iifname vmap { "in0" : %s, "pod0" : %s, "o*" : %s }`, t.target(k), t.target(k), t.target(k))
}

// translation draws a NAT statement.
func (t *nativeTable) translation(k nativeKind) string {
	ip := t.ip()
	proto := "meta l4proto " + pick(t.drawn, []string{"tcp", "udp", "{ tcp, udp }", "tcp"}) + " "
	flags := pick(t.drawn, []string{"", "", "", " persistent", " random"})
	family := ""
	if strings.HasPrefix(t.name, "inet ") {
		family = ip + " "
	}
	at := func(v4 string) string {
		if t.family == nat.IPv6 {
			return "[" + t.addr(v4) + "]"
		}
		return v4
	}
	switch k.nat {
	case "dst":
		to := pick(t.drawn, []string{"10.0.0.20", "10.244.0.5", "192.168.1.10", "10.244.0.6"})
		return pick(t.drawn, []string{
			"dnat " + family + "to " + t.addr(to) + flags, proto + "dnat " + family + "to " + at(to) + ":8080" + flags, proto + "dnat " + family + "to " + at(to) + ":8080" + flags,
			"dnat " + family + "to " + t.addr("10.0.0.20") + "-" + t.addr("10.0.0.22") + flags,
			proto + "dnat " + family + "to :8080",
			proto + "redirect to :8080", "redirect",
			"dnat " + ip + " to " + ip + " daddr map " + t.set("backs"),
			proto + "dnat " + ip + " to " + ip + " daddr . th dport map " + t.set("ends"),
			proto + fmt.Sprintf("dnat %s to numgen inc mod 2 map { 0 : %s . 8080, 1 : %s . 8081 }", ip, t.addr("10.0.0.20"), t.addr("10.244.0.5")),
			fmt.Sprintf("dnat %s to jhash %s saddr mod 3 seed 0x11 map { 0 : %s, 1 : %s, 2 : %s }", ip, ip, t.addr("10.0.0.20"), t.addr("10.244.0.5"), t.addr("10.0.0.21")),
			proto + "redirect to th dport map { 80 : 8080, 443 : 8443 }",
			"dnat " + ip + " prefix to " + ip + " daddr map { " + t.prefix("10.96.0.0/16") + " : " + t.prefix("10.244.0.0/16") + " }",
		})
	case "src":
		return pick(t.drawn, []string{
			"masquerade", "masquerade", "masquerade random", "masquerade fully-random", "snat " + family + "to " + t.addr("10.0.0.77") + flags,
			"snat " + family + "to " + t.addr("10.0.0.77") + "-" + t.addr("10.0.0.79") + flags, proto + "snat " + family + "to " + at("192.168.1.77") + ":1024-2023",
			"snat " + ip + " to " + ip + " saddr map " + t.set("backs"), proto + "masquerade to :1024-2023",
			"snat " + ip + " prefix to " + ip + " saddr map { " + t.prefix("10.244.0.0/16") + " : " + t.prefix("10.77.0.0/16") + " }",
		})
	}
	return "snat " + family + "to " + t.addr("10.0.0.77")
}

// declared is the declaration of a set, or of another object, that rules ask for.
func (t *nativeTable) declared(name string) string {
	addr := t.addrType()
	kind, what := "set", ""
	switch name {
	case "credit":
		kind, what = "limit", fmt.Sprintf("rate %s1/day burst %d packets", pick(t.drawn, []string{"", "over "}), 1+t.n(9))
	case "volume":
		kind, what = "quota", fmt.Sprintf("%s%d bytes", pick(t.drawn, []string{"", "over "}), 100+t.n(10)*90)
	case "hosts":
		what = "type " + addr + "; elements = { " + t.addr("192.168.1.10") + ", " + t.addr("10.0.0.20") + ", " + t.addr("10.96.0.1") + " };"
	case "nets":
		what = "type " + addr + "; flags interval; elements = { " + some(t.drawn, t.nets()) + " };"
	case "ports":
		what = "type inet_service; flags interval; elements = { " + some(t.drawn, nativePorts) + " };"
	case "services":
		what = fmt.Sprintf("type %s . inet_proto . inet_service; elements = { %s . tcp . 80, %s . udp . 53, %s . tcp . 30080 };", addr, t.addr("10.96.0.1"), t.addr("10.0.0.20"), t.addr("192.168.1.1"))
	case "pairs":
		what = fmt.Sprintf("type %s . inet_service; flags interval; elements = { %s . 80-443, %s . 8080, %s . 1-65535 };", addr, t.prefix("10.0.0.0/8"), t.addr("192.168.1.10"), t.addr("192.168.1.1"))
	case "seen":
		what = "type " + addr + "; flags dynamic,timeout; timeout 1h; size " + fmt.Sprint(pick(t.drawn, []int{2, 3, 100})) + ";"
	case "flows":
		what = "type " + addr + " . inet_service; flags dynamic; size 65535;"
	case "learnt":
		kind, what = "map", "type "+addr+" : mark; flags dynamic; size 100;"
	case "marks":
		kind, what = "map", "type "+addr+" : mark; flags interval; elements = { "+t.prefix("10.0.0.0/24")+" : 0x1, "+t.addr("192.168.1.10")+" : 0x4000, "+t.prefix("10.244.0.0/16")+" : 0x2 };"
	case "backs":
		kind, what = "map", "type "+addr+" : "+addr+"; elements = { "+t.addr("10.96.0.1")+" : "+t.addr("10.0.0.20")+", "+t.addr("192.168.1.1")+" : "+t.addr("10.244.0.5")+", "+t.addr("10.244.0.5")+" : "+t.addr("10.0.0.78")+" };"
	case "ends":
		kind, what = "map", fmt.Sprintf("type %s . inet_service : %s . inet_service; elements = { %s . 80 : %s . 8080, %s . 443 : %s . 443, %s . 30080 : %s . 80 };", addr, addr, t.addr("10.96.0.1"), t.addr("10.244.0.5"), t.addr("10.96.0.1"), t.addr("10.0.0.20"), t.addr("192.168.1.1"), t.addr("10.244.0.6"))
	}
	return "add " + kind + " " + t.name + " " + name + " { " + what + " }\n"
}
