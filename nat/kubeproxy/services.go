package kubeproxy

import (
	"net/netip"

	"natlab/nat"
	ipt "natlab/nat/iptables"
	"natlab/nat/xt"
	"natlab/topology"
)

// port is a Service port and all that its rules are made of.
type port struct {
	decided

	proto       xt.Match   // of its protocol
	toClusterIP []xt.Match // for its cluster IP and port

	svc, svl, ext, fw string // its chains
}

// port gathers what a Service port's rules are made of; ok is false where the Service has no address of the family.
func (g *generator) port(s *topology.Service, sp *topology.ServicePort) (p port, ok bool) {
	if p.decided, ok = g.decide(s, sp); !ok {
		return port{}, false
	}
	p.proto = ipt.Protocol{Protocol: p.protocol}
	h := ServiceHash(p.name, p.protocol)
	p.svc = "KUBE-SVC-" + h
	if p.policies.usesLocal() {
		p.svl = "KUBE-SVL-" + h
	}
	if p.policies.external {
		p.ext, p.fw = "KUBE-EXT-"+h, "KUBE-FW-"+h
	}
	return p, true
}

// internalChain is where packets for the cluster IP go.
func (p *port) internalChain() string {
	if p.policies.internalLocal {
		return p.svl
	}
	return p.svc
}

// firewalled reports whether loadBalancerSourceRanges guard the load balancer's addresses.
func (p *port) firewalled() bool { return p.serving.any && len(p.ingress) > 0 && len(p.ranges) > 0 }

// to matches packets for an address and port of the Service port's protocol.
func (p *port) to(a netip.Addr, comment string) []xt.Match {
	return []xt.Match{ipt.Destination{Prefix: single(a)}, p.proto, xt.Comment{Text: comment}, p.dport(p.port.Port)}
}

func (p *port) dport(n uint16) xt.Ports {
	return xt.Ports{Protocol: p.protocol, Destination: &xt.PortRange{Low: n, High: n}}
}

// refusal is what happens to packets that no endpoint serves: REJECT where there is none at all, DROP where the traffic
// policy wants a local one and another node may have it.
func (g *generator) refusal(p *port) (xt.Target, string) {
	if !p.serving.any {
		with := "icmp-port-unreachable"
		if g.family == nat.IPv6 {
			with = "icmp6-port-unreachable"
		}
		return xt.Reject{With: with}, p.name + " has no endpoints"
	}
	return xt.Drop{}, p.name + " has no local endpoints"
}

// servicePort writes the rules of one Service port: first what captures its packets, then its own chains.
func (g *generator) servicePort(p *port) {
	g.captureClusterIP(p)
	g.captureExternalIPs(p)
	g.captureIngress(p)
	g.captureNodePort(p)
	g.captureHealthCheck(p)

	g.externalChain(p)
	g.firewallChain(p)
	g.policyChains(p)
	g.endpointChains(p)
}

func (g *generator) captureClusterIP(p *port) {
	if p.hasInternal() {
		p.toClusterIP = p.to(p.clusterIP, p.name+" cluster IP")
		g.nat.add(chainServices, xt.Jump{Chain: p.internalChain()}, p.toClusterIP...)
		return
	}
	target, why := g.refusal(p)
	g.filter.add(chainServices, target, p.to(p.clusterIP, why)...)
}

func (g *generator) captureExternalIPs(p *port) {
	for _, a := range p.external {
		if p.serving.any {
			g.nat.add(chainServices, xt.Jump{Chain: p.ext}, p.to(a, p.name+" external IP")...)
		}
		g.refuseExternal(p, a)
	}
}

func (g *generator) refuseExternal(p *port, a netip.Addr) {
	if !p.hasExternal() {
		target, why := g.refusal(p)
		g.filter.add(chainExternalServices, target, p.to(a, why)...)
	}
}

func (g *generator) captureIngress(p *port) {
	chain := p.ext
	if p.firewalled() {
		chain = p.fw
	}
	for _, a := range p.ingress {
		if p.serving.any {
			g.nat.add(chainServices, xt.Jump{Chain: chain}, p.to(a, p.name+" loadbalancer IP")...)
		}
		if p.firewalled() {
			g.filter.add(chainProxyFirewall, xt.Drop{}, p.to(a, p.name+" traffic not accepted by "+p.fw)...)
		}
		g.refuseExternal(p, a)
	}
}

func (g *generator) captureNodePort(p *port) {
	if p.port.NodePort == 0 || g.release.NodePortsNeedAddress && !g.nodePorts.all && len(g.nodePorts.addresses) == 0 {
		return
	}
	proto, name, dport := p.proto, xt.Comment{Text: p.name}, p.dport(p.port.NodePort)
	if p.serving.any {
		to := xt.Jump{Chain: p.ext}
		if g.localhost && g.release.Accounting {
			g.nat.add(chainNodePorts, to, ipt.Destination{Prefix: loopback4}, proto, name, dport, xt.NFAcct{Object: LocalhostAccepted})
		}
		g.nat.add(chainNodePorts, to, proto, name, dport)
	}
	if !p.hasExternal() {
		target, why := g.refusal(p)
		g.filter.add(chainExternalServices, target, proto, xt.Comment{Text: why}, xt.AddrType{Destination: xt.AddrLocal}, dport)
	}
}

// captureHealthCheck accepts packets for the health check node port, whatever the policy of INPUT.
func (g *generator) captureHealthCheck(p *port) {
	s := p.service
	if s.HealthCheckNodePort == 0 || s.Type != topology.LoadBalancerType || s.ExternalPolicy != topology.PolicyLocal {
		return
	}
	n := s.HealthCheckNodePort
	g.filter.add(chainNodePorts, xt.Accept{}, ipt.Protocol{Protocol: "tcp"}, xt.Comment{Text: p.name + " health check node port"},
		xt.Ports{Protocol: "tcp", Destination: &xt.PortRange{Low: n, High: n}})
}
