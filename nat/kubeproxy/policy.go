package kubeproxy

import (
	"math"
	"net/netip"
	"slices"
	"strconv"

	"natlab/nat"
	ipt "natlab/nat/iptables"
	"natlab/nat/rules"
	"natlab/nat/xt"
)

// externalChain writes KUBE-EXT, which all packets for node ports, load balancers and external IPs pass.
func (g *generator) externalChain(p *port) {
	if !p.serving.any || !p.policies.external {
		return
	}
	var rules []ipt.Rule
	if !p.policies.externalLocal {
		// The endpoint may be on another node, and its answer has to come back this way.
		rules = append(rules, rule(g.toMarkMasq, xt.Comment{Text: "masquerade traffic for " + p.name + " external destinations"}))
	} else {
		// An endpoint of this node answers by way of this node: the client's address can stay. What comes from the
		// cluster itself goes to any endpoint, as if it had gone out to a load balancer and come back.
		if g.notLocal != nil {
			matches := append(slices.Clone(g.local), xt.Comment{Text: "pod traffic for " + p.name + " external destinations"})
			rules = append(rules, rule(xt.Jump{Chain: p.svc}, matches...))
		}
		fromNode := xt.AddrType{Source: xt.AddrLocal}
		rules = append(rules,
			rule(g.toMarkMasq, xt.Comment{Text: "masquerade LOCAL traffic for " + p.name + " external destinations"}, fromNode),
			rule(xt.Jump{Chain: p.svc}, xt.Comment{Text: "route LOCAL traffic for " + p.name + " external destinations"}, fromNode))
	}
	if p.hasExternal() {
		to := p.svc
		if p.policies.externalLocal {
			to = p.svl
		}
		rules = append(rules, rule(xt.Jump{Chain: to}))
	}
	g.nat.own(p.ext, rules)
}

func rule(target xt.Target, matches ...xt.Match) ipt.Rule {
	return ipt.Rule{Matches: matches, Target: target}
}

// firewallChain writes KUBE-FW: packets for the load balancer's addresses go on from the source ranges only. The rest
// comes back untranslated, and KUBE-PROXY-FIREWALL drops it.
func (g *generator) firewallChain(p *port) {
	if !p.firewalled() {
		return
	}
	name, to := xt.Comment{Text: p.name + " loadbalancer IP"}, xt.Jump{Chain: p.ext}
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
		rules = append(rules, rule(nil, xt.Comment{Text: "other traffic to " + p.name + " will be dropped by " + chainProxyFirewall}))
	}
	g.nat.own(p.fw, rules)
}

// policyChains writes KUBE-SVC and KUBE-SVL, which share a Service port's packets among its endpoints.
func (g *generator) policyChains(p *port) {
	if len(p.serving.cluster) > 0 && p.policies.usesCluster() {
		g.nat.own(p.svc, g.balance(p, p.svc, p.serving.cluster))
	}
	if len(p.serving.local) > 0 && p.policies.usesLocal() {
		g.nat.own(p.svl, g.balance(p, p.svl, p.serving.local))
	}
}

// balance writes one of them: what is not from a pod is masqueraded, a client with affinity goes where it went before,
// and the rest is shared by chance.
func (g *generator) balance(p *port, chain string, endpoints []endpoint) []ipt.Rule {
	rules := make([]ipt.Rule, 0, 2*len(endpoints)+1)
	if p.hasInternal() && chain == p.internalChain() {
		matches := p.toClusterIP
		if !g.config.MasqueradeAll && g.notLocal != nil {
			matches = g.beforeProtocol(matches)
		}
		if g.config.MasqueradeAll || g.notLocal != nil {
			rules = append(rules, ipt.Rule{Matches: matches, Target: g.toMarkMasq})
		}
	}
	if p.service.AffinitySeconds != 0 {
		for _, e := range endpoints {
			again := xt.Recent{Action: xt.RecentCheck, Seconds: uint32(p.service.AffinitySeconds), Reap: true, ListName: e.chain, Mask: g.hostMask()}
			rules = append(rules, rule(xt.Jump{Chain: e.chain}, g.comment(p.name+" -> "+e.text, again)...))
		}
	}
	for i, e := range endpoints {
		var matches []xt.Match
		if left := len(endpoints) - i; left > 1 {
			matches = append(matches, g.share(left))
		}
		if !g.large {
			matches = g.comment(p.name+" -> "+e.text, matches...)
		}
		rules = append(rules, ipt.Rule{Matches: matches, Target: xt.Jump{Chain: e.chain}})
	}
	return rules
}

// beforeProtocol puts the test for packets that are not from a local pod where iptables-save prints it: a source before
// the destination, an in device after it.
func (g *generator) beforeProtocol(matches []xt.Match) []xt.Match {
	at := 0
	if _, device := g.notLocal.(ipt.InInterface); device {
		at = 1
	}
	out := make([]xt.Match, 0, len(matches)+1)
	return append(append(append(out, matches[:at]...), g.notLocal), matches[at:]...)
}

// share is the match that takes 1/n of the packets.
func (g *generator) share(n int) xt.Match {
	for len(g.shares) <= n {
		g.shares = append(g.shares, xt.Statistic{Probability: probability(max(len(g.shares), 1))})
	}
	return g.shares[n]
}

// probability is 1/n as kube-proxy writes it, with ten decimals, and as iptables keeps it, in steps of 2^-31.
func probability(n int) uint32 {
	text := strconv.FormatFloat(1/float64(n), 'f', 10, 64)
	f, _ := strconv.ParseFloat(text, 64)
	return uint32(math.Round(f * (1 << 31)))
}

// comment puts a comment before other matches, but in a large cluster, where kube-proxy leaves those of the endpoints'
// rules out.
func (g *generator) comment(text string, others ...xt.Match) []xt.Match {
	if g.large {
		return others
	}
	return append(append(make([]xt.Match, 0, 1+len(others)), xt.Comment{Text: text}), others...)
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
	var name []xt.Match
	if !g.large {
		name = []xt.Match{xt.Comment{Text: p.name}}
	}
	plain := xt.Match(xt.Ports{Protocol: p.protocol})
	translate := slices.Concat([]xt.Match{p.proto}, name, []xt.Match{plain})
	for _, e := range p.serving.all {
		if p.service.AffinitySeconds != 0 {
			remember := xt.Recent{Action: xt.RecentSet, ListName: e.chain, Mask: g.hostMask()}
			translate = slices.Concat([]xt.Match{p.proto}, name, []xt.Match{remember, plain})
		}
		hairpin := append(append(make([]xt.Match, 0, 2), ipt.Source{Prefix: single(e.Addr.Addr())}), name...)
		to := rules.NATRange{MinAddr: e.Addr.Addr(), MaxAddr: e.Addr.Addr(), MinPort: e.Addr.Port(), MaxPort: e.Addr.Port()}
		g.nat.own(e.chain, []ipt.Rule{{Matches: hairpin, Target: g.toMarkMasq}, {Matches: translate, Target: xt.DNAT{Range: to}}})
	}
}
