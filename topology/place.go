package topology

import (
	"net/netip"
	"slices"
	"strings"
)

// places finds who has an address.
type places struct {
	pods     map[netip.Addr]int // index into Cluster.Pods; no hostNetwork pod
	byRef    map[string]int     // "NAMESPACE/NAME" to the index
	nodes    map[netip.Addr]string
	reported map[string]bool // nodes that are not described, once each
}

// placeEndpoints finds for each endpoint the pod that has its address, and makes one up where there is none: on
// the endpoint's nodeName, with the node's network where the address is the node's. An endpoint without a
// nodeName and outside of the pods' network is a host outside of the cluster.
func (l *loader) placeEndpoints() {
	w := places{pods: map[netip.Addr]int{}, byRef: map[string]int{}, nodes: map[netip.Addr]string{}, reported: map[string]bool{}}
	for _, n := range l.c.Nodes {
		for _, a := range n.Addresses {
			w.nodes[a] = n.Name
		}
	}
	for i := range l.c.Pods {
		w.add(&l.c.Pods[i], i)
	}
	for i := range l.c.Services {
		s := &l.c.Services[i]
		for j := range s.Ports {
			for k := range s.Ports[j].Endpoints {
				l.placeEndpoint(&w, s, &s.Ports[j].Endpoints[k])
			}
		}
	}
	sortPods(l.c.Pods)
}

func (w *places) add(p *Pod, i int) {
	w.byRef[p.Member()] = i
	if p.HostNetwork {
		return
	}
	for _, a := range p.IPs {
		w.pods[a] = i
	}
}

func (l *loader) placeEndpoint(w *places, s *Service, e *Endpoint) {
	at := l.at["Service "+s.Namespace+"/"+s.Name]
	field := "endpoint " + e.Addr.String()
	ip, ref := e.Addr.Addr(), e.Pod
	e.Pod = ""
	if i, ok := w.pods[ip]; ok {
		p := &l.c.Pods[i]
		if e.Node != "" && e.Node != p.Node {
			l.fail(at, field, "its nodeName is %s, but Pod %s, which has the address, is on %s", e.Node, p.Member(), p.Node)
		}
		e.Pod = p.Member()
		return
	}
	node, isNode := w.nodes[ip]
	if isNode && e.Node != "" && e.Node != node {
		l.fail(at, field, "its nodeName is %s, but the address is that of Node %s", e.Node, node)
		return
	}
	if !isNode {
		if node = l.endpointNode(e); node == "" {
			l.outsideEndpoint(at, e)
			return
		}
	}
	if _, ok := l.c.Node(node); !ok {
		if w.reported[node] {
			return
		}
		w.reported[node] = true
		l.fail(at, field, "it is on Node %s, which is not described: add it (kubectl get nodes -o yaml)", node)
		return
	}
	e.Pod = l.inventPod(w, s, Pod{Node: node, IPs: []netip.Addr{ip}, HostNetwork: isNode, Invented: true}, ref)
}

// endpointNode is the endpoint's nodeName, or the node whose block its address is from.
func (l *loader) endpointNode(e *Endpoint) string {
	if e.Node != "" {
		return e.Node
	}
	for _, n := range l.c.Nodes {
		if inAny(n.PodBlocks, e.Addr.Addr()) {
			return n.Name
		}
	}
	return ""
}

// inventPod finds or makes the pod for an endpoint address that no Pod object has. It takes the name of the
// endpoint's targetRef where there is one, so that the two families of one pod come together.
func (l *loader) inventPod(w *places, s *Service, p Pod, ref string) string {
	ns, name, ok := strings.Cut(ref, "/")
	if !ok {
		if ns, name = s.Namespace, "endpoint-"+dashed(p.IPs[0]); p.HostNetwork {
			name = "host-" + p.Node
		}
	}
	p.Namespace, p.Name = ns, name
	i, there := w.byRef[p.Member()]
	if there && l.c.Pods[i].Node == p.Node && l.c.Pods[i].HostNetwork == p.HostNetwork {
		if l.c.Pods[i].Invented && !p.HostNetwork {
			l.c.Pods[i].IPs = append(l.c.Pods[i].IPs, p.IPs...)
			w.add(&l.c.Pods[i], i)
		}
		return p.Member()
	}
	if there {
		p.Namespace, p.Name = s.Namespace, "endpoint-"+dashed(p.IPs[0])
	}
	l.c.Pods = append(l.c.Pods, p)
	w.add(&p, len(l.c.Pods)-1)
	return p.Member()
}

// outsideEndpoint makes a host outside of the cluster for an endpoint that is on no node: a database behind a
// Service without selector, for example.
func (l *loader) outsideEndpoint(at origin, e *Endpoint) {
	ip := e.Addr.Addr()
	if inAny(l.c.PodNetwork.CIDRs, ip) {
		l.fail(at, "endpoint "+e.Addr.String(), "it has no nodeName, and its address is of no node's pod block: which Node is it on?")
		return
	}
	if !l.c.Has(ip) {
		return
	}
	for _, c := range append(l.c.Clients, l.outsideEndpoints...) {
		if slices.Contains(c.Addresses, ip) {
			return
		}
	}
	l.outsideEndpoints = append(l.outsideEndpoints, Client{Name: "endpoint-" + dashed(ip), Addresses: []netip.Addr{ip}, Invented: true})
}
