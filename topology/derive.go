package topology

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// What a lab has where neither the Lab document nor the objects say.
const (
	defaultInterface = "eth0"
	defaultMTU       = 1500
	defaultClient    = "outside"
	widestUnderlay   = 16 // nodes whose addresses have less than this in common are not taken to be on one network
	narrowUnderlay   = 24
	blockBits        = 26 // Calico's block size
	widestPodNetwork = 8
	narrowPodNetwork = 16
)

func defaultPodNetwork() netip.Prefix { return netip.MustParsePrefix("10.244.0.0/16") }

// complete derives what a lab needs and the input leaves open. The order is that of dependence: who is there
// (pods for endpoints without one), where their addresses are (blocks, pod network), then the network around them.
func (l *loader) complete() {
	l.nodesHaveIPv4()
	if len(l.errs) > 0 {
		return
	}
	l.explicitBlocks()
	l.placeEndpoints()
	l.podsHaveNodes()
	if len(l.errs) > 0 {
		return
	}
	l.derivePodNetwork()
	l.deriveBlocks()
	l.deriveTunnels()
	l.deriveUnderlay()
	if len(l.errs) > 0 {
		return
	}
	l.deriveClients()
	l.deriveLoadBalancers()
}

func (l *loader) nodesHaveIPv4() {
	if len(l.c.Nodes) == 0 {
		l.fail(origin{}, "", "the input has no Node: a lab needs one at least (kubectl get nodes -o yaml)")
	}
	for _, n := range l.c.Nodes {
		if !n.IPv4().IsValid() {
			l.fail(l.at["Node "+n.Name], "status.addresses", "no InternalIP of IPv4: the lab's network is IPv4")
		}
	}
	for i, name := range l.labNodeNames() {
		if _, ok := l.c.Node(name); !ok {
			l.fail(l.labAt, l.labOf[name].field+".name", "Node %s is not described (entry %d): add its Node object or take the entry away", name, i)
		}
	}
}

// labNodeNames is the names of the Lab document's nodes, sorted.
func (l *loader) labNodeNames() []string { return sortedKeys(l.labOf) }

// explicitBlocks takes a node's podCIDRs for its blocks where the Lab document has none and where they are in
// use at all: with Calico's IPAM a node often has a podCIDR that no pod of it is from.
func (l *loader) explicitBlocks() {
	for i := range l.c.Nodes {
		n := &l.c.Nodes[i]
		if len(n.PodBlocks) > 0 {
			continue
		}
		used := true
		for _, p := range l.c.Pods {
			if ip := p.IPv4(); p.Node == n.Name && !p.HostNetwork && ip.IsValid() && !inAny(n.PodCIDRs, ip) {
				used = false
			}
		}
		if n.TunnelAddress.IsValid() && !inAny(n.PodCIDRs, n.TunnelAddress) {
			used = false
		}
		for _, p := range n.PodCIDRs {
			if used && p.Addr().Is4() {
				n.PodBlocks = append(n.PodBlocks, p)
			}
		}
	}
}

func inAny(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

// podsHaveNodes says once for each node that is not described which pod needs it.
func (l *loader) podsHaveNodes() {
	missing := map[string]int{}
	first := map[string]Pod{}
	for _, p := range l.c.Pods {
		if _, ok := l.c.Node(p.Node); ok {
			continue
		}
		if missing[p.Node]++; missing[p.Node] == 1 {
			first[p.Node] = p
		}
	}
	for _, node := range sortedKeys(missing) {
		p := first[node]
		more := ""
		if missing[node] > 1 {
			more = "; so do other Pods"
		}
		l.fail(l.at["Pod "+p.Member()], "spec.nodeName", "Node %s is not described: add it (kubectl get nodes -o yaml) or leave the Pod out%s", node, more)
	}
}

// derivePodNetwork settles the pods' range: the Lab document's, else kube-proxy's clusterCIDR, else the smallest
// one (a /16 at most) that holds every pod and block.
func (l *loader) derivePodNetwork() {
	net := &l.c.PodNetwork
	if net.CIDR.IsValid() {
		return
	}
	for _, p := range l.c.KubeProxy.ClusterCIDRs {
		if p.Addr().Is4() {
			net.CIDR = p
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
	if net.CIDR = covering(ends, narrowPodNetwork); net.CIDR.Bits() < widestPodNetwork {
		l.fail(l.labAt, "", "the pods' addresses (%s, %s, ...) have too little in common to derive the pod network: set spec.podNetwork.cidr in a Lab document", ends[0], ends[len(ends)-1])
	}
}

// deriveBlocks gives each node that has no block those of 64 addresses around its own pods, as Calico would
// have; a pod in a block of another node is reached by a route of its own. A node without pods gets a free block.
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
			if at[b] == n.Name && !overlapsAny(taken, b) {
				n.PodBlocks = append(n.PodBlocks, b)
			}
		}
		taken = append(taken, n.PodBlocks...)
	}
	taken = append(taken, blocks...)
	l.freeBlocks(taken)
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

// deriveTunnels gives each node the first free address of its first block for its tunnel device.
func (l *loader) deriveTunnels() {
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
		if !n.TunnelAddress.IsValid() {
			l.fail(l.at["Node "+n.Name], "", "its pod blocks have no free address for its tunnel device: set spec.nodes[].tunnelAddress in a Lab document")
		}
	}
}

