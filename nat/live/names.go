package live

import (
	"net/netip"
	"strings"

	"natlab/nat"
	"natlab/topology"
)

// Names are what addresses are called: the members that have them, and the Services that are asked by them.
type Names struct {
	owners   map[netip.Addr]owner
	services map[asked]string
	ports    map[asked]string // of Services, at any address of a node
}

type owner struct{ member, node string }

type asked struct {
	proto nat.Proto
	addr  netip.AddrPort
}

// NewNames reads them from a cluster and its plan.
func NewNames(c topology.Cluster, p topology.Plan) Names {
	n := Names{owners: map[netip.Addr]owner{}, services: map[asked]string{}, ports: map[asked]string{}}
	for _, ns := range p.Namespaces {
		for _, a := range ns.Addresses {
			ip := a.Prefix.Addr()
			if _, known := n.owners[ip]; !known && !ip.IsLoopback() {
				n.owners[ip] = owner{ns.Member, ns.Node}
			}
		}
	}
	for _, s := range c.Services {
		for _, port := range s.Ports {
			n.add(s, port)
		}
	}
	return n
}

func (n *Names) add(s topology.Service, port topology.ServicePort) {
	proto, err := nat.ParseProto(strings.ToLower(port.Protocol))
	if err != nil {
		return
	}
	name := s.Namespace + "/" + s.Name
	if port.Name != "" {
		name += ":" + port.Name
	}
	at := append(append([]netip.Addr{}, s.ClusterIPs...), s.ExternalIPs...)
	for _, g := range s.Ingress {
		at = append(at, g.IP)
	}
	for _, ip := range at {
		n.services[asked{proto, netip.AddrPortFrom(ip, port.Port)}] = name
	}
	if port.NodePort != 0 {
		n.ports[asked{proto, netip.AddrPortFrom(netip.Addr{}, port.NodePort)}] = name
	}
}

// member is who has an address, and on which node: "" where nobody is known to.
func (n Names) member(ip netip.Addr) owner { return n.owners[ip] }

// service is the Service port that an address is one of; "" for none.
func (n Names) service(proto nat.Proto, target netip.AddrPort) string {
	if s := n.services[asked{proto, target}]; s != "" {
		return s
	}
	if o := n.owners[target.Addr()]; o.member != "" && o.member == o.node || target.Addr().IsLoopback() {
		return n.ports[asked{proto, netip.AddrPortFrom(netip.Addr{}, target.Port())}]
	}
	return ""
}
