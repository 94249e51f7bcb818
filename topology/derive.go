package topology

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// What a lab has where neither the Lab document nor the objects decide.
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
// (pods for endpoints without one), the network around them, where the pods' addresses are, then who is outside.
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
	l.deriveUnderlay()
	l.deriveOverlay()
	l.derivePodNetwork()
	if len(l.errs) > 0 {
		return
	}
	l.deriveBlocks()
	l.deriveTunnels()
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
	for _, name := range sortedKeys(l.labOf) {
		if _, ok := l.c.Node(name); !ok {
			l.fail(l.labAt, l.labOf[name].field+".name", "Node %s is not described: add its Node object or take the entry away", name)
		}
	}
}

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

// podsHaveNodes reports once for each node that is not described which pod needs it.
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
		if !taken[a] && !l.ofABlock(a) {
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
	for _, c := range slices.Concat(l.c.Clients, l.outsideEndpoints) {
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
		return // also an empty list: it means that there is none
	}
	u := l.c.Underlay.CIDR
	taken := l.addresses()
	name := defaultClient
	for _, ok := l.c.Node(name); ok; _, ok = l.c.Node(name) {
		name += "-client"
	}
	for a := lastAddr(u).Prev(); u.Contains(a) && a != u.Addr(); a = a.Prev() {
		if !taken[a] && !l.ofABlock(a) {
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

// dashed is an address as a part of a name: 10-244-1-7.
func dashed(a netip.Addr) string {
	return strings.NewReplacer(".", "-", ":", "-").Replace(a.StringExpanded())
}
