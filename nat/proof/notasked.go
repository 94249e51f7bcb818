package proof

import (
	"fmt"
	"net/netip"
	"strings"

	"natlab/nat"
	"natlab/topology"
)

// NotAsked is an address of a Service port that no flow asks, and the reason: nothing is passed over in silence.
type NotAsked struct {
	Service  string `json:"service"`  // "NS/NAME:PORT"; "" of a hostPort
	Type     Access `json:"type"`     // the kind of address
	Target   string `json:"target"`   // "ADDRESS:PORT", of a node port the unspecified one of its family
	Protocol string `json:"protocol"` // "TCP", "UDP" or "SCTP", as the Service has it
	Reason   string `json:"reason"`
}

// notVIP is the reason for a load balancer's address that kube-proxy does not serve.
const notVIP = "ipMode Proxy: kube-proxy leaves the address to the load balancer"

// notItself is the reason for a node port of SCTP at a node's own ::1.
const notItself = "natlab asks SCTP by raw sockets, and the client's own at ::1 would take the packet before the node refuses it"

// atItself reports whether a node's loopback cannot be asked: what kube-proxy leaves alone there comes to the raw socket that asks.
func atItself(p nat.Proto, f topology.Family) bool { return p == nat.SCTP && f == topology.IPv6 }

// noFamily is the reason for an address of a family that a lab of the cluster does not have.
func noFamily(a netip.Addr) string {
	if a.Is6() {
		return "the lab has no IPv6"
	}
	return "the lab has no IPv4"
}

// Unasked lists the addresses, ports, families and protocols of Services, and the hostPorts of Pods, that Flows has no flow for.
func Unasked(c topology.Cluster, s Selector) []NotAsked {
	var out []NotAsked
	for _, svc := range c.Services {
		for _, port := range svc.Ports {
			for _, n := range unaskedOf(c, svc, port) {
				if s.From == "" && s.To == "" && (s.Service == "" || s.Service == n.Service || s.Service == svc.Namespace+"/"+svc.Name) {
					out = append(out, n)
				}
			}
		}
	}
	if s == (Selector{}) {
		out = append(out, unaskedHostPorts(c)...)
	}
	return out
}

// Unfinished lists the addresses of flows that were not asked to the end, one for all its clients, in the order of the flows.
func Unfinished(flows []Flow, reason string) []NotAsked {
	var out []NotAsked
	clients := map[NotAsked]int{}
	for _, f := range flows {
		n := NotAsked{Service: f.Service, Type: f.Type, Target: f.Target.String(), Protocol: strings.ToUpper(f.Protocol.String())}
		if clients[n] == 0 {
			out = append(out, n)
		}
		clients[n]++
	}
	for i, n := range out {
		out[i].Reason = fmt.Sprintf("%s, from %d clients", reason, clients[n])
		if clients[n] == 1 {
			out[i].Reason = reason + ", from one client"
		}
	}
	return out
}

func unaskedOf(c topology.Cluster, svc topology.Service, port topology.ServicePort) (out []NotAsked) {
	add := func(a Access, target netip.AddrPort, reason string) {
		n := NotAsked{Service: portName(svc, port), Type: a, Target: target.String(), Protocol: port.Protocol, Reason: reason}
		if !c.Has(target.Addr()) {
			n.Reason = noFamily(target.Addr())
		}
		if n.Reason != "" {
			out = append(out, n)
		}
	}
	four, six := false, false
	for _, ip := range svc.ClusterIPs {
		four, six = four || ip.Is4(), six || ip.Is6()
		add(ByClusterIP, netip.AddrPortFrom(ip, port.Port), "")
	}
	for _, in := range svc.Ingress {
		reason := ""
		if in.IPMode == "Proxy" {
			reason = notVIP
		}
		add(ByLoadBalancer, netip.AddrPortFrom(in.IP, port.Port), reason)
	}
	for _, ip := range svc.ExternalIPs {
		add(ByExternalIP, netip.AddrPortFrom(ip, port.Port), "")
	}
	if port.NodePort == 0 {
		return out
	}
	if proto, _ := askable(port.Protocol); six && atItself(proto, topology.IPv6) && c.Has(netip.IPv6Loopback()) && c.KubeProxy.SinceRelease(localSince) {
		add(ByNodePort, netip.AddrPortFrom(netip.IPv6Loopback(), port.NodePort), notItself)
	}
	for _, family := range []struct {
		there bool
		addr  netip.Addr
	}{{four, netip.IPv4Unspecified()}, {six, netip.IPv6Unspecified()}} {
		if family.there {
			add(ByNodePort, netip.AddrPortFrom(family.addr, port.NodePort), "")
		}
	}
	return out
}

// String is the address that is not asked, in one line.
func (n NotAsked) String() string {
	return strings.TrimSpace(strings.Join([]string{n.Service, n.Type.String(), n.Target, n.Protocol}, " "))
}
