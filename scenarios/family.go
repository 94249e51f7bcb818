package scenarios

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/txtar"

	"natlab/nat"
)

// ipv4Address is an address in a script or a file, with what may stand behind it.
var ipv4Address = regexp.MustCompile(`\b(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})(/\d+)?(:\d+)?`)

// inIPv6 is a text with every IPv4 address in it as one of IPv6: 10.244.1.2 is fd00:10:244:1::2, and networks of whole octets are those of the
// addresses in them.
func inIPv6(text string) (string, error) {
	var failed error
	out := ipv4Address.ReplaceAllStringFunc(text, func(found string) string {
		m := ipv4Address.FindStringSubmatch(found)
		a, prefix, port := fmt.Sprintf("fd00:%s:%s:%s::%s", m[1], m[2], m[3], m[4]), m[5], m[6]
		if ip, err := netip.ParseAddr(a); err == nil {
			a = ip.String()
		}
		switch {
		case m[1] == "127":
			failed = fmt.Errorf("%s, whose like IPv6 has not: kube-proxy serves no node ports at ::1", found)
		case strings.HasPrefix(found, "0.0.0.0"):
			a = "::"
		}
		if prefix != "" {
			bits, err := strconv.Atoi(prefix[1:])
			long, ok := map[int]string{0: "/0", 8: "/32", 16: "/48", 24: "/64", 32: "/128"}[bits]
			if err != nil || !ok {
				failed = fmt.Errorf("%s, a network that ends within an octet", found)
			}
			a += long
			if p, err := netip.ParsePrefix(a); err == nil && bits > 0 {
				a = p.Masked().String()
			}
		}
		if port != "" {
			return "[" + a + "]" + port
		}
		return a
	})
	return out, failed
}

// InIPv6 is the scenario in a cluster whose network is IPv6 alone: the same script and files, in which every address is one of IPv6. What does
// not make sense there is an error that tells why. Drawings of a way are of IPv4 and not compared.
func (s Scenario) InIPv6() (Scenario, error) {
	if s.IPv4 != "" {
		return s, fmt.Errorf("about IPv4: %s", s.IPv4)
	}
	a := txtar.Parse(s.Text)
	for i, f := range a.Files {
		if strings.HasPrefix(f.Name, "way") {
			continue
		}
		text, err := objectsInIPv6(string(f.Data))
		if err != nil {
			return s, err
		}
		a.Files[i].Data = []byte(text)
	}
	var script strings.Builder
	for line := range strings.Lines(string(a.Comment)) {
		words := strings.Fields(line)
		if len(words) > 0 && (strings.HasPrefix(words[len(words)-1], "way") || slices.Contains(words, "[nftables]") || slices.Contains(words, "[userspace]")) {
			continue // a drawing, or what no lab of IPv6 is
		}
		if strings.HasPrefix(line, "#") {
			script.WriteString(line)
			continue
		}
		for _, of := range ofIPv4 {
			if strings.Contains(line, of.text) {
				return s, fmt.Errorf("%q is about IPv4: %s", strings.TrimSpace(line), of.why)
			}
		}
		text, err := inIPv6(line)
		if err != nil {
			return s, err
		}
		script.WriteString(text)
	}
	a.Comment = []byte(script.String())
	s.Text, s.ipv6 = txtar.Format(a), true
	return s, nil
}

// ofIPv4 are what a script's line has that IPv6 has not, or has otherwise.
var ofIPv4 = []struct{ text, why string }{
	{"net.ipv4.", "the sysctl is"},
	{"net/ipv4/", "the sysctl is"},
	{"segment ", "the segment is made by hand"},
	{"KUBE-SEP-", "the chain's name is a hash of the address"},
	{"view ", "the rules that are shown"},
	{"audit ", "the rules that are audited"},
	{"netstat ", "the counter is"},
	{"rewrite ", "the packet is changed by hand"},
	{"duplicate ", "the packet is made by hand"},
}

// objectsInIPv6 are a cluster's documents in IPv6. An address is quoted: YAML has another meaning for its colons.
func objectsInIPv6(text string) (string, error) {
	text, err := inIPv6(text)
	text = strings.ReplaceAll(text, "addressType: IPv4", "addressType: IPv6")
	return strings.ReplaceAll(ipv6Word.ReplaceAllString(text, `"$0"`), `""`, `"`), err
}

// ipv6Word is an address or a network that inIPv6 wrote.
var ipv6Word = regexp.MustCompile(`fd00:[0-9a-f:]+(?:/\d+)?|::/0`)

// family is that of the lab's rules which the script asks for.
func (s *stage) family() nat.Family {
	if s.job.scenario.ipv6 {
		return nat.IPv6
	}
	return nat.IPv4
}
