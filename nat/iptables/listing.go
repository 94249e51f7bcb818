package iptables

import (
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"natlab/nat"
)

// columns are those of a heading of iptables -L.
type columns struct {
	numbers  bool // --line-numbers
	counters bool // -v
	devices  bool // -v
}

var listingHeading = regexp.MustCompile(`^(num +)?(pkts +bytes +)?target +prot +opt( +in +out)? +source +destination\s*$`)

// listingColumns reads the heading "target prot opt source destination".
func listingColumns(line string) (columns, bool) {
	m := listingHeading.FindStringSubmatch(strings.TrimSpace(line))
	if m == nil {
		return columns{}, false
	}
	return columns{numbers: m[1] != "", counters: m[2] != "", devices: m[3] != ""}, true
}

// listedRule is a line of iptables -L with its columns apart.
type listedRule struct {
	line, column                int // column: of rest, from 1
	number                      int // in its chain; 0: not printed
	packets, bytes              uint64
	target, protocol, fragment  string
	in, out                     string // "" where they are not printed
	source, destination, behind string
}

// field is a word of a line.
type field struct {
	text       string
	start, end int // byte offsets
}

func fieldsOf(line string) (out []field) {
	for at := 0; at < len(line); {
		if blank(line[at]) {
			at++
			continue
		}
		end := at
		for end < len(line) && !blank(line[end]) {
			end++
		}
		out = append(out, field{line[at:end], at, end})
		at = end
	}
	return out
}

// split takes a line apart. The target's column is blank for a rule without one, and that of -f in IPv6, before 1.8.9.
func (c columns) split(line string) (r listedRule, ok bool) {
	words := fieldsOf(line)
	next := func() string {
		if len(words) == 0 {
			return ""
		}
		w := words[0].text
		words = words[1:]
		return w
	}
	ok = true
	if c.numbers {
		n, err := strconv.Atoi(next())
		r.number, ok = n, err == nil && n > 0
	}
	if c.counters {
		var good [2]bool
		r.packets, good[0] = listedCount(next())
		r.bytes, good[1] = listedCount(next())
		ok = ok && good[0] && good[1]
	}
	words = unglued(words)
	if c.hasTarget(words) {
		r.target = next()
	}
	r.protocol = next()
	if len(words) > 0 && isFragmentColumn(words[0].text) {
		r.fragment = next()
	}
	if c.devices {
		r.in, r.out = next(), next()
	}
	if len(words) < 2 {
		return r, false
	}
	r.source, r.destination = words[0].text, words[1].text
	r.behind, r.column = strings.TrimSpace(line[words[1].end:]), words[1].end+2
	if len(words) > 2 {
		r.column = words[2].start + 1
	}
	return r, ok
}

// unglued parts a protocol of more than six letters from the column behind it: "icmpv6--".
func unglued(words []field) []field {
	head := words[:min(len(words), 3)]
	if slices.ContainsFunc(head, func(f field) bool { return isFragmentColumn(f.text) }) {
		return words
	}
	for i, w := range head[:min(len(head), 2)] {
		if end := len(w.text) - len("--"); end > 0 && isFragmentColumn(w.text[end:]) {
			protocol := field{w.text[:end], w.start, w.start + end}
			return slices.Replace(slices.Clone(words), i, i+1, protocol, field{w.text[end:], w.start + end, w.end})
		}
	}
	return words
}

// hasTarget reports whether the first of the words is a target, and not the protocol of a rule without one.
func (c columns) hasTarget(words []field) bool {
	between := 0
	if c.devices {
		between = 2
	}
	at := func(i int) string {
		if i < len(words) {
			return words[i].text
		}
		return ""
	}
	switch {
	case isFragmentColumn(at(1)):
		return false
	case isFragmentColumn(at(2)):
		return true
	case isAddressColumn(at(1+between)) && isAddressColumn(at(2+between)):
		return isAddressColumn(at(3 + between)) // then two words in front of the addresses look like some
	}
	return true
}

// isFragmentColumn reports whether a word is what stands in the column "opt".
func isFragmentColumn(s string) bool { return s == "--" || s == "-f" || s == "!f" }

// isAddressColumn reports whether a word is an address as iptables -L prints it.
func isAddressColumn(s string) bool {
	s = strings.TrimPrefix(s, "!")
	if s == "anywhere" || s == "localhost" {
		return true
	}
	s, _, _ = strings.Cut(s, "/")
	_, err := netip.ParseAddr(s)
	return err == nil
}

// listedCount reads a counter as xtables_print_num prints it: 12K are 12,000.
func listedCount(s string) (uint64, bool) {
	unit := uint64(1)
	if s != "" {
		if i := strings.IndexByte("KMGT", s[len(s)-1]); i >= 0 {
			for range i + 1 {
				unit *= 1000
			}
			s = s[:len(s)-1]
		}
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return n * unit, err == nil && n <= ^uint64(0)/unit
}

// listedHosts are the names that /etc/hosts and /etc/networks have for addresses everywhere, and that iptables -L prints
// without -n.
var listedHosts = map[string]map[nat.Family]string{
	"localhost":  {nat.IPv4: "127.0.0.1", nat.IPv6: "::1"},
	"loopback":   {nat.IPv4: "127.0.0.0"},
	"default":    {nat.IPv4: "0.0.0.0"},
	"link-local": {nat.IPv4: "169.254.0.0"},
}
