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

// spot is an address and port of a protocol. The address is invalid for a node port, which is at any.
type spot struct {
	proto nat.Proto
	at    netip.AddrPort
}

// index lists the Service ports by their addresses, in the order of the objects.
func (m *Model) index() map[spot][]asked {
	out := map[spot][]asked{}
	for i := range m.cluster.Services {
		s := &m.cluster.Services[i]
		for j := range s.Ports {
			p := &s.Ports[j]
			proto, err := nat.ParseProto(strings.ToLower(p.Protocol))
			if err != nil {
				continue
			}
			for _, ip := range addressesAsked(s) {
				if by, ok := m.has(s, ip); ok && m.serves(s, ip) {
					at := spot{proto, netip.AddrPortFrom(ip, p.Port)}
					out[at] = append(out[at], asked{s, p, by})
				}
			}
			if p.NodePort != 0 {
				at := spot{proto, netip.AddrPortFrom(netip.Addr{}, p.NodePort)}
				out[at] = append(out[at], asked{s, p, byNodePort})
			}
		}
	}
	return out
}

// addressesAsked are all addresses of a Service, each once.
func addressesAsked(s *topology.Service) []netip.Addr {
	out := slices.Concat(s.ClusterIPs, s.ExternalIPs)
	for _, in := range s.Ingress {
		out = append(out, in.IP)
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// candidates are the Service ports that have an address on a node: in the order of the objects, node ports last. More than
// one is a cluster whose objects contend for it.
func (m *Model) candidates(n topology.Node, f Flow) []asked {
	out := slices.Clone(m.asked[spot{f.Protocol, f.Target}])
	ip := f.Target.Addr()
	if !m.own(n, ip) || !m.nodePortsAt(n, ip) {
		return out
	}
	for _, a := range m.asked[spot{f.Protocol, netip.AddrPortFrom(netip.Addr{}, f.Target.Port())}] {
		if m.serves(a.Service, ip) {
			out = append(out, a)
		}
	}
	return out
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
// localhostNodePorts, which is for IPv4 only. In nftables and ipvs mode they are not served on loopback.
func (m *Model) nodePortsAt(n topology.Node, a netip.Addr) bool {
	if a.IsLoopback() && (m.nftables() || m.ipvs()) {
		return false
	}
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

// nftables reports whether the cluster's data plane is kube-proxy's nftables mode. Where its documentation tells of other behaviour than
// that of iptables mode, the model follows it.
func (m *Model) nftables() bool { return m.cluster.KubeProxy.Mode == topology.ModeNFTables }

// ipvs reports whether it is kube-proxy's ipvs mode.
func (m *Model) ipvs() bool { return m.cluster.KubeProxy.Mode == topology.ModeIPVS }

// nodePortRanges are the ranges of nodePortAddresses that are of an address's family; none means every address. In nftables mode the
// node's primary addresses are meant where nothing is given.
func (m *Model) nodePortRanges(n topology.Node, a netip.Addr) (out []netip.Prefix) {
	add := func(p netip.Prefix) {
		if same(p.Addr(), a) {
			out = append(out, p)
		}
	}
	list := m.cluster.KubeProxy.NodePortAddresses
	if len(list) == 0 && m.nftables() {
		list = []string{"primary"}
	}
	for _, s := range list {
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
