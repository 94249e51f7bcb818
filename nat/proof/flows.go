package proof

import (
	"cmp"
	"hash/fnv"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"natlab/nat"
	"natlab/topology"
)

// Selector narrows Flows. Its zero value selects everything.
type Selector struct {
	Service string // "NS/NAME" or "NS/NAME:PORT"; with it, flows that concern no Service are left out
	From    string // a client: a node, "NS/POD", an outside client
	To      string // the address asked, "ADDRESS" or "ADDRESS:PORT"
	Shard   int    // of Shards, from 1: every flow is of one of them, by its name; 0 stands for all
	Shards  int
}

// Takes reports whether a flow is selected, whatever its shard.
func (s Selector) Takes(f Flow) bool {
	if s.From != "" && s.From != f.Client && s.From != f.From {
		return false
	}
	if s.To != "" && s.To != f.Target.String() && s.To != f.Target.Addr().String() {
		return false
	}
	return s.wantsService(f.Service)
}

// ofShard reports whether a flow of this name is of the shard.
func (s Selector) ofShard(name string) bool {
	if s.Shards < 2 {
		return true
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(name)) // it has no way to fail
	return int(h.Sum32()%uint32(s.Shards)) == s.Shard-1
}

// wantsService reports whether a Service, or a port of one, is wanted.
func (s Selector) wantsService(name string) bool {
	service, _, _ := strings.Cut(name, ":")
	return s.Service == "" || s.Service == name || s.Service == service && name != ""
}

// Flows lists the questions whose answers prove a cluster's Services: every Service port of TCP, UDP or SCTP, at every
// address it has, and every hostPort of a Pod, from every kind of client that can get there. Of many pods of one kind on one node it takes the
// first; every node is asked, since every node has its own copy of the rules. How each flow has to end is not decided
// here: that is what the prediction from the intended rules is for, and a Service without endpoints, a Local policy
// or a source range makes flows that must fail. The order is that of the families of a lab of the cluster, the primary one first, then of
// the Services, then of the addresses, then of the clients; names are unique.
func Flows(c topology.Cluster, s Selector) []Flow {
	l := &lister{cluster: c, only: s, seen: map[flowKey]bool{}, nodeOf: map[string]string{}, primary: c.Families()[0]}
	for _, p := range c.Pods {
		l.nodeOf[p.Namespace+"/"+p.Name] = p.Node
	}
	for _, f := range c.Families() {
		l.family = f
		l.all()
	}
	return l.flows
}

// all lists the flows of the family.
func (l *lister) all() {
	for _, svc := range l.cluster.Services {
		for _, port := range svc.Ports {
			if l.only.wantsService(portName(svc, port)) {
				l.service(svc, port)
			}
		}
	}
	if l.only.Service == "" {
		for _, p := range l.cluster.Pods {
			l.hostPorts(p)
		}
		l.noService()
	}
}

type flowKey struct {
	client string
	target netip.AddrPort
	proto  nat.Proto
}

// lister collects flows; a question that two kinds of address share is asked once.
type lister struct {
	cluster topology.Cluster
	only    Selector
	flows   []Flow
	seen    map[flowKey]bool  // known already, wanted or not
	nodeOf  map[string]string // the node of a pod, by "NS/NAME"
	family  topology.Family   // of the flows that are listed now
	primary topology.Family   // the lab's
}

// caller is somebody who can ask.
type caller struct {
	name, from string // Flow.Client, Flow.From
	source     netip.Addr
	vantage    Vantage
}

func (l *lister) add(who caller, f Flow, at string) {
	k := flowKey{who.name, f.Target, f.Protocol}
	if !l.of(who.source) || l.seen[k] {
		return
	}
	l.seen[k] = true
	f.Client, f.From, f.Source, f.Vantage = who.name, who.from, who.source, who.vantage
	if !l.only.Takes(f) {
		return
	}
	if strings.Contains(at, ":") {
		at = "[" + at + "]"
	}
	words := []string{who.name, "->", f.Type.String(), at + ":" + strconv.Itoa(int(f.Target.Port())), f.Protocol.String()}
	if of := cmp.Or(f.Service, f.Name); of != "" {
		words = append(words, of)
	}
	f.Name = strings.Join(words, " ")
	if !l.only.ofShard(f.Name) {
		return
	}
	l.flows = append(l.flows, f)
}

// of reports whether an address is of the family that is listed.
func (l *lister) of(a netip.Addr) bool { return a.IsValid() && topology.FamilyOf(a) == l.family }

// among are the addresses of a list that are of the family.
func (l *lister) among(addrs []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return !l.of(a) })
}

