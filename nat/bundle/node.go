package bundle

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"natlab/nat"
	"natlab/nat/conntrack"
	"natlab/nat/diagnosis"
	"natlab/nat/gateway"
	"natlab/nat/ipset"
	"natlab/nat/iptables"
	"natlab/nat/rules"
	"natlab/topology"
	"natlab/topology/dump"
)

// Node is a node as its bundle tells it.
type Node struct {
	Name      string // its host name; "node" where it is not told
	Time      string // when it was gathered, as date(1) printed it in UTC
	Namespace topology.Namespace
	Held      []Held
	Facts     gateway.Facts
	Addresses []netip.Addr // of its devices
	Doubts    []diagnosis.Doubt
	Notes     []string // what is not used, or not there, and why
	Dump      dump.Bundle

	VirtualTold bool // the virtual servers of IPVS are known, none where it has none
	nativeTold  bool // nf_tables' own tables are known
}

// Held is what one backend of iptables holds.
type Held struct {
	Backend  string             // "iptables-legacy", "iptables-nft", or "iptables" where the node has one program and it is not told which
	Rulesets []iptables.Ruleset // one a family
}

// Read makes a node of a bundle's text. An error names the section and the line of the bundle.
func Read(r io.Reader) (*Node, error) {
	b, err := dump.Read(r)
	if err != nil {
		return nil, err
	}
	return Of(b)
}

