package bundle

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/topology"
	"natlab/topology/dump"
)

// Change is something that two bundles of a node tell otherwise.
type Change struct {
	Kind  string `json:"kind"`        // of Kinds
	Where string `json:"where"`       // "iptables-nft ipv4 nat KUBE-SERVICES", "nft inet filter forward", "ip -4 rule"; "" where the kind tells it
	A     string `json:"a,omitempty"` // "" where only B has it
	B     string `json:"b,omitempty"` // "" where only A has it
}

// Kinds are the kinds of change, in the order in which they are told.
func Kinds() []string {
	return []string{"rule", "policy", "order", "chain", "element", "object", "route", "ip rule", "sysctl", "set", "address", "device", "socket", "entry"}
}

// Changes are what two bundles tell otherwise, sorted by kind, and by place within it: rules without their counters, nf_tables' own tables with their
// chains, sets and objects, routes of all tables, rules of routing, sysctls, sets with their members, addresses, devices, sockets, and connections that
// are translated otherwise. What one of the two does not tell is not compared: untold names it. An error is one of reading either.
func Changes(a, b dump.Bundle) (out []Change, untold []string, err error) {
	na, err := Of(a)
	if err != nil {
		return nil, nil, fmt.Errorf("bundle A: %w", err)
	}
	nb, err := Of(b)
	if err != nil {
		return nil, nil, fmt.Errorf("bundle B: %w", err)
	}
	c := comparison{a: na, b: nb}
	c.rules()
	if c.both("nft list ruleset", na.nativeTold, nb.nativeTold) {
		c.out = append(c.out, tableChanges(na, nb)...)
	}
	for _, family := range []string{"-4", "-6"} {
		c.lines("route", "ip "+family+" route", "ip "+family+" route show table all", plainLine)
		c.lines("ip rule", "ip "+family+" rule", "ip "+family+" rule", plainLine)
	}
	if c.tell("sysctl") {
		c.out = append(c.out, sysctlChanges(na, nb)...)
	}
	c.lines("set", "", "ipset save", setLine)
	if c.tell("ip -d address") {
		c.out = append(c.out, changed("address", "", addressLines(na), addressLines(nb))...)
		c.out = append(c.out, changed("device", "", deviceLines(na), deviceLines(nb))...)
	}
	if c.tell("sockets") {
		c.out = append(c.out, changed("socket", "", socketLines(na), socketLines(nb))...)
	}
	c.out = append(c.out, entryChanges(na, nb)...)
	slices.SortStableFunc(c.out, func(x, y Change) int { return slices.Index(Kinds(), x.Kind) - slices.Index(Kinds(), y.Kind) })
	return c.out, c.untold, nil
}

// comparison gathers what two bundles tell otherwise.
type comparison struct {
	a, b   *Node
	out    []Change
	untold []string // what only one of the two tells
}

// both reports whether both bundles tell of something, and notes what only one of them does.
func (c *comparison) both(what string, a, b bool) bool {
	if a != b {
		silent := "A"
		if a {
			silent = "B"
		}
		c.untold = append(c.untold, fmt.Sprintf("%q is not compared: bundle %s does not tell it", what, silent))
	}
	return a && b
}

// tell reports whether both bundles have a section of a program that did what it was asked for.
func (c *comparison) tell(section string) bool {
	sa, okA := c.a.Dump.Section(section)
	sb, okB := c.b.Dump.Section(section)
	return c.both(section, okA && sa.OK(), okB && sb.OK())
}

// changed are the lines that only one of two lists has, as often as it has them more.
func changed(kind, where string, a, b []string) (out []Change) {
	count := map[string]int{}
	for _, line := range b {
		count[line]++
	}
	for _, line := range a {
		if count[line]--; count[line] < 0 {
			out = append(out, Change{Kind: kind, Where: where, A: line})
		}
	}
	clear(count)
	for _, line := range a {
		count[line]++
	}
	for _, line := range b {
		if count[line]--; count[line] < 0 {
			out = append(out, Change{Kind: kind, Where: where, B: line})
		}
	}
	return out
}

// lines compares a section line by line.
func (c *comparison) lines(kind, where, section string, plain func(string) string) {
	if !c.tell(section) {
		return
	}
	of := func(b dump.Bundle) (out []string) {
		s, _ := b.Section(section)
		for line := range strings.Lines(s.Text) {
			if line = plain(line); line != "" {
				out = append(out, line)
			}
		}
		return out
	}
	c.out = append(c.out, changed(kind, where, of(c.a.Dump), of(c.b.Dump))...)
}

func plainLine(line string) string { return without(strings.Fields(line), "expires", "age") }

// setLine is a line of ipset save without what is another each time.
func setLine(line string) string {
	words := strings.Fields(line)
	if len(words) > 0 && words[0] == "create" {
		return without(words, "initval", "hashsize", "bucketsize")
	}
	return without(words, "timeout", "packets", "bytes")
}

