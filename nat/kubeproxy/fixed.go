package kubeproxy

import (
	"natlab/nat"
	ipt "natlab/nat/iptables"
	"natlab/nat/rules"
	"natlab/nat/xt"
)

// jumps hooks kube-proxy's chains into the built-in ones. kube-proxy puts each in front of those before it, so the list
// it works from stands in the node upside down.
func (g *generator) jumps() {
	isNew := xt.Conntrack{States: rules.New}
	firewall := xt.Comment{Text: "kubernetes load balancer firewall"}
	portals := xt.Comment{Text: "kubernetes service portals"}
	visible := xt.Comment{Text: "kubernetes externally-visible service portals"}
	f, n := &g.filter, &g.nat
	if g.release.KubeletFirewall {
		f.add("INPUT", xt.Jump{Chain: chainKubeletFirewall})
		f.add("OUTPUT", xt.Jump{Chain: chainKubeletFirewall})
		f.chain(chainKubeletFirewall)
	}
	f.add("INPUT", xt.Jump{Chain: chainProxyFirewall}, isNew, firewall)
	f.add("INPUT", xt.Jump{Chain: chainNodePorts}, xt.Comment{Text: "kubernetes health check service ports"})
	f.add("INPUT", xt.Jump{Chain: chainExternalServices}, isNew, visible)
	f.add("FORWARD", xt.Jump{Chain: chainProxyFirewall}, isNew, firewall)
	f.add("FORWARD", xt.Jump{Chain: chainForward}, xt.Comment{Text: "kubernetes forwarding rules"})
	f.add("FORWARD", xt.Jump{Chain: chainServices}, isNew, portals)
	f.add("FORWARD", xt.Jump{Chain: chainExternalServices}, isNew, visible)
	f.add("OUTPUT", xt.Jump{Chain: chainProxyFirewall}, isNew, firewall)
	f.add("OUTPUT", xt.Jump{Chain: chainServices}, isNew, portals)
	n.add("PREROUTING", xt.Jump{Chain: chainServices}, portals)
	n.add("OUTPUT", xt.Jump{Chain: chainServices}, portals)
	n.add("POSTROUTING", xt.Jump{Chain: chainPostrouting}, xt.Comment{Text: "kubernetes postrouting rules"})
	for _, name := range []string{chainServices, chainExternalServices, chainForward, chainNodePorts, chainProxyFirewall} {
		f.chain(name)
	}
	for _, name := range []string{chainServices, chainNodePorts, chainPostrouting, chainMarkMasq} {
		n.chain(name)
	}
}

// marks writes the chain that marks a packet for masquerading, and the one that masquerades what is marked. The mark
// goes before the masquerade, so that a packet that meets POSTROUTING again, in a tunnel, is not masqueraded twice.
func (g *generator) marks() {
	g.nat.add(chainPostrouting, xt.Return{}, xt.Mark{Not: true, Value: g.mark, Mask: g.mark})
	g.nat.add(chainPostrouting, xt.SetMark{Value: g.mark})
	g.nat.add(chainPostrouting, xt.Masquerade{Range: rules.NATRange{FullyRandom: true}}, xt.Comment{Text: "kubernetes service traffic requiring SNAT"})
	g.nat.add(chainMarkMasq, xt.SetMark{Value: g.mark, Mask: g.mark})
}

// martians drops what comes from elsewhere to 127.0.0.0/8: route_localnet=1, which node ports on localhost need, would
// let it in (kubernetes#90259).
func (g *generator) martians() {
	if !g.localhost || !g.release.KubeletFirewall {
		return
	}
	g.filter.add(chainKubeletFirewall, xt.Drop{},
		ipt.Source{Not: true, Prefix: loopback4}, ipt.Destination{Prefix: loopback4}, xt.Comment{Text: "block incoming localnet connections"},
		xt.Conntrack{Not: true, States: rules.Related | rules.Established | rules.DNATed})
}

// forward accepts what was marked and what answers it, whatever the policy of FORWARD, and drops what conntrack cannot
// place: it would pass untranslated (kubernetes#74839).
func (g *generator) forward() {
	if !g.release.LiberalConntrack || !g.config.TCPBeLiberal {
		invalid := []xt.Match{xt.Conntrack{States: rules.Invalid}}
		if g.release.Accounting {
			invalid = append(invalid, xt.NFAcct{Object: InvalidDropped})
		}
		g.filter.add(chainForward, xt.Drop{}, invalid...)
	}
	g.filter.add(chainForward, xt.Accept{}, xt.Comment{Text: "kubernetes forwarding rules"}, xt.Mark{Value: g.mark, Mask: g.mark})
	g.filter.add(chainForward, xt.Accept{}, xt.Comment{Text: "kubernetes forwarding conntrack rule"}, xt.Conntrack{States: rules.Related | rules.Established})
}

// The nfacct objects that rules of the newer releases count in. They have to exist before the rules.
const (
	InvalidDropped    = "ct_state_invalid_dropped_pkts"
	LocalhostAccepted = "localhost_nps_accepted_pkts"
)

// nodePortsLast sends what is for the node itself on to the node ports: the last rule of KUBE-SERVICES.
func (g *generator) nodePortsLast() {
	note := xt.Comment{Text: "kubernetes service nodeports; NOTE: this must be the last rule in this chain"}
	to := xt.Jump{Chain: chainNodePorts}
	if g.nodePorts.all {
		matches := []xt.Match{note, xt.AddrType{Destination: xt.AddrLocal}}
		switch {
		case g.family == nat.IPv6 && g.release.NoIPv6Loopback:
			matches = append([]xt.Match{ipt.Destination{Not: true, Prefix: loopback6}}, matches...)
		case g.family == nat.IPv4 && g.release.LocalhostNodePorts && !g.localhost:
			matches = append([]xt.Match{ipt.Destination{Not: true, Prefix: loopback4}}, matches...)
		}
		g.nat.add(chainServices, to, matches...)
		return
	}
	for _, a := range g.nodePorts.addresses {
		if a.IsLoopback() && !g.localhost && (a.Is4() && g.release.LocalhostNodePorts || a.Is6() && g.release.NoIPv6Loopback) {
			continue
		}
		g.nat.add(chainServices, to, ipt.Destination{Prefix: single(a)}, note)
	}
}
