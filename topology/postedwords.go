package topology

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Forms of one and the same that people post, each made into the words of ip(8): the short ones (-br), those of net-tools, and JSON (-j).

// briefLink is a device as ip -br link and ip -br addr print it: "eth0@if5 UP 192.0.2.10/24 fe80::1/64".
var briefLink = regexp.MustCompile(`^(\S+) +(UP|DOWN|UNKNOWN|LOWERLAYERDOWN|NOTPRESENT|TESTING|DORMANT)\b *(.*)$`)

// configLink is the first line of a device as ifconfig(8) prints it, of today and of old.
var configLink = regexp.MustCompile(`^(\S+?)(?:: +flags=\d+<(\S*)>| +Link encap:)`)

// briefLinks makes lines of ip -br and of ifconfig those of ip addr; others stay as they are, each in its place.
func briefLinks(text string) string {
	config := slices.ContainsFunc(strings.Split(text, "\n"), configLink.MatchString)
	var b strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \r\n")
		switch m := briefLink.FindStringSubmatch(line); {
		case m != nil:
			line = briefDevice(m[1], strings.Fields(m[3]))
		case config && configLink.MatchString(line):
			m := configLink.FindStringSubmatch(line)
			line = "0: " + m[1] + ": <" + m[2] + ">" + line[len(m[0]):]
		case config && strings.TrimLeft(line, " \t") != line:
			line = configAddress(strings.Fields(line))
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

// bridgeHeading is the first line of brctl show.
var bridgeHeading = regexp.MustCompile(`^bridge name\s+bridge id\s+STP enabled\s+interfaces`)

// bridgeTable rewrites what brctl show prints, a bridge with its ports, as ip -d link has it.
func bridgeTable(text string) string {
	var b strings.Builder
	in, bridge := false, ""
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		switch blank := strings.TrimLeft(line, " \t") != line; {
		case bridgeHeading.MatchString(line):
			in, line = true, "\n"
		case !in || len(words) == 0:
		case blank && len(words) == 1 && bridge != "":
			line = "0: " + words[0] + ": <> master " + bridge + "\n"
		case len(words) >= 3 && (words[2] == "yes" || words[2] == "no"):
			bridge = words[0]
			line = "0: " + bridge + ": <>\\    bridge \n"
			if len(words) > 3 {
				line += "0: " + words[3] + ": <> master " + bridge + "\n"
			}
		default:
			in = false
		}
		b.WriteString(line)
	}
	return b.String()
}

// briefDevice is a device and its addresses in one line, as ip -o prints it.
func briefDevice(name string, words []string) string {
	if n := len(words); n > 0 && strings.HasPrefix(words[n-1], "<") { // ip -br link: a hardware address, and flags
		return "0: " + name + ": " + words[n-1]
	}
	var out strings.Builder
	out.WriteString("0: " + name + ": <>")
	for i, word := range words {
		switch six := strings.Contains(word, ":"); {
		case i > 0 && words[i-1] == "peer", word == "peer", word == "metric", i > 0 && words[i-1] == "metric":
			out.WriteString(" " + word)
		case six:
			out.WriteString("\\    inet6 " + word)
		default:
			out.WriteString("\\    inet " + word)
		}
	}
	return out.String()
}

// configAddress is what ifconfig tells below a device of an address, as ip addr does; what else it tells is empty.
func configAddress(words []string) string {
	told := map[string]string{}
	for i, word := range words {
		if key, value, ok := strings.Cut(word, ":"); ok && slices.Contains([]string{"addr", "Mask", "P-t-P"}, key) && value != "" {
			told[key] = value // of old: "inet addr:10.0.0.2  Bcast:10.0.0.255  Mask:255.255.255.0"
		} else if i+1 < len(words) {
			told[word] = words[i+1]
		}
	}
	pick := func(keys ...string) string {
		for _, key := range keys {
			if told[key] != "" {
				return told[key]
			}
		}
		return ""
	}
	switch {
	case len(words) > 1 && words[0] == "inet":
		length := strconv.Itoa(maskLength(pick("netmask", "Mask")))
		address := pick("addr")
		if address == "" {
			address = words[1]
		}
		if peer := pick("destination", "P-t-P"); peer != "" {
			return "    inet " + address + " peer " + peer + "/" + length
		}
		return "    inet " + address + "/" + length
	case len(words) > 1 && words[0] == "inet6":
		address := strings.TrimPrefix(words[1], "addr:")
		if address == "" && len(words) > 2 {
			address = words[2]
		}
		if told["prefixlen"] != "" {
			address += "/" + told["prefixlen"]
		}
		return "    inet6 " + address
	}
	return ""
}

// maskLength is a network's mask as a length; -1 where it is none.
func maskLength(text string) int {
	a, err := netip.ParseAddr(text)
	if err != nil || !a.Is4() {
		return -1
	}
	b := a.As4()
	mask := binary.BigEndian.Uint32(b[:])
	n := bits.LeadingZeros32(^mask)
	if mask<<n != 0 {
		return -1
	}
	return n
}

// tableRoutes makes rows of route -n and netstat -rn routes as ip(8) prints them. Rows of routes that are not up are left out.
func tableRoutes(lines []string) (out []string) {
	inTable := false
	for _, line := range lines {
		w := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "Kernel IP routing table"):
			inTable = true
		case len(w) > 3 && w[0] == "Destination" && w[2] == "Genmask":
			inTable = true
		case inTable && len(w) == 8:
			out = append(out, tableRoute(w)...)
		default:
			inTable = false
			out = append(out, line)
		}
	}
	return out
}

