package diagnosis

import (
	"fmt"
	"strings"

	"natlab/topology/near"
)

// Page is what is told of a code: what it means, how it is seen on a node, and what to do.
type Page struct {
	Code  string `json:"code"`
	Title string `json:"title"`
	Means string `json:"means"`
	See   string `json:"see"` // commands for the node
	Cure  string `json:"cure"`
}

var pages = []Page{
	{
		"backend.shadowed", "the rules of one backend of iptables spoil what the other's call for",
		"Two backends hold rules in the kernel, iptables-legacy and iptables-nft, and packets meet those of both. What one of them drops, or translates first, the other never sees, and iptables -S shows one of the two alone.",
		"iptables-legacy-save; iptables-nft-save",
		"find out which backend the agents of the node use, and flush the rules of the other with its own program",
	},
	{
		"bridge.bypass", "a bridge carries packets past the rules",
		"Both hosts are behind one bridge, which carries packets between them itself. Where net.bridge.bridge-nf-call-iptables is not 1, the answer meets no rule, and nobody translates it back: the client drops it for its wrong source.",
		"sysctl net.bridge.bridge-nf-call-iptables; lsmod | grep br_netfilter",
		"modprobe br_netfilter; sysctl -w net.bridge.bridge-nf-call-iptables=1",
	},
	{
		"conntrack.stale", "the node remembers the connection and translates it as it did when it began",
		"The nat table is asked for the first packet of a connection alone. A client that goes on sending from the same port, as DNS over UDP does, keeps its connection alive, and with it the endpoint that is gone.",
		"conntrack -L -d ADDRESS",
		"conntrack -D -p PROTOCOL -s CLIENT -d ADDRESS",
	},
	{
		"dnat.doubled", "two rules translate the same packets, and the first one decides",
		"A port of the node is published twice, to two pods or containers: all packets go where the first rule leads. As a rule its pod is gone, and the network plugin that made the rule was not called for its end, or knew it by another name.",
		"iptables -t nat -S | grep -- '--dport PORT'; crictl pods; docker ps",
		"delete the rule, and the chain that it leads to, of the pod that is gone: iptables -t nat -D CHAIN NUMBER",
	},
	{
		"dnat.missed", "a packet leaves for an address that the node translates, untranslated",
		"The nat table has a rule for the address, a Service's as a rule, and the packet did not meet it, or none of those behind it: a rule of raw took it out of connection tracking, its port is none of the Service's, or a condition does not hold. As a rule no host has such an address.",
		"iptables-save -c | grep -- '-d ADDRESS'; iptables -t raw -S",
		"ask for a port that the Service has; where a rule of raw is to keep the packet on the node (NodeLocal DNSCache), see that its agent runs and its address is there: ip addr",
	},
	{
		"dnat.stale", "a rule translates to a host that the node has no route to",
		"The packet meets a DNAT rule, and behind it there is no route to the new destination, or one that ends packets. The pod is gone and the rule is left over, or the network plugin lost the route.",
		"ip route get ADDRESS; kubectl get endpointslices",
		"if the pod is there, restart its network plugin on the node; else find out who keeps the rule, and why it was not told",
	},
	{
		"forwarding.off", "the node forwards no packets",
		"The packet is for another host, and the device that it came in by forwards nothing.",
		"sysctl net.ipv4.ip_forward net.ipv4.conf.all.forwarding",
		"sysctl -w net.ipv4.ip_forward=1, and in /etc/sysctl.d so that it stays",
	},
	{
		"hairpin.off", "a bridge sends nothing back to the port that it came from",
		"The client is behind the same port of the bridge as the endpoint, for instance a pod that asks its own Service. A bridge sends a packet out of the port that it came in by in hairpin mode only.",
		"bridge -d link",
		"ip link set PORT type bridge_slave hairpin on; of kubelet or the CNI plugin hairpinMode",
	},
	{
		"listener.missing", "no process listens at the port",
		"The packet reaches the node itself, and no socket takes it: TCP is answered by an RST, UDP by an ICMP error.",
		"ss -lntup",
		"start the program, or let it listen at this address and not only at 127.0.0.1",
	},
	{
		"localnet.off", "no device takes what is for an address of loopback",
		"A rule translates the packet to an address of 127.0.0.0/8, or a process of the node asks from one of these a host elsewhere. Devices other than lo take and send such packets where route_localnet is 1 only; the kernel drops others as martians.",
		"sysctl -a | grep route_localnet",
		"sysctl -w net.ipv4.conf.DEVICE.route_localnet=1, as kube-proxy does for node ports on localhost, and let nobody else on the link reach what listens on loopback alone; or let the program listen at an address of the node",
	},
	{
		"mark.cleared", "a rule takes the mark away by which the packet would be masqueraded",
		"An agent marked the packet for a later rule, and another one wrote the whole mark, or its bit, in between.",
		"iptables-save | grep -- --set-",
		"let the other agent write its own bits alone: MARK --set-xmark VALUE/MASK",
	},
	{
		"mark.missing", "a packet is sent to be marked and comes back without a mark",
		"The chain that is to mark packets for masquerading (KUBE-MARK-MASQ) has no rule that does: it was flushed, or another program of another version wrote it.",
		"iptables -t nat -S KUBE-MARK-MASQ",
		"restart kube-proxy on the node, which writes its rules anew",
	},
	{
		"masquerade.missing", "nobody gives the packet an address that its answer finds the way back to",
		"The packet leaves with the source that it came with, and whoever gets it answers past the node, or has no way back to that source at all.",
		"iptables -t nat -S POSTROUTING",
		"let the network plugin masquerade what leaves the cluster (natOutgoing, ipMasq), or kube-proxy what it has to: its detect-local setting tells whom it takes for a pod",
	},
	{
		"policy.drop", "the policy of a built-in chain drops the packet",
		"No rule of the chain accepts the packet, and its policy is DROP. Docker sets that of FORWARD.",
		"iptables -S FORWARD | head -1",
		"accept what has to pass in front: an agent's own rules do so, if they are there and come first",
	},
	{
		"route.asymmetric", "the answer leaves by another device than the packet came in by",
		"The node's routes lead to the client by another device. It works as long as nobody on the way, firewall or rp_filter, wants to see both directions.",
		"ip route get CLIENT; ip rule",
		"a rule of routing that sends answers back by the device of their address: ip rule add from ADDRESS table N",
	},
	{
		"route.closed", "a route ends the packet",
		"The longest prefix that the destination is in is of type blackhole, unreachable or prohibit.",
		"ip route get ADDRESS",
		"find out who keeps the route: network plugins keep one for their blocks of addresses, and a route to each pod that is there",
	},
	{
		"route.missing", "the node has no route to the destination",
		"No route of the tables that are asked leads there, not even a default route.",
		"ip route get ADDRESS; ip route show table all; ip rule",
		"add the route, or find out why who had to add it did not",
	},
	{
		"rpfilter.drop", "rp_filter drops the packet for its source",
		"The way back to the source leads by another device than the packet came in by. With rp_filter 1 the kernel drops such a packet before any rule of filter sees it, with 2 only where there is no way back at all. The larger of the settings of all and of the device counts.",
		"sysctl -a | grep '\\.rp_filter'; nstat -az TcpExtIPReversePathFilter",
		"sysctl -w net.ipv4.conf.DEVICE.rp_filter=2, and net.ipv4.conf.all.rp_filter not above it",
	},
	{
		"rule.drop", "a rule drops the packet",
		"The rule is met and its target is DROP.",
		"iptables-save -c",
		"ask the rule's owner why it is there",
	},
	{
		"rule.reject", "a rule rejects the packet",
		"The rule is met and answers with an ICMP error or an RST. kube-proxy rejects what is for a Service without endpoints.",
		"iptables-save -c",
		"ask the rule's owner why it is there; of kube-proxy look at the Service's endpoints",
	},
	{
		"set.member", "a set decides, and with another member the packet would work",
		"A rule asks a set (ipset) for an address of the packet. The set's answer is what ends the packet.",
		"ipset test SET ADDRESS",
		"find out who keeps the set, and why it has the address or has not",
	},
}

// Codes are all codes with their pages, sorted by code.
func Codes() []Page { return pages }

// Find is the page of a code. An error names all codes.
func Find(code string) (Page, error) {
	var all []string
	for _, p := range pages {
		if p.Code == code {
			return p, nil
		}
		all = append(all, p.Code)
	}
	return Page{}, fmt.Errorf("no code %q; there are %s%s", code, strings.Join(all, ", "), near.Mean(code, all))
}

// String is the page for people.
func (p Page) String() string {
	return fmt.Sprintf("%s: %s\n\n%s\n\n  look: %s\n  cure: %s\n", p.Code, p.Title, p.Means, p.See, p.Cure)
}
