package kubeproxy

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"natlab/nat"
	"natlab/topology"
)

// Serving is which endpoints of a Service port a node sends packets to.
type Serving struct {
	Cluster []topology.Endpoint // under traffic policy Cluster
	Local   []topology.Endpoint // under traffic policy Local
	All     []topology.Endpoint // of both, without repetition
	Any     bool                // an endpoint can be used somewhere in the cluster, if not from this node
}

// policies is what a Service's traffic policies come to in a release.
type policies struct {
	internalLocal, externalLocal bool
	external                     bool // it can be reached by a node port, load balancer or external IP
}

func (p policies) usesCluster() bool { return !p.internalLocal || p.external }
func (p policies) usesLocal() bool   { return p.internalLocal || p.externalLocal && p.external }

// categorize finds the endpoints that a node uses. endpoints are of one family, sorted as kube-proxy sorts them.
func (g *generator) categorize(s *topology.Service, endpoints []topology.Endpoint, p policies) Serving {
	var out Serving
	if len(endpoints) == 0 {
		return out
	}
	hints := func(topology.Endpoint) bool { return true }
	hinted := false
	if p.usesCluster() {
		if by := g.hints(s, endpoints); by != nil {
			hints, hinted = by, true
		}
		out.Cluster = filter(endpoints, func(e topology.Endpoint) bool { return e.Ready && hints(e) })
		if len(out.Cluster) == 0 && g.terminating {
			out.Cluster = filter(endpoints, winding)
		}
		out.Any = len(out.Cluster) > 0
	}
	if !p.usesLocal() {
		out.All = out.Cluster
		return out
	}
	fallback := g.localEndpoints(endpoints, &out)
	switch {
	case !p.usesCluster():
		out.All = out.Local
	case !hinted && !fallback:
		out.All = out.Cluster
	default:
		out.All = union(out.Cluster, out.Local)
	}
	return out
}

// localEndpoints fills in the node's own endpoints and reports whether they are terminating ones, for want of ready ones.
func (g *generator) localEndpoints(endpoints []topology.Endpoint, out *Serving) (fallback bool) {
	for _, e := range endpoints {
		if e.Ready || g.terminating && winding(e) {
			out.Any = true
		}
	}
	local := func(e topology.Endpoint) bool { return e.Node != "" && e.Node == g.node.Name }
	out.Local = filter(endpoints, func(e topology.Endpoint) bool { return local(e) && e.Ready })
	if len(out.Local) == 0 && g.terminating {
		out.Local = filter(endpoints, func(e topology.Endpoint) bool { return local(e) && winding(e) })
		return len(out.Local) > 0
	}
	return false
}

// winding reports whether an endpoint still serves while its pod terminates.
func winding(e topology.Endpoint) bool { return !e.Ready && e.Serving && e.Terminating }

const (
	zoneLabel          = "topology.kubernetes.io/zone"
	oldHints           = "service.kubernetes.io/topology-aware-hints"
	topologyMode       = "service.kubernetes.io/topology-mode"
	gateTerminating    = "ProxyTerminatingEndpoints"
	gateHints          = "TopologyAwareHints"
	gateInternalPolicy = "ServiceInternalTrafficPolicy"
	gateExternalIPs    = "AllowServiceExternalIPs"
)

// hints returns the test that the endpoints' hints call for on this node, or nil where they are not followed.
func (g *generator) hints(s *topology.Service, endpoints []topology.Endpoint) func(topology.Endpoint) bool {
	zone := g.node.Labels[zoneLabel]
	byZone := func(e topology.Endpoint) bool { return slices.Contains(e.ZoneHints, zone) }
	if g.release.Hints != HintsAlways {
		if !g.gate(gateHints, true) || !g.annotated(s) || zone == "" || !followed(endpoints, zoneHints, byZone) {
			return nil
		}
		return byZone
	}
	byNode := func(e topology.Endpoint) bool { return slices.Contains(e.NodeHints, g.node.Name) }
	if followed(endpoints, nodeHints, byNode) {
		return byNode
	}
	if followed(endpoints, zoneHints, byZone) {
		return byZone
	}
	return nil
}

func zoneHints(e topology.Endpoint) []string { return e.ZoneHints }
func nodeHints(e topology.Endpoint) []string { return e.NodeHints }

// annotated reports whether a Service asks for hints, in the releases in which it has to.
func (g *generator) annotated(s *topology.Service) bool {
	value, old := s.Annotations[oldHints]
	if g.release.Hints == HintsByOldAnnotation {
		return value == "Auto" || value == "auto"
	}
	if !old {
		value = s.Annotations[topologyMode]
	}
	return value != "" && value != "disabled" && value != "Disabled"
}

// followed reports whether hints can be followed: every ready endpoint has some, and one of them is for here.
func followed(endpoints []topology.Endpoint, hints func(topology.Endpoint) []string, here func(topology.Endpoint) bool) bool {
	found := false
	for _, e := range endpoints {
		if !e.Ready {
			continue
		}
		if len(hints(e)) == 0 {
			return false
		}
		found = found || here(e)
	}
	return found
}

func filter(endpoints []topology.Endpoint, keep func(topology.Endpoint) bool) []topology.Endpoint {
	for i, e := range endpoints {
		if keep(e) {
			continue
		}
		out := append([]topology.Endpoint(nil), endpoints[:i]...)
		for _, e := range endpoints[i+1:] {
			if keep(e) {
				out = append(out, e)
			}
		}
		return out
	}
	return endpoints // all of them: nothing to copy
}

func union(a, b []topology.Endpoint) []topology.Endpoint {
	out := append([]topology.Endpoint(nil), a...)
	have := make(map[netip.AddrPort]bool, len(a))
	for _, e := range a {
		have[e.Addr] = true
	}
	for _, e := range b {
		if !have[e.Addr] {
			out = append(out, e)
		}
	}
	return out
}

// ofFamily reports whether an address belongs to the family.
func ofFamily(a netip.Addr, f nat.Family) bool {
	return a.IsValid() && a.Is4() == (f == nat.IPv4)
}

// sees reports whether an endpoint is one of the family's, and of kube-proxy's at all.
func (g *generator) sees(e topology.Endpoint) bool {
	return ofFamily(e.Addr.Addr(), g.family) && (!e.OtherProxy || !g.release.LabelsOfBoth)
}

// sorted returns the endpoints of the family in kube-proxy's order, which is that of their text.
func (g *generator) sorted(endpoints []topology.Endpoint) []topology.Endpoint {
	out := make([]topology.Endpoint, 0, len(endpoints))
	for _, e := range endpoints {
		if g.sees(e) {
			out = append(out, e)
		}
	}
	slices.SortStableFunc(out, func(a, b topology.Endpoint) int { return strings.Compare(g.text(a), g.text(b)) })
	return out
}

// text is an endpoint's address:port as the release writes it in comments and in names of chains.
func (g *generator) text(e topology.Endpoint) string {
	if e.Written == "" || !g.release.WrittenAddresses {
		return e.Addr.String()
	}
	return net6(e.Written) + ":" + strconv.Itoa(int(e.Addr.Port()))
}

// net6 puts brackets around an IPv6 address.
func net6(address string) string {
	if strings.Contains(address, ":") {
		return "[" + address + "]"
	}
	return address
}
