package topology

import (
	"cmp"
	"net/netip"
	"slices"
)

// derivePodNetworks settles the pods' range of each family: the Lab document's, else kube-proxy's clusterCIDR, else the smallest
// one (a /16 of IPv4, a /56 of IPv6 at most) that holds every pod and block.
func (l *loader) derivePodNetworks() {
	given := l.c.PodNetwork.CIDRs
	l.c.PodNetwork.CIDRs = nil
	for _, f := range l.families {
		net := f.network(given)
		if !net.IsValid() {
			net = l.podNetwork(f)
		}
		l.c.PodNetwork.CIDRs = append(l.c.PodNetwork.CIDRs, net)
	}
}

func (l *loader) podNetwork(f Family) netip.Prefix {
	if p := f.network(l.c.KubeProxy.ClusterCIDRs); p.IsValid() {
		l.podNetworkGiven[f] = true
		return p
	}
	var ends []netip.Addr
	for _, n := range l.c.Nodes {
		for _, b := range f.networks(n.PodBlocks) {
			ends = append(ends, b.Addr(), lastAddr(b))
		}
		if a := n.Tunnel(f); a.IsValid() {
			ends = append(ends, a)
		}
	}
	for _, p := range l.c.Pods {
		if ip := p.Address(f); ip.IsValid() && !p.HostNetwork {
			ends = append(ends, ip)
		}
	}
	is := f.sizes()
	if len(ends) == 0 {
		return netip.MustParsePrefix(is.pods)
	}
	net := covering(ends, is.narrowPods)
	if net.Bits() < is.widestPods && !l.flat[f] {
		l.fail(l.labAt, "", "the pods' addresses (%s, %s, ...) have too little in common to derive the pod network: set spec.podNetwork.cidr in a Lab document", ends[0], ends[len(ends)-1])
	}
	return net
}

// deriveBlocks gives each node that has no block those of Calico's size (64 addresses) around its own pods, as Calico would
// have; a pod in a block of another node is reached by a route of its own. A node without pods gets a free block, but where pods
// have addresses of the nodes' own network.
func (l *loader) deriveBlocks(f Family) {
	size := f.sizes().block
	var taken []netip.Prefix
	at := map[netip.Prefix]string{} // the node of the pods in a block, "" for several
	for _, n := range l.c.Nodes {
		taken = append(taken, f.networks(n.PodBlocks)...)
	}
	note := func(ip netip.Addr, node string) {
		if !ip.IsValid() {
			return
		}
		b := netip.PrefixFrom(ip, size).Masked()
		if had, there := at[b]; there && had != node {
			node = ""
		}
		at[b] = node
	}
	for _, p := range l.c.Pods {
		if !p.HostNetwork {
			note(p.Address(f), p.Node)
		}
	}
	for _, n := range l.c.Nodes {
		note(n.Tunnel(f), n.Name)
	}
	blocks := make([]netip.Prefix, 0, len(at))
	for b := range at {
		blocks = append(blocks, b)
	}
	slices.SortFunc(blocks, comparePrefix)
	for i := range l.c.Nodes {
		n := &l.c.Nodes[i]
		if len(f.networks(n.PodBlocks)) > 0 {
			continue
		}
		for _, b := range blocks {
			if at[b] == n.Name && !overlapsAny(taken, b) && !l.c.Underlay.CIDR(f).Overlaps(b) {
				n.PodBlocks = append(n.PodBlocks, b)
			}
		}
		taken = append(taken, f.networks(n.PodBlocks)...)
	}
	if !l.flat[f] {
		l.freeBlocks(f, append(append(taken, blocks...), l.c.Underlay.CIDR(f)))
	}
}

// freeBlocks gives each node that still has no block of a family the first free one of the pod network.
func (l *loader) freeBlocks(f Family, taken []netip.Prefix) {
	net := l.c.PodNetwork.CIDR(f)
	next := netip.PrefixFrom(net.Addr(), max(f.sizes().block, net.Bits()))
	for i := range l.c.Nodes {
		n := &l.c.Nodes[i]
		if len(f.networks(n.PodBlocks)) > 0 {
			continue
		}
		for net.Contains(next.Addr()) {
			in := slices.IndexFunc(taken, next.Overlaps)
			if in < 0 {
				break
			}
			last := lastAddr(next)
			if behind := lastAddr(taken[in]); last.Less(behind) { // one by one a /64 of IPv6 would never end
				last = behind
			}
			next = netip.PrefixFrom(last.Next(), next.Bits())
		}
		if !next.Addr().IsValid() || !net.Contains(next.Addr()) {
			l.fail(l.at["Node "+n.Name], "", "the pod network %s has no free block for it: set spec.nodes[].podBlocks in a Lab document", net)
			return
		}
		n.PodBlocks = append(n.PodBlocks, next)
		taken = append(taken, next)
	}
}

func overlapsAny(list []netip.Prefix, p netip.Prefix) bool {
	return slices.ContainsFunc(list, p.Overlaps)
}

// deriveTunnels gives each node the first free address of its first block of a family for its tunnel device. Without an overlay it needs
// none, and has it where there is one: the same cluster can be a lab with another overlay.
func (l *loader) deriveTunnels(f Family) {
	if l.flat[f] {
		return
	}
	pods := map[netip.Addr]bool{}
	for _, p := range l.c.Pods {
		pods[p.Address(f)] = !p.HostNetwork
	}
	for i := range l.c.Nodes {
		n := &l.c.Nodes[i]
		if n.Tunnel(f).IsValid() {
			continue
		}
		if a := free(f.networks(n.PodBlocks), pods); a.IsValid() {
			n.TunnelAddresses = append(n.TunnelAddresses, a)
		} else if l.c.PodNetwork.Of(f) != None {
			l.fail(l.at["Node "+n.Name], "", "its pod blocks have no free address for its tunnel device: set spec.nodes[].tunnelAddress in a Lab document")
		}
	}
}

// free is the first address of the first block that has one which is not taken.
func free(blocks []netip.Prefix, taken map[netip.Addr]bool) netip.Addr {
	for _, b := range blocks {
		a := b.Addr()
		for b.Contains(a) && taken[a] {
			a = a.Next()
		}
		if b.Contains(a) {
			return a
		}
	}
	return netip.Addr{}
}

func inAny(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

// covering is the smallest range of at most narrow bits that holds all addresses.
func covering(addrs []netip.Addr, narrow int) netip.Prefix {
	p := netip.PrefixFrom(addrs[0], narrow).Masked()
	for _, a := range addrs {
		for !p.Contains(a) {
			p = netip.PrefixFrom(p.Addr(), p.Bits()-1).Masked()
		}
	}
	return p
}

// lastAddr is the last address of a range.
func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}
