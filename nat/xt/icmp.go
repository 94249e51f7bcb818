package xt

import (
	"fmt"
	"strconv"
	"strings"

	"natlab/nat"
	"natlab/nat/rules"
)

// ICMPType is -m icmp or icmp6: the packet's type, and its code within a range (icmp_match and icmp6_match of
// xt_tcpudp.c; before Linux 6.4 of ip_tables.c and ip6_tables.c).
type ICMPType struct {
	Not       bool
	V6        bool
	Type      uint8 // of ICMPv4 255 stands for any type
	Low, High uint8 // codes; 0 to 255 for any
}

// anyICMP is the type that stands for all, with any code.
const anyICMP = 255

// icmpName is a name that iptables takes for a type with a range of codes, in any case and as far as it is cut short
// without being another's too.
type icmpName struct {
	name            string
	kind, low, high uint8
}

func icmpKind(kind uint8, names ...string) (out []icmpName) {
	for _, name := range names {
		out = append(out, icmpName{name, kind, 0, 255})
	}
	return out
}

// icmpCodes are names of a type's codes, from 0; "" for a code without one.
func icmpCodes(kind uint8, names ...string) (out []icmpName) {
	for code, name := range names {
		if name != "" {
			out = append(out, icmpName{name, kind, uint8(code), uint8(code)})
		}
	}
	return out
}

// icmpNames are the names of -m icmp and -m icmp6 (libxt_icmp.h).
var icmpNames = map[bool][]icmpName{
	false: joined(
		icmpKind(anyICMP, "any"),
		icmpKind(0, "echo-reply", "pong"),
		icmpKind(3, "destination-unreachable"),
		icmpCodes(3, "network-unreachable", "host-unreachable", "protocol-unreachable", "port-unreachable", "fragmentation-needed",
			"source-route-failed", "network-unknown", "host-unknown", "", "network-prohibited", "host-prohibited",
			"TOS-network-unreachable", "TOS-host-unreachable", "communication-prohibited", "host-precedence-violation", "precedence-cutoff"),
		icmpKind(4, "source-quench"),
		icmpKind(5, "redirect"),
		icmpCodes(5, "network-redirect", "host-redirect", "TOS-network-redirect", "TOS-host-redirect"),
		icmpKind(8, "echo-request", "ping"),
		icmpKind(9, "router-advertisement"),
		icmpKind(10, "router-solicitation"),
		icmpKind(11, "time-exceeded", "ttl-exceeded"),
		icmpCodes(11, "ttl-zero-during-transit", "ttl-zero-during-reassembly"),
		icmpKind(12, "parameter-problem"),
		icmpCodes(12, "ip-header-bad", "required-option-missing"),
		icmpKind(13, "timestamp-request"),
		icmpKind(14, "timestamp-reply"),
		icmpKind(17, "address-mask-request"),
		icmpKind(18, "address-mask-reply"),
	),
	true: joined(
		icmpKind(1, "destination-unreachable"),
		icmpCodes(1, "no-route", "communication-prohibited", "beyond-scope", "address-unreachable", "port-unreachable", "failed-policy", "reject-route"),
		icmpKind(2, "packet-too-big"),
		icmpKind(3, "time-exceeded", "ttl-exceeded"),
		icmpCodes(3, "ttl-zero-during-transit", "ttl-zero-during-reassembly"),
		icmpKind(4, "parameter-problem"),
		icmpCodes(4, "bad-header", "unknown-header-type", "unknown-option"),
		icmpKind(128, "echo-request", "ping"),
		icmpKind(129, "echo-reply", "pong"),
		icmpKind(130, "mld-listener-query"), // these since iptables 1.8.10
		icmpKind(131, "mld-listener-report"),
		icmpKind(132, "mld-listener-done", "mld-listener-reduction"),
		icmpKind(133, "router-solicitation"),
		icmpKind(134, "router-advertisement"),
		icmpKind(135, "neighbour-solicitation", "neighbor-solicitation"),
		icmpKind(136, "neighbour-advertisement", "neighbor-advertisement"),
		icmpKind(137, "redirect"),
	),
}

func joined(lists ...[]icmpName) (out []icmpName) {
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}

var icmpRow, icmp6Row = icmpMatch("icmp", "--icmp-type", nat.ICMP), icmpMatch("icmp6", "--icmpv6-type", nat.ICMPv6)

func icmpMatch(name, option string, p nat.Proto) Extension {
	v6, families, examples := false, IPv4Only, []string{option + " any", option + " 8", "! " + option + " 3/4"}
	var aliases []string
	if p == nat.ICMPv6 {
		v6, families, examples = true, IPv6Only, []string{option + " 128", "! " + option + " 1/0", option + " 255"}
		aliases = []string{"icmpv6", "ipv6-icmp"} // xtables_find_match
	}
	return Extension{
		Name: name, Aliases: aliases, Families: families, Needs: "-p " + p.RuleName(), Protocols: []nat.Proto{p},
		Options: []Option{{Name: option, Values: 1, Not: true}}, Examples: examples,
		Parse: func(a *Args) Value {
			m := ICMPType{V6: v6}
			a.Once()
			a.Need(option)
			for g := range a.Options {
				m.Not = g.Not
				m.Type, m.Low, m.High = g.icmpType(v6)
			}
			return m
		},
		Listed: listedICMP(p, option),
		// struct ipt_icmp, struct ip6t_icmp { __u8 type, code[2], invflags; }
		Layouts: layouts(layout(0, 4,
			func(d []byte, _ *Env) (ICMPType, bool) {
				return ICMPType{d[3] != 0, v6, d[0], d[1], d[2]}, d[3] <= 1
			},
			func(m ICMPType, d []byte, _ *Env) error {
				d[0], d[1], d[2], d[3] = m.Type, m.Low, m.High, flagByte(m.Not)
				return nil
			})),
	}
}

