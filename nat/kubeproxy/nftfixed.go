package kubeproxy

import (
	"net/netip"
	"slices"

	nft "natlab/nat/nftables"
)

// setup writes what every node has (setupNFTables).
func (w *nftWriter) setup() {
	w.commands = append(w.commands, Command{Table: &nft.Table{Comment: "rules for kube-proxy"}})
	w.baseChains()
	w.masquerading()
	w.clusterIPs()
	w.nodePortIPs()
	w.withoutEndpoints()
	w.localhostRejects()
	w.addMap(firewallIPsMap, true, "destinations that are subject to LoadBalancerSourceRanges")
	w.rule(firewallCheck, "", nft.VMap{Key: w.destination(), Map: nft.Ref(firewallIPsMap)})
	w.addMap(serviceIPsMap, true, "ClusterIP, ExternalIP and LoadBalancer IP traffic")
	w.addMap(serviceNodePortsMap, false, "NodePort traffic")
	w.dispatch()
	for _, c := range w.containers {
		if !w.shape.KeepsElements {
			c.read(nil)
			w.set(Flush, nft.Set{Name: c.name, Map: c.name != clusterIPsSet})
			continue
		}
		s, _ := w.live.Set(c.name)
		c.read(s)
	}
}

// baseChains writes the base chains, with the rules that lead to the others. The first sync deletes those that are there: they may
// have another priority.
func (w *nftWriter) baseChains() {
	if w.starts {
		for _, b := range w.shape.bases {
			w.chain(Add, nft.Chain{Name: b.name})
			w.chain(Delete, nft.Chain{Name: b.name})
		}
	}
	for i, b := range w.shape.bases {
		w.anew(nft.Chain{Name: b.name, Base: &nft.Base{Type: b.kind, Hook: b.hook, Priority: b.priority, Registered: i + 1}})
	}
	made := map[string]bool{}
	once := func(name string) {
		if !made[name] {
			made[name] = true
			w.anew(nft.Chain{Name: name})
		}
	}
	for _, j := range w.shape.jumps {
		once(j.to)
		if j.isNew {
			w.rule(j.from, "", isNew(), nft.Jump(j.to))
		} else {
			w.rule(j.from, "", nft.Jump(j.to))
		}
	}
	if w.shape.MarkChain {
		once(markMasqueradeChain)
	}
}

// masquerading masquerades what is marked, and takes the mark off; and pods that ask themselves by way of a Service.
func (w *nftWriter) masquerading() {
	if w.shape.MarkChain {
		w.rule(markMasqueradeChain, "", setMark("|", w.mark))
		w.rule(masqueradingChain, "", marked("==", w.mark), nft.Return())
		w.rule(masqueradingChain, "", setMark("^", w.mark))
		w.rule(masqueradingChain, "", masquerade())
		return
	}
	w.set(Add, nft.Set{
		Name: hairpinSet, Comment: "service hairpin connections", Key: []nft.Type{w.addrType, w.addrType, nft.InetProto, nft.InetService},
	})
	w.rule(masqueradingChain, "", marked("!=", w.mark), setMark("^", w.mark), masquerade())
	loop := nft.Concat{w.saddr(), w.daddr(), l4proto, dport}
	w.rule(masqueradingChain, "", isDNATed(), is(loop, nft.Ref(hairpinSet)), masquerade())
}

// clusterIPs answers what asks a port that no Service has at a cluster IP, and drops what asks a cluster IP that is not allocated.
func (w *nftWriter) clusterIPs() {
	w.set(Add, nft.Set{Name: clusterIPsSet, Comment: "Active ClusterIPs", Key: []nft.Type{w.addrType}})
	w.rule(clusterIPsCheck, "Reject traffic to invalid ports of ClusterIPs", is(w.daddr(), nft.Ref(clusterIPsSet)), nft.Reject{})
	if !w.release.enabled("MultiCIDRServiceAllocator", w.config.FeatureGates) {
		return
	}
	ranges := slices.DeleteFunc(slices.Clone(w.cluster.ServiceCIDRs), func(p netip.Prefix) bool { return !ofFamily(p.Addr(), w.family) })
	if len(ranges) > 0 {
		const why = "Drop traffic to unallocated ClusterIPs"
		w.rule(clusterIPsCheck, why, is(w.daddr(), among(ranges)), nft.Drop())
		w.commands[len(w.commands)-1].Text = string(w.daddr()) + " { " + joinPrefixes(ranges, nil, ",") + " } drop comment \"" + why + "\""
	}
}

// nodePortIPs lists the addresses that take node ports, where not every one does. Loopback addresses are passed over.
func (w *nftWriter) nodePortIPs() {
	s := nft.Set{Name: nodePortIPsSet, Comment: "IPs that accept NodePort traffic", Key: []nft.Type{w.addrType}}
	w.set(Add, s)
	if w.nodePorts.all {
		w.set(Delete, nft.Set{Name: nodePortIPsSet})
		return
	}
	w.set(Flush, nft.Set{Name: nodePortIPsSet})
	for _, a := range w.nodePorts.addresses {
		if !a.IsLoopback() {
			w.commands = append(w.commands, Command{In: nodePortIPsSet, Element: &nft.Element{Key: []nft.Constant{nft.Addr(a)}}})
		}
	}
}

