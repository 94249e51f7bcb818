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
)

// complete derives what a lab needs and the input leaves open. The order is that of dependence: who is there
// (pods for endpoints without one), the network around them, where the pods' addresses are, then who is outside.
func (l *loader) complete() {
	l.checkNodes()
	l.chooseFamilies()
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
	for _, f := range l.families {
		l.deriveOverlay(f)
	}
	l.derivePodNetworks()
	if len(l.errs) > 0 {
		return
	}
	for _, f := range l.families {
		l.deriveBlocks(f)
		l.deriveTunnels(f)
	}
	if len(l.errs) > 0 {
		return
	}
	l.deriveClients()
	l.deriveLoadBalancers()
}

func (l *loader) checkNodes() {
	if len(l.c.Nodes) == 0 {
		l.fail(origin{}, "", "the input has no Node: a lab needs one at least (kubectl get nodes -o yaml)")
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
		for _, f := range l.families {
			if len(f.networks(n.PodBlocks)) == 0 && l.usesPodCIDRs(*n, f) {
				n.PodBlocks = append(n.PodBlocks, f.networks(n.PodCIDRs)...)
			}
		}
	}
}

// usesPodCIDRs reports whether all that is known of a node's pods and of its tunnel is of its podCIDRs, in one family.
func (l *loader) usesPodCIDRs(n Node, f Family) bool {
	for _, p := range l.c.Pods {
		if ip := p.Address(f); p.Node == n.Name && !p.HostNetwork && ip.IsValid() && !inAny(n.PodCIDRs, ip) {
			return false
		}
	}
	return !n.Tunnel(f).IsValid() || inAny(n.PodCIDRs, n.Tunnel(f))
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

// deriveUnderlay settles what the network between the nodes is: its device, its MTU, and a free address of each family for the gateway.
func (l *loader) deriveUnderlay() {
	u := &l.c.Underlay
	u.Interface = cmp.Or(u.Interface, defaultInterface)
	u.MTU = cmp.Or(u.MTU, defaultMTU)
	given := u.Gateways
	u.Gateways = nil
	for _, a := range given {
		if !l.c.Has(a) {
			l.fail(l.labAt, "spec.underlay.gateway", "%s is %s, and the underlay is %v", a, FamilyOf(a).title(), u.CIDRs)
		}
	}
	for _, f := range l.families {
		a := f.first(given)
		if !a.IsValid() {
			a = l.freeAddress(f, given)
		}
		if !a.IsValid() {
			l.fail(l.labAt, "", "the underlay %s has no free address for the router: set spec.underlay in a Lab document", u.CIDR(f))
			return
		}
		u.Gateways = append(u.Gateways, a)
	}
}

// freeAddress is the first address of a family's underlay that nobody has.
func (l *loader) freeAddress(f Family, gateways []netip.Addr) netip.Addr {
	net := l.c.Underlay.CIDR(f)
	taken := l.addresses()
	for _, a := range gateways {
		taken[a] = true
	}
	for a := net.Addr().Next(); a != lastAddr(net) && net.Contains(a); a = a.Next() {
		if !taken[a] && !l.ofABlock(a) {
			return a
		}
	}
	return netip.Addr{}
}

// addresses is every address of the input that somebody has.
func (l *loader) addresses() map[netip.Addr]bool {
	taken := map[netip.Addr]bool{}
	for _, a := range l.c.Underlay.Gateways {
		taken[a] = true
	}
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
		for _, a := range c.Addresses {
			taken[a] = true
		}
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
	taken := l.addresses()
	cl := Client{Name: defaultClient}
	for _, ok := l.c.Node(cl.Name); ok; _, ok = l.c.Node(cl.Name) {
		cl.Name += "-client"
	}
	for _, f := range l.families {
		u, had := l.c.Underlay.CIDR(f), len(cl.Addresses)
		for a := lastAddr(u).Prev(); u.Contains(a) && a != u.Addr(); a = a.Prev() {
			if !taken[a] && !l.ofABlock(a) {
				cl.Addresses = append(cl.Addresses, a)
				break
			}
		}
		if len(cl.Addresses) == had {
			l.fail(l.labAt, "", "the underlay %s has no free address for an outside client: set spec.clients in a Lab document", u)
			return
		}
	}
	l.c.Clients = []Client{cl}
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
			if !done[a] && l.c.Has(a) {
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

// announced is the addresses of s that a node has to take packets for: those of load balancers that
// kube-proxy programs (not ipMode Proxy), and the external IPs.
func (s *Service) announced() []netip.Addr {
	var out []netip.Addr
	for _, in := range s.Ingress {
		if in.IPMode != "Proxy" {
			out = append(out, in.IP)
		}
	}
	return append(out, s.ExternalIPs...)
}

func (l *loader) announcer(s *Service) string {
	isReady := map[string]bool{}
	for _, o := range l.nodes {
		isReady[o.v.Name] = ready(*o.v)
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