// icmpType reads a name, or TYPE[/CODE[:CODE]].
func (g *Given) icmpType(v6 bool) (kind, low, high uint8) {
	var found []icmpName
	for _, n := range icmpNames[v6] {
		if len(n.name) >= len(g.Text()) && strings.EqualFold(n.name[:len(g.Text())], g.Text()) {
			found = append(found, n)
		}
	}
	switch len(found) {
	case 0:
	case 1:
		return found[0].kind, found[0].low, found[0].high
	default:
		g.bad(0, "a whole name: "+found[0].name+" and "+found[1].name+" begin so")
		return 0, 0, 0
	}
	text, code, coded := strings.Cut(g.Text(), "/")
	n, ok := Number(text, 255)
	from, to := uint64(0), uint64(255)
	if coded {
		first, second, two := strings.Cut(code, ":")
		var good bool
		from, good = Number(first, 255)
		if to, ok = from, ok && good; two {
			to, good = Number(second, 255)
			ok = ok && good
		}
	}
	if !ok {
		g.bad(0, "a name, or TYPE[/CODE]")
	}
	return uint8(n), uint8(from), uint8(to)
}

// Name is "icmp" or "icmp6".
func (m ICMPType) Name() string {
	if m.V6 {
		return "icmp6"
	}
	return "icmp"
}

// Save prints the type. Of a range of codes iptables-save prints the first.
func (m ICMPType) Save(p *Printer) {
	option := "--icmp-type"
	if m.V6 {
		option = "--icmpv6-type"
	}
	p.Option(m.Not, option, m.text(p))
}

// icmpCodesOfAny is the first iptables that prints the codes of type 255.
var icmpCodesOfAny = Version{1, 8, 10}

func (m ICMPType) text(p *Printer) string {
	all := m.Low == 0 && m.High == 255
	if !m.V6 && m.Type == anyICMP && (all || !p.Exact && p.Version.Before(icmpCodesOfAny)) {
		return "any"
	}
	s := strconv.Itoa(int(m.Type))
	if all {
		return s
	}
	s += "/" + strconv.Itoa(int(m.Low))
	if p.Exact && m.High != m.Low {
		s += ":" + strconv.Itoa(int(m.High))
	}
	return s
}

// listedICMP reads "icmptype 8 code 0" and, without -n, "icmp echo-request"; "!" stands in front of type or name.
func listedICMP(p nat.Proto, option string) func(*Listing) bool {
	return func(l *Listing) bool {
		name := p.RuleName()
		rest := strings.TrimPrefix(strings.TrimPrefix(l.rest, name), "type")
		if rest != "" && rest[0] != ' ' || !l.Take(name) {
			return false
		}
		not := l.Bang()
		numeric := l.TakeWord("type")
		value := l.Word()
		switch {
		case !numeric:
		case l.TakeWord("code"):
			value += "/" + l.Word()
		case l.TakeWord("codes"):
			value += "/" + strings.Replace(l.Word(), "-", ":", 1)
		}
		l.Give(option, not, value)
		return true
	}
}

// List prints the type as iptables -L -n does, by number.
func (m ICMPType) List(p *Printer) {
	if m.V6 {
		p.Text(" ipv6-icmp")
	} else {
		p.Text(" icmp")
	}
	p.Not(m.Not)
	p.Textf("type %d", m.Type)
	switch {
	case m.Low == m.High:
		p.Textf(" code %d", m.Low)
	case m.Low != 0 || m.High != 255:
		p.Textf(" codes %d-%d", m.Low, m.High)
	}
}

// Holds compares type and code. A later fragment has none.
func (m ICMPType) Holds(v *rules.Visit) rules.Answer {
	if v.Tuple.Proto() != m.number() || v.Later {
		return rules.No
	}
	if v.Wire != nil && len(v.Wire.Transport()) < icmpHeader {
		v.HotDrop = true
		return rules.No
	}
	held := v.ICMPType == m.Type && v.ICMPCode >= m.Low && v.ICMPCode <= m.High
	return rules.Is(held || !m.V6 && m.Type == anyICMP, m.Not)
}

// icmpHeader is the length of struct icmphdr and struct icmp6hdr.
const icmpHeader = 8

func (m ICMPType) number() nat.Proto {
	if m.V6 {
		return nat.ICMPv6
	}
	return nat.ICMP
}

// Actual is the packet's type and code.
func (m ICMPType) Actual(v *rules.Visit) string {
	if proto := v.Tuple.Proto(); v.Later || proto != m.number() {
		return "protocol " + proto.String()
	}
	return fmt.Sprintf("ICMP type %d code %d", v.ICMPType, v.ICMPCode)
}
