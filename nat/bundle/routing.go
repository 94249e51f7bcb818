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

// routes are the lines of a section, a route with several next hops in one.
func (n *Node) routes(s dump.Section, at map[string]place) (out []string) {
	number := s.Line - 1
	for line := range strings.Lines(s.Text) {
		number++
		text := strings.Join(strings.Fields(line), " ")
		if text == "" {
			continue
		}
		if hop, is := strings.CutPrefix(text, "nexthop "); is && len(out) > 0 {
			out[len(out)-1] = n.oneHop(out[len(out)-1], hop)
		} else {
			out = append(out, text)
		}
		at[out[len(out)-1]] = place{s.Name, number}
	}
	return out
}

// oneHop gives a route the first of its next hops, and notes that it has others: a hash of the packet chooses.
func (n *Node) oneHop(route, hop string) string {
	words := strings.Fields(route)
	if slices.Contains(words, "via") || slices.Contains(words, "dev") {
		dst := words[0]
		if dst == "default" {
			dst = "0.0.0.0/0"
			if strings.Contains(route, ":") {
				dst = "::/0"
			}
		}
		if p, err := topology.ParsePrefix(dst); err == nil {
			n.doubts(diagnosis.Doubt{What: "which of the next hops of route " + words[0] + " the packet takes", Of: p, Route: true})
		}
		return route
	}
	if i := slices.Index(strings.Fields(hop), "weight"); i >= 0 {
		hop = strings.Join(strings.Fields(hop)[:i], " ")
	}
	return route + " " + hop
}