// Of makes a node of a bundle.
func Of(b dump.Bundle) (*Node, error) {
	n := &Node{Name: "node", Dump: b}
	if s, ok := b.Section("hostname"); ok && s.OK() && len(strings.Fields(s.Text)) == 1 {
		n.Name = strings.TrimSpace(s.Text)
	}
	if !b.Whole {
		n.note("the bundle is cut off: what is not in it may be on the node")
	}
	for _, s := range b.Sections {
		if strings.HasPrefix(s.Name, "date ") && s.OK() {
			n.Time = strings.TrimSpace(s.Text)
		}
	}
	for _, read := range []func(dump.Bundle) error{n.namespace, n.ipvs, n.rules, n.sets, n.entries, n.sockets, n.others, n.native, n.upon, n.vlans} {
		if err := read(b); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func (n *Node) note(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(n.Notes, text) {
		n.Notes = append(n.Notes, text)
	}
}

// missing notes that a section is not there or failed, and what that leaves open; it reports whether it is so.
func (n *Node) missing(b dump.Bundle, name, open string) (dump.Section, bool) {
	s, ok := b.Section(name)
	switch {
	case !ok:
		n.note("it has no section %q: %s", name, open)
		return s, true
	case !s.OK():
		n.note("section %q: %s: %s", name, s.Failure(), open)
		return s, true
	}
	return s, false
}

// in is an error of a section, which names the line of the bundle itself.
func in(s dump.Section, err error) error { return fmt.Errorf("section %q: %w", s.Name, err) }

// namespace reads devices, addresses, routes and sysctls.
func (n *Node) namespace(b dump.Bundle) error {
	words := topology.NodeWords{Whole: true}
	links, lacks := n.missing(b, "ip -d address", "no address and no device of the node is known")
	if n.Facts.NoAddresses = lacks; !lacks {
		words.Links = append(words.Links, links.AtLine())
	}
	if s, ok := b.Section("bridge -d link"); ok && s.OK() && strings.TrimSpace(s.Text) != "" {
		words.Links = append(words.Links, s.AtLine())
	}
	at, objects := map[string]place{}, nextHops(b)
	for _, f := range []struct {
		rules, routes string
		family        nat.Family
		words         *[]string
	}{
		{"ip -4 rule", "ip -4 route show table all", nat.IPv4, &words.Rules},
		{"ip -6 rule", "ip -6 route show table all", nat.IPv6, &words.Rules6},
	} {
		if *f.words, lacks = n.routingRules(b, f.rules, at); lacks {
			n.doubt(every(f.family), "which rules of routing the node has: the bundle does not tell ("+f.rules+")")
		}
		s, lacks := n.missing(b, f.routes, "no route of that family is known")
		if lacks {
			n.doubt(every(f.family), "where routes lead: the bundle does not tell ("+f.routes+")")
		}
		words.Routes = append(words.Routes, n.routes(s, f.family, objects, at)...)
	}
	words.Sysctls = n.sysctls(b, at)
	ns, notes, err := words.Node()
	if wrong := (*topology.WordError)(nil); errors.As(err, &wrong) {
		if p, ok := at[wrong.Text]; ok {
			return fmt.Errorf("section %q: line %d: %w", p.section, p.line, err)
		}
		return in(links, wrong.Err)
	}
	if err != nil {
		return err
	}
	ns.Name, ns.Member = n.Name, n.Name
	for _, a := range ns.Addresses {
		n.Addresses = append(n.Addresses, a.Prefix.Addr())
	}
	for _, r := range ns.Rules {
		if r.Open != "" && r.Mask == 0 { // of one that asks for a mark it is looked whether packets have it
			n.doubt(every(familyOf(r.Six)), fmt.Sprintf("whether rule of routing %d is for the packet: %s is not modelled", r.Priority, r.Open))
		}
	}
	for _, note := range notes {
		n.note("%s", note)
	}
	n.Namespace = ns
	n.behind(b)
	n.borne(b)
	n.neighbours(b)
	return nil
}

// place is where a word stands in the bundle.
type place struct {
	section string
	line    int
}

// doubt notes what is not known of packets to a network; of one that is not valid, of all packets.
func (n *Node) doubt(of netip.Prefix, what string) {
	n.doubts(diagnosis.Doubt{What: what, Of: of})
}

func (n *Node) doubts(d diagnosis.Doubt) {
	if !slices.Contains(n.Doubts, d) {
		n.Doubts = append(n.Doubts, d)
	}
}

// general are the settings that set those of each device, so that they come first.
var general = []string{"net/ipv4/ip_forward", "net/ipv4/conf/all/forwarding", "net/ipv4/conf/default/forwarding"}

// sysctls are the settings of the section, those that set others first. Where br_netfilter is not loaded there are none of it.
func (n *Node) sysctls(b dump.Bundle, at map[string]place) (out []string) {
	s, lacks := n.missing(b, "sysctl", "settings are taken as a router has them: forwarding is on")
	if lacks {
		n.doubt(netip.Prefix{}, "what the node's sysctls are")
		return []string{"net/ipv4/ip_forward=1", "net/ipv6/conf/all/forwarding=1"}
	}
	var first []string
	bridges := false
	number := s.Line - 1
	for line := range strings.Lines(s.Text) {
		number++
		text := strings.TrimSpace(line)
		key, _, ok := strings.Cut(text, "=")
		if !ok || !strings.HasPrefix(key, "net.") && !strings.HasPrefix(key, "net/") {
			continue // a further line of a value
		}
		at[text] = place{s.Name, number}
		key = strings.ReplaceAll(strings.TrimSpace(key), ".", "/")
		bridges = bridges || strings.HasPrefix(key, "net/bridge/")
		if slices.Contains(general, key) {
			first = append(first, text)
		} else {
			out = append(out, text)
		}
	}
	if !bridges {
		out = append(out, "net/bridge/bridge-nf-call-iptables=0", "net/bridge/bridge-nf-call-ip6tables=0")
	}
	return append(first, out...)
}

// backends are the sections with rules.
var backends = []struct{ section, backend string }{
	{"iptables-legacy-save", "iptables-legacy"},
	{"ip6tables-legacy-save", "iptables-legacy"},
	{"iptables-nft-save", "iptables-nft"},
	{"ip6tables-nft-save", "iptables-nft"},
	{"iptables-save", ""},
	{"ip6tables-save", ""},
}

func (n *Node) rules(b dump.Bundle) error {
	told := 0
	for _, from := range backends {
		s, ok := b.Section(from.section)
		if !ok || s.Exit == 127 {
			continue
		}
		if !s.OK() {
			n.note("section %q: %s: its rules are not known", s.Name, s.Failure())
			n.doubt(every(familyOf(strings.HasPrefix(s.Name, "ip6"))), "the rules that "+s.Name+" did not print")
			continue
		}
		told++
		if strings.TrimSpace(s.Text) == "" {
			continue
		}
		read, err := iptables.Read(s.AtLine())
		if err != nil {
			return in(s, err)
		}
		for _, note := range read.Notes {
			n.note("section %q: %s", s.Name, note)
		}
		backend := from.backend
		if backend == "" {
			backend = backendOf(b, strings.TrimSuffix(s.Name, "-save"))
		}
		for _, other := range read.Beside {
			if t, ok := b.Section(strings.TrimSuffix(other, "-save") + "-save"); !ok || !t.OK() {
				n.doubt(every(familyOf(strings.HasPrefix(other, "ip6"))), "the rules that "+other+" prints, which the node has beside these and the bundle does not tell")
			}
		}
		n.hold(backend, read.Rulesets)
	}
	if told == 0 {
		n.note("it has no rules of iptables: none of its programs printed any")
		n.doubt(netip.Prefix{}, "the rules of the node, which the bundle does not tell")
	}
	return nil
}

// backendOf is the backend of a node's only program.
func backendOf(b dump.Bundle, program string) string {
	s, _ := b.Section(program + " --version")
	switch {
	case strings.Contains(s.Text, "(nf_tables)"):
		return "iptables-nft"
	case strings.Contains(s.Text, "(legacy)"):
		return "iptables-legacy"
	}
	return "iptables"
}

func (n *Node) hold(backend string, all []iptables.Ruleset) {
	i := slices.IndexFunc(n.Held, func(h Held) bool { return h.Backend == backend })
	if i < 0 {
		n.Held, i = append(n.Held, Held{Backend: backend}), len(n.Held)
	}
	n.Held[i].Rulesets = append(n.Held[i].Rulesets, all...)
}

func (n *Node) sets(b dump.Bundle) error {
	s, lacks := n.missing(b, "ipset save", "what rules ask of sets is not known")
	if lacks {
		return nil
	}
	sets, err := ipset.Parse(s.AtLine())
	if err != nil {
		return in(s, err)
	}
	for _, unread := range sets.Unread() {
		n.note("section %q: %s", s.Name, unread)
	}
	n.Facts.Sets = sets
	return nil
}

func (n *Node) entries(b dump.Bundle) error {
	s, ok := b.Section("conntrack")
	if !ok || !s.OK() {
		return nil // a packet that begins a connection has no entry but by accident
	}
	var err error
	if n.Facts.Entries, err = conntrack.ParseEntries(s.AtLine()); err != nil {
		return in(s, err)
	}
	return nil
}

// Remembered are the connections that the node remembered when it was gathered, those of one zone in both directions; others are how many more there are.
func (n *Node) Remembered() (all []nat.Entry, others int) {
	for _, c := range n.Facts.Entries {
		if c.Zone.NotOriginal || c.Zone.NotReply {
			others++
			continue
		}
		c.Set(nat.Confirmed) // else it has no time
		all = append(all, c.Entry(time.Unix(0, 0)))
	}
	return all, others
}

// others reads what is told in a word: the kernel's release, and whether there is IPsec.
func (n *Node) others(b dump.Bundle) error {
	if s, ok := b.Section("uname -r"); ok && s.OK() {
		k, err := nat.ParseKernel(strings.TrimSpace(s.Text))
		if err != nil {
			return in(s, err)
		}
		n.Facts.Kernel = k
	}
	policies, ok := b.Section("ip xfrm policy count")
	if ok && policies.OK() && strings.Join(strings.Fields(policies.Text), " ") == "SPD IN 0 OUT 0 FWD 0" {
		n.Facts.IPsec = rules.No
	}
	return nil
}

// Rules are the rule sets that packets may meet, of those backends that hold any, nft's first: which comes first of the two the kernel
// does not tell. both reports whether it counts: two hold rules of that family.
func (n *Node) Rules(family nat.Family) (out gateway.Rules, both bool) {
	for _, h := range slices.Backward(n.Held) {
		for _, rs := range h.Rulesets {
			if rs.Family == family && acts(rs) {
				out = append(out, rs)
			}
		}
	}
	return out, len(out) > 1
}

// acts reports whether a rule set does anything: it has a rule, or a policy other than ACCEPT.
func acts(rs iptables.Ruleset) bool {
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			if len(c.Rules) > 0 || c.BuiltIn() && c.Policy != "ACCEPT" {
				return true
			}
		}
	}
	return false
}

// Case is a packet that comes to the node, ready to be followed and diagnosed.
func (n *Node) Case(ask gateway.Ask) diagnosis.Case {
	c := diagnosis.Case{Namespace: n.Namespace, Facts: n.Facts, Ask: ask, Doubts: n.Doubts, VirtualTold: n.VirtualTold}
	family := nat.FamilyOf(ask.Tuple.Dst().Addr())
	c.Rules, c.Facts.OrderOpen = n.Rules(family)
	for _, h := range slices.Backward(n.Held) {
		for _, rs := range h.Rulesets {
			if rs.Family == family && acts(rs) {
				c.Backends = append(c.Backends, h.Backend)
			}
		}
	}
	return c
}
