package topology

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// validate reports everything that is inconsistent in a complete cluster.
func (l *loader) validate() {
	l.checkUnderlay()
	l.checkRanges()
	if len(l.errs) > 0 {
		return // one wrong range makes many addresses wrong
	}
	l.checkAddresses()
	if len(l.errs) == 0 {
		l.checkServiceAddresses()
	}
	l.checkAnnouncers()
	l.checkNodePorts()
	l.checkNamespaces()
}

// nodesInOrder, podsInOrder and servicesInOrder give the order of the input, so that of two that want the same the
// later one is told.
func (l *loader) nodesInOrder() []Node {
	return inOrder(l.c.Nodes, func(n Node) origin { return l.of("Node", n.Name) })
}

func (l *loader) podsInOrder() []Pod {
	return inOrder(l.c.Pods, func(p Pod) origin { return l.of("Pod", p.Member()) })
}

func (l *loader) servicesInOrder() []Service {
	return inOrder(l.c.Services, func(s Service) origin { return l.of("Service", s.Namespace+"/"+s.Name) })
}

func inOrder[T any](list []T, at func(T) origin) []T {
	seqs, order := make([]int, len(list)), make([]int, len(list))
	for i := range list {
		seqs[i], order[i] = at(list[i]).seq, i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(seqs[a], seqs[b]) })
	out := make([]T, len(list))
	for i, from := range order {
		out[i] = list[from]
	}
	return out
}

// of is where an object stands, or only its name for one that natlab made up.
func (l *loader) of(kind, name string) origin {
	if o, ok := l.at[kind+" "+name]; ok {
		return o
	}
	return origin{object: kind + " " + name}
}

// checkUnderlay sees that who hangs on the underlay has an address there that a host can have.
func (l *loader) checkUnderlay() {
	u := l.c.Underlay
	onIt := func(o origin, field string, a netip.Addr) {
		net := u.CIDR(FamilyOf(a))
		switch {
		case !net.Contains(a):
			l.fail(o, field, "%s is not of the underlay %s: correct it or spec.underlay.cidr of the Lab document", a, net)
		case a == net.Addr() || a == lastAddr(net):
			l.fail(o, field, "%s is the underlay's own or its broadcast address (%s): no host can have it", a, net)
		}
	}
	least := minMTU
	for _, f := range l.families {
		onIt(l.labAt, "spec.underlay.gateway", u.Gateway(f))
		for _, n := range l.c.Nodes {
			onIt(l.of("Node", n.Name), "status.addresses", n.Address(f))
		}
		if f == IPv6 {
			least = minMTU6
		}
	}
	for i, c := range l.c.Clients {
		field, near := index("spec.clients", i)+".address", slices.ContainsFunc(c.Addresses, u.holds)
		for _, a := range c.Addresses {
			switch {
			case !l.c.Has(a):
				l.fail(l.labAt, field, "%s is %s, and the underlay is %v", a, FamilyOf(a).title(), u.CIDRs)
			case near:
				onIt(l.labAt, field, a)
			}
		}
	}
	if mtu := l.c.podMTU(); mtu < least {
		l.fail(l.labAt, "spec.underlay.mtu", "%d leaves the pods %d: want %d at least", u.MTU, mtu, least)
	}
}

// claims is who has which address.
type claims struct {
	l     *loader
	owner map[netip.Addr]string
}

// take gives an address to who, or reports why it cannot be had.
func (c *claims) take(a netip.Addr, who string, o origin, field string) bool {
	if what := special(a); what != "" && (a.Is4() || c.l.c.Has(a)) {
		c.l.fail(o, field, "%s is %s: nobody can be reached by it", a, what)
		return false
	}
	if other, taken := c.owner[a]; taken {
		c.l.fail(o, field, "%s is already the address of %s: give one of them another", a, other)
		return false
	}
	c.owner[a] = who
	return true
}

// special is what is special about an address that no member of a lab can have.
func special(a netip.Addr) string {
	switch {
	case a.IsUnspecified() || (a.Is4() && a.As4()[0] == 0):
		return "the unspecified address"
	case a.IsLoopback():
		return "a loopback address"
	case a.IsMulticast():
		return "a multicast address"
	case a.Is4() && a.As4()[0] >= 240:
		return "a reserved address"
	case a.IsLinkLocalUnicast():
		return "a link-local address"
	}
	return ""
}

