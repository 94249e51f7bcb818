package topology

import (
	"fmt"
	"net/netip"
	"slices"
)

// chooseFamilies settles which families the lab has, and the nodes' network of each: those of the Lab document's underlay, else those
// that every node has an address of, the first node's first one first. Of two that nobody asks for the second one is left out where no
// network of it holds all nodes.
func (l *loader) chooseFamilies() {
	if len(l.c.Nodes) == 0 {
		return
	}
	if given := l.c.Underlay.CIDRs; len(given) > 0 {
		l.families = l.c.Families()
		for _, n := range l.c.Nodes {
			l.hasFamilies(n, l.families)
		}
		return
	}
	var all []Family
	for _, a := range l.c.Nodes[0].Addresses {
		if f := FamilyOf(a); !slices.Contains(all, f) {
			all = append(all, f)
		}
	}
	common := slices.DeleteFunc(slices.Clone(all), func(f Family) bool {
		return slices.ContainsFunc(l.c.Nodes, func(n Node) bool { return !n.Address(f).IsValid() })
	})
	if len(common) == 0 {
		if len(all) == 0 {
			all = []Family{IPv4}
		}
		for _, n := range l.c.Nodes {
			l.hasFamilies(n, all[:1])
		}
		return
	}
	for i, f := range common {
		net, why := l.nodesNetwork(f)
		switch {
		case why == "":
			l.families = append(l.families, f)
			l.c.Underlay.CIDRs = append(l.c.Underlay.CIDRs, net)
		case i == len(common)-1 && len(l.families) == 0:
			l.fail(l.labAt, "", "%s: set spec.underlay.cidr in a Lab document", why)
		default:
			l.warn(origin{}, "the lab has no %s: %s", f, why)
		}
	}
}

// hasFamilies reports a node without an address of a family.
func (l *loader) hasFamilies(n Node, families []Family) {
	for _, f := range families {
		if n.Address(f).IsValid() {
			continue
		}
		why := "the other nodes' network is of it"
		if net := l.c.Underlay.CIDR(f); net.IsValid() {
			why = fmt.Sprintf("the underlay of the Lab document is %s", net)
		}
		l.fail(l.at["Node "+n.Name], "status.addresses", "no InternalIP of %s: %s", f.title(), why)
	}
}

// title is the family as people write it.
func (f Family) title() string { return map[Family]string{IPv4: "IPv4", IPv6: "IPv6"}[f] }

// nodesNetwork is the smallest network (a /24 of IPv4, a /64 of IPv6 at most) that holds the nodes' addresses of a family and its gateway,
// or why there is none.
func (l *loader) nodesNetwork(f Family) (net netip.Prefix, why string) {
	var ends []netip.Addr
	for _, n := range l.c.Nodes {
		ends = append(ends, n.Address(f))
	}
	if g := l.c.Underlay.Gateway(f); g.IsValid() {
		ends = append(ends, g)
	}
	is := f.sizes()
	p := covering(ends, is.narrowUnderlay)
	for p.Bits() >= is.widestUnderlay && slices.ContainsFunc(ends, func(a netip.Addr) bool { return a == p.Addr() || a == lastAddr(p) }) {
		p = netip.PrefixFrom(p.Addr(), p.Bits()-1).Masked() // an address must not be the network's own or its broadcast
	}
	if p.Bits() < is.widestUnderlay {
		return p, fmt.Sprintf("the nodes' addresses (%s, %s) are not of one network of /%d or smaller",
			slices.MinFunc(ends, netip.Addr.Compare), slices.MaxFunc(ends, netip.Addr.Compare), is.widestUnderlay)
	}
	return p, ""
}
