package audit

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/rules"
	"natlab/nat/xt"
	"natlab/topology"
)

// others looks at what other programs have in a backend that what comes to the node's pods hangs on.
func (a *auditor) others(h Held) {
	if t, ok := h.Rules.Table("nat"); ok {
		own := reached(t.ByName(), "PREROUTING")
		for _, chain := range t.Chains {
			if kubeChain(chain.Name) || !own[chain.Name] {
				continue
			}
			a.gone(h, chain)
			a.twice(h, chain)
			a.onLoopback(h, chain)
		}
	}
	a.forwardPolicy(h)
	a.drops(h)
}

// reached are the chains of a table that a walk from a built-in one may come to, itself among them.
func reached(chains map[string]*iptables.Chain, from string) map[string]bool {
	out := map[string]bool{from: true}
	for todo := []string{from}; len(todo) > 0; todo = todo[1:] {
		chain := chains[todo[0]]
		if chain == nil {
			continue
		}
		for _, r := range chain.Rules {
			next := ""
			switch to := r.Target.(type) {
			case xt.Jump:
				next = to.Chain
			case xt.Goto:
				next = to.Chain
			}
			if next != "" && !out[next] {
				out[next] = true
				todo = append(todo, next)
			}
		}
	}
	return out
}

// to is the only address that a rule translates to.
func to(r iptables.Rule) (netip.Addr, bool) {
	d, ok := r.Target.(xt.DNAT)
	return d.Range.MinAddr, ok && d.Range.MinAddr.IsValid() && (!d.Range.MaxAddr.IsValid() || d.Range.MaxAddr == d.Range.MinAddr)
}

// gone finds what is translated to an address of the node's pods that no pod has, as a plugin leaves it that was not called for a pod's end.
func (a *auditor) gone(h Held, chain iptables.Chain) {
	for i, r := range chain.Rules {
		if addr, ok := to(r); ok && a.noPodHas(addr) {
			a.found(place{h.Backend, "nat", chain.Name}.finding(StaleDNAT, i+1, r.Text(chain.Name)).staleDNAT(addr))
		}
	}
}

// noPodHas reports whether an address is of the node's pods, and none of them has it; false where it is not known which pods there are.
func (a *auditor) noPodHas(addr netip.Addr) bool {
	n, _ := a.node.Cluster.Node(a.node.Name)
	told := slices.ContainsFunc(a.node.Cluster.Pods, func(p topology.Pod) bool { return !p.Invented && p.Node == n.Name })
	in := slices.ContainsFunc(n.PodBlocks, func(p netip.Prefix) bool { return p.Contains(addr) })
	return told && in && !slices.ContainsFunc(a.node.Cluster.Pods, func(p topology.Pod) bool { return slices.Contains(p.IPs, addr) })
}

// staleDNAT is what is told of a rule, What, that translates to an address which no pod has.
func (f Finding) staleDNAT(addr netip.Addr) Finding {
	f.What = fmt.Sprintf("%q: no pod of the node has address %s", f.What, addr)
	f.Why, f.Issue = "what comes to that port is sent to a pod that is gone, in front of any that has the port now", "containernetworking/plugins#1079"
	f.Remedy = "delete the rule, or restart the node's agent that made it"
	return f
}

// twice finds rules that translate the same packets as one in front of them does, to something else.
func (a *auditor) twice(h Held, chain iptables.Chain) {
	first := map[string]string{}
	for i, r := range chain.Rules {
		if _, ok := to(r); !ok {
			continue
		}
		if slices.ContainsFunc(r.Matches, changing) {
			continue
		}
		met := r.Met(chain.Name)
		if before, there := first[met.Brief]; there && before != met.Action {
			a.found(place{h.Backend, "nat", chain.Name}.finding(ShadowedDNAT, i+1, r.Text(chain.Name)).shadowedBy(before))
		} else if !there {
			first[met.Brief] = met.Action
		}
	}
}

// shadowedBy is what is told of a rule, What, that is for the packets of one in front of it.
func (f Finding) shadowedBy(before string) Finding {
	f.What = fmt.Sprintf("%q is for the same packets as a rule in front of it, %s", f.What, before)
	f.Why, f.Issue = "all of them go where the first rule sends them: who publishes the port by the second gets none", "containernetworking/plugins#1079"
	f.Remedy = "delete the one whose pod or container is gone, or publish another port"
	return f
}

// changing reports whether a condition does not hold for the same packets each time.
func changing(m xt.Match) bool {
	switch m.(type) {
	case xt.Statistic, xt.Limit, xt.HashLimit, xt.Recent, xt.Time, xt.Quota, xt.ConnLimit:
		return true
	}
	return false
}

