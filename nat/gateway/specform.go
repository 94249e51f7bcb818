package gateway

import (
	"fmt"
	"net/netip"
	"strings"

	"natlab/nat/conntrack"
)

// posted is a packet that other programs print, in the words of ParseSpec: a line of the kernel's log (LOG, TRACE), of nft monitor trace, of tcpdump, or
// of conntrack -L or -E, whose original direction it is. Text of none stays as it is.
func posted(text string) (string, error) {
	switch {
	case strings.Contains(text, "SRC=") && strings.Contains(text, "PROTO="):
		return logged(strings.Fields(text))
	case strings.Count(text, "src=") == 2:
		text = strings.Replace(text, "[DESTROY]", "", 1) // the packet is as any other one's
		all, err := conntrack.ParseEntries(text)
		if err != nil || len(all) != 1 {
			return "", fmt.Errorf("%q: not an entry as conntrack -L prints it", text)
		}
		return all[0].Original.String(), nil
	}
	if m := traceLine.FindStringSubmatch(text); m != nil {
		return traced(m[2])
	}
	if m := dumpLine.FindStringSubmatch(plainFrame(text)); m != nil {
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