// without leaves words out, and what follows each.
func without(words []string, names ...string) string {
	var out []string
	for i := 0; i < len(words); i++ {
		if slices.Contains(names, words[i]) {
			i++
			continue
		}
		out = append(out, words[i])
	}
	return strings.Join(out, " ")
}

// rules compares both backends' rules chain by chain, in the order of their tables.
func (c *comparison) rules() {
	for _, backend := range []string{"iptables-legacy", "iptables-nft", "iptables"} {
		for _, family := range []nat.Family{nat.IPv4, nat.IPv6} {
			if !c.both(fmt.Sprintf("%s %s", backend, family), c.a.tells(backend, family), c.b.tells(backend, family)) {
				continue
			}
			ra, rb := c.a.held(backend, family), c.b.held(backend, family)
			for _, table := range []string{"raw", "mangle", "nat", "filter", "security"} {
				ta, _ := ra.Table(table)
				tb, _ := rb.Table(table)
				for _, chain := range chainsOf(ta, tb) {
					c.out = append(c.out, chainChanges(fmt.Sprintf("%s %s %s %s", backend, family, table, chain), ta, tb, chain)...)
				}
			}
		}
	}
}

func (n *Node) held(backend string, family nat.Family) iptables.Ruleset {
	for _, h := range n.Held {
		for _, rs := range h.Rulesets {
			if h.Backend == backend && rs.Family == family {
				return rs
			}
		}
	}
	return iptables.Ruleset{}
}

func chainsOf(a, b iptables.Table) []string {
	names := map[string]bool{}
	for _, t := range []iptables.Table{a, b} {
		for _, c := range t.Chains {
			names[c.Name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

func chainChanges(where string, a, b iptables.Table, name string) []Change {
	ca, _ := a.Chain(name)
	cb, _ := b.Chain(name)
	var out []Change
	if policy := func(c iptables.Chain) string {
		if c.Policy == "" || c.Policy == "-" {
			return "ACCEPT" // what a chain that is not there comes to
		}
		return c.Policy
	}; policy(ca) != policy(cb) {
		out = append(out, Change{Kind: "policy", Where: where, A: policy(ca), B: policy(cb)})
	}
	return append(out, listChanges(where, ruleLines(ca), ruleLines(cb))...)
}

// listChanges compares a chain's rules: those that only one of two has, or else where their order differs first.
func listChanges(where string, a, b []string) []Change {
	out := changed("rule", where, a, b)
	if len(out) > 0 || slices.Equal(a, b) {
		return out
	}
	i := 0
	for a[i] == b[i] {
		i++
	}
	return []Change{{Kind: "order", Where: where, A: fmt.Sprintf("rule %d: %s", i+1, a[i]), B: fmt.Sprintf("rule %d: %s", i+1, b[i])}}
}

func ruleLines(c iptables.Chain) (out []string) {
	for _, r := range c.Rules {
		out = append(out, r.Text(c.Name))
	}
	return out
}

// counters are settings that are none: they count.
var counters = []string{"net/netfilter/nf_conntrack_count"}

func sysctlChanges(a, b *Node) (out []Change) {
	values := func(n *Node) map[string]string {
		m := map[string]string{}
		for _, s := range n.Namespace.Sysctls {
			m[s.Key] = s.Value
		}
		return m
	}
	va, vb := values(a), values(b)
	all := maps.Clone(va)
	maps.Copy(all, vb)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if va[key] != vb[key] && !slices.Contains(counters, key) {
			out = append(out, Change{Kind: "sysctl", Where: strings.NewReplacer("/", ".", ".", "/").Replace(key), A: va[key], B: vb[key]})
		}
	}
	return out
}

func addressLines(n *Node) (out []string) {
	for _, a := range n.Namespace.Addresses {
		out = append(out, a.String())
	}
	return out
}

func deviceLines(n *Node) (out []string) {
	for _, d := range n.Namespace.Devices {
		line := fmt.Sprintf("%s mtu %d", d.Name, d.MTU)
		if d.Master != "" {
			line += " master " + d.Master
		}
		if d.Hairpin != topology.SwitchOpen {
			line += map[topology.Switch]string{topology.SwitchOn: " hairpin on", topology.SwitchOff: " hairpin off"}[d.Hairpin]
		}
		out = append(out, line)
	}
	return out
}

func socketLines(n *Node) (out []string) {
	for _, s := range n.Facts.Sockets {
		host := "*"
		if s.Addr.IsValid() {
			host = s.Addr.String()
		}
		out = append(out, fmt.Sprintf("%s %s port %d", s.Proto, host, s.Port))
	}
	return out
}

// entryChanges are connections of both that are translated otherwise: others come and go all the time.
func entryChanges(a, b *Node) (out []Change) {
	was := map[nat.Tuple]nat.Tuple{}
	for _, c := range a.Facts.Entries {
		was[c.Original] = c.Reply
	}
	for _, c := range b.Facts.Entries {
		if reply, ok := was[c.Original]; ok && reply != c.Reply {
			out = append(out, Change{Kind: "entry", Where: c.Original.String(), A: reply.String(), B: c.Reply.String()})
		}
	}
	return out
}