// tableRoute is a row: destination, gateway, mask, flags, metric, references, use, device. netstat has other numbers in place of the metric, all of them 0.
func tableRoute(w []string) []string {
	dst := w[0] + "/" + strconv.Itoa(maskLength(w[2]))
	if w[0] == "default" {
		dst = "0.0.0.0/0"
	}
	switch {
	case strings.Contains(w[3], "!"):
		return []string{"unreachable " + dst}
	case !strings.Contains(w[3], "U"):
		return nil
	}
	text := dst
	if w[1] != "0.0.0.0" && w[1] != "*" && w[1] != "-" {
		text += " via " + w[1]
	}
	return []string{text + " dev " + w[7] + " metric " + w[4]}
}

// inWords makes texts that are JSON those of words, a line each.
func inWords(texts []string, words func(map[string]any) (string, error)) (out []string, err error) {
	for _, text := range texts {
		if !strings.HasPrefix(strings.TrimSpace(text), "[") {
			out = append(out, text)
			continue
		}
		var rows []map[string]any
		d := json.NewDecoder(bytes.NewReader([]byte(text)))
		d.UseNumber()
		if err := d.Decode(&rows); err != nil {
			return nil, fmt.Errorf("not what ip -j prints: %w", err)
		}
		for _, row := range rows {
			if len(row) == 0 {
				continue
			}
			line, err := words(row)
			if err != nil {
				return nil, fmt.Errorf("not what ip -j prints: %w", err)
			}
			out = append(out, line)
		}
	}
	return out, nil
}

// jsonForm tells how the members of a JSON object stand in the words of ip(8): in their order, each as its word and its value.
type jsonForm []jsonWord

// jsonWord is a member. word is "" for a value that stands alone, and a word that ends with "/" is followed by the value without a blank in front.
type jsonWord struct{ key, word string }

// routeJSON is the form of ip -j route (iproute.c, print_route).
var routeJSON = jsonForm{
	{"type", ""},
	{"dst", ""},
	{"from", "from"},
	{"encap", "encap"},
	{"tos", "tos"},
	{"nhid", "nhid"},
	{"gateway", "via"},
	{"via", "via"},
	{"dev", "dev"},
	{"table", "table"},
	{"protocol", "proto"},
	{"scope", "scope"},
	{"prefsrc", "src"},
	{"metric", "metric"},
	{"pref", "pref"},
	{"expires", "expires"},
	{"error", "error"},
	{"metrics", ""},
	{"cache", ""},
	{"flags", ""},
	{"nexthops", "nexthop"},
	{"weight", "weight"},
	{"uid", "users"},
}

