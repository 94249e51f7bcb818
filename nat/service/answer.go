package service

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"natlab/nat"
	"natlab/topology"
)

// visit is a flow's packet at the node that answers for the Service.
type visit struct {
	*Model
	Flow
	node   topology.Node
	device string // by which it came in; "" where it is made there
}

// at answers for a node. device is the one by which the packet comes in, "" where it is the node's own.
func (m *Model) at(node, device string, f Flow) (Answer, error) {
	n, ok := m.cluster.Node(node)
	if !ok {
		return Answer{}, fmt.Errorf("%w: %q", ErrNode, node)
	}
	v := visit{m, f, n, device}
	var first Answer
	for _, a := range m.candidates(n, f) {
		out := Answer{Service: a.name(), Node: node, Endings: v.endings(a), AffinitySeconds: a.AffinitySeconds}
		if out.Endings[0].Endpoint.IsValid() { // of several Services with one address the first that can serve does
			return out, nil
		}
		if first.Service == "" {
			first = out
		}
	}
	return first, nil
}

// endings are the ways that a flow for a Service port may end: one at least.
func (v visit) endings(a asked) []Ending {
	s := v.serversOf(v.node, a, v.Target.Addr())
	outside := a.by == byLoadBalancer && !v.admitted(a)
	switch {
	case outside && (s.any || v.nftables()): // in iptables mode a load balancer without endpoints has no firewall chain
		return refused(nat.EndLost, "%s is in none of loadBalancerSourceRanges", v.Source)
	case !s.any:
		return v.rejected(a)
	case a.by == byClusterIP:
		return v.internal(a, s)
	}
	return v.external(a, s)
}

func refused(end nat.End, format string, args ...any) []Ending {
	return []Ending{{End: end, Why: fmt.Sprintf(format, args...)}}
}

// rejected are the endings where no endpoint can serve. A node's own packet for an external address that is not the node's may
// leave it before anybody refuses it, to whom the address leads (kubernetes#95252); not in nftables mode.
func (v visit) rejected(a asked) []Ending {
	out := refused(nat.EndRejected, "%s has no endpoint that can serve", a.name())
	if v.nftables() || v.device != "" || a.by == byClusterIP || v.own(v.node, v.Target.Addr()) {
		return out
	}
	lost := out[0]
	lost.End, lost.Limit = nat.EndLost, fmt.Sprintf("%s sends its own packet on to %s, and does not refuse it itself", v.node.Name, v.Target.Addr())
	return append(out, lost)
}

// internal are the endings by the cluster IP. Pods come as themselves, everybody else as the node: the endpoint's answer
// might not find back through the cluster otherwise (masqueradeAll: pods too).
func (v visit) internal(a asked, s servers) []Ending {
	if a.InternalPolicy == topology.PolicyLocal && v.release.internalPolicy {
		if len(s.local) == 0 {
			return refused(nat.EndLost, "internalTrafficPolicy is Local, and %s has no endpoint of %s", v.node.Name, a.name())
		}
		s.cluster = s.local
	}
	pod, told := v.fromPod()
	switch {
	case v.cluster.KubeProxy.MasqueradeAll:
		return v.served(s.cluster, true, "masqueradeAll is set")
	case told && !pod:
		return v.served(s.cluster, true, "the client is no pod of the cluster")
	case !told:
		return v.served(s.cluster, false, "detectLocal tells no pods from others")
	}
	return v.served(s.cluster, false, "the client is a pod of the cluster")
}

// external are the endings by an address for clients outside: a node port, a load balancer's address, an external IP.
func (v visit) external(a asked, s servers) []Ending {
	exposed := a.Type != topology.ClusterIP || len(a.ExternalIPs) > 0 && v.release.externalPolicyOfAll()
	if a.ExternalPolicy == topology.PolicyCluster || !exposed {
		return v.served(s.cluster, true, "externalTrafficPolicy is Cluster")
	}
	if v.ipvs() && len(s.local) > 0 { // one virtual server has whoever asks, and with endpoints of the node it has no others (kubernetes#97081)
		s.cluster = s.local
	}
	pod, told := v.fromPod()
	switch {
	case told && pod: // as if it had asked the cluster IP
		return v.served(s.cluster, false, "the client is a pod of the cluster")
	case v.device == "":
		return v.served(s.cluster, true, "the client is the node itself")
	case len(s.local) == 0:
		return refused(nat.EndLost, "externalTrafficPolicy is Local, and %s has no endpoint of %s", v.node.Name, a.name())
	}
	return v.served(s.local, false, "externalTrafficPolicy is Local")
}

