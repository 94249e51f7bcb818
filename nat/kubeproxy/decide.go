package kubeproxy

import (
	"fmt"
	"net/netip"
	"slices"

	"natlab/nat"
	"natlab/topology"
)

// decider decides what a node's rules have to do, whichever mode writes them: about addresses, endpoints and policies.
type decider struct {
	cluster *topology.Cluster
	config  *topology.KubeProxy
	node    topology.Node
	release Release
	family  nat.Family
	more    []netip.Addr // Options.NodeAddresses
	gates   gates

	mark      uint32 // the masquerade mark
	detected  detection
	nodeIP    netip.Addr // invalid: none
	nodePorts nodePortAddresses

	// chainOf names what leads to an endpoint, given as address:port, in the mode that writes the rules.
	chainOf func(portName, protocol, endpoint string) string
}

// newDecider reads the configuration, and refuses one that kube-proxy does not start with.
func newDecider(c topology.Cluster, node string, o Options) (*decider, error) {
	name := o.Release
	if name == "" {
		name = c.KubeProxy.Release
	}
	release, err := ParseRelease(name)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(c.Nodes, func(n topology.Node) bool { return n.Name == node })
	if at < 0 {
		return nil, fmt.Errorf("node %q is not described; %s", node, known(node, c.Nodes))
	}
	release.Accounting = release.Accounting && !o.NoCounters
	d := &decider{cluster: &c, config: &c.KubeProxy, node: c.Nodes[at], release: release, family: o.Family, more: o.NodeAddresses}
	bit := c.KubeProxy.MasqueradeBit
	if bit < 0 {
		bit = 14
	}
	d.mark = 1 << uint(bit&31)
	d.gates = release.gates(d.config.FeatureGates)
	if err := d.check(); err != nil {
		return nil, err
	}
	d.detected = d.detectLocal()
	d.nodeIP = d.ownIP()
	d.nodePorts = d.nodePortAddresses()
	d.chainOf = func(string, string, string) string { return "" }
	return d, nil
}

// decided is what is decided about a Service port.
type decided struct {
	service *topology.Service
	port    *topology.ServicePort

	name      string // "namespace/service:port"
	protocol  string // "tcp"
	clusterIP netip.Addr
	external  []netip.Addr
	ingress   []netip.Addr
	ranges    []netip.Prefix
	policies  policies
	serving   serving
}

// decide decides about a Service port; ok is false where the Service has no address of the family.
func (d *decider) decide(s *topology.Service, sp *topology.ServicePort) (p decided, ok bool) {
	ip := d.clusterIP(s)
	if !ip.IsValid() {
		return decided{}, false
	}
	p = decided{
		service: s, port: sp, name: PortName(s.Namespace, s.Name, sp.Name), protocol: lower(sp.Protocol),
		clusterIP: ip, external: d.externalIPs(s), ingress: d.ingress(s), ranges: d.sourceRanges(s), policies: d.policies(s, sp),
	}
	if !d.gates.externalIPs {
		p.external = nil // but they still count as a way in
	}
	p.serving = d.categorize(s, d.sorted(p.name, p.protocol, sp), p.policies)
	return p, true
}

func lower(protocol string) string {
	switch protocol {
	case "", "TCP":
		return "tcp"
	case "UDP":
		return "udp"
	case "SCTP":
		return "sctp"
	}
	return protocol
}

func (d *decider) policies(s *topology.Service, sp *topology.ServicePort) policies {
	exposed := s.Type != topology.ClusterIP || d.release.ExternalIPsHavePolicy && len(s.ExternalIPs) > 0
	return policies{
		internalLocal: s.InternalPolicy == topology.PolicyLocal && d.gates.internalPolicy,
		externalLocal: s.ExternalPolicy == topology.PolicyLocal && exposed,
		external:      sp.NodePort != 0 || len(d.ingress(s)) > 0 || len(d.externalIPs(s)) > 0,
	}
}

// hasInternal reports whether an endpoint serves the cluster IP from this node.
func (p *decided) hasInternal() bool {
	return p.serving.any && (!p.policies.internalLocal || len(p.serving.local) > 0)
}

// hasExternal reports whether an endpoint serves packets from outside the cluster from this node.
func (p *decided) hasExternal() bool {
	return p.serving.any && (!p.policies.externalLocal || len(p.serving.local) > 0)
}
