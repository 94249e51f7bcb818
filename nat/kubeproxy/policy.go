package kubeproxy

import (
	"math"
	"net/netip"
	"slices"
	"strconv"

	"natlab/nat"
	ipt "natlab/nat/iptables"
	"natlab/topology"
)

// externalChain writes KUBE-EXT, which all packets for node ports, load balancers and external IPs pass.
func (g *generator) externalChain(p *port) {
	if !p.serving.Any || !p.policies.external {
		return
	}
	masquerade := ipt.Jump{Chain: chainMarkMasq}
	var rules []ipt.Rule
	if !p.policies.externalLocal {
		// The endpoint may be on another node, and its answer has to come back this way.
		rules = append(rules, rule(masquerade, ipt.Comment{Text: "masquerade traffic for " + p.name + " external destinations"}))
	} else {
		// An endpoint of this node answers by way of this node: the client's address can stay. What comes from the
		// cluster itself goes to any endpoint, as if it had gone out to a load balancer and come back.
		if g.notLocal != nil {
			matches := append(slices.Clone(g.local), ipt.Comment{Text: "pod traffic for " + p.name + " external destinations"})
			rules = append(rules, rule(ipt.Jump{Chain: p.svc}, matches...))
		}
		fromNode := ipt.AddrType{Source: "LOCAL"}
		rules = append(rules,
			rule(masquerade, ipt.Comment{Text: "masquerade LOCAL traffic for " + p.name + " external destinations"}, fromNode),
			rule(ipt.Jump{Chain: p.svc}, ipt.Comment{Text: "route LOCAL traffic for " + p.name + " external destinations"}, fromNode))
	}
	if p.hasExternal() {
		to := p.svc
		if p.policies.externalLocal {
			to = p.svl
		}
		rules = append(rules, rule(ipt.Jump{Chain: to}))
	}
	g.nat.own(p.ext, rules)
}

func rule(target ipt.Target, matches ...ipt.Match) ipt.Rule {
	return ipt.Rule{Matches: matches, Target: target}
}

// firewallChain writes KUBE-FW: packets for the load balancer's addresses go on from the source ranges only. The rest
// comes back untranslated, and KUBE-PROXY-FIREWALL drops it.
func (g *generator) firewallChain(p *port) {
	if !p.firewalled() {
		return
	}
	name, to := ipt.Comment{Text: p.name + " loadbalancer IP"}, ipt.Jump{Chain: p.ext}
	var rules []ipt.Rule
	for _, r := range p.ranges {
		if r.Bits() == 0 {
			rules = append(rules, rule(to, name))
			continue
		}
		rules = append(rules, rule(to, ipt.Source{Prefix: r}, name))
	}
	if slices.ContainsFunc(p.ranges, func(r netip.Prefix) bool { return r.Contains(g.nodeIP) }) {
		// A node that has the load balancer's address as its own asks from that address.
		for _, a := range p.ingress {
			rules = append(rules, rule(to, ipt.Source{Prefix: single(a)}, name))
		}
	}
	if g.release.FirewallNote {
		rules = append(rules, rule(nil, ipt.Comment{Text: "other traffic to " + p.name + " will be dropped by " + chainProxyFirewall}))
	}
	g.nat.own(p.fw, rules)
}

// policyChains writes KUBE-SVC and KUBE-SVL, which share a Service port's packets among its endpoints.
func (g *generator) policyChains(p *port) {
	if len(p.serving.Cluster) > 0 && p.policies.usesCluster() {
		g.nat.own(p.svc, g.balance(p, p.svc, p.serving.Cluster))
	}
	if len(p.serving.Local) > 0 && p.policies.usesLocal() {
		g.nat.own(p.svl, g.balance(p, p.svl, p.serving.Local))
	}
}