// admitted reports whether loadBalancerSourceRanges let the client in. Ranges of another family than the address's do not
// count. A node that is let in may ask as the load balancer's address, where it has that as its own.
func (v visit) admitted(a asked) bool {
	ranges := slices.DeleteFunc(slices.Clone(a.SourceRanges), func(p netip.Prefix) bool { return !same(p.Addr(), v.Target.Addr()) })
	in := func(ip netip.Addr) bool {
		return slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p.Contains(ip) })
	}
	asBalancer := slices.ContainsFunc(a.Ingress, func(g topology.Ingress) bool { return g.IP == v.Source })
	return len(ranges) == 0 || in(v.Source) || asBalancer && in(v.primary(v.node, v.Target.Addr()))
}

// fromPod reports whether the client counts as a pod of the cluster, and whether anything tells pods from others at all
// (detectLocalMode).
func (v visit) fromPod() (pod, told bool) {
	kp := v.cluster.KubeProxy
	ranges := kp.ClusterCIDRs
	switch kp.DetectLocalMode {
	case "BridgeInterface":
		return v.device != "" && v.device == kp.BridgeInterface, kp.BridgeInterface != ""
	case "InterfaceNamePrefix":
		return v.device != "" && strings.HasPrefix(v.device, kp.InterfacePrefix), kp.InterfacePrefix != ""
	case "NodeCIDR":
		ranges = v.node.PodCIDRs
	}
	i := slices.IndexFunc(ranges, func(p netip.Prefix) bool { return same(p.Addr(), v.Source) })
	return i >= 0 && ranges[i].Contains(v.Source), i >= 0
}

// served is an ending for each endpoint. A pod that is sent to itself is masqueraded whatever else holds: it would not know its
// own packet for an answer.
func (v visit) served(endpoints []topology.Endpoint, masquerade bool, why string) []Ending {
	out := make([]Ending, 0, len(endpoints))
	for _, e := range endpoints {
		end := Ending{End: nat.EndAnswered, Endpoint: e.Addr, Client: []netip.Addr{v.Source}, Why: why}
		hairpin := e.Addr.Addr() == v.Source
		if hairpin && !masquerade {
			end.Why = "the client is the endpoint itself"
		}
		if (masquerade || hairpin) && !v.staysHere(e) {
			end.Masqueraded, end.Client = true, v.asNode(e)
		}
		if by, ok := v.again(e); ok {
			end.End, end.Limit = nat.EndUnknown, fmt.Sprintf("%s is an address of %s too", e.Addr, by)
		}
		out = append(out, end)
		if loopback := netip.IPv6Loopback(); v.Target.Addr() == loopback && end.End == nat.EndAnswered {
			end.End = nat.EndLost
			end.Limit = fmt.Sprintf("%s asks by %s, and no answer from elsewhere finds back to that: IPv6 has no route_localnet", v.From, loopback)
			out = append(out, end)
		}
	}
	return out
}

// staysHere reports whether a packet from elsewhere is for a server on the node's own address: it leaves the node no more, so
// that nothing masquerades it, and the answer starts here anyway.
func (v visit) staysHere(e topology.Endpoint) bool {
	return v.device != "" && v.own(v.node, e.Addr.Addr())
}

// asNode are the addresses as which the node may send to an endpoint: that of the device by which it leaves. For a pod of
// another node that is the tunnel, for another machine the underlay. The device of a pod of its own has no address; the
// kernel takes one of another.
func (v visit) asNode(e topology.Endpoint) []netip.Addr {
	at := v.placeOf(e.Addr.Addr())
	all := slices.DeleteFunc(v.addressesOf(v.node), func(a netip.Addr) bool { return !same(a, v.Source) })
	first := v.node.Addresses
	i := slices.IndexFunc(first, func(a netip.Addr) bool { return same(a, v.Source) })
	switch {
	case at == v.node.Name || v.Source.Is6() || i < 0:
		return all
	case at != "" && v.cluster.PodNetwork.Overlay != topology.None && !v.isNode(e.Addr.Addr()):
		return []netip.Addr{v.node.Tunnel(topology.IPv4)}
	}
	return first[i : i+1]
}

func (v visit) isNode(a netip.Addr) bool {
	return slices.ContainsFunc(v.cluster.Nodes, func(n topology.Node) bool { return slices.Contains(n.Addresses, a) })
}

// again finds the Service that has an endpoint's address on the endpoint's own node, which the packet then asks in its turn.
func (v visit) again(e topology.Endpoint) (string, bool) {
	at, ok := v.cluster.Node(v.placeOf(e.Addr.Addr()))
	if !ok || at.Name == v.node.Name {
		return "", false
	}
	f := v.Flow
	f.Target = e.Addr
	for _, a := range v.candidates(at, f) {
		return a.name(), true
	}
	return "", false
}
