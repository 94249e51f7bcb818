package service

import (
	"fmt"
	"net/netip"
	"slices"

	"natlab/topology"
)

// Health is what a load balancer's health check of a Service has to hear of a node.
type Health struct {
	Service   string // "NAMESPACE/NAME"
	Endpoints int    // ready ones on the node
}

// String is "503: 0 local endpoints of default/web": the status that tells a load balancer to leave the node out, or 200.
func (h Health) String() string {
	status := 503
	if h.Endpoints > 0 {
		status = 200
	}
	return fmt.Sprintf("%d: %d local endpoints of %s", status, h.Endpoints, h.Service)
}

// Health is what is to be answered at a node's address and a health check node port; false where no Service has that. Endpoints that are going
// away do not count, though they still serve where there are no others.
func (m *Model) Health(target netip.AddrPort) (Health, bool) {
	node := m.owner(target.Addr())
	for _, s := range m.cluster.Services {
		if s.HealthCheckNodePort != target.Port() || s.Type != topology.LoadBalancerType || s.ExternalPolicy != topology.PolicyLocal || node == "" {
			continue
		}
		any := !slices.ContainsFunc(s.ClusterIPs, func(a netip.Addr) bool { return same(a, target.Addr()) }) // it is not of the family
		here := map[netip.Addr]bool{}
		for _, p := range s.Ports {
			for _, e := range p.Endpoints {
				if e.Ready && e.Node == node && (any || same(e.Addr.Addr(), target.Addr())) {
					here[e.Addr.Addr()] = true
				}
			}
		}
		return Health{s.Namespace + "/" + s.Name, len(here)}, true
	}
	return Health{}, false
}