// checkAddresses sees that no address is in two places and that each is where its kind belongs.
func (l *loader) checkAddresses() {
	c := &claims{l: l, owner: map[netip.Addr]string{}}
	for _, n := range l.nodesInOrder() {
		for _, a := range n.Addresses {
			c.take(a, "Node "+n.Name, l.of("Node", n.Name), "status.addresses")
		}
	}
	for _, a := range l.c.Underlay.Gateways {
		c.take(a, "the gateway", l.labAt, "spec.underlay.gateway")
	}
	for i, cl := range l.c.Clients {
		o, field := l.labAt, index("spec.clients", i)+".address"
		for _, a := range cl.Addresses {
			if c.take(a, "client "+cl.Name, o, field) {
				l.notOfPods(a, o, field)
			}
		}
	}
	for _, p := range l.podsInOrder() {
		if p.HostNetwork {
			continue
		}
		o := l.of("Pod", p.Member())
		for _, a := range p.IPs {
			if c.take(a, "Pod "+p.Member(), o, "status.podIPs") && l.c.Underlay.holds(a) {
				l.checkFlat(a, o)
			}
		}
	}
	for _, n := range l.c.Nodes {
		for _, a := range n.TunnelAddresses {
			c.take(a, "the tunnel device of Node "+n.Name, l.nodeAt(n), "tunnelAddress")
		}
	}
	for _, s := range l.servicesInOrder() {
		o := l.of("Service", s.Namespace+"/"+s.Name)
		for _, a := range s.ClusterIPs {
			if c.take(a, "Service "+s.Namespace+"/"+s.Name, o, "spec.clusterIPs") && l.notOfPods(a, o, "spec.clusterIPs") && l.c.Underlay.holds(a) {
				l.fail(o, "spec.clusterIPs", "%s is of the underlay %s", a, l.c.Underlay.CIDR(FamilyOf(a)))
			}
		}
	}
	for i, b := range l.c.LoadBalancers {
		o, field := l.announcedAt(i)
		if c.take(b.Address, "a load balancer", o, field) {
			l.notOfPods(b.Address, o, field)
		}
	}
}

// nodeAt is the Lab document for what it has of a node, else the Node object.
func (l *loader) nodeAt(n Node) origin {
	if add, ok := l.labOf[n.Name]; ok && len(add.tunnels) > 0 {
		o := l.labAt
		o.object += ": " + add.field
		return o
	}
	return l.of("Node", n.Name)
}

// announcedAt is where an announced address comes from: the Lab document, or the first Service that has it.
func (l *loader) announcedAt(i int) (origin, string) {
	b := l.c.LoadBalancers[i]
	if i < l.labBalancers {
		return l.labAt, index("spec.loadBalancers", i) + ".address"
	}
	for j := range l.c.Services {
		s := &l.c.Services[j]
		o := l.of("Service", s.Namespace+"/"+s.Name)
		for _, in := range s.Ingress {
			if in.IP == b.Address {
				return o, "status.loadBalancer.ingress"
			}
		}
		if slices.Contains(s.ExternalIPs, b.Address) {
			return o, "spec.externalIPs"
		}
	}
	return l.labAt, ""
}

// notOfPods reports whether a is outside of the pods' addresses, and reports it where it is not.
func (l *loader) notOfPods(a netip.Addr, o origin, field string) bool {
	// A clusterCIDR may be of a whole company's network, with the nodes in it.
	f := FamilyOf(a)
	around := (!l.labPodCIDR[f] || l.c.PodNetwork.Of(f) == None) && l.c.Underlay.holds(a)
	if net := l.c.PodNetwork.CIDR(f); l.podNetworkGiven[f] && net.Contains(a) && !around {
		l.fail(o, field, "%s is of the pod network %s", a, net)
		return false
	}
	for _, n := range l.c.Nodes {
		for _, b := range n.PodBlocks {
			if b.Contains(a) {
				l.fail(o, field, "%s is of the pod block %s of Node %s", a, b, n.Name)
				return false
			}
		}
	}
	return true
}

// checkRanges sees that pod blocks overlap neither each other nor, but for flat networks, the underlay.
func (l *loader) checkRanges() {
	for _, f := range l.families {
		u, net := l.c.Underlay.CIDR(f), l.c.PodNetwork.CIDR(f)
		if l.labPodCIDR[f] && u.Overlaps(net) && l.c.PodNetwork.Of(f) != None {
			l.fail(l.labAt, "spec.podNetwork.cidr", "%s overlaps the underlay %s", net, u)
			return
		}
	}
	type block struct {
		prefix netip.Prefix
		node   string
	}
	var seen []block
	for _, n := range l.nodesInOrder() {
		o, field := l.of("Node", n.Name), "spec.podCIDRs"
		add, inLab := l.labOf[n.Name]
		inLab = inLab && len(add.blocks) > 0
		if inLab {
			o, field = l.labAt, add.field+".podBlocks"
		}
		for _, p := range n.PodBlocks {
			f := FamilyOf(p.Addr())
			u, net := l.c.Underlay.CIDR(f), l.c.PodNetwork.CIDR(f)
			if u.Overlaps(p) && l.c.PodNetwork.Of(f) != None {
				l.fail(o, field, "%s overlaps the underlay %s", p, u)
				continue
			} else if who := l.blockHolds(p); who != "" {
				l.fail(o, field, "%s is of the underlay %s and holds the address of %s, which is no Pod", p, u, who)
				continue
			}
			if inLab && !net.IsValid() {
				l.fail(o, field, "%s is %s, and the underlay is %v", p, f.title(), l.c.Underlay.CIDRs)
			} else if inLab && (p.Bits() < net.Bits() || !net.Contains(p.Addr())) {
				l.fail(o, field, "%s is not of the pod network %s", p, net)
			}
			for _, other := range seen {
				if other.prefix.Overlaps(p) {
					l.fail(o, field, "%s overlaps %s of Node %s", p, other.prefix, other.node)
					break
				}
			}
			seen = append(seen, block{p, n.Name})
		}
	}
}