// balance writes one of them: what is not from a pod is masqueraded, a client with affinity goes where it went before,
// and the rest is shared by chance.
func (g *generator) balance(p *port, chain string, endpoints []topology.Endpoint) []ipt.Rule {
	rules := make([]ipt.Rule, 0, 2*len(endpoints)+1)
	if p.hasInternal() && chain == p.internalChain() {
		matches := p.to(p.clusterIP, p.name+" cluster IP")
		switch {
		case g.config.MasqueradeAll:
			rules = append(rules, rule(ipt.Jump{Chain: chainMarkMasq}, matches...))
		case g.notLocal != nil:
			rules = append(rules, rule(ipt.Jump{Chain: chainMarkMasq}, g.beforeProtocol(matches)...))
		}
	}
	if p.service.AffinitySeconds != 0 {
		for _, e := range endpoints {
			text := g.text(e)
			sep := EndpointChain(p.name, p.protocol, text)
			rules = append(rules, rule(ipt.Jump{Chain: sep}, g.comment(p.name+" -> "+text,
				ipt.Recent{Action: ipt.RecentCheck, Seconds: uint32(p.service.AffinitySeconds), Reap: true, Name: sep, Mask: g.hostMask()})...))
		}
	}
	for i, e := range endpoints {
		text := g.text(e)
		matches := g.comment(p.name + " -> " + text)
		if left := len(endpoints) - i; left > 1 {
			matches = append(matches, ipt.Statistic{Probability: share(left)})
		}
		rules = append(rules, rule(ipt.Jump{Chain: EndpointChain(p.name, p.protocol, text)}, matches...))
	}
	return rules
}

// beforeProtocol puts the test for packets that are not from a local pod where iptables-save prints it: a source before
// the destination, an in device after it.
func (g *generator) beforeProtocol(matches []ipt.Match) []ipt.Match {
	at := 0
	if _, device := g.notLocal.(ipt.InInterface); device {
		at = 1
	}
	return slices.Insert(matches, at, g.notLocal)
}

// share is the probability 1/n as kube-proxy writes it, with ten decimals, and as iptables keeps it, in steps of 2^-31.
func share(n int) uint32 {
	text := strconv.FormatFloat(1/float64(n), 'f', 10, 64)
	f, _ := strconv.ParseFloat(text, 64)
	return uint32(math.Round(f * (1 << 31)))
}

// comment puts a comment before other matches, but in a large cluster, where kube-proxy leaves those of the endpoints'
// rules out.
func (g *generator) comment(text string, others ...ipt.Match) []ipt.Match {
	if g.large {
		return others
	}
	return append(append(make([]ipt.Match, 0, 1+len(others)+1), ipt.Comment{Text: text}), others...)
}

// hostMask is the mask of one address, which iptables-save prints with a recent match.
func (g *generator) hostMask() netip.Addr {
	if g.family == nat.IPv6 {
		return netip.AddrFrom16([16]byte{
			0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		})
	}
	return netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// endpointChains writes a KUBE-SEP for each endpoint: a pod's packet to itself is masqueraded, affinity is remembered,
// and the destination becomes the endpoint.
func (g *generator) endpointChains(p *port) {
	for _, e := range p.serving.All {
		sep := EndpointChain(p.name, p.protocol, g.text(e))
		name := g.comment(p.name)
		hairpin := append([]ipt.Match{ipt.Source{Prefix: single(e.Addr.Addr())}}, name...)
		translate := append([]ipt.Match{ipt.Protocol{Name: p.protocol}}, name...)
		if p.service.AffinitySeconds != 0 {
			translate = append(translate, ipt.Recent{Action: ipt.RecentSet, Name: sep, Mask: g.hostMask()})
		}
		translate = append(translate, ipt.Ports{Protocol: p.protocol})
		to := ipt.NATRange{MinAddr: e.Addr.Addr(), MaxAddr: e.Addr.Addr(), MinPort: e.Addr.Port(), MaxPort: e.Addr.Port()}
		g.nat.own(sep, []ipt.Rule{rule(ipt.Jump{Chain: chainMarkMasq}, hairpin...), rule(ipt.DNAT{Range: to}, translate...)})
	}
}
