package service

import (
	"net/netip"
	"slices"

	"natlab/topology"
)

// The annotations by which a Service asks for hints, and the label that has a node's zone.
const (
	annotationHints = "service.kubernetes.io/topology-aware-hints"
	annotationMode  = "service.kubernetes.io/topology-mode"
	labelZone       = "topology.kubernetes.io/zone"
)

// servers are the endpoints of a Service port that may serve from a node.
type servers struct {
	cluster []topology.Endpoint // under the traffic policy Cluster
	local   []topology.Endpoint // under Local: those of the node
	any     bool                // some endpoint can be used, if not from this node
}

// serversOf finds the endpoints of the family of an address. A ready endpoint serves; where there is none, one that still
// serves while its pod terminates does. Hints narrow the ready ones under Cluster, and do not count under Local.
func (m *Model) serversOf(n topology.Node, a asked, family netip.Addr) servers {
	of := slices.DeleteFunc(slices.Clone(a.port.Endpoints), func(e topology.Endpoint) bool {
		return !same(e.Addr.Addr(), family) || e.OtherProxy && !m.release.ownLabels()
	})
	here := slices.DeleteFunc(slices.Clone(of), func(e topology.Endpoint) bool { return e.Node != n.Name })
	usable := m.usable(of)
	return servers{cluster: m.hinted(n, a.Service, usable), local: m.usable(here), any: len(usable) > 0}
}

// usable are the ready endpoints, or for want of any those that still serve while they terminate.
func (m *Model) usable(of []topology.Endpoint) []topology.Endpoint {
	ready := slices.DeleteFunc(slices.Clone(of), func(e topology.Endpoint) bool { return !e.Ready })
	if len(ready) > 0 || !m.release.terminating {
		return ready
	}
	return slices.DeleteFunc(slices.Clone(of), func(e topology.Endpoint) bool { return !e.Serving || !e.Terminating })
}

// hinted are the endpoints that hints leave to a node: those hinted for it, or else for its zone. Hints are passed over where
// they are not complete, or would leave it none.
func (m *Model) hinted(n topology.Node, s *topology.Service, usable []topology.Endpoint) []topology.Endpoint {
	if m.release.nodeHints {
		if out, ok := narrowed(usable, func(e topology.Endpoint) []string { return e.NodeHints }, n.Name); ok {
			return out
		}
	}
	if m.release.zoneHints && (m.release.anyHints || m.wantsHints(s)) {
		if out, ok := narrowed(usable, func(e topology.Endpoint) []string { return e.ZoneHints }, n.Labels[labelZone]); ok {
			return out
		}
	}
	return usable
}

// narrowed keeps the endpoints with a hint for here; ok is false where one has no hint at all, or none is for here.
func narrowed(of []topology.Endpoint, hints func(topology.Endpoint) []string, here string) (out []topology.Endpoint, ok bool) {
	for _, e := range of {
		if !e.Ready || len(hints(e)) == 0 {
			return nil, false
		}
		if here != "" && slices.Contains(hints(e), here) {
			out = append(out, e)
		}
	}
	return out, len(out) > 0
}

// wantsHints reports whether a Service's annotations ask for hints.
func (m *Model) wantsHints(s *topology.Service) bool {
	value, ok := s.Annotations[annotationHints]
	if !m.release.anyMode() {
		return value == "Auto" || value == "auto"
	}
	if !ok {
		value = s.Annotations[annotationMode]
	}
	return value != "" && value != "Disabled" && value != "disabled"
}
