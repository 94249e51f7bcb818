package migrate

import (
	"net/netip"
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/proof"
	"natlab/nat/xt"
	"natlab/topology"
)

// asker lists questions: all that the clients of a cluster can ask. Each port of each Service at each address it has, of each family; ports and
// protocols that none has there; addresses that no Service has; node ports, health checks and ports of nobody at each address of each node,
// loopback among them; hostPorts, and what other agents translate; and the endpoints themselves. Asked by every kind of client, allowed or
// not: of many that are alike the first. The order is that of the Services, their addresses and the clients.
type asker struct {
	c      topology.Cluster
	plan   topology.Plan
	family nat.Family
	beside Beside
	free   uint16 // a port that nobody has
	own    map[string][]netip.Addr
	seen   map[key]bool
	out    []Question
}

func newAsker(s *side, beside Beside) *asker {
	return &asker{c: s.cluster, plan: s.plan, beside: beside, free: freePort(s.cluster), seen: map[key]bool{}}
}

func (a *asker) questions() []Question {
	for _, a.family = range families(a.c) {
		a.own = map[string][]netip.Addr{}
		for _, n := range a.c.Nodes {
			a.own[n.Name] = ownAddresses(a.plan, n.Name, a.family)
		}
		for i := range a.c.Services {
			for j := range a.c.Services[i].Ports {
				a.servicePort(&a.c.Services[i], &a.c.Services[i].Ports[j])
			}
			a.atAllNodes(&a.c.Services[i])
		}
		for i := range a.c.Pods {
			a.hostPorts(&a.c.Pods[i])
		}
		a.translated()
		a.nobodys()
	}
	return a.out
}

// caller is somebody who asks.
type caller struct {
	member string
	source netip.Addr
}

// add asks a question in the name of each caller.
func (a *asker) add(who []caller, q Question) {
	for _, w := range who {
		if !w.source.IsValid() || nat.FamilyOf(w.source) != a.family || nat.FamilyOf(q.Target.Addr()) != a.family {
			continue
		}
		q.Client, q.Source = w.member, w.source
		if k := q.key(); !a.seen[k] {
			a.seen[k] = true
			a.out = append(a.out, q)
		}
	}
}

func (a *asker) servicePort(svc *topology.Service, port *topology.ServicePort) {
	proto, err := nat.ParseProto(strings.ToLower(port.Protocol))
	if err != nil {
		return
	}
	all := slices.Concat(a.outside(), a.nodes(), a.pods(port))
	base := Question{Service: portName(svc, port), Protocol: proto, svc: svc, port: port}
	at := func(ip netip.Addr, access proof.Access) {
		q := base
		q.Type, q.Target = access, netip.AddrPortFrom(ip, port.Port)
		q.owner = a.ownerOf(ip)
		a.add(all, q)
		q.Aspect, q.Protocol = OtherProtocol, otherOf(proto)
		a.add(all, q)
		q.Aspect, q.Protocol, q.Target = OtherPort, proto, netip.AddrPortFrom(ip, a.free)
		a.add(all, q)
		q.Aspect, q.Protocol, q.Target = Ping, pingOf(ip), netip.AddrPortFrom(ip, 0)
		a.add(all, q)
	}
	for _, ip := range svc.ClusterIPs {
		at(ip, proof.ByClusterIP)
	}
	for _, in := range svc.Ingress {
		at(in.IP, proof.ByLoadBalancer)
	}
	for _, ip := range svc.ExternalIPs {
		at(ip, proof.ByExternalIP)
	}
	if port.NodePort != 0 {
		q := base
		q.Type = proof.ByNodePort
		a.atNodes(port, q, port.NodePort)
		q.Aspect, q.Protocol = OtherProtocol, otherOf(proto)
		a.atNodes(port, q, port.NodePort)
	}
	for _, e := range port.Endpoints {
		q := base
		q.Type, q.Target = proof.ByAddress, e.Addr
		a.add(slices.Concat(a.outside(), a.nodes(), a.pods(port)), q)
	}
}

// otherOf is another protocol.
func otherOf(p nat.Proto) nat.Proto {
	if p == nat.TCP {
		return nat.UDP
	}
	return nat.TCP
}

// atNodes asks a port at each address of each node, loopback's too, from outside, from the node, its neighbour, a pod on it, one elsewhere,
// and the port's endpoints.
func (a *asker) atNodes(port *topology.ServicePort, q Question, number uint16) {
	for i, n := range a.c.Nodes {
		nodes := a.nodes()
		who := slices.Concat(a.outside(), []caller{nodes[i], nodes[(i+1)%len(nodes)]}, a.near(port, n.Name))
		q.owner = n.Name
		for _, ip := range a.own[n.Name] {
			if q.Type == proof.ByNothing && a.isClusterIP(ip) { // asked as such
				continue
			}
			q.Target = netip.AddrPortFrom(ip, number)
			a.add(who, q)
		}
		for _, ip := range loopbacks[a.family] {
			if q.Type == proof.ByHealthCheck { // nobody checks from there
				break
			}
			q.Target = netip.AddrPortFrom(ip, number)
			a.add([]caller{{n.Name, loopbacks[a.family][0]}}, q)
		}
	}
}

// loopbacks are addresses of a node's loopback, the first the one that its processes ask from.
var loopbacks = [...][]netip.Addr{
	nat.IPv4: {netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.AddrFrom4([4]byte{127, 0, 0, 5})},
	nat.IPv6: {netip.IPv6Loopback()},
}

