package audit

import (
	"fmt"
	"net/netip"
	"strings"

	"natlab/nat"
	"natlab/nat/kubeproxy"
	"natlab/topology"
)

// served is an address at which the node serves a Service's port.
type served struct {
	proto   nat.Proto
	address netip.AddrPort
	name    string // "NAMESPACE/NAME:PORT"
	service topology.Service
	port    topology.ServicePort
}

// services lists the addresses of all Services, of the family that is audited.
func (a *auditor) services() []served {
	var out []served
	node := a.addresses()
	for _, s := range a.node.Cluster.Services {
		addresses := append(append([]netip.Addr(nil), s.ClusterIPs...), s.ExternalIPs...)
		for _, in := range s.Ingress {
			if in.IPMode != "Proxy" {
				addresses = append(addresses, in.IP)
			}
		}
		for _, p := range s.Ports {
			proto, err := nat.ParseProto(p.Protocol)
			if err != nil {
				continue
			}
			one := served{proto: proto, name: kubeproxy.PortName(s.Namespace, s.Name, p.Name), service: s, port: p}
			for _, addr := range addresses {
				one.address = netip.AddrPortFrom(addr, p.Port)
				out = append(out, one)
			}
			if p.NodePort == 0 {
				continue
			}
			for _, addr := range node {
				one.address = netip.AddrPortFrom(addr, p.NodePort)
				out = append(out, one)
			}
		}
	}
	want := a.node.Options.Family == nat.IPv6
	kept := out[:0]
	for _, s := range out {
		if s.address.Addr().Is6() == want {
			kept = append(kept, s)
		}
	}
	return kept
}

// addresses are the node's own that its Node object names.
func (a *auditor) addresses() []netip.Addr {
	for _, n := range a.node.Cluster.Nodes {
		if n.Name == a.node.Name {
			return append(append([]netip.Addr(nil), n.Addresses...), a.node.Options.NodeAddresses...)
		}
	}
	return a.node.Options.NodeAddresses
}

type destination struct {
	proto nat.Proto
	addr  netip.AddrPort
}

// conns finds connections that contradict the rules.
func (a *auditor) conns() {
	by := map[destination]served{}
	for _, s := range a.services() {
		by[destination{s.proto, s.address}] = s
	}
	for _, c := range a.node.Conns {
		s, ok := by[destination{c.Original.Proto(), c.Original.Dst()}]
		if !ok {
			continue
		}
		serving, any := a.serving(s)
		from := c.Reply.Src()
		switch {
		case from == c.Original.Dst():
			a.mirror(s, c, any)
		case !serving[from]:
			a.stale(s, c, from)
		}
	}
}

// serving are the endpoints that the node may send the port's packets to, and whether there is any. Those that end are
// among them: their connections live on.
func (a *auditor) serving(s served) (map[netip.AddrPort]bool, bool) {
	out := map[netip.AddrPort]bool{}
	all, err := kubeproxy.ServingEndpoints(a.node.Cluster, a.node.Name, a.node.Options, s.service, s.port)
	if err != nil {
		return out, false
	}
	for _, e := range all.All {
		out[e.Addr] = true
	}
	for _, e := range s.port.Endpoints {
		if e.Ready || e.Serving || e.Terminating {
			out[e.Addr] = true
		}
	}
	return out, len(all.All) > 0
}

// mirror is a connection to a Service's address that nothing translated, although it has endpoints.
func (a *auditor) mirror(s served, c nat.Conn, any bool) {
	if !any || c.Has(nat.DstNAT) {
		return
	}
	f := Finding{
		Kind: MirrorConn,
		What: fmt.Sprintf("%s is tracked without translation, and %s has endpoints", c.Original, s.name),
		Why:  "the rules are asked for the first packet of a connection only, and that came before the rules: as long as the client sends, nothing of it reaches an endpoint",
	}
	if c.Original.Proto() == nat.TCP {
		if c.Has(nat.SeenReply) {
			return // the node itself has a listener there: another matter
		}
		f.Issue = "kubernetes#101607"
	} else {
		f.Issue = "kubernetes#48370"
	}
	f.Remedy = deletes(c)
	a.found(f)
}

// stale is a connection that goes on to an address which is no endpoint any more.
func (a *auditor) stale(s served, c nat.Conn, from netip.AddrPort) {
	if c.Original.Proto() == nat.TCP && c.Has(nat.SeenReply) {
		return // kube-proxy lets connections end by themselves
	}
	a.found(Finding{
		Kind:   StaleConn,
		What:   fmt.Sprintf("%s goes to %s, which is no endpoint of %s", c.Original, from, s.name),
		Why:    "the rules are asked for the first packet of a connection only: as long as the client sends, all goes to the old endpoint, whatever the rules say",
		Issue:  "kubernetes#19029",
		Remedy: deletes(c),
	})
}

// deletes is the command that ends a connection's entry.
func deletes(c nat.Conn) string {
	return fmt.Sprintf("conntrack -D -p %s --orig-src %s --orig-dst %s --sport %d --dport %d, after the rules are right",
		strings.ToLower(c.Original.Proto().String()), c.Original.Src().Addr(), c.Original.Dst().Addr(), c.Original.Src().Port(), c.Original.Dst().Port())
}
