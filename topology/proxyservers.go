package topology

import (
	"net/netip"
	"slices"
)

// KubeProxyServer is the name of the sockets by which a node's kube-proxy tells how it is.
const KubeProxyServer = "kube-proxy"

// HealthzPort is where kube-proxy tells of itself: /healthz and, since 1.28, /livez (healthzBindAddress).
const HealthzPort = 10256

// ProxyServers lists what the nodes' kube-proxies listen at, at the nodes' addresses and on loopback: the health check node ports of Services
// with a local policy, and HealthzPort. What a pod on the host network has already is left out.
func ProxyServers(c Cluster) []Server {
	taken := map[Server]bool{}
	for _, s := range Servers(c) {
		taken[Server{Member: s.Member, Proto: s.Proto, Addr: s.Addr}] = true
	}
	var out []Server
	for _, n := range c.Nodes {
		for _, a := range append(slices.Clone(n.Addresses), netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()) {
			if !c.Has(a) {
				continue
			}
			ports := []uint16{HealthzPort}
			for _, s := range c.Services {
				if s.ChecksHealth() && c.checkedAt(n, a) && c.checkedIn(s, FamilyOf(a)) {
					ports = append(ports, s.HealthCheckNodePort)
				}
			}
			for _, port := range ports {
				s := Server{Member: n.Name, Proto: "tcp", Addr: netip.AddrPortFrom(a, port)}
				if !taken[s] {
					taken[s] = true
					s.Name = KubeProxyServer
					out = append(out, s)
				}
			}
		}
	}
	return out
}

// ChecksHealth reports whether kube-proxy answers a load balancer's health checks of the Service.
func (s Service) ChecksHealth() bool {
	return s.HealthCheckNodePort != 0 && s.Type == LoadBalancerType && s.ExternalPolicy == PolicyLocal
}

// checkedAt reports whether health check node ports are open at a node's address: all are, but for nodePortAddresses.
func (c Cluster) checkedAt(n Node, a netip.Addr) bool {
	ranges := c.KubeProxy.NodePortAddresses
	return len(ranges) == 0 || slices.ContainsFunc(ranges, func(r string) bool {
		if r == "primary" {
			return n.Address(FamilyOf(a)) == a
		}
		p, err := netip.ParsePrefix(r)
		return err == nil && p.Contains(a)
	})
}

// The release since which the proxier of each family listens for its own Services; before, one socket took what either family brought.
const listensByFamily = 36

// checkedIn reports whether a Service's health check node port is open in a family.
func (c Cluster) checkedIn(s Service, f Family) bool {
	return !c.KubeProxy.SinceRelease(listensByFamily) || slices.ContainsFunc(s.ClusterIPs, func(a netip.Addr) bool { return FamilyOf(a) == f })
}

// LocalEndpoints counts a Service's ready endpoints on a node, each address once, of the family or, where the Service has none of it, of its
// own (EndpointsMap.LocalReadyEndpoints of kube-proxy).
func (s Service) LocalEndpoints(node string, f Family) int {
	count := func(of func(netip.Addr) bool) int {
		seen := map[netip.Addr]bool{}
		for _, p := range s.Ports {
			for _, e := range p.Endpoints {
				if e.Ready && e.Node == node && of(e.Addr.Addr()) {
					seen[e.Addr.Addr()] = true
				}
			}
		}
		return len(seen)
	}
	if slices.ContainsFunc(s.ClusterIPs, func(a netip.Addr) bool { return FamilyOf(a) == f }) {
		return count(func(a netip.Addr) bool { return FamilyOf(a) == f })
	}
	return count(func(netip.Addr) bool { return true })
}
