package topology

import (
	"cmp"
	"net/netip"
	"slices"
)

// derivePodNetwork settles the pods' range: the Lab document's, else kube-proxy's clusterCIDR, else the smallest
// one (a /16 at most) that holds every pod and block.
func (l *loader) derivePodNetwork() {
	net := &l.c.PodNetwork
	if net.CIDR.IsValid() {
		return
	}
	for _, p := range l.c.KubeProxy.ClusterCIDRs {
		if p.Addr().Is4() {
			net.CIDR, l.podNetworkGiven = p, true
			return
		}
	}
	var ends []netip.Addr
	for _, n := range l.c.Nodes {
		for _, b := range n.PodBlocks {
			ends = append(ends, b.Addr(), lastAddr(b))
		}
		if n.TunnelAddress.IsValid() {
			ends = append(ends, n.TunnelAddress)
		}
	}
	for _, p := range l.c.Pods {
		if ip := p.IPv4(); ip.IsValid() && !p.HostNetwork {
			ends = append(ends, ip)
		}
	}
	if len(ends) == 0 {
		net.CIDR = defaultPodNetwork()
		return
	}
	if net.CIDR = covering(ends, narrowPodNetwork); net.CIDR.Bits() < widestPodNetwork && !l.flat {
		l.fail(l.labAt, "", "the pods' addresses (%s, %s, ...) have too little in common to derive the pod network: set spec.podNetwork.cidr in a Lab document", ends[0], ends[len(ends)-1])
	}
}

// deriveBlocks gives each node that has no block those of 64 addresses around its own pods, as Calico would
// have; a pod in a block of another node is reached by a route of its own. A node without pods gets a free block, but where pods
// have addresses of the nodes' own network.
func (l *loader) deriveBlocks() {
	var taken []netip.Prefix
	at := map[netip.Prefix]string{} // the node of the pods in a block, "" for several
	for _, n := range l.c.Nodes {
		taken = append(taken, n.PodBlocks...)
	}
	note := func(ip netip.Addr, node string) {
		b := netip.PrefixFrom(ip, blockBits).Masked()
		if had, there := at[b]; there && had != node {
			node = ""
		}
		at[b] = node
	}
	for _, p := range l.c.Pods {
		if ip := p.IPv4(); ip.IsValid() && !p.HostNetwork {
			note(ip, p.Node)
		}
	}
	for _, n := range l.c.Nodes {
		if n.TunnelAddress.IsValid() {
			note(n.TunnelAddress, n.Name)
		}
	}
	blocks := make([]netip.Prefix, 0, len(at))
	for b := range at {
		blocks = append(blocks, b)
	}
	slices.SortFunc(blocks, comparePrefix)
	for i := range l.c.Nodes {
		n := &l.c.Nodes[i]
		if len(n.PodBlocks) > 0 {
			continue
		}
		for _, b := range blocks {
			if at[b] == n.Name && !overlapsAny(taken, b) && !l.c.Underlay.CIDR.Overlaps(b) {
				n.PodBlocks = append(n.PodBlocks, b)
			}
		}
		taken = append(taken, n.PodBlocks...)
	}
	if !l.flat {
		l.freeBlocks(append(append(taken, blocks...), l.c.Underlay.CIDR))
	}
}

// freeBlocks gives each node that still has no block the first free one of the pod network.
func (l *loader) freeBlocks(taken []netip.Prefix) {
	net := l.c.PodNetwork.CIDR
	next := netip.PrefixFrom(net.Addr(), max(blockBits, net.Bits()))
	for i := range l.c.Nodes {
		n := &l.c.Nodes[i]
		if len(n.PodBlocks) > 0 {
			continue
		}
		for net.Contains(next.Addr()) && overlapsAny(taken, next) {
			next = netip.PrefixFrom(lastAddr(next).Next(), next.Bits())
		}
		if !next.Addr().IsValid() || !net.Contains(next.Addr()) {
			l.fail(l.at["Node "+n.Name], "", "the pod network %s has no free block for it: set spec.nodes[].podBlocks in a Lab document", net)
			return
		}
		n.PodBlocks = []netip.Prefix{next}
		taken = append(taken, next)
	}
}

func overlapsAny(list []netip.Prefix, p netip.Prefix) bool {
	return slices.ContainsFunc(list, p.Overlaps)
}

// deriveTunnels gives each node the first free address of its first block for its tunnel device. Without an overlay it needs none,
// and has it where there is one: the same cluster can be a lab with another overlay.
func (l *loader) deriveTunnels() {
	if l.flat {
		return
	}
	pods := map[netip.Addr]bool{}
	for _, p := range l.c.Pods {
		pods[p.IPv4()] = !p.HostNetwork
	}
	for i := range l.c.Nodes {
		n := &l.c.Nodes[i]
		if n.TunnelAddress.IsValid() {
			continue
		}
		for _, b := range n.PodBlocks {
			a := b.Addr()
			for b.Contains(a) && pods[a] {
				a = a.Next()
			}
			if b.Contains(a) {
				n.TunnelAddress = a
				break
			}
		}
		if !n.TunnelAddress.IsValid() && l.c.PodNetwork.Overlay != None {
			l.fail(l.at["Node "+n.Name], "", "its pod blocks have no free address for its tunnel device: set spec.nodes[].tunnelAddress in a Lab document")
		}
	}
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

// lastAddr is the last address of an IPv4 range.
func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}

func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}
