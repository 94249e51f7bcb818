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
	"natlab/nat/kubeproxy"
	"natlab/topology"
)

// ipv4Address is an address in a script or a file, with what may stand behind it.
// Its last octet may be a shell's variable.
var ipv4Address = regexp.MustCompile(`\b(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3}|\$\w+)(/\d+)?(:\d+)?`)

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
		if len(words) > 0 && (strings.HasPrefix(words[len(words)-1], "way") || slices.Contains(words, "[ipv4]")) {
			continue // a drawing, or what another line stands for
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
		text, err := lineInIPv6(line)
		if err != nil {
			return s, err
		}
		script.WriteString(text)
	}
	a.Comment = []byte(script.String())
	s.Text, s.ipv6 = txtar.Format(a), true
	return s, nil
}

// lineInIPv6 is a line of a script in IPv6. kube-proxy's own pages are at 127.0.0.1 in either family.
func lineInIPv6(line string) (string, error) {
	const pages, aside = "http://127.0.0.1:", "http://@:"
	line = strings.ReplaceAll(sixWords.Replace(line), pages, aside)
	text, err := inIPv6(endpointChain.ReplaceAllStringFunc(line, chainInIPv6))
	if slices.ContainsFunc(strings.Fields(line), func(word string) bool { return word == "stdout" || word == "stderr" || word == "grep" }) {
		text = bracketed.ReplaceAllString(text, `\[$1\]`) // what these look for is an expression
	}
	return strings.ReplaceAll(text, aside, pages), err
}

// bracketed is an address of IPv6 in front of a port.
var bracketed = regexp.MustCompile(`\[(fd00:[0-9a-f:]+)\]`)

// sixWords are the words of a script's line that have others in IPv6.
var sixWords = strings.NewReplacer(
	"net.ipv4.ip_forward=", "net.ipv6.conf.all.forwarding=",
	"net/bridge/bridge-nf-call-iptables=", "net/bridge/bridge-nf-call-ip6tables=",
	"iptables-legacy", "ip6tables-legacy", "iptables-nft", "ip6tables-nft", `ip_family="IPv4"`, `ip_family="IPv6"`,
	" ip kube-proxy", " ip6 kube-proxy", " ip saddr ", " ip6 saddr ", " ip daddr ", " ip6 daddr ", // nft's words
)

// ofIPv4 are what a script's line has that IPv6 has not, or has otherwise.
var ofIPv4 = []struct{ text, why string }{
	{"net.ipv4.conf.", "the sysctl is"},
	{"net/ipv4/", "the sysctl is"},
	{"IPReversePathFilter", "rp_filter is"},
	{"view ", "the rules that are shown"},
}

// endpointChain is the chain of one endpoint, whose name is a hash of the address.
var endpointChain = regexp.MustCompile(`KUBE-SEP-[A-Z2-7]{16}`)

// chainInIPv6 is the chain of the endpoint of the small cluster that stands for the named one's in IPv6; the name itself where it is
// none of that cluster's.
func chainInIPv6(name string) string {
	o, err := parseObjects(small)
	if err != nil {
		return name
	}
	c, err := o.cluster("small")
	if err != nil {
		return name
	}
	for _, s := range c.Services {
		for _, port := range s.Ports {
			of, proto := kubeproxy.PortName(s.Namespace, s.Name, port.Name), port.Protocol
			for _, e := range topology.Servers(c) {
				if kubeproxy.EndpointChain(of, proto, e.Addr.String()) != name {
					continue
				}
				if six, err := inIPv6(e.Addr.String()); err == nil {
					return kubeproxy.EndpointChain(of, proto, six)
				}
			}
		}
	}
	return name
}

// objectsInIPv6 are a cluster's documents in IPv6. An address is quoted: YAML has another meaning for its colons.
func objectsInIPv6(text string) (string, error) {
	text, err := inIPv6(strings.ReplaceAll(text, "127.0.0.1", "::1"))
	text = strings.ReplaceAll(text, "addressType: IPv4", "addressType: IPv6")
	return strings.ReplaceAll(ipv6Word.ReplaceAllString(text, `"$0"`), `""`, `"`), err
}

// ipv6Word is an address or a network that inIPv6 wrote.
var ipv6Word = regexp.MustCompile(`fd00:[0-9a-f:]+(?:/\d+)?|::/0|::1\b`)

// family is that of the lab's rules which the script asks for.
func (s *stage) family() nat.Family {
	if s.job.scenario.ipv6 {
		return nat.IPv6
	}
	return nat.IPv4
}
