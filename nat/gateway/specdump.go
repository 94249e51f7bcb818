package gateway

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"natlab/nat"
)

// dumpLine is "12:00:00.1 eth0 In  IP 10.0.0.1.40000 > 10.0.0.2.80: Flags [S], seq 1".
// With -t no time is in front, with -tttt the day too, and with -v IP's own header stands in brackets.
var dumpLine = regexp.MustCompile(`^(?:\S+ +){0,2}?(?:(\S+) +(In|Out|B|M|P) +)?IP(?:6|v4|v6)? (?:\((?:[^()]|\([^()]*\))*\) ?(?:, length \d+: )?)?(\S+) > (\S+): (.*)$`)

// frameHead is what -e prints of a link's header, of Linux' cooked ones and of a VLAN, too.
var frameHead = regexp.MustCompile(`(?:\S+ > \S+, |(?:ifindex \d+ |(?:In|P|B|M) +)\S+ )?(?:ethertype 802\.1Q \(0x[0-9a-f]+\), length \d+: vlan \d+, p \d+, (?:DEI, )?)?ethertype IPv([46]) \(0x[0-9a-f]+\), (?:length \d+: )?`)

// plainFrame is a line of tcpdump -e as it is without -e.
func plainFrame(line string) string {
	return frameHead.ReplaceAllStringFunc(line, func(head string) string {
		if strings.Contains(head, "IPv6") {
			return "IP6 "
		}
		return "IP "
	})
}

var (
	dumpFlags = regexp.MustCompile(`Flags \[([^\]]*)\]`)
	dumpICMP  = regexp.MustCompile(`^ICMP6?, echo (request|reply)|^ICMP echo (request|reply)`)
	dumpProto = regexp.MustCompile(`^ip-proto-(\d+)\b`)
)

// portless are protocols without ports, by how what tcpdump prints of them begins.
var portless = []struct{ begins, proto string }{
	{"ESP(", "esp"}, {"AH(", "ah"}, {"GREv", "gre"}, {"igmp", "igmp"}, {"VRRPv", "vrrp"}, {"OSPFv", "ospf"}, {"IP6 ", "ipv6"}, {"IP ", "ipencap"},
}

// portlessOf is the protocol of a packet of which tcpdump prints addresses alone.
func portlessOf(rest string) (string, bool) {
	if m := dumpProto.FindStringSubmatch(rest); m != nil {
		return m[1], true
	}
	for _, p := range portless {
		if strings.HasPrefix(rest, p.begins) {
			return p.proto, true
		}
	}
	return "", false
}

// dumped reads what dumpLine found.
func dumped(m []string) (string, error) {
	device, way, rest := m[1], m[2], m[5]
	out, err := dumpedPacket(m[0], m[3], m[4], rest)
	if err != nil {
		return "", err
	}
	switch way {
	case "In":
		out += " in " + device
	case "Out":
		return "", fmt.Errorf("%q: the packet leaves by %s: want one that comes in, or in front of the node", m[0], device)
	}
	if flags := dumpFlags.FindStringSubmatch(rest); flags != nil {
		letters := ""
		for _, letter := range flags[1] {
			if letter == '.' {
				letter = 'A'
			}
			if strings.ContainsRune(flagLetters, letter) && !strings.ContainsRune(letters, letter) {
				letters += string(letter)
			}
		}
		if letters != "" {
			out += " flags " + letters
		}
	}
	return out, nil
}

// dumpedPacket is the protocol and the ends of a packet: of UDP tcpdump prints what is inside, and of other protocols their name.
func dumpedPacket(line, src, dst, rest string) (string, error) {
	icmp := dumpICMP.FindStringSubmatch(rest)
	_, err := netip.ParseAddr(src)
	switch {
	case icmp != nil:
		kinds, proto := map[string]string{"request": "8", "reply": "0"}, "icmp"
		if strings.HasPrefix(rest, "ICMP6") {
			kinds, proto = map[string]string{"request": "128", "reply": "129"}, "icmpv6"
		}
		return fmt.Sprintf("%s %s > %s type %s", proto, src, dst, kinds[icmp[1]+icmp[2]]), nil
	case strings.HasPrefix(rest, "ICMP"):
		return "", fmt.Errorf("%q: of ICMP natlab reads echo requests and replies as tcpdump prints them: want \"icmp SRC > DST type N/CODE\"", line)
	case err == nil:
		name, ok := portlessOf(rest)
		if !ok {
			return "", fmt.Errorf("%q: the protocol is not known by what tcpdump prints of it: want \"PROTO SRC > DST\"", line)
		}
		return fmt.Sprintf("%s %s > %s", name, src, dst), nil
	}
	proto := nat.UDP
	switch {
	case dumpFlags.MatchString(rest):
		proto = nat.TCP
	case strings.HasPrefix(rest, "sctp"):
		proto = nat.SCTP
	}
	return fmt.Sprintf("%s %s > %s", proto, dumpEnd(src, proto), dumpEnd(dst, proto)), nil
}

// dumpEnd is an address with its port, which tcpdump puts behind a last dot, by its name in /etc/services where it was not told -n.
func dumpEnd(text string, proto nat.Proto) string {
	i := strings.LastIndexByte(text, '.')
	if i < 0 {
		return text
	}
	port := text[i+1:]
	if number, named := nat.ServicePort(port, proto); named {
		port = strconv.Itoa(int(number))
	}
	return bracketed(text[:i]) + ":" + port
}

var (
	dumpFirst = regexp.MustCompile(`\bIP6? \(.*\)$`)                                             // the next line has the addresses (tcpdump -v)
	dumpOther = regexp.MustCompile(`(^|\s)(ARP, |arp who-has |\S+ +Out +IP|Out +\S+ ethertype)`) // no packet that comes to the node by IP
	dumpTalk  = regexp.MustCompile(`^(tcpdump: |listening on |reading from file |dropped privs |\^C|\d+ packets? (captured|received|dropped)|0x[0-9a-f]{4}: |.*\btcpdump -|.*ethertype (ARP|LLDP|EAPOL|Unknown))`)
)

// dumpedLine reports whether a line of a file is one of tcpdump's that tells of no packet to follow: what it says of itself, ARP, an error of ICMP, and one
// that leaves, which is one that came in before or the node's own. Its first line of two, which -v prints, is completed by the second.
func dumpedLine(line string, next func() (string, bool)) (text string, skip bool) {
	if dumpTalk.MatchString(line) {
		return line, true
	}
	if dumpFirst.MatchString(plainFrame(line)) {
		if more, ok := next(); ok {
			line += " " + strings.TrimSpace(more)
		}
	}
	return line, dumpOther.MatchString(line) || strings.Contains(line, ": ICMP") && !strings.Contains(line, "echo re")
}
