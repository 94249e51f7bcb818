package kubeproxy

import (
	"cmp"
	"net/netip"
	"slices"
	"sort"
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

// endpoint is an endpoint with its address:port as the release writes it, and what the mode names it by: the chain that leads to it.
type endpoint struct {
	*topology.Endpoint
	text, chain string
}

// serving is Serving as the generator uses it.
type serving struct {
	cluster, local, all []endpoint
	any                 bool
}

func (s serving) exported() Serving {
	plain := func(list []endpoint) []topology.Endpoint {
		var out []topology.Endpoint
		for _, e := range list {
			out = append(out, *e.Endpoint)
		}
		return out
	}
	return Serving{Cluster: plain(s.cluster), Local: plain(s.local), All: plain(s.all), Any: s.any}
}

// policies is what a Service's traffic policies come to in a release.
type policies struct {
	internalLocal, externalLocal bool
	external                     bool // it can be reached by a node port, load balancer or external IP
}

func (p policies) usesCluster() bool { return !p.internalLocal || p.external }
func (p policies) usesLocal() bool   { return p.internalLocal || p.externalLocal && p.external }

// categorize finds the endpoints that a node uses. endpoints are of one family, sorted as kube-proxy sorts them.
func (d *decider) categorize(s *topology.Service, endpoints []endpoint, p policies) serving {
	var out serving
	if len(endpoints) == 0 {
		return out
	}
	hinted := false
	if p.usesCluster() {
		here := d.hints(s, endpoints)
		hinted = here != nil
		out.cluster = filter(endpoints, func(e endpoint) bool { return e.Ready && (!hinted || here(e)) })
		if len(out.cluster) == 0 && d.gates.terminating {
			out.cluster = filter(endpoints, winding)
		}
		out.any = len(out.cluster) > 0
	}
	if !p.usesLocal() {
		out.all = out.cluster
		return out
	}
	fallback := d.localEndpoints(endpoints, &out)
	switch {
	case !p.usesCluster():
		out.all = out.local
	case !hinted && !fallback:
		out.all = out.cluster
	default:
		out.all = union(out.cluster, out.local)
	}
	return out
}

// localEndpoints fills in the node's own endpoints and reports whether they are terminating ones, for want of ready ones.
func (d *decider) localEndpoints(endpoints []endpoint, out *serving) (fallback bool) {
	for _, e := range endpoints {
		if e.Ready || d.gates.terminating && winding(e) {
			out.any = true
		}
	}
	out.local = filter(endpoints, func(e endpoint) bool { return d.isLocal(e) && e.Ready })
	if len(out.local) == 0 && d.gates.terminating {
		out.local = filter(endpoints, func(e endpoint) bool { return d.isLocal(e) && winding(e) })
		return len(out.local) > 0
	}
	return false
}

// isLocal reports whether an endpoint is on this node.
func (d *decider) isLocal(e endpoint) bool { return e.Node != "" && e.Node == d.node.Name }

// winding reports whether an endpoint still serves while its pod terminates.
func winding(e endpoint) bool { return !e.Ready && e.Serving && e.Terminating }

const (
	zoneLabel    = "topology.kubernetes.io/zone"
	oldHints     = "service.kubernetes.io/topology-aware-hints"
	topologyMode = "service.kubernetes.io/topology-mode"
)

// hints returns the test that the endpoints' hints call for on this node, or nil where they are not followed.
func (d *decider) hints(s *topology.Service, endpoints []endpoint) func(endpoint) bool {
	byNode := func(e endpoint) bool { return slices.Contains(e.NodeHints, d.node.Name) }
	if d.gates.nodeHints && followed(endpoints, nodeHints, byNode) {
		return byNode
	}
	zone := d.node.Labels[zoneLabel]
	byZone := func(e endpoint) bool { return zone != "" && slices.Contains(e.ZoneHints, zone) }
	if d.gates.zoneHints && (d.gates.distribution || d.annotated(s)) && followed(endpoints, zoneHints, byZone) {
		return byZone
	}
	return nil
}

func zoneHints(e endpoint) []string { return e.ZoneHints }
func nodeHints(e endpoint) []string { return e.NodeHints }

// annotated reports whether a Service asks for hints, in the releases in which it has to.
func (d *decider) annotated(s *topology.Service) bool {
	value, old := s.Annotations[oldHints]
	if !d.release.TopologyMode {
		return value == "Auto" || value == "auto"
	}
	if !old {
		value = s.Annotations[topologyMode]
	}
	return value != "" && value != "disabled" && value != "Disabled"
}

// followed reports whether hints can be followed: every ready endpoint has some, and one of them is for here.
func followed(endpoints []endpoint, hints func(endpoint) []string, here func(endpoint) bool) bool {
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

func filter(endpoints []endpoint, keep func(endpoint) bool) []endpoint {
	for i, e := range endpoints {
		if keep(e) {
			continue
		}
		out := append([]endpoint(nil), endpoints[:i]...)
		for _, e := range endpoints[i+1:] {
			if keep(e) {
				out = append(out, e)
			}
		}
		return out
	}
	return endpoints // all of them: nothing to copy
}

func union(a, b []endpoint) []endpoint {
	out := append([]endpoint(nil), a...)
	have := make(map[string]bool, len(a))
	for _, e := range a {
		have[e.text] = true
	}
	for _, e := range b {
		if !have[e.text] {
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
func (d *decider) sees(e *topology.Endpoint) bool {
	return ofFamily(e.Addr.Addr(), d.family) && (!e.OtherProxy || !d.release.LabelsOfBoth)
}

// sorted returns a port's endpoints of the family in kube-proxy's order, which is that of their text.
func (d *decider) sorted(name, protocol string, p *topology.ServicePort) []endpoint {
	out := d.distinct(p)
	for i := range out {
		out[i].chain = d.chainOf(name, protocol, out[i].text)
	}
	slices.SortStableFunc(out, func(a, b endpoint) int { return strings.Compare(a.text, b.text) })
	return out
}

// distinct lists a port's endpoints of the family, each address once.
func (d *decider) distinct(p *topology.ServicePort) []endpoint {
	from := p.Endpoints
	if len(p.Listed) > 0 {
		from = p.Listed
	}
	out := make([]endpoint, 0, len(from))
	for i := range from {
		if e := &from[i]; d.sees(e) {
			out = append(out, endpoint{Endpoint: e, text: d.text(e)})
		}
	}
	if len(p.Listed) > 0 {
		return d.choose(out)
	}
	return out
}

// choose keeps of the endpoints with one address the one that the release takes. They come as their EndpointSlices list
// them, slice by slice (EndpointSliceCache.addEndpoints).
func (d *decider) choose(listed []endpoint) []endpoint {
	var out []endpoint
	at := make(map[string]int, len(listed))
	for from := 0; from < len(listed); {
		to := from
		for to < len(listed) && listed[to].Slice == listed[from].Slice {
			to++
		}
		if d.release.SortedSlices {
			sort.Sort(byAddress(listed[from:to]))
		}
		for _, e := range listed[from:to] {
			i, there := at[e.text]
			switch {
			case !there:
				at[e.text] = len(out)
				out = append(out, e)
			case d.release.LastRunningCounts && !e.Terminating, !d.release.LastRunningCounts && d.isLocal(e):
				out[i] = e
			}
		}
		from = to
	}
	return out
}

// byAddress sorts endpoints as kube-proxy sorts a slice's: with sort.Sort, which for twelve and more may change the order
// of those with the same address, the same way each time.
type byAddress []endpoint

func (b byAddress) Len() int           { return len(b) }
func (b byAddress) Swap(i, j int)      { b[i], b[j] = b[j], b[i] }
func (b byAddress) Less(i, j int) bool { return written(b[i].Endpoint) < written(b[j].Endpoint) }

// written is an endpoint's address as its EndpointSlice spells it.
func written(e *topology.Endpoint) string { return cmp.Or(e.Written, e.Addr.Addr().String()) }

// text is an endpoint's address:port as the release writes it in comments and in names of chains.
func (d *decider) text(e *topology.Endpoint) string {
	if e.Written == "" || !d.release.WrittenAddresses {
		return e.Addr.String()
	}
	port := strconv.Itoa(int(e.Addr.Port()))
	if strings.Contains(e.Written, ":") {
		return "[" + e.Written + "]:" + port
	}
	return e.Written + ":" + port
}
