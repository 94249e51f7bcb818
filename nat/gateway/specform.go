package gateway

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"natlab/nat"
	"natlab/nat/conntrack"
)

// posted is a packet that other programs print, in the words of ParseSpec: a line of the kernel's log (LOG, TRACE), of tcpdump -n, or of conntrack -L,
// whose original direction it is. Text of neither stays as it is.
func posted(text string) (string, error) {
	switch {
	case strings.Contains(text, "SRC=") && strings.Contains(text, "PROTO="):
		return logged(strings.Fields(text))
	case strings.Count(text, "src=") == 2:
		all, err := conntrack.ParseEntries(text)
		if err != nil || len(all) != 1 {
			return "", fmt.Errorf("%q: not an entry as conntrack -L prints it", text)
		}
		return all[0].Original.String(), nil
	}
	if m := dumpLine.FindStringSubmatch(text); m != nil {
		return dumped(m)
	}
	return text, nil
}

// flagWords are TCP flags as the kernel's log has them.
var flagWords = map[string]string{"FIN": "F", "SYN": "S", "RST": "R", "PSH": "P", "ACK": "A", "URG": "U", "ECE": "E", "CWR": "W"}

// logged reads "IN=eth0 OUT= MAC=... SRC=A DST=B ... PROTO=TCP SPT=1 DPT=2 ... SYN URGP=0 MARK=0x1" (nf_log_ipv4). What stands in brackets is the packet that
// an ICMP error is about.
func logged(words []string) (string, error) {
	field, flags := map[string]string{}, ""
	for _, word := range words {
		if strings.HasPrefix(word, "[SRC=") {
			break
		}
		key, value, ok := strings.Cut(word, "=")
		if _, twice := field[key]; ok && !twice { // UDP's length comes second
			field[key] = value
		} else if !ok {
			flags += flagWords[word]
		}
	}
	proto := strings.ToLower(field["PROTO"])
	out := proto
	switch proto {
	case "tcp", "udp", "udplite", "sctp", "dccp":
		src, err := netip.ParseAddrPort(bracketed(field["SRC"]) + ":" + field["SPT"])
		dst, err2 := netip.ParseAddrPort(bracketed(field["DST"]) + ":" + field["DPT"])
		if err != nil || err2 != nil {
			return "", fmt.Errorf("%q: want SRC=, DST=, SPT= and DPT= of the kernel's log", strings.Join(words, " "))
		}
		out += fmt.Sprintf(" %s > %s", src, dst)
	default:
		out += fmt.Sprintf(" %s > %s", field["SRC"], field["DST"])
	}
	if field["TYPE"] != "" && strings.HasPrefix(proto, "icmp") {
		out += " type " + field["TYPE"] + "/" + field["CODE"]
	}
	if in, ok := field["IN"]; ok && in == "" {
		out += " in node"
	} else if ok {
		out += " in " + in
	}
	if field["MARK"] != "" {
		out += " mark " + field["MARK"]
	}
	if flags != "" && proto == "tcp" {
		out += " flags " + flags
	}
	if field["UID"] != "" {
		out += " uid " + field["UID"]
	}
	return out, nil
}

func bracketed(address string) string {
	if strings.Contains(address, ":") {
		return "[" + address + "]"
	}
	return address
}

// dumpLine is "12:00:00.1 eth0 In  IP 10.0.0.1.40000 > 10.0.0.2.80: Flags [S], seq 1".
// With -tttt the day is in front, with -e what the link's header has, and with -v IP's own stands in brackets.
var dumpLine = regexp.MustCompile(`^(?:\S+ +){0,2}?(?:(\S+) +(In|Out|B|M|P) +)?(?:\S+ > \S+, ethertype )?IP(?:6|v4|v6)? (?:\((?:[^()]|\([^()]*\))*\) ?(?:, length \d+: )?)?(\S+) > (\S+): (.*)$`)

var (
	dumpFlags = regexp.MustCompile(`Flags \[([^\]]*)\]`)
	dumpICMP  = regexp.MustCompile(`^ICMP6?, echo (request|reply)|^ICMP echo (request|reply)`)
)

// dumped reads what dumpLine found.
func dumped(m []string) (string, error) {
	device, way, rest := m[1], m[2], m[5]
	proto := nat.UDP // of UDP tcpdump prints what is inside
	if dumpFlags.MatchString(rest) {
		proto = nat.TCP
	}
	src, dst := dumpEnd(m[3], proto), dumpEnd(m[4], proto)
	var out string
	flags := dumpFlags.FindStringSubmatch(rest)
	switch icmp := dumpICMP.FindStringSubmatch(rest); {
	case flags != nil:
		out = fmt.Sprintf("tcp %s > %s", src, dst)
	case icmp != nil:
		kinds, proto := map[string]string{"request": "8", "reply": "0"}, "icmp"
		if strings.HasPrefix(rest, "ICMP6") {
			kinds, proto = map[string]string{"request": "128", "reply": "129"}, "icmpv6"
		}
		out = fmt.Sprintf("%s %s > %s type %s", proto, m[3], m[4], kinds[icmp[1]+icmp[2]])
	case strings.HasPrefix(rest, "ICMP"):
		return "", fmt.Errorf("%q: of ICMP natlab reads echo requests and replies as tcpdump prints them: want \"icmp SRC > DST type N/CODE\"", m[0])
	default:
		out = fmt.Sprintf("udp %s > %s", src, dst)
	}
	switch way {
	case "In":
		out += " in " + device
	case "Out":
		return "", fmt.Errorf("%q: the packet leaves by %s: want one that comes in, or in front of the node", m[0], device)
	}
	if flags != nil {
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
	dumpFirst = regexp.MustCompile(`\bIP6? \(.*\)$`)                          // the next line has the addresses (tcpdump -v)
	dumpOther = regexp.MustCompile(`(^|\s)(ARP, |arp who-has |\S+ +Out +IP)`) // no packet that comes to the node by IP
)

// dumpedLine reports whether a line of a file is one of tcpdump's that tells of no packet to follow: ARP, an error of ICMP, and one that leaves, which is
// one that came in before or the node's own. Its first line of two, which -v prints, is completed by the second.
func dumpedLine(line string, next func() (string, bool)) (text string, skip bool) {
	if dumpFirst.MatchString(line) {
		if more, ok := next(); ok {
			line += " " + strings.TrimSpace(more)
		}
	}
	return line, dumpOther.MatchString(line) || strings.Contains(line, ": ICMP") && !strings.Contains(line, "echo re")
}
