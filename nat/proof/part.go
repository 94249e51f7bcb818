package proof

import (
	"net/netip"
	"slices"

	"natlab/topology"
)

// Part is as much of a cluster as the flows of one Service have to do with, for a lab that is built to ask them and nothing else: the Service, those
// that share an address with its flows, the Pods that ask, answer, or have ports of their nodes, and all Nodes. Its Flows are those of the whole
// cluster. Where no one Service is selected, it is the whole.
func Part(c topology.Cluster, s Selector) topology.Cluster {
	only := Selector{Service: s.Service} // whoever asks and whatever is asked of it: of many pods the flows have the first
	if s.Service == "" {
		return c
	}
	flows := Flows(c, only)
	if len(flows) == 0 {
		return c
	}
	n := part{only, map[netip.Addr]bool{}, map[netip.AddrPort]bool{}}
	for _, f := range flows {
		n.targets[f.Target] = true
		n.addresses[f.Source], n.addresses[f.Target.Addr()] = true, true
	}
	for _, svc := range c.Services {
		if n.asks(svc) {
			n.endpoints(svc)
		}
	}
	c.Services = slices.DeleteFunc(slices.Clone(c.Services), func(svc topology.Service) bool { return !n.asks(svc) && !n.touches(svc) })
	for _, svc := range c.Services {
		n.endpoints(svc)
	}
	c.Pods = slices.DeleteFunc(slices.Clone(c.Pods), func(p topology.Pod) bool {
		asked := slices.ContainsFunc(p.IPs, func(ip netip.Addr) bool { return n.addresses[ip] })
		return !asked && !p.HostNetwork && len(p.HostPorts) == 0
	})
	return c
}

// part is what flows have to do with.
type part struct {
	only      Selector
	addresses map[netip.Addr]bool
	targets   map[netip.AddrPort]bool
}

// asks reports whether a Service is one that is selected.
func (n part) asks(svc topology.Service) bool {
	return slices.ContainsFunc(svc.Ports, func(p topology.ServicePort) bool { return n.only.wantsService(portName(svc, p)) })
}

// touches reports whether the rules of a Service can meet a packet of the flows, or its server an address of theirs.
func (n part) touches(svc topology.Service) bool {
	has := func(ip netip.Addr) bool { return n.addresses[ip] }
	if slices.ContainsFunc(svc.ClusterIPs, has) || slices.ContainsFunc(svc.ExternalIPs, has) ||
		slices.ContainsFunc(svc.Ingress, func(i topology.Ingress) bool { return n.addresses[i.IP] }) {
		return true
	}
	return slices.ContainsFunc(svc.Ports, func(p topology.ServicePort) bool {
		return slices.ContainsFunc(p.Endpoints, func(e topology.Endpoint) bool { return n.targets[e.Addr] })
	})
}

// endpoints adds the addresses of a Service's endpoints.
func (n part) endpoints(svc topology.Service) {
	for _, p := range svc.Ports {
		for _, e := range p.Endpoints {
			n.addresses[e.Addr.Addr()] = true
		}
	}
}