// first is the first of them; invalid where there is none.
func (l *lister) first(addrs []netip.Addr) netip.Addr {
	at := slices.IndexFunc(addrs, l.of)
	if at < 0 {
		return netip.Addr{}
	}
	return addrs[at]
}

// called is a node's address in the name of a flow: the node's own name stands for its primary one.
func (l *lister) called(n topology.Node, ip netip.Addr) string {
	if l.family == l.primary && ip == l.first(n.Addresses) {
		return n.Name
	}
	return ip.String()
}

// localSince is the release since which kube-proxy's rules leave alone what comes to a node port by ::1. Before, they
// send it to an endpoint whose answers find no way back, as IPv6 has no route_localnet; its server goes on answering for a minute, and what
// the node makes of that cannot be told from what it makes of another's.
const localSince = 26

// asksLoopback reports whether node ports are asked by a node's own loopback.
func (l *lister) asksLoopback() bool {
	if l.family == topology.IPv6 {
		return l.cluster.KubeProxy.SinceRelease(localSince)
	}
	return l.cluster.KubeProxy.LocalhostNodePorts
}

// loopback is the family's.
func (l *lister) loopback() netip.Addr {
	if l.family == topology.IPv6 {
		return netip.IPv6Loopback()
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

func (l *lister) service(svc topology.Service, port topology.ServicePort) {
	proto, ok := askable(port.Protocol)
	if !ok {
		return
	}
	base := Flow{Service: portName(svc, port), Protocol: proto}
	inside := slices.Concat(l.nodes(port), l.pods(port))
	for _, ip := range svc.ClusterIPs {
		if l.of(ip) {
			f := base
			f.Type, f.Target = ByClusterIP, netip.AddrPortFrom(ip, port.Port)
			l.addAll(inside, f, ip.String())
		}
	}
	if port.NodePort != 0 {
		l.nodePort(port, base)
	}
	for _, in := range svc.Ingress {
		if l.of(in.IP) && in.IPMode != "Proxy" {
			f := base
			f.Type, f.Target = ByLoadBalancer, netip.AddrPortFrom(in.IP, port.Port)
			l.addAll(slices.Concat(l.outside(in.IP), inside), f, in.IP.String())
		}
	}
	for _, ip := range svc.ExternalIPs {
		if l.of(ip) {
			f := base
			f.Type, f.Target = ByExternalIP, netip.AddrPortFrom(ip, port.Port)
			l.addAll(slices.Concat(l.outside(ip), inside), f, ip.String())
		}
	}
	l.healthCheck(svc)
}

func (l *lister) addAll(who []caller, f Flow, at string) {
	for _, w := range who {
		l.add(w, f, at)
	}
}

// nodePort asks each node at its address: from outside, from itself, from its neighbour in the list, from every
// endpoint pod (which meets the hairpin rule of that node), from a pod that is no endpoint, and by its loopback.
func (l *lister) nodePort(port topology.ServicePort, f Flow) {
	f.Type = ByNodePort
	nodes, pods := l.nodes(port), l.pods(port)
	for i, n := range l.cluster.Nodes {
		who := slices.Clone(l.outside(netip.Addr{}))
		who = append(who, nodes[i], nodes[(i+1)%len(nodes)])
		strangers := 0
		for _, p := range l.strangersFirst(pods, n.Name) {
			if p.vantage == FromEndpointItself {
				who = append(who, p)
			} else if strangers++; strangers == 1 {
				who = append(who, p)
			}
		}
		for _, ip := range l.among(n.Addresses) {
			f.Target = netip.AddrPortFrom(ip, port.NodePort)
			l.addAll(who, f, l.called(n, ip))
		}
		if l.asksLoopback() && !atItself(f.Protocol, l.family) {
			self := nodes[i]
			self.source, self.vantage = l.loopback(), FromLoopback
			f.Target = netip.AddrPortFrom(self.source, port.NodePort)
			l.add(self, f, self.source.String())
		}
	}
}

// healthCheck asks each node at a Service's health check port, where kube-proxy itself would answer and where in a
// lab nobody listens: the rules let the packet in and the node refuses it.
func (l *lister) healthCheck(svc topology.Service) {
	if svc.HealthCheckNodePort == 0 {
		return
	}
	f := Flow{Service: svc.Namespace + "/" + svc.Name, Type: ByHealthCheck, Protocol: nat.TCP}
	l.atEveryNode(f, svc.HealthCheckNodePort)
}

// noService asks each node for a port that no Service has.
func (l *lister) noService() {
	taken := map[uint16]bool{}
	for _, svc := range l.cluster.Services {
		taken[svc.HealthCheckNodePort] = true
		for _, p := range svc.Ports {
			taken[p.NodePort], taken[p.Port] = true, true
			for _, e := range p.Endpoints {
				taken[e.Addr.Port()] = true
			}
		}
	}
	for _, p := range l.cluster.Pods {
		for _, h := range p.HostPorts {
			taken[h.Port], taken[h.Container] = true, true
		}
	}
	free := uint16(32767)
	for taken[free] {
		free--
	}
	l.atEveryNode(Flow{Type: ByNothing, Protocol: nat.TCP}, free)
}

func (l *lister) atEveryNode(f Flow, port uint16) {
	who := l.outside(netip.Addr{})
	for _, n := range l.cluster.Nodes {
		if ip := l.first(n.Addresses); ip.IsValid() && len(who) > 0 {
			f.Target = netip.AddrPortFrom(ip, port)
			l.add(who[0], f, l.called(n, ip))
		}
	}
}

// outside lists the outside clients, if they have a way to ip: a load balancer's address that some node answers
// for, or a node's own. An invalid ip stands for a node's address.
func (l *lister) outside(ip netip.Addr) []caller {
	reached := !ip.IsValid()
	for _, lb := range l.cluster.LoadBalancers {
		reached = reached || lb.Address == ip && lb.AnnouncedBy != ""
	}
	for _, n := range l.cluster.Nodes {
		reached = reached || slices.Contains(n.Addresses, ip)
	}
	if !reached {
		return nil
	}
	var out []caller
	for _, cl := range l.cluster.Clients {
		out = append(out, caller{cl.Name, cl.Name, cl.Address(l.family), FromOutside})
	}
	return out
}

// nodes lists one caller a node, in the order of the cluster.
func (l *lister) nodes(port topology.ServicePort) []caller {
	var out []caller
	for _, n := range l.cluster.Nodes {
		who := caller{name: n.Name, from: n.Name, source: l.first(n.Addresses), vantage: FromOtherNode}
		if hasEndpoint(port, n.Name) {
			who.vantage = FromEndpointNode
		}
		out = append(out, who)
	}
	return out
}

// pods lists every endpoint's pod and, of each node's other pods, the first in the pod network and the first in the
// host's.
func (l *lister) pods(port topology.ServicePort) []caller {
	var out []caller
	type kind struct {
		node string
		host bool
	}
	taken := map[kind]bool{}
	for _, p := range l.cluster.Pods {
		name := p.Namespace + "/" + p.Name
		who := caller{name: name, from: name, source: l.first(p.IPs), vantage: FromPodElsewhere}
		switch k := (kind{p.Node, p.HostNetwork}); {
		case !p.HostNetwork && isEndpoint(port, name):
			who.vantage = FromEndpointItself
			out = append(out, who)
			continue
		case taken[k]:
			continue
		default:
			taken[k] = true
		}
		if p.HostNetwork {
			who.from, who.vantage = p.Node, FromHostNetworkedPod
		} else if hasEndpoint(port, p.Node) {
			who.vantage = FromPodBesideIt
		}
		out = append(out, who)
	}
	return out
}

// strangersFirst sorts the pods of a node before the others, so that the first stranger is one of its own if it has any.
func (l *lister) strangersFirst(pods []caller, node string) []caller {
	elsewhere := func(p caller) bool { return l.nodeOf[p.name] != node }
	return slices.Concat(slices.DeleteFunc(slices.Clone(pods), elsewhere), slices.DeleteFunc(slices.Clone(pods), func(p caller) bool { return !elsewhere(p) }))
}

func hasEndpoint(port topology.ServicePort, node string) bool {
	return slices.ContainsFunc(port.Endpoints, func(e topology.Endpoint) bool { return e.Node == node })
}

func isEndpoint(port topology.ServicePort, pod string) bool {
	return slices.ContainsFunc(port.Endpoints, func(e topology.Endpoint) bool { return e.Pod == pod })
}

// askable reports whether natlab asks by a Service port's protocol.
func askable(protocol string) (nat.Proto, bool) {
	p, err := nat.ParseProto(protocol)
	return p, err == nil && (p == nat.TCP || p == nat.UDP || p == nat.SCTP)
}

// portName is kube-proxy's ServicePortName: "NS/NAME:PORT", or "NS/NAME" for a port without a name.
func portName(svc topology.Service, port topology.ServicePort) string {
	name := svc.Namespace + "/" + svc.Name
	if port.Name != "" {
		name += ":" + port.Name
	}
	return name
}