// checkAnnouncers sees that each announcing node is one.
func (l *loader) checkAnnouncers() {
	for i, b := range l.c.LoadBalancers {
		if _, ok := l.c.Node(b.AnnouncedBy); !ok {
			l.fail(l.labAt, index("spec.loadBalancers", i)+".announcedBy", "Node %s is not described", short(b.AnnouncedBy))
		}
		if !l.c.Has(b.Address) && b.Address.IsValid() {
			l.fail(l.labAt, index("spec.loadBalancers", i)+".address", "%s is %s, and the underlay is %v", b.Address, FamilyOf(b.Address).title(), l.c.Underlay.CIDRs)
		}
	}
}

// portField names a port of a Service in an error.
func portField(p ServicePort) string {
	if p.Name == "" {
		return fmt.Sprintf("port %d", p.Port)
	}
	return fmt.Sprintf("port %q", p.Name)
}

// checkNodePorts sees that no node port of one protocol has two owners; a health check's is a TCP port too.
func (l *loader) checkNodePorts() {
	type key struct {
		protocol string
		port     uint16
	}
	owner := map[key]string{}
	for _, s := range l.servicesInOrder() {
		name := s.Namespace + "/" + s.Name
		o := l.of("Service", name)
		for _, p := range s.Ports {
			if p.NodePort == 0 {
				continue
			}
			if other, taken := owner[key{p.Protocol, p.NodePort}]; taken {
				l.fail(o, portField(p), "nodePort %d is already taken by %s: give one of them another", p.NodePort, other)
				continue
			}
			owner[key{p.Protocol, p.NodePort}] = name + " " + portField(p)
		}
		if s.HealthCheckNodePort == 0 {
			continue
		}
		if other, taken := owner[key{"TCP", s.HealthCheckNodePort}]; taken {
			l.fail(o, "spec.healthCheckNodePort", "%d is already taken by %s: give one of them another", s.HealthCheckNodePort, other)
			continue
		}
		owner[key{"TCP", s.HealthCheckNodePort}] = name + " healthCheckNodePort"
	}
}

// checkServiceAddresses sees that no address, protocol and port leads to two Services. A load balancer's address
// may be shared as long as the ports differ (MetalLB's allow-shared-ip).
func (l *loader) checkServiceAddresses() {
	type key struct {
		addr     netip.AddrPort
		protocol string
	}
	owner := map[key]string{}
	for _, s := range l.servicesInOrder() {
		name := s.Namespace + "/" + s.Name
		var addrs []netip.Addr
		addrs = append(addrs, s.ClusterIPs...)
		addrs = append(addrs, s.announced()...)
		for _, p := range s.Ports {
			for _, a := range addrs {
				k := key{netip.AddrPortFrom(a, p.Port), p.Protocol}
				me := name + " " + portField(p)
				if other, taken := owner[k]; taken && other != me {
					l.fail(l.of("Service", name), portField(p), "%s %s is already taken by %s: give one of them another port", k.addr, p.Protocol, other)
					break
				}
				owner[k] = me
			}
		}
	}
}

// checkNamespaces sees that every member gets a namespace of its own: the kernel's names join a pod's namespace
// and name with a dot, and dots may be in names too.
func (l *loader) checkNamespaces() {
	owner := map[string]string{l.c.namespaceName(memberUnderlay): "the underlay", l.c.namespaceName(memberRouter): "the router"}
	claim := func(o origin, field, what, member string) {
		name := l.c.namespaceName(member)
		if other, taken := owner[name]; taken {
			l.fail(o, field, "%s and %s would both be the network namespace %s: rename one", what, other, name)
			return
		}
		if len(name) > maxFileName {
			l.fail(o, field, "the network namespace %s would have a name of more than %d characters: shorten it", short(name), maxFileName)
		}
		owner[name] = what
	}
	for _, n := range l.c.Nodes {
		claim(l.of("Node", n.Name), "metadata.name", "Node "+n.Name, n.Name)
	}
	hostDevices := map[string]string{}
	for _, p := range l.podsInOrder() {
		if p.HostNetwork {
			continue
		}
		o := l.of("Pod", p.Member())
		claim(o, "metadata.name", "Pod "+p.Member(), p.Member())
		key := p.Node + " " + p.HostDevice()
		if other, taken := hostDevices[key]; taken {
			l.fail(o, "metadata.name", "it and Pod %s would have one device %s: rename one", other, p.HostDevice())
		}
		hostDevices[key] = p.Member()
	}
	for i, cl := range l.c.Clients {
		claim(l.labAt, index("spec.clients", i)+".name", "client "+cl.Name, cl.Name)
	}
}