// withoutEndpoints refuses what no endpoint serves.
func (w *nftWriter) withoutEndpoints() {
	w.addMap(noEndpointServices, true, "vmap to drop or reject packets to services with no endpoints")
	w.addMap(noEndpointNodePorts, false, "vmap to drop or reject packets to service nodeports with no endpoints")
	w.anew(nft.Chain{Name: rejectChain, Comment: "helper for @no-endpoint-services / @no-endpoint-nodeports"})
	w.rule(rejectChain, "", nft.Reject{})
	w.rule(serviceEndpointsCheck, "", nft.VMap{Key: w.destination(), Map: nft.Ref(noEndpointServices)})
	here := is(w.daddr(), nft.Ref(nodePortIPsSet))
	if w.nodePorts.all {
		here = not(w.daddr(), nft.Prefix(w.localhost))
	}
	w.rule(nodePortEndpointsCheck, "", here, nft.VMap{Key: nodePort(), Map: nft.Ref(noEndpointNodePorts)})
}

// localhostRejects counts and rejects what asks node ports on localhost that kube-proxy does not serve there, by the gate.
func (w *nftWriter) localhostRejects() {
	if !w.shape.LocalhostGate {
		return
	}
	w.addMap(localhostRejectPorts, false, "localhost NodePorts rejected by kube-proxy")
	for _, protocol := range w.reject {
		counter := nft.Object{Kind: "counter", Name: localhostRejected + protocol}
		w.commands = append(w.commands, Command{Object: &counter})
		w.anew(nft.Chain{Name: localhostReject + protocol})
		w.rule(localhostReject+protocol, "", nft.ObjectRef{Kind: counter.Kind, Name: counter.Name}, nft.Reject{})
	}
	if w.gate {
		w.rule(nodePortEndpointsCheck, "", is(w.daddr(), nft.Prefix(w.localhost)), nft.VMap{Key: nodePort(), Map: nft.Ref(localhostRejectPorts)})
	} else {
		w.set(Delete, nft.Set{Name: localhostRejectPorts, Map: true})
	}
	for _, protocol := range []string{"tcp", "udp", "sctp"} {
		if slices.Contains(w.reject, protocol) {
			continue
		}
		counter := nft.Object{Kind: "counter", Name: localhostRejected + protocol}
		w.chain(Add, nft.Chain{Name: localhostReject + protocol})
		w.chain(Delete, nft.Chain{Name: localhostReject + protocol})
		w.commands = append(w.commands, Command{Object: &counter}, Command{Verb: Delete, Object: &counter})
	}
}

// dispatch leads packets for Services to their chains.
func (w *nftWriter) dispatch() {
	if !w.shape.MarkChain {
		toClusterIP := is(w.daddr(), nft.Ref(clusterIPsSet))
		switch outside := w.fromOutside(); {
		case w.config.MasqueradeAll:
			w.rule(servicesChain, "masquerade all clusterIP traffic", toClusterIP, setMark("|", w.mark))
		case outside != nil:
			w.rule(servicesChain, "masquerade clusterIP traffic from outside cluster", toClusterIP, outside, setMark("|", w.mark))
		}
	}
	w.rule(servicesChain, "", nft.VMap{Key: w.destination(), Map: nft.Ref(serviceIPsMap)})
	toNodePort := nft.VMap{Key: nodePort(), Map: nft.Ref(serviceNodePortsMap)}
	if w.nodePorts.all {
		w.rule(servicesChain, "", isLocal("daddr"), not(w.daddr(), nft.Prefix(w.localhost)), toNodePort)
		return
	}
	w.rule(servicesChain, "", is(w.daddr(), nft.Ref(nodePortIPsSet)), toNodePort)
}

// fromOutside holds for packets that are not from the node's own pods; nil where nothing tells them apart.
func (w *nftWriter) fromOutside() nft.Statement { return w.fromPods("!=") }

// fromPods holds for packets from the node's own pods; with "!=" for others.
func (w *nftWriter) fromPods(op string) nft.Statement {
	of := w.detected
	switch {
	case of.prefix.IsValid():
		return nft.Match{Left: w.saddr(), Op: op, Right: nft.Prefix(of.prefix)}
	case of.device == "":
		return nil
	}
	name := of.device
	if of.begins {
		name += "*"
	}
	if !w.shape.ByIndex {
		return nft.Match{Left: nft.Selector("meta iifname"), Op: op, Right: nft.Name(nft.IfName, name)}
	}
	if of.begins || !slices.Contains(w.devices, name) {
		w.refuse("\"iif %s\" is looked up as it is read, and no device of that name is known on node %q (kubernetes#134024)", name, w.node.Name)
	}
	return nft.Match{Left: nft.Selector("meta iif"), Op: op, Right: nft.Name(nft.IfIndex, name)}
}

// addMap adds a verdict map, of addresses and ports or of ports alone.
func (w *nftWriter) addMap(name string, addresses bool, comment string) {
	key := []nft.Type{nft.InetProto, nft.InetService}
	if addresses {
		key = append([]nft.Type{w.addrType}, key...)
	}
	w.set(Add, nft.Set{Name: name, Comment: comment, Key: key, Map: true, Data: []nft.Type{nft.VerdictType}})
}