// ruleJSON is the form of ip -j rule (iprule.c, print_rule).
var ruleJSON = jsonForm{
	{"priority", ""},
	{"not", "not"},
	{"src", "from"},
	{"srclen", "/"},
	{"dst", "to"},
	{"dstlen", "/"},
	{"tos", "tos"},
	{"fwmark", "fwmark"},
	{"fwmask", "/"},
	{"iif", "iif"},
	{"iif_detached", "[detached]"},
	{"oif", "oif"},
	{"oif_detached", "[detached]"},
	{"l3mdev", "lookup [l3mdev-table]"},
	{"uid_start", "uidrange"},
	{"uid_end", "-"},
	{"ipproto", "ipproto"},
	{"sport", "sport"},
	{"sport_start", "sport"},
	{"sport_end", "-"},
	{"dport", "dport"},
	{"dport_start", "dport"},
	{"dport_end", "-"},
	{"tun_id", "tun_id"},
	{"table", "lookup"},
	{"suppress_prefixlen", "suppress_prefixlength"},
	{"suppress_ifgroup", "suppress_ifgroup"},
	{"goto", "goto"},
	{"unresolved", "[unresolved]"},
	{"nop", "nop"},
	{"action", ""},
	{"protocol", "proto"},
}

// words is an object in words. What it has and the form does not is an error.
func (f jsonForm) words(row map[string]any) (string, error) {
	var b strings.Builder
	seen := 0
	for _, w := range f {
		value, ok := row[w.key]
		if !ok {
			continue
		}
		seen++
		if err := f.word(&b, w, value); err != nil {
			return "", err
		}
	}
	if seen != len(row) {
		for key := range row {
			if !slices.ContainsFunc(f, func(w jsonWord) bool { return w.key == key }) {
				return "", fmt.Errorf("%q is not known", key)
			}
		}
	}
	return strings.TrimSpace(b.String()), nil
}

// word writes a member.
func (f jsonForm) word(b *strings.Builder, w jsonWord, value any) error {
	switch v := value.(type) {
	case nil: // the word alone: it is there where it holds
		b.WriteString(" " + w.word)
	case bool:
		if v {
			b.WriteString(" " + w.word)
		}
	case string, json.Number:
		f.pair(b, w, fmt.Sprint(v))
	case map[string]any: // "via": {"family": "inet6", "host": "fe80::1"}
		host, family := v["host"], v["family"]
		if w.key != "via" || host == nil || family == nil {
			return fmt.Errorf("%q is not known", w.key)
		}
		fmt.Fprintf(b, " via %v %v", family, host)
	case []any:
		return f.list(b, w, v)
	default:
		return fmt.Errorf("%q is not known", w.key)
	}
	return nil
}

// pair writes a word and its value.
func (f jsonForm) pair(b *strings.Builder, w jsonWord, value string) {
	switch {
	case w.word == "/" || w.word == "-":
		b.WriteString(w.word + value)
	case w.key == "priority":
		b.WriteString(value + ":")
	case w.key == "type" && value == "unicast":
	default:
		b.WriteString(" " + strings.TrimSpace(w.word+" "+value))
	}
}

// list writes flags, a word each, the next hops of a route, or its metrics, which do not decide where packets go.
func (f jsonForm) list(b *strings.Builder, w jsonWord, list []any) error {
	for _, one := range list {
		switch v := one.(type) {
		case string:
			b.WriteString(" " + v)
		case map[string]any:
			if w.key == "metrics" {
				continue
			}
			if w.key != "nexthops" {
				return fmt.Errorf("%q is not known", w.key)
			}
			hop, err := f.words(v)
			if err != nil {
				return err
			}
			b.WriteString(" nexthop " + hop)
		default:
			return errors.New("want words or objects in " + w.key)
		}
	}
	return nil
}
