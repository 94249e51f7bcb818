package kubeproxy

import (
	"net/netip"
	"time"

	nft "natlab/nat/nftables"
)

// nftPort is a Service port with its chains.
type nftPort struct {
	decided

	skip bool // nothing of it changed: only its elements of shared sets and maps are looked after

	base string
}

func (p *nftPort) cluster() string     { return clusterPrefix + p.base }
func (p *nftPort) local() string       { return localPrefix + p.base }
func (p *nftPort) externalWay() string { return externalPrefix + p.base }
func (p *nftPort) firewall() string    { return firewallPrefix + p.base }
func (p *nftPort) sticky() bool        { return p.service.AffinitySeconds != 0 }
func (p *nftPort) usesCluster() bool   { return len(p.serving.cluster) > 0 && p.policies.usesCluster() }
func (p *nftPort) usesLocal() bool     { return len(p.serving.local) > 0 && p.policies.usesLocal() }
func (p *nftPort) usesExternal() bool  { return p.serving.any && p.policies.external }
func (p *nftPort) usesFirewall() bool  { return len(p.ingress) > 0 && len(p.ranges) > 0 }
func (p *nftPort) endpointBase(e endpoint) string {
	return endpointBase(p.service.Namespace, p.service.Name, p.protocol, p.port.Name, e.text)
}

// internalWay is the chain for packets to the cluster IP.
func (p *nftPort) internalWay() string {
	if p.policies.internalLocal {
		return p.local()
	}
	return p.cluster()
}

// refusal is what happens to packets that no endpoint serves: they are answered where there is none at all, dropped where the traffic
// policy wants a local one.
func (p *nftPort) refusal() *nft.Verdict {
	if !p.serving.any {
		return nft.Goto(rejectChain)
	}
	return nft.Drop()
}

// servicePort writes what one Service port needs: its chains, what leads packets there, and what the chains do.
func (w *nftWriter) servicePort(p *nftPort) {
	p.base = servicePortBase(p.service.Namespace, p.service.Name, p.protocol, p.port.Name)
	w.endpoints(p)
	for _, c := range []struct {
		name string
		used bool
	}{{p.cluster(), p.usesCluster()}, {p.local(), p.usesLocal()}, {p.externalWay(), p.usesExternal()}} {
		if c.used {
			w.own(p, c.name)
		}
	}
	w.captureClusterIP(p)
	w.captureExternal(p)
	if p.usesFirewall() {
		w.own(p, p.firewall())
	}
	w.captureBalancer(p)
	w.captureNodePort(p)
	if p.skip {
		return
	}
	w.markFromOutside(p)
	w.externalChain(p)
	w.firewallChain(p)
	w.affinitySets(p)
	if p.usesCluster() {
		w.balance(p, p.cluster(), p.serving.cluster)
	}
	if p.usesLocal() {
		w.balance(p, p.local(), p.serving.local)
	}
	w.endpointChains(p)
}

// own makes sure of a chain of a Service port, and empties it where it is written anew.
func (w *nftWriter) own(p *nftPort, name string) {
	if w.chains[name] {
		return
	}
	w.chains[name] = true
	if !p.skip {
		w.anew(nft.Chain{Name: name})
	}
}

// endpoints makes sure of the endpoints' chains, and that local ones that ask themselves are masqueraded.
func (w *nftWriter) endpoints(p *nftPort) {
	for _, e := range p.serving.all {
		if p.sticky() {
			w.sets[affinityPrefix+p.endpointBase(e)] = true
		}
		if p.sticky() || w.shape.EndpointChains {
			w.endpointChain(p, e)
		}
		if !w.shape.EndpointChains && w.isLocal(e) {
			a := nft.Addr(e.Addr.Addr())
			w.element(hairpinSet, nft.Element{Key: []nft.Constant{a, a, protocolOf(p.protocol), portOf(e.Addr.Port())}})
		}
	}
}

// endpointChain makes sure of an endpoint's chain.
func (w *nftWriter) endpointChain(p *nftPort, e endpoint) {
	name := endpointPrefix + p.endpointBase(e)
	if w.keptEndpoint(p, e) {
		w.chains[name] = true
		return
	}
	w.own(p, name)
}

// keptEndpoint reports whether the first sync leaves an endpoint's chain as it is: its name tells what is in it, but for session
// affinity, which a set tells (epChainSkipUpdate).
func (w *nftWriter) keptEndpoint(p *nftPort, e endpoint) bool {
	if !w.starts || !w.shape.KeepsEndpoints {
		return false
	}
	_, chain := w.live.Chain(endpointPrefix + p.endpointBase(e))
	_, set := w.live.Set(affinityPrefix + p.endpointBase(e))
	return chain && set == p.sticky()
}

