package gateway

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// traceLine is a line of nft monitor trace that tells of a packet, with its number: `trace id 8bb8ef4f ip raw PREROUTING packet: iif "eth0" ether saddr ...`.
var traceLine = regexp.MustCompile(`^trace id (\S+) \S+ \S+ \S+ packet: (.*)$`)

// traced reads what stands behind "packet:".
func traced(text string) (string, error) {
	words := strings.Fields(text)
	behind := func(key string) string {
		of := strings.Fields(key)
		for i := range words {
			if j := i + len(of); j < len(words) && slices.Equal(words[i:j], of) {
				return strings.Trim(words[j], `"`)
			}
		}
		return ""
	}
	proto := behind("ip protocol") + behind("ip6 nexthdr")
	src, dst := behind("ip saddr")+behind("ip6 saddr"), behind("ip daddr")+behind("ip6 daddr")
	if proto == "" || src == "" || dst == "" {
		return "", fmt.Errorf("%q: want a packet with ip saddr, ip daddr and ip protocol, as nft monitor trace prints it", text)
	}
	out := proto + " " + src + " > " + dst
	if sport := behind(proto + " sport"); sport != "" {
		out = fmt.Sprintf("%s %s:%s > %s:%s", proto, bracketed(src), sport, bracketed(dst), behind(proto+" dport"))
	}
	switch behind(proto + " type") {
	case "echo-reply":
		out += map[string]string{"icmp": " type 0", "ipv6-icmp": " type 129", "icmpv6": " type 129"}[proto]
	case "echo-request", "":
	default:
		return "", fmt.Errorf("%q: of ICMP natlab reads echo requests and replies of a trace: want \"icmp SRC > DST type N/CODE\"", text)
	}
	if in := behind("iif"); in != "" {
		out += " in " + in
	} else if behind("oif") != "" {
		out += " in node"
	}
	if mark := behind("meta mark"); mark != "" {
		out += " mark " + mark
	}
	var letters strings.Builder
	for name := range strings.SplitSeq(strings.ReplaceAll(cmp.Or(behind("tcp flags =="), behind("tcp flags")), "|", ","), ",") {
		letters.WriteString(flagWords[strings.ToUpper(name)])
	}
	if proto == "tcp" && letters.Len() > 0 {
		out += " flags " + letters.String()
	}
	return out, nil
}

// loggedOnce is what lines of the kernel's log and of nft monitor trace about one packet have in common.
var loggedOnce = regexp.MustCompile(`(\bSRC=\S+) .*?(\bID=\S+) .*?(\bPROTO=\S+)(?: (SPT=\S+))?`)

// traces tells of lines that trace one packet from rule to rule: the first has it as it came.
type traces map[string]bool

// again reports whether a line is about a packet that an earlier one told of, or about a rule alone.
func (t traces) again(line string) bool {
	key := ""
	switch {
	case strings.HasPrefix(line, "trace id "):
		m := traceLine.FindStringSubmatch(line)
		if m == nil {
			return true
		}
		key = m[1]
	case strings.Contains(line, "TRACE: "):
		if m := loggedOnce.FindStringSubmatch(line); m != nil {
			key = strings.Join(m[1:], " ")
		}
	}
	if key == "" || t[key] {
		return key != ""
	}
	t[key] = true
	return false
}