// atAllNodes asks for a Service's health check.
func (a *asker) atAllNodes(svc *topology.Service) {
	if svc.HealthCheckNodePort != 0 {
		q := Question{Service: svc.Namespace + "/" + svc.Name, Type: proof.ByHealthCheck, Protocol: nat.TCP, svc: svc}
		a.atNodes(nil, q, svc.HealthCheckNodePort)
	}
}

func (a *asker) hostPorts(p *topology.Pod) {
	for _, h := range p.HostPorts {
		proto, err := nat.ParseProto(strings.ToLower(h.Protocol))
		if err == nil {
			a.atNodes(nil, Question{Service: p.Member(), Type: proof.ByHostPort, Protocol: proto}, h.Port)
			own := Question{Service: p.Member(), Type: proof.ByHostPort, Protocol: proto, owner: p.Node}
			for _, ip := range a.own[p.Node] {
				own.Target = netip.AddrPortFrom(ip, h.Port)
				a.add([]caller{{p.Member(), p.Address(topology.Family(a.family))}}, own)
			}
		}
	}
}

// translated asks for the ports that other agents' rules translate, at the node's addresses, and in the name of the pod that they lead to.
func (a *asker) translated() {
	for _, n := range a.c.Nodes {
		t, _ := withoutProxy(a.beside.of(n.Name, a.family)).Table("nat")
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				a.dnat(n.Name, r)
			}
		}
	}
}

func (a *asker) dnat(node string, r iptables.Rule) {
	to, is := r.Target.(xt.DNAT)
	if !is {
		return
	}
	var who []caller
	for _, p := range a.c.Pods {
		if at := p.Address(topology.Family(a.family)); !p.HostNetwork && at == to.Range.MinAddr {
			who = append(who, caller{p.Member(), at})
		}
	}
	for _, m := range r.Matches {
		ports, is := m.(xt.Ports)
		proto, known := nat.ParseRuleProto(ports.Protocol)
		if !is || !known || ports.Destination == nil || ports.Destination.Low != ports.Destination.High {
			continue
		}
		q := Question{Type: proof.ByHostPort, Protocol: proto, owner: node}
		for _, ip := range a.own[node] {
			q.Target = netip.AddrPortFrom(ip, ports.Destination.Low)
			a.add(slices.Concat(who, a.outside(), a.nodes()), q)
		}
	}
}

// nobodys asks for what nobody has: a port of the nodes, a cluster IP.
func (a *asker) nobodys() {
	for _, proto := range []nat.Proto{nat.TCP, nat.UDP} {
		a.atNodes(nil, Question{Type: proof.ByNothing, Protocol: proto}, a.free)
		if ip := a.unallocated(); ip.IsValid() {
			a.add(slices.Concat(a.outside(), a.nodes(), a.pods(nil)), Question{
				Type: proof.ByClusterIP, Aspect: Unallocated, Protocol: proto, Target: netip.AddrPortFrom(ip, 80),
			})
		}
	}
}

// unallocated is a cluster IP that no Service has: of the ServiceCIDRs, else the one behind a Service's.
func (a *asker) unallocated() netip.Addr {
	taken := map[netip.Addr]bool{}
	var from netip.Addr
	for _, s := range a.c.Services {
		for _, ip := range s.ClusterIPs {
			taken[ip] = true
			if nat.FamilyOf(ip) == a.family && !from.IsValid() {
				from = ip
			}
		}
	}
	for _, p := range a.c.ServiceCIDRs {
		if nat.FamilyOf(p.Addr()) != a.family {
			continue
		}
		for ip := p.Masked().Addr().Next(); p.Contains(ip); ip = ip.Next() {
			if !taken[ip] && p.Contains(ip.Next()) {
				return ip
			}
		}
		return netip.Addr{}
	}
	if !from.IsValid() {
		return from
	}
	for taken[from] {
		from = from.Next()
	}
	return from
}

func (a *asker) isClusterIP(ip netip.Addr) bool {
	return slices.ContainsFunc(a.c.Services, func(s topology.Service) bool { return slices.Contains(s.ClusterIPs, ip) })
}

// ownerOf finds whose own address one is; "" for nobody's.
func (a *asker) ownerOf(ip netip.Addr) string {
	for _, n := range a.c.Nodes {
		if slices.Contains(a.own[n.Name], ip) {
			return n.Name
		}
	}
	return ""
}

// freePort is one that nobody listens at and no Service has.
func freePort(c topology.Cluster) uint16 {
	taken := map[uint16]bool{}
	for _, svc := range c.Services {
		taken[svc.HealthCheckNodePort] = true
		for _, p := range svc.Ports {
			taken[p.NodePort], taken[p.Port] = true, true
			for _, e := range p.Endpoints {
				taken[e.Addr.Port()] = true
			}
		}
	}
	for _, p := range c.Pods {
		for _, h := range p.HostPorts {
			taken[h.Port], taken[h.Container] = true, true
		}
	}
	free := uint16(32767)
	for taken[free] {
		free--
	}
	return free
}

// portName is "NS/NAME:PORT", or "NS/NAME" for a port without a name.
func portName(svc *topology.Service, port *topology.ServicePort) string {
	name := svc.Namespace + "/" + svc.Name
	if port.Name != "" {
		name += ":" + port.Name
	}
	return name
}