func (w *nftWriter) captureClusterIP(p *nftPort) {
	w.element(clusterIPsSet, nft.Element{Key: []nft.Constant{nft.Addr(p.clusterIP)}})
	key := addressKey(p.clusterIP, p.protocol, p.port.Port)
	if p.hasInternal() {
		w.element(serviceIPsMap, nft.Element{Key: key, Verdict: nft.Goto(p.internalWay())})
		return
	}
	w.element(noEndpointServices, w.noEndpoint(p, key))
}

// captureExternal leads packets for external IPs to their chain.
func (w *nftWriter) captureExternal(p *nftPort) {
	for _, a := range p.external {
		w.toExternal(p, a)
		w.refuseExternal(p, a)
	}
}

func (w *nftWriter) toExternal(p *nftPort, a netip.Addr) {
	if p.serving.any {
		w.element(serviceIPsMap, nft.Element{Key: addressKey(a, p.protocol, p.port.Port), Verdict: nft.Goto(p.externalWay())})
	}
}

func (w *nftWriter) refuseExternal(p *nftPort, a netip.Addr) {
	if !p.hasExternal() {
		w.element(noEndpointServices, w.noEndpoint(p, addressKey(a, p.protocol, p.port.Port)))
	}
}

// captureBalancer leads packets for a load balancer's addresses to their chain, and past loadBalancerSourceRanges.
func (w *nftWriter) captureBalancer(p *nftPort) {
	for _, a := range p.ingress {
		w.toExternal(p, a)
		if p.usesFirewall() {
			w.element(firewallIPsMap, nft.Element{Key: addressKey(a, p.protocol, p.port.Port), Verdict: nft.Goto(p.firewall())})
		}
	}
	for _, a := range p.ingress {
		w.refuseExternal(p, a)
	}
}

func (w *nftWriter) captureNodePort(p *nftPort) {
	if p.port.NodePort == 0 {
		return
	}
	key := portKey(p.protocol, p.port.NodePort)
	for _, protocol := range w.reject {
		if protocol == p.protocol {
			w.element(localhostRejectPorts, nft.Element{Key: key, Verdict: nft.Goto(localhostReject + protocol)})
		}
	}
	if p.serving.any {
		w.element(serviceNodePortsMap, nft.Element{Key: key, Verdict: nft.Goto(p.externalWay())})
	}
	if !p.hasExternal() {
		w.element(noEndpointNodePorts, w.noEndpoint(p, key))
	}
}

// noEndpoint is the element that refuses packets for a Service port, with its name for a comment.
func (w *nftWriter) noEndpoint(p *nftPort, key []nft.Constant) nft.Element {
	comment := p.name
	if len(comment) > nftCommentLength {
		if !w.shape.CutsComments {
			w.refuse("comment %q has %d bytes, and nft takes %d", comment, len(comment), nftCommentLength)
		}
		comment = comment[:nftCommentLength]
	}
	return nft.Element{Key: key, Verdict: p.refusal(), Comment: comment}
}

// markFromOutside marks what asks the cluster IP from outside of the cluster, where each Service does that for itself.
func (w *nftWriter) markFromOutside(p *nftPort) {
	if !w.shape.MarkChain || !p.hasInternal() {
		return
	}
	statements := []nft.Statement{is(w.daddr(), nft.Addr(p.clusterIP))}
	if w.shape.MarkByPort {
		statements = append(statements, is(nft.Selector(p.protocol+" dport"), portOf(p.port.Port)))
	}
	if !w.config.MasqueradeAll {
		outside := w.fromOutside()
		if outside == nil {
			return
		}
		statements = append(statements, outside)
	}
	w.rule(p.internalWay(), "", append(statements, nft.Jump(markMasqueradeChain))...)
}

// masqueradeMark marks a packet, or has it marked.
func (w *nftWriter) masqueradeMark() nft.Statement {
	if w.shape.MarkChain {
		return nft.Jump(markMasqueradeChain)
	}
	return setMark("|", w.mark)
}

