package migrate

import (
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/proof"
	"natlab/topology"
)

// classes are what is documented, in the order of the manual's table: kube-proxy's own documentation of nftables mode (KEP-3866, "Virtual IPs
// and service proxies"), its code, and what real kube-proxies v1.31 to v1.37 did with packets.
var classes = []class{
	{
		name:    "node-port-address",
		changes: "node ports are served at a node's primary address alone; at its other addresses (a second network, a tunnel's, a bridge's) the node refuses: RST, ICMP port unreachable for UDP",
		whom:    "clients outside, nodes and pods that ask a node port at such an address",
		do:      "have them ask the primary address, or set nodePortAddresses in the KubeProxyConfiguration to the networks that are asked ([0.0.0.0/0, \"::/0\"] is as iptables mode does)",
		back:    "set nodePortAddresses: [primary] where the ports are to stay closed there",
		is: func(m *move, v *view) bool {
			return v.Type == proof.ByNodePort && !v.Target.Addr().IsLoopback() && m.notServed(v) && refusedByHost(v.nft, v.owner)
		},
	},
	{
		name:    "node-port-of-a-process",
		changes: "a process of the node that listens at a node port's number, at an address where node ports are no longer served, gets what was the Service's",
		whom:    "whoever asks that address",
		do:      "find out who listens there (ss -lntu), and which of both is wanted: set nodePortAddresses for the Service's",
		back:    "the Service captures the port: move the process to a port outside of the node ports' range",
		is: func(m *move, v *view) bool {
			return only(v.nft, nat.EndAnswered) && !slices.ContainsFunc(v.nft, func(e Ending) bool { return !m.uncaptured(e, v.Protocol) })
		},
	},
	{
		name:    "node-port-localhost",
		changes: "node ports are not served on 127.0.0.0/8: the node refuses; route_localnet stays 0, if a kube-proxy of iptables mode has not set it before",
		whom:    "processes of the nodes and host-network pods that ask 127.0.0.1:NODEPORT, such as a container runtime with an image registry behind a node port",
		do:      "have them ask the node's primary address or the Service; no setting of nftables mode serves localhost. localhostNodePorts: false or nodePortAddresses without 127.0.0.0/8 try it out in iptables mode",
		back:    "set localhostNodePorts: false where node ports are to stay closed on localhost",
		is: func(m *move, v *view) bool {
			return v.Type == proof.ByNodePort && v.Target.Addr().IsLoopback() && m.notServed(v) && refusedByHost(v.nft, v.owner)
		},
	},
	{
		name:    "node-port-localhost-gate",
		changes: "with the gate KubeProxyNFTablesLocalhostNodePorts node ports on localhost are taken by kube-proxy itself, for TCP and where nodePortAddresses names a loopback network, so that the endpoint sees the node's address; all others are counted and rejected",
		whom:    "processes of the nodes and host-network pods that ask 127.0.0.1:NODEPORT",
		do:      "watch the counters localhost-nodeport-rejected-tcp, -udp and -sctp of its table for whether anybody still asks there, and have them ask the primary address",
		back:    "nothing",
		is: func(_ *move, v *view) bool {
			return v.Type == proof.ByNodePort && v.Target.Addr().IsLoopback() && (byGate(v.nft) || len(v.nft) == 1 && v.nft[0].Server == proxyServer)
		},
	},
	{
		name:    "cluster-ip-other-port",
		changes: "a port or protocol that a Service has not is rejected at its cluster IP (ICMP port unreachable), not sent on and lost",
		whom:    "who asks a wrong port: an error at once, not a timeout",
		do:      "nothing: it did not work before",
		back:    "nothing: clients run into a timeout again",
		is: func(_ *move, v *view) bool {
			return v.Type == proof.ByClusterIP && (v.Aspect == OtherPort || v.Aspect == OtherProtocol) && sentOn(v.ipt) && only(v.nft, nat.EndRejected)
		},
	},
	{
		name:    "cluster-ip-ping",
		changes: "an echo request to a cluster IP is rejected (ICMP port unreachable), not sent on and lost",
		whom:    "who pings a cluster IP",
		do:      "nothing: it was not answered before; monitoring that pings a Service has to ask a port",
		back:    "nothing",
		is: func(_ *move, v *view) bool {
			return v.Type == proof.ByClusterIP && v.Aspect == Ping && sentOn(v.ipt) && only(v.nft, nat.EndRejected)
		},
	},
	{
		name:    "cluster-ip-unallocated",
		changes: "a cluster IP that no Service has, of a range that a ServiceCIDR object names, is dropped on the client's node, not sent on",
		whom:    "who asks a Service that is gone; a node's own UDP socket gets EPERM",
		do:      "nothing, unless something beside kube-proxy serves addresses of that range: give it addresses outside of the ServiceCIDR",
		back:    "nothing: such packets leave the nodes again",
		is: func(_ *move, v *view) bool {
			return v.Type == proof.ByClusterIP && v.Aspect == Unallocated && sentOn(v.ipt) && dropped(v.nft)
		},
	},
	{
		name:    "no-endpoints-from-node",
		changes: "what a node itself sends to an external IP or a load balancer's address of a Service without endpoints is rejected, not sent on and lost",
		whom:    "processes of the nodes and host-network pods: an error at once, not a timeout",
		do:      "nothing: it did not work before",
		back:    "nothing",
		is: func(m *move, v *view) bool {
			return external(v) && v.Aspect == AtPort && m.isNode(v.Client) && !v.usable() && sentOn(v.ipt) && only(v.nft, nat.EndRejected)
		},
	},
	{
		name:    "health-check-address",
		changes: "kube-proxy listens for a load balancer's health checks at the addresses of node ports alone: the primary one; at others the node refuses",
		whom:    "load balancers that check a node by another address than its primary one: they take the node for unhealthy",
		do:      "have the load balancer check the primary address, or set nodePortAddresses",
		back:    "nothing: it listens at all addresses",
		is: func(m *move, v *view) bool {
			return v.Type == proof.ByHealthCheck && m.notServed(v) && refusedByHost(v.nft, v.owner) && only(v.ipt, nat.EndAnswered)
		},
	},
	{
		name:    "cluster-ip-of-the-node",
		changes: "what asks a cluster IP that is an address of the node's own too is rejected by the rules, not answered by the node: a port without endpoints, and from the node itself a ping and every port that the Service has not",
		whom:    "clients of such a Service, and the node itself",
		do:      "nothing where a client only meets another error; what a process of the node serves at that address itself needs a port that the Service has not, and clients on other machines",
		back:    "nothing",
		is: func(_ *move, v *view) bool {
			return v.Type == proof.ByClusterIP && v.owner != "" && (!v.usable() || v.Client == v.owner) && byHost(v.ipt) && only(v.nft, nat.EndRejected)
		},
	},
	{
		name:    "forward-policy",
		changes: "nothing accepts what is forwarded to an endpoint in front of a policy of FORWARD that drops: iptables mode did, of what it masquerades and of all answers",
		whom:    "clients of Services on nodes where another agent (Docker, a firewall) sets the policy of FORWARD to DROP",
		do:      "set it to ACCEPT (iptables -P FORWARD ACCEPT), or have that agent accept the pods' network",
		back:    "nothing: iptables mode accepts its own packets first",
		is: func(_ *move, v *view) bool {
			return reached(v.ipt) && agentDropped(v.nft, nat.Forward, true)
		},
	},
	{
		name:    "forward-rule",
		changes: "a rule of another agent that drops in FORWARD is no longer behind kube-proxy's that accept what it masquerades and all answers",
		whom:    "clients of Services whose endpoints such a rule is about",
		do:      "look whether the rule is meant for Services' clients: where it is not, accept them in front of it",
		back:    "the rule no longer holds for masqueraded clients: a network policy by such rules has to stand in front of kube-proxy's",
		is: func(_ *move, v *view) bool {
			return reached(v.ipt) && agentDropped(v.nft, nat.Forward, false)
		},
	},
	{
		name:    "input-policy",
		changes: "nothing accepts health checks in front of an INPUT that drops: iptables mode did",
		whom:    "load balancers that check nodes with a firewall on INPUT: they take the node for unhealthy",
		do:      "accept the Services' healthCheckNodePorts in the firewall (they are in the Service objects)",
		back:    "nothing: iptables mode accepts them itself",
		is: func(_ *move, v *view) bool {
			return v.Type == proof.ByHealthCheck && only(v.ipt, nat.EndAnswered) && (agentDropped(v.nft, nat.Input, true) || agentDropped(v.nft, nat.Input, false))
		},
	},
	{
		name:    "invalid-segment",
		changes: "a TCP segment that conntrack calls INVALID is not dropped: it reaches the client untranslated, which resets the connection (kubernetes#74839)",
		whom:    "long connections to endpoints on other nodes, where segments come late or out of the window: big transfers, lossy links, offloading faults",
		do:      "set conntrack.tcpBeLiberal: true in the KubeProxyConfiguration, before or with the mode: such segments are translated then, in both modes",
		back:    "nothing: the rule that drops them is there again",
		is:      func(_ *move, v *view) bool { return v.Aspect == InvalidSegment && documentedInvalid(v) },
	},
	{
		name:    "affinity-memory",
		changes: "session affinity remembers 65,535 clients of an endpoint on each node, not 100: the hundred-and-first no longer makes it forget the first",
		whom:    "clients of Services with sessionAffinity ClientIP that have many clients",
		do:      "nothing: clients stay with their endpoint; load may be spread less evenly for as long as the affinity lasts",
		back:    "nothing can be set: clients may change endpoints in their sessions",
		is:      func(_ *move, v *view) bool { return v.Aspect == Remembered && documentedAffinity(v) },
	},
	{
		name:    "hairpin-of-another-dnat",
		changes: "a pod that comes back to itself by another agent's DNAT to a port that is an endpoint of a Service is masqueraded, so that it is answered",
		whom:    "pods that ask their own hostPort or the like",
		do:      "nothing: it did not work before",
		back:    "have pods ask themselves by their Service",
		is: func(_ *move, v *view) bool {
			return only(v.ipt, nat.EndLost) && v.ipt[0].Endpoint.Addr() == v.Source && masqueraded(v, v.nft) && v.nft[0].Endpoint.Addr() == v.Source
		},
	},
	{
		name:    "load-balancer-local-from-node",
		changes: "a load balancer's address or external IP with externalTrafficPolicy Local is lost from a node without an endpoint of its own: a fault of the first releases (kubernetes#131765)",
		whom:    "processes of such nodes",
		do:      "move to a release that has it mended: v1.33.13 or later of 1.33, or v1.34 and later",
		back:    "nothing",
		is: func(_ *move, v *view) bool {
			return external(v) && v.Aspect == AtPort && v.svc.ExternalPolicy == topology.PolicyLocal && only(v.ipt, nat.EndAnswered) && dropped(v.nft) && v.nft[0].by != nil && v.nft[0].by.Table != "filter"
		},
	},
	{
		name:    "source-ranges-without-endpoints",
		changes: "loadBalancerSourceRanges hold for a load balancer's address without endpoints, too: who is in none of them is dropped, not rejected",
		whom:    "clients outside of the ranges, of a Service without endpoints: a timeout, not an error at once",
		do:      "nothing: it did not work before",
		back:    "nothing",
		is: func(_ *move, v *view) bool {
			by := v.nft[0].by
			return v.Type == proof.ByLoadBalancer && v.Aspect == AtPort && !v.usable() && (sentOn(v.ipt) || only(v.ipt, nat.EndRejected)) && dropped(v.nft) && by != nil && strings.HasPrefix(by.Chain, "firewall-")
		},
	},
	{
		name:    "hairpin-by-another-node",
		changes: "a pod that asks its own Service by another node's address and comes back to itself is no longer masqueraded there, and its answer does not find back: since v1.36 each node masquerades for its own endpoints alone",
		whom:    "pods that are endpoints of a Service with externalTrafficPolicy Local and ask its node port, external IP or load balancer's address by another node",
		do:      "have pods ask the cluster IP; by another node they were answered only where they met themselves",
		back:    "nothing",
		is:      func(_ *move, v *view) bool { return remoteHairpin(v) },
	},
	{
		name:    "answer-by-another-way",
		changes: "an answer that comes back by another node than its request went by is INVALID: it is no longer dropped, but reaches the client untranslated (kubernetes#74383)",
		whom:    "pods that ask a Service with externalTrafficPolicy Local by another node's address",
		do:      "nothing: it did not work before; have pods ask the cluster IP",
		back:    "nothing",
		is:      func(_ *move, v *view) bool { return brokenAnswer(v) },
	},
}

// uncaptured reports whether who answers has an address of a node and a node port's number, where iptables mode alone serves node ports.
func (m *move) uncaptured(e Ending, proto nat.Proto) bool {
	ipt, nft := m.sides()
	a := e.Endpoint.Addr()
	node := ipt.nodeOf(a)
	return node != "" && ipt.serve(node, a) && !nft.serve(node, a) && slices.ContainsFunc(ipt.cluster.Services, func(s topology.Service) bool {
		return slices.ContainsFunc(s.Ports, func(p topology.ServicePort) bool {
			return p.NodePort == e.Endpoint.Port() && strings.EqualFold(p.Protocol, proto.String())
		})
	})
}

// byGate reports whether the chains of the gate for node ports on localhost reject.
func byGate(all []Ending) bool {
	return only(all, nat.EndRejected) && strings.Contains(all[0].Where, " localhost-nodeport-reject-")
}
