package bundle

import (
	"net/netip"
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/diagnosis"
	"natlab/topology"
	"natlab/topology/dump"
)

// behind tells ports of bridges which hosts they lead to: what a host's hardware address is, and where the bridge has learnt that one.
func (n *Node) behind(b dump.Bundle) {
	port := map[string]string{}
	s, _ := b.Section("bridge fdb show")
	for line := range strings.Lines(s.Text) {
		if w := strings.Fields(line); len(w) >= 5 && w[1] == "dev" && w[3] == "master" {
			port[w[0]+" "+w[4]] = w[2]
		}
	}
	s, _ = b.Section("ip neigh")
	for line := range strings.Lines(s.Text) {
		w := strings.Fields(line)
		if len(w) < 5 || w[1] != "dev" || w[3] != "lladdr" {
			continue
		}
		host, err := netip.ParseAddr(w[0])
		i := slices.IndexFunc(n.Namespace.Devices, func(d topology.Device) bool { return d.Name == port[w[4]+" "+w[2]] })
		if err == nil && i >= 0 {
			d := &n.Namespace.Devices[i]
			d.Behind = append(d.Behind, host)
		}
	}
}

// routingRules are the lines of a section; lacks: it is not there, and they are taken for the kernel's own.
func (n *Node) routingRules(b dump.Bundle, name string, at map[string]place) (out []string, lacks bool) {
	s, lacks := n.missing(b, name, "rules of routing are taken as the kernel has them at first")
	if lacks {
		return nil, true
	}
	number := s.Line - 1
	for line := range strings.Lines(s.Text) {
		number++
		if text := strings.TrimSpace(line); text != "" {
			at[text] = place{name, number}
			out = append(out, text)
		}
	}
	return out, false
}

func familyOf(six bool) nat.Family {
	if six {
		return nat.IPv6
	}
	return nat.IPv4
}

// every is the network of all addresses of a family.
func every(f nat.Family) netip.Prefix {
	if f == nat.IPv6 {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}

// routes are the lines of a section, a route with several next hops in one. objects are the next hops that routes name by nhid.
func (n *Node) routes(s dump.Section, f nat.Family, objects map[string]string, at map[string]place) (out []string) {
	number := s.Line - 1
	for line := range strings.Lines(s.Text) {
		number++
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		text := strings.Join(words, " ")
		if words[0] == "nexthop" && len(out) > 0 {
			out[len(out)-1] += " " + text
		} else {
			out = append(out, text)
		}
		at[out[len(out)-1]] = place{s.Name, number}
	}
	for i, text := range out {
		if f == nat.IPv6 { // what leads by a device alone tells of no family
			out[i] = sixDefault(text)
		}
		out[i] = n.byObject(out[i], f, objects)
		at[out[i]] = at[text]
	}
	return slices.DeleteFunc(out, func(text string) bool { return text == "" })
}

// sixDefault is a route of IPv6 whose destination tells that it is.
func sixDefault(text string) string {
	words := strings.Fields(text)
	if i := slices.Index(words, "default"); i == 0 || i == 1 {
		words[i] = "::/0"
	}
	return strings.Join(words, " ")
}

// byObject is a route that names its next hop by nhid alone, with what is told of that one; "" where nothing is, which leaves open where it leads.
func (n *Node) byObject(route string, f nat.Family, objects map[string]string) string {
	words := strings.Fields(route)
	i := slices.Index(words, "nhid")
	if i < 1 || i+1 >= len(words) || slices.Contains(words, "via") || slices.Contains(words, "dev") {
		return route
	}
	if hop, told := objects[words[i+1]]; told {
		if hop == "blackhole" {
			return "blackhole " + route
		}
		return route + " " + hop
	}
	dst := every(f)
	if p, err := topology.ParsePrefix(words[0]); err == nil {
		dst = p
	}
	n.note("route %q: not used: what next hop %s is the bundle does not tell (ip nexthop)", route, words[i+1])
	n.doubts(diagnosis.Doubt{What: "where the next hop " + words[i+1] + " of route " + words[0] + " leads (ip nexthop)", Of: dst, Route: true})
	return ""
}

// nextHops are the next hops of ip nexthop as routes have them: "via 10.0.0.1 dev eth0", of a group one behind the other.
func nextHops(b dump.Bundle) map[string]string {
	out := map[string]string{}
	s, _ := b.Section("ip nexthop")
	groups := map[string]string{}
	for line := range strings.Lines(s.Text) {
		words := strings.Fields(line)
		if len(words) < 3 || words[0] != "id" {
			continue
		}
		var hop []string
		for i := 2; i+1 < len(words); i++ {
			switch words[i] {
			case "group":
				groups[words[1]] = words[i+1]
			case "via", "dev":
				hop = append(hop, words[i], words[i+1])
			}
		}
		switch {
		case slices.Contains(words, "blackhole"):
			out[words[1]] = "blackhole"
		case len(hop) > 0:
			out[words[1]] = strings.Join(append(hop, flags(words)...), " ")
		}
	}
	for id, members := range groups {
		if hops, ok := groupOf(members, out); ok {
			out[id] = hops
		}
	}
	return out
}

// flags are the words of a next hop that decide whether it is there.
func flags(words []string) (out []string) {
	for _, w := range words {
		if w == "onlink" || w == "dead" || w == "linkdown" {
			out = append(out, w)
		}
	}
	return out
}

// groupOf is a group of next hops, "1,2/2": their numbers, each with its weight where that is not 1. ok is false where one is not told, or is none.
func groupOf(members string, hops map[string]string) (text string, ok bool) {
	var all []string
	for member := range strings.SplitSeq(members, "/") {
		id, _, _ := strings.Cut(member, ",")
		hop := hops[id]
		if hop == "" || hop == "blackhole" || strings.HasPrefix(hop, "nexthop ") {
			return "", false
		}
		all = append(all, "nexthop "+hop)
	}
	return strings.Join(all, " "), true
}