// externalChain writes the chain of all packets for node ports, load balancers and external IPs.
func (w *nftWriter) externalChain(p *nftPort) {
	if !p.usesExternal() {
		return
	}
	chain := p.externalWay()
	if !p.policies.externalLocal {
		comment := "masquerade"
		if w.shape.MarkChain {
			comment = ""
		}
		w.rule(chain, comment, w.masqueradeMark())
	} else {
		// What comes from the cluster itself goes to any endpoint, as if it had gone out to a load balancer and come back.
		if pods := w.fromPods(""); pods != nil {
			w.rule(chain, "short-circuit pod traffic", pods, nft.Goto(p.cluster()))
		}
		w.rule(chain, "masquerade local traffic", isLocal("saddr"), w.masqueradeMark())
		w.rule(chain, "short-circuit local traffic", isLocal("saddr"), nft.Goto(p.cluster()))
	}
	switch {
	case !p.hasExternal():
	case p.policies.externalLocal:
		w.rule(chain, "", nft.Goto(p.local()))
	default:
		w.rule(chain, "", nft.Goto(p.cluster()))
	}
}

// firewallChain drops what is in none of loadBalancerSourceRanges. A node that is in one may ask as the load balancer's address, where
// it has that as its own.
func (w *nftWriter) firewallChain(p *nftPort) {
	if !p.usesFirewall() {
		return
	}
	ranges, node := append([]netip.Prefix(nil), p.ranges...), false
	for _, r := range p.ranges {
		node = node || r.Contains(w.nodeIP)
	}
	if node {
		for _, a := range p.ingress {
			ranges = append(ranges, single(a))
		}
	}
	w.rule(p.firewall(), "", not(w.saddr(), among(ranges)), nft.Drop())
	w.commands[len(w.commands)-1].Text = string(w.saddr()) + " != { " + joinPrefixes(p.ranges, ranges[len(p.ranges):], " , ") + " } drop"
}

// affinitySets adds the sets that remember an endpoint's clients.
func (w *nftWriter) affinitySets(p *nftPort) {
	if !p.sticky() {
		return
	}
	for _, e := range p.serving.all {
		w.set(Add, nft.Set{
			Name: affinityPrefix + p.endpointBase(e), Key: []nft.Type{w.addrType}, Flags: []string{"dynamic", "timeout"},
			Timeout: time.Duration(p.service.AffinitySeconds) * time.Second,
		})
	}
}

// balance shares a chain's packets among endpoints by chance, but for a client that goes where it went before.
func (w *nftWriter) balance(p *nftPort, chain string, endpoints []endpoint) {
	if p.sticky() {
		for _, e := range endpoints {
			base := p.endpointBase(e)
			w.rule(chain, "", is(w.saddr(), nft.Ref(affinityPrefix+base)), nft.Goto(endpointPrefix+base))
		}
	}
	number := nft.NumGen{Mod: uint32(len(endpoints))} // #nosec G115 -- endpoints of one Service
	switch in := (&nft.In{Elements: make([]nft.Element, 0, len(endpoints))}); {
	case p.sticky() || w.shape.EndpointChains:
		for i, e := range endpoints {
			in.Elements = append(in.Elements, nft.Element{Key: index(i), Verdict: nft.Goto(endpointPrefix + p.endpointBase(e))})
		}
		w.rule(chain, "", nft.VMap{Key: number, Map: in})
	case len(endpoints) == 1 && w.shape.OneWithoutMap:
		w.rule(chain, "", isProtocol(p.protocol), dnatTo(endpoints[0]))
	default:
		for i, e := range endpoints {
			in.Elements = append(in.Elements, nft.Element{Key: index(i), Data: []nft.Constant{nft.Addr(e.Addr.Addr()), portOf(e.Addr.Port())}})
		}
		to := nft.NAT{Family: nft.FamilyOf(w.family), Concat: true, To: nft.MapOf{Key: number, Map: in}}
		w.rule(chain, "", isProtocol(p.protocol), to)
	}
}

func index(i int) []nft.Constant {
	return []nft.Constant{nft.Value(nft.Integer, uint64(i))} // #nosec G115 -- not below 0
}

func dnatTo(e endpoint) nft.NAT {
	return nft.NAT{Addr: nft.Addr(e.Addr.Addr()), Port: portOf(e.Addr.Port())}
}

// endpointChains writes the endpoints' chains: affinity is remembered, and the destination becomes the endpoint.
func (w *nftWriter) endpointChains(p *nftPort) {
	if !p.sticky() && !w.shape.EndpointChains {
		return
	}
	for _, e := range p.serving.all {
		if w.keptEndpoint(p, e) {
			continue
		}
		base := p.endpointBase(e)
		chain := endpointPrefix + base
		if w.shape.EndpointChains {
			w.rule(chain, "", is(w.saddr(), nft.Addr(e.Addr.Addr())), w.masqueradeMark())
		}
		if p.sticky() {
			w.rule(chain, "", nft.Update{Op: "update", Set: affinityPrefix + base, Key: w.saddr()})
		}
		w.rule(chain, "", isProtocol(p.protocol), dnatTo(e))
	}
}
