package topology

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Where the API server allocates from as long as it may choose: cluster IPs behind the first 256 addresses of a range, node ports behind
// the first 86 (KEP-3070, KEP-3668).
const (
	firstClusterIP = 256
	firstNodePort  = 30086
	lastNodePort   = 32767
)

// allocate gives Services that no API server has seen, as helm template prints them, what it would choose for them: a cluster IP a family, node
// ports, a health check's. Each is warned of.
func (l *loader) allocate() {
	a := allocator{loader: l, ips: map[netip.Addr]bool{}, ports: map[int32]bool{}}
	for i := range l.services {
		a.taken(&l.services[i].v.Spec)
	}
	for i := range l.services {
		o := &l.services[i]
		if spec := &o.v.Spec; spec.Type == corev1.ServiceTypeExternalName || spec.ClusterIP != "" || len(spec.ClusterIPs) > 0 || len(spec.Ports) == 0 {
			continue
		}
		if given := a.give(&o.v.Spec); len(given) > 0 {
			l.warn(o.origin, "it has no clusterIP, as before it is applied: natlab takes %s", strings.Join(given, ", "))
		}
	}
}

// allocator knows what is taken.
type allocator struct {
	*loader
	own   []netip.Addr // cluster IPs that are told
	ips   map[netip.Addr]bool
	ports map[int32]bool
}

func (a *allocator) taken(s *corev1.ServiceSpec) {
	for i, text := range slices.Concat([]string{s.ClusterIP}, s.ClusterIPs, s.ExternalIPs) {
		if ip, err := netip.ParseAddr(text); err == nil {
			a.ips[ip] = true
			if i <= len(s.ClusterIPs) {
				a.own = append(a.own, ip)
			}
		}
	}
	a.ports[s.HealthCheckNodePort] = true
	for _, p := range s.Ports {
		a.ports[p.NodePort] = true
	}
}

// give fills a spec in, and tells what with.
func (a *allocator) give(s *corev1.ServiceSpec) (given []string) {
	for _, f := range a.familiesOf(s) {
		ip := a.address(f)
		if !ip.IsValid() {
			return given
		}
		s.ClusterIPs = append(s.ClusterIPs, ip.String())
		given = append(given, ip.String())
	}
	s.ClusterIP = s.ClusterIPs[0]
	if s.Type != corev1.ServiceTypeNodePort && (s.Type != corev1.ServiceTypeLoadBalancer || s.AllocateLoadBalancerNodePorts != nil && !*s.AllocateLoadBalancerNodePorts) {
		return given
	}
	for i := range s.Ports {
		if s.Ports[i].NodePort == 0 {
			s.Ports[i].NodePort = a.port()
			given = append(given, fmt.Sprintf("node port %d for port %d", s.Ports[i].NodePort, s.Ports[i].Port))
		}
	}
	if s.Type == corev1.ServiceTypeLoadBalancer && s.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal && s.HealthCheckNodePort == 0 {
		s.HealthCheckNodePort = a.port()
		given = append(given, fmt.Sprintf("health check node port %d", s.HealthCheckNodePort))
	}
	return given
}

// familiesOf are the families that a Service gets addresses of: those that it names, else the nodes' first one, and the other where it asks for
// both and the nodes have both.
func (a *allocator) familiesOf(s *corev1.ServiceSpec) (out []Family) {
	for _, f := range s.IPFamilies {
		out = append(out, map[bool]Family{true: IPv6, false: IPv4}[f == corev1.IPv6Protocol])
	}
	all := []Family{IPv4}
	if len(a.c.Nodes) > 0 && len(a.c.Nodes[0].Addresses) > 0 {
		all = nil
		for _, ip := range a.c.Nodes[0].Addresses {
			if f := FamilyOf(ip); !slices.Contains(all, f) {
				all = append(all, f)
			}
		}
	}
	if len(out) == 0 {
		out = all[:1]
	}
	if policy := deref(s.IPFamilyPolicy); policy == corev1.IPFamilyPolicyRequireDualStack || policy == corev1.IPFamilyPolicyPreferDualStack {
		for _, f := range all {
			if !slices.Contains(out, f) {
				out = append(slices.Clip(out), f)
			}
		}
	}
	return out
}

// address is a free cluster IP: of a ServiceCIDR, else of the network that other Services' are of, else of that which kubeadm has.
func (a *allocator) address(f Family) netip.Addr {
	bits, network := 16, netip.MustParsePrefix("10.96.0.0/12")
	if f == IPv6 {
		bits, network = 112, netip.MustParsePrefix("fd00:10:96::/112")
	}
	ranges := slices.DeleteFunc(slices.Clone(a.c.ServiceCIDRs), func(p netip.Prefix) bool { return FamilyOf(p.Addr()) != f })
	others := slices.DeleteFunc(slices.Clone(a.own), func(ip netip.Addr) bool { return FamilyOf(ip) != f })
	switch {
	case len(ranges) > 0:
		network = ranges[0]
	case len(others) > 0:
		network = netip.PrefixFrom(slices.MinFunc(others, netip.Addr.Compare), bits).Masked()
	}
	ip := network.Addr()
	for range firstOf(network) {
		ip = ip.Next()
	}
	for a.ips[ip] {
		ip = ip.Next()
	}
	if !network.Contains(ip) {
		return netip.Addr{}
	}
	a.ips[ip] = true
	return ip
}

// firstOf is how far behind its first address a range's own begin: half of a small one.
func firstOf(network netip.Prefix) int {
	return min(firstClusterIP, 1<<min(8, max(0, network.Addr().BitLen()-network.Bits()-1)))
}

// port is a free node port; 0 where none is left.
func (a *allocator) port() int32 {
	for port := int32(firstNodePort); port <= lastNodePort; port++ {
		if !a.ports[port] {
			a.ports[port] = true
			return port
		}
	}
	return 0
}