// onLoopback finds ports that are published on 127.0.0.1 and are translated for neighbours, too: PREROUTING is in front of the check of
// addresses that are loopback's.
func (a *auditor) onLoopback(h Held, chain iptables.Chain) {
	if a.dropsLoopback() {
		return
	}
	for i, r := range chain.Rules {
		addr, ok := to(r)
		if !ok || !toLoopback(r) || addr.IsLoopback() || slices.Contains(r.Matches, xt.Match(iptables.InInterface{Device: "lo"})) {
			continue
		}
		a.found(place{h.Backend, "nat", chain.Name}.finding(LoopbackPublished, i+1, r.Text(chain.Name)).onLoopback())
	}
}

// onLoopback is what is told of a rule, What, that publishes a port on 127.0.0.1 for neighbours, too.
func (f Finding) onLoopback() Finding {
	f.What = fmt.Sprintf("%q translates what neighbours send to 127.0.0.1, too", f.What)
	f.Why, f.Issue = "a host of the node's network that routes 127.0.0.1 by the node reaches what is published for the node alone", "moby#45610"
	f.Remedy = "iptables -t raw -I PREROUTING -d 127.0.0.0/8 ! -i lo -j DROP; Docker 28 does it"
	return f
}

// dropsLoopback reports whether a rule in front of all translation drops what comes to a loopback address.
func (a *auditor) dropsLoopback() bool {
	for _, h := range a.node.Held {
		if raw, ok := h.Rules.Table("raw"); ok && slices.ContainsFunc(raw.Chains, func(c iptables.Chain) bool {
			return slices.ContainsFunc(c.Rules, func(r iptables.Rule) bool { return r.Target == xt.Target(xt.Drop{}) && toLoopback(r) })
		}) {
			return true
		}
	}
	return slices.ContainsFunc(a.node.Native.Tables, dropsNativeLoopback)
}

func toLoopback(r iptables.Rule) bool {
	return slices.ContainsFunc(r.Matches, func(m xt.Match) bool {
		d, ok := m.(iptables.Destination)
		return ok && !d.Not && d.Prefix.Addr().IsLoopback()
	})
}

// besidePods are devices of hosts that are no pods of the cluster, by their names.
var besidePods = regexp.MustCompile(`^(docker|br-|virbr|podman|lxcbr|lxdbr|incusbr|lo$)`)

// forwardPolicy finds that FORWARD drops what no rule accepts, and that none accepts what comes to pods: kube-proxy accepts by its mark and answers.
func (a *auditor) forwardPolicy(h Held) {
	t, ok := h.Rules.Table("filter")
	if !ok {
		return
	}
	chains := t.ByName()
	if forward := chains["FORWARD"]; forward == nil || forward.Policy != "DROP" {
		return
	}
	for name := range reached(chains, "FORWARD") {
		chain := chains[name]
		if chain == nil {
			continue
		}
		for _, r := range chain.Rules {
			if r.Target == xt.Target(xt.Accept{}) && a.letsIn(r) {
				return
			}
		}
	}
	f := place{h.Backend, "filter", "FORWARD"}.finding(ForwardPolicy, 0, "the policy of FORWARD is DROP, and no rule accepts what goes to pods or comes from them")
	f.Why, f.Issue = "a Service's packets that kube-proxy does not mark are dropped: those of pods, and with a local policy those of clients", "kubernetes#40182"
	f.Remedy = "iptables -P FORWARD ACCEPT, or a rule that accepts the pods' network; Docker sets the policy at its start (ip-forward-no-drop)"
	a.found(f)
}

// letsIn reports whether a rule that accepts may do so for a new packet of a pod that kube-proxy did not mark.
func (a *auditor) letsIn(r iptables.Rule) bool {
	for _, m := range r.Matches {
		switch m := m.(type) {
		case xt.Conntrack:
			if m.States != 0 && !m.Not && m.States&(rules.New|rules.DNATed) == 0 || m.Not && m.States&rules.New != 0 {
				return false
			}
		case iptables.InInterface:
			if !m.Not && besidePods.MatchString(m.Device) {
				return false
			}
		case iptables.OutInterface:
			if !m.Not && besidePods.MatchString(m.Device) {
				return false
			}
		case xt.Mark:
			if !m.Not && m.Value&a.mark != 0 {
				return false
			}
		case iptables.Source:
			if !m.Not && a.elsewhere(m.Prefix) {
				return false
			}
		case iptables.Destination:
			if !m.Not && a.elsewhere(m.Prefix) {
				return false
			}
		}
	}
	return true
}

// podNetworks are the networks of the cluster's pods, of the family that is audited.
func (a *auditor) podNetworks() (out []netip.Prefix) {
	all := slices.Clone(a.node.Cluster.PodNetwork.CIDRs)
	for _, n := range a.node.Cluster.Nodes {
		all = append(append(all, n.PodBlocks...), n.PodCIDRs...)
	}
	for _, p := range all {
		if nat.FamilyOf(p.Addr()) == a.node.Options.Family {
			out = append(out, p)
		}
	}
	return out
}