// deriveUnderlay settles the network between the nodes: the smallest range (a /24 at most) that holds their
// addresses, with a free address for the gateway.
func (l *loader) deriveUnderlay() {
	u := &l.c.Underlay
	u.Interface = cmp.Or(u.Interface, defaultInterface)
	u.MTU = cmp.Or(u.MTU, defaultMTU)
	if !u.CIDR.IsValid() {
		var ends []netip.Addr
		for _, n := range l.c.Nodes {
			ends = append(ends, n.IPv4())
		}
		if u.Gateway.IsValid() {
			ends = append(ends, u.Gateway)
		}
		p := covering(ends, narrowUnderlay)
		for p.Bits() >= widestUnderlay && slices.ContainsFunc(ends, func(a netip.Addr) bool { return a == p.Addr() || a == lastAddr(p) }) {
			p = netip.PrefixFrom(p.Addr(), p.Bits()-1).Masked() // an address must not be the network's own or its broadcast
		}
		if p.Bits() < widestUnderlay {
			l.fail(l.labAt, "", "the nodes' addresses (%s, %s) are not of one network of /%d or smaller: set spec.underlay.cidr in a Lab document", slices.MinFunc(ends, netip.Addr.Compare), slices.MaxFunc(ends, netip.Addr.Compare), widestUnderlay)
			return
		}
		u.CIDR = p
	}
	if u.Gateway.IsValid() {
		return
	}
	taken := l.addresses()
	for a := u.CIDR.Addr().Next(); a != lastAddr(u.CIDR) && u.CIDR.Contains(a); a = a.Next() {
		if !taken[a] {
			u.Gateway = a
			return
		}
	}
	l.fail(l.labAt, "", "the underlay %s has no free address for the router: set spec.underlay in a Lab document", u.CIDR)
}

// addresses is every IPv4 address of the input that somebody has.
func (l *loader) addresses() map[netip.Addr]bool {
	taken := map[netip.Addr]bool{l.c.Underlay.Gateway: true}
	for _, n := range l.c.Nodes {
		for _, a := range n.Addresses {
			taken[a] = true
		}
	}
	for _, p := range l.c.Pods {
		for _, a := range p.IPs {
			taken[a] = true
		}
	}
	for _, c := range l.c.Clients {
		taken[c.Address] = true
	}
	for _, b := range l.c.LoadBalancers {
		taken[b.Address] = true
	}
	for i := range l.c.Services {
		s := &l.c.Services[i]
		for _, a := range slices.Concat(s.ClusterIPs, s.ExternalIPs) {
			taken[a] = true
		}
		for _, in := range s.Ingress {
			taken[in.IP] = true
		}
	}
	return taken
}

// deriveClients makes an outside client with the last free address of the underlay where the Lab document has
// no list of clients.
func (l *loader) deriveClients() {
	defer func() { l.c.Clients = append(l.c.Clients, l.outsideEndpoints...) }()
	if l.c.Clients != nil {
		return
	}
	u := l.c.Underlay.CIDR
	taken := l.addresses()
	for _, c := range l.outsideEndpoints {
		taken[c.Address] = true
	}
	name := defaultClient
	for _, ok := l.c.Node(name); ok; _, ok = l.c.Node(name) {
		name += "-client"
	}
	for a := lastAddr(u).Prev(); u.Contains(a) && a != u.Addr(); a = a.Prev() {
		if !taken[a] {
			l.c.Clients = []Client{{Name: name, Address: a}}
			return
		}
	}
	l.fail(l.labAt, "", "the underlay %s has no free address for an outside client: set spec.clients in a Lab document", u)
}

// deriveLoadBalancers lets a ready node announce each load balancer address and external IP that the Lab
// document does not give to one: the first, or for externalTrafficPolicy Local the first with a ready endpoint.
func (l *loader) deriveLoadBalancers() {
	done := l.ownAddresses()
	for _, b := range l.c.LoadBalancers {
		done[b.Address] = true
	}
	for i := range l.c.Services {
		s := &l.c.Services[i]
		for _, a := range s.announced() {
			if !done[a] {
				done[a] = true
				l.c.LoadBalancers = append(l.c.LoadBalancers, LoadBalancer{Address: a, AnnouncedBy: l.announcer(s)})
			}
		}
	}
}

// ownAddresses is the addresses that nodes and clients have on a device.
func (l *loader) ownAddresses() map[netip.Addr]bool {
	own := map[netip.Addr]bool{}
	for _, n := range l.c.Nodes {
		for _, a := range n.Addresses {
			own[a] = true
		}
	}
	return own
}

// announced is the IPv4 addresses of s that a node has to take packets for: those of load balancers that
// kube-proxy programs (not ipMode Proxy), and the external IPs.
func (s *Service) announced() []netip.Addr {
	var out []netip.Addr
	for _, in := range s.Ingress {
		if in.IP.Is4() && in.IPMode != "Proxy" {
			out = append(out, in.IP)
		}
	}
	for _, a := range s.ExternalIPs {
		if a.Is4() {
			out = append(out, a)
		}
	}
	return out
}

func (l *loader) announcer(s *Service) string {
	isReady := map[string]bool{}
	for _, o := range l.nodes {
		isReady[o.v.Name] = ready(o.v)
	}
	local := map[string]bool{}
	for _, p := range s.Ports {
		for _, e := range p.Endpoints {
			local[e.Node] = local[e.Node] || e.Ready
		}
	}
	first := ""
	for _, n := range l.c.Nodes {
		if !isReady[n.Name] {
			continue
		}
		if s.ExternalPolicy == PolicyCluster || local[n.Name] {
			return n.Name
		}
		first = cmp.Or(first, n.Name)
	}
	return cmp.Or(first, l.c.Nodes[0].Name)
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

// dashed is an address as a part of a name: 10-244-1-7.
func dashed(a netip.Addr) string {
	return strings.NewReplacer(".", "-", ":", "-").Replace(a.StringExpanded())
}
