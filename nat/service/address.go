package service

import (
	"net/netip"
	"slices"
	"strings"

	"natlab/nat"
	"natlab/topology"
)

// access is the kind of address by which a Service port is asked.
type access uint8

const (
	byClusterIP access = iota
	byExternalIP
	byLoadBalancer
	byNodePort
)

// asked is a Service port that has the address of a flow.
type asked struct {
	*topology.Service
	port *topology.ServicePort
	by   access
}

func (a asked) name() string {
	name := a.Namespace + "/" + a.Name
	if a.port.Name != "" {
		name += ":" + a.port.Name
	}
	return name
}

// candidates are the Service ports that have an address on a node: in the order of the objects, node ports last. More than
// one is a cluster whose objects contend for it.
func (m *Model) candidates(n topology.Node, f Flow) (out []asked) {
	var nodePorts []asked
	for i := range m.cluster.Services {
		s := &m.cluster.Services[i]
		if !m.serves(s, f.Target.Addr()) {
			continue
		}
		for j := range s.Ports {
			a := asked{Service: s, port: &s.Ports[j]}
			if proto, err := nat.ParseProto(strings.ToLower(a.port.Protocol)); err != nil || proto != f.Protocol {
				continue
			}
			if a.port.NodePort != 0 && a.port.NodePort == f.Target.Port() && m.own(n, f.Target.Addr()) && m.nodePortsAt(n, f.Target.Addr()) {
				nodePorts = append(nodePorts, asked{s, a.port, byNodePort})
			}
			if by, ok := m.has(s, f.Target.Addr()); ok && a.port.Port == f.Target.Port() {
				out = append(out, asked{s, a.port, by})
			}
		}
	}
	return append(out, nodePorts...)
}

// serves reports whether a Service is a data plane's at all, in the family of an address: it needs a cluster IP of it.
func (m *Model) serves(s *topology.Service, a netip.Addr) bool {
	if s.HeadlessLabel && !m.release.ownLabels() {
		return false
	}
	return slices.ContainsFunc(s.ClusterIPs, func(ip netip.Addr) bool { return same(ip, a) })
}

// has finds which of a Service's own addresses one is.
func (m *Model) has(s *topology.Service, a netip.Addr) (access, bool) {
	switch {
	case slices.Contains(s.ClusterIPs, a):
		return byClusterIP, true
	case slices.Contains(s.ExternalIPs, a) && m.release.externalIPs:
		return byExternalIP, true
	}
	return byLoadBalancer, slices.ContainsFunc(s.Ingress, func(in topology.Ingress) bool {
		return in.IP == a && (in.IPMode != "Proxy" || !m.release.ipMode)
	})
}

// nodePortsAt reports whether node ports are served at an address of a node: nodePortAddresses, and on loopback
// localhostNodePorts, which is for IPv4 only.
func (m *Model) nodePortsAt(n topology.Node, a netip.Addr) bool {
	ranges := m.nodePortRanges(n, a)
	all := len(ranges) == 0 || slices.ContainsFunc(ranges, m.everything)
	if a.IsLoopback() && m.release.localhost() && (a.Is6() || !m.cluster.KubeProxy.LocalhostNodePorts) {
		return false
	}
	if all {
		return true
	}
	first := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if a.IsLoopback() && a.Is4() && a != first { // the node has 127.0.0.1 on its device, and no other
		return false
	}
	return slices.ContainsFunc(ranges, func(p netip.Prefix) bool {
		return p.Masked().Contains(a) && (p.Bits() > 0 || m.release.minor != 27)
	})
}

// everything reports whether a range of nodePortAddresses stands for all addresses. One of another spelling than 0.0.0.0/0
// and ::/0 does since 1.34 only; before, it was the addresses that the node has, and in 1.27 none.
func (m *Model) everything(p netip.Prefix) bool {
	return p.Bits() == 0 && (p.Addr().IsUnspecified() || m.release.minor >= 34)
}

// nodePortRanges are the ranges of nodePortAddresses that are of an address's family; none means every address.
func (m *Model) nodePortRanges(n topology.Node, a netip.Addr) (out []netip.Prefix) {
	add := func(p netip.Prefix) {
		if same(p.Addr(), a) {
			out = append(out, p)
		}
	}
	for _, s := range m.cluster.KubeProxy.NodePortAddresses {
		switch s {
		case "primary":
			for _, of := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
				if ip := m.primary(n, of); ip.IsValid() {
					add(netip.PrefixFrom(ip, ip.BitLen()))
				}
			}
		case "localhost":
			add(netip.PrefixFrom(netip.AddrFrom4([4]byte{127}), 8))
			add(netip.PrefixFrom(netip.IPv6Loopback(), 128))
		case "all":
			add(netip.PrefixFrom(netip.IPv4Unspecified(), 0))
			add(netip.PrefixFrom(netip.IPv6Unspecified(), 0))
		default:
			if p, err := netip.ParsePrefix(s); err == nil {
				add(p)
			}
		}
	}
	return out
}

// primary is a node's first address of the family: bindAddress, its InternalIP, its ExternalIP; invalid where it has none.
func (m *Model) primary(n topology.Node, family netip.Addr) netip.Addr {
	for _, a := range slices.Concat([]netip.Addr{m.cluster.KubeProxy.BindAddress}, n.Addresses, n.ExternalIPs) {
		if same(a, family) && !a.IsUnspecified() {
			return a
		}
	}
	return netip.Addr{}
}
