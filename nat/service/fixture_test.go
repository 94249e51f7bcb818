package service_test

import (
	"net/netip"

	"natlab/topology"
)

// The cluster of the tests: nodes a and b with a tunnel, and c; a pod on each, one more on a; a Service web with all addresses.
//
//	a 172.20.0.1 (10.60.1.0)  web-a 10.60.1.10  idle-a 10.60.1.11
//	b 172.20.0.2 (10.60.2.0)  web-b 10.60.2.10
//	c 172.20.0.3 (10.60.3.0)  idle-c 10.60.3.10  host-c on its network
//	outside: near 172.20.0.200, far 198.51.100.7
//	web: 10.70.0.1:80, node port 30080, load balancer 172.20.0.100 at a, external IP 203.0.113.9 at b
const webA, webB, webHost = "10.60.1.10:8080", "10.60.2.10:8080", "172.20.0.3:8080"

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func ready(at, node string) topology.Endpoint {
	return topology.Endpoint{Addr: netip.MustParseAddrPort(at), Node: node, Ready: true, Serving: true}
}

func cluster() topology.Cluster {
	node := func(name, zone, address, tunnel, block string) topology.Node {
		return topology.Node{
			Name: name, Labels: map[string]string{"topology.kubernetes.io/zone": zone}, Addresses: []netip.Addr{addr(address)},
			TunnelAddresses: []netip.Addr{addr(tunnel)}, PodCIDRs: []netip.Prefix{netip.MustParsePrefix(block)},
		}
	}
	pod := func(name, node, ip string, host bool) topology.Pod {
		return topology.Pod{Namespace: "d", Name: name, Node: node, IPs: []netip.Addr{addr(ip)}, HostNetwork: host}
	}
	return topology.Cluster{
		Name:     "test",
		Underlay: topology.Underlay{Interface: "eth0", CIDRs: []netip.Prefix{netip.MustParsePrefix("172.20.0.0/24")}},
		Nodes: []topology.Node{
			node("a", "east", "172.20.0.1", "10.60.1.0", "10.60.1.0/26"), node("b", "west", "172.20.0.2", "10.60.2.0", "10.60.2.0/26"),
			node("c", "west", "172.20.0.3", "10.60.3.0", "10.60.3.0/26"),
		},
		Pods: []topology.Pod{
			pod("web-a", "a", "10.60.1.10", false), pod("idle-a", "a", "10.60.1.11", false), pod("web-b", "b", "10.60.2.10", false),
			pod("idle-c", "c", "10.60.3.10", false), pod("host-c", "c", "172.20.0.3", true),
		},
		Clients:       []topology.Client{{Name: "near", Addresses: []netip.Addr{addr("172.20.0.200")}}, {Name: "far", Addresses: []netip.Addr{addr("198.51.100.7")}}},
		LoadBalancers: []topology.LoadBalancer{{Address: addr("172.20.0.100"), AnnouncedBy: "a"}, {Address: addr("203.0.113.9"), AnnouncedBy: "b"}},
		KubeProxy:     topology.KubeProxy{ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.60.0.0/16")}, LocalhostNodePorts: true},
		Services: []topology.Service{{
			Namespace: "d", Name: "web", Type: topology.LoadBalancerType, ClusterIPs: []netip.Addr{addr("10.70.0.1")},
			ExternalIPs: []netip.Addr{addr("203.0.113.9")}, Ingress: []topology.Ingress{{IP: addr("172.20.0.100")}},
			Ports: []topology.ServicePort{{Name: "http", Protocol: "TCP", Port: 80, NodePort: 30080, Endpoints: []topology.Endpoint{ready(webA, "a"), ready(webB, "b")}}},
		}},
	}
}

// change is what a row changes of the cluster.
type change = func(c *topology.Cluster, s *topology.Service, e []topology.Endpoint)

func endpoints(list ...topology.Endpoint) change {
	return func(_ *topology.Cluster, s *topology.Service, _ []topology.Endpoint) { s.Ports[0].Endpoints = list }
}

func release(name string, then ...change) change {
	return func(c *topology.Cluster, s *topology.Service, e []topology.Endpoint) {
		c.KubeProxy.Release = name
		for _, f := range then {
			f(c, s, e)
		}
	}
}

func externalLocal(_ *topology.Cluster, s *topology.Service, _ []topology.Endpoint) {
	s.ExternalPolicy = topology.PolicyLocal
}

func internalLocal(_ *topology.Cluster, s *topology.Service, _ []topology.Endpoint) {
	s.InternalPolicy = topology.PolicyLocal
}

func terminating(e []topology.Endpoint) {
	for i := range e {
		e[i].Ready, e[i].Terminating = false, true
	}
}

func allTerminating(_ *topology.Cluster, _ *topology.Service, e []topology.Endpoint) { terminating(e) }

func kubeProxy(f func(*topology.KubeProxy)) change {
	return func(c *topology.Cluster, _ *topology.Service, _ []topology.Endpoint) { f(&c.KubeProxy) }
}

// nftables is a cluster whose kube-proxy runs in nftables mode.
func nftables(c *topology.Cluster, _ *topology.Service, _ []topology.Endpoint) {
	c.KubeProxy.Mode = topology.ModeNFTables
}

// ipvs is a cluster whose kube-proxy runs in ipvs mode, and gives each node the addresses of Services.
func ipvs(c *topology.Cluster, _ *topology.Service, _ []topology.Endpoint) {
	c.KubeProxy.Mode = topology.ModeIPVS
}

func strictARP(c *topology.Cluster, _ *topology.Service, _ []topology.Endpoint) {
	c.KubeProxy.Mode, c.KubeProxy.StrictARP = topology.ModeIPVS, true
}

func nodePortsAt(ranges ...string) change {
	return kubeProxy(func(kp *topology.KubeProxy) { kp.NodePortAddresses = ranges })
}

func zones(of ...string) change {
	return func(_ *topology.Cluster, _ *topology.Service, e []topology.Endpoint) {
		for i, z := range of {
			if z != "" {
				e[i].ZoneHints = []string{z}
			}
		}
	}
}

func nodeHints(_ *topology.Cluster, _ *topology.Service, e []topology.Endpoint) {
	e[0].NodeHints, e[1].NodeHints = []string{"a"}, []string{"b"}
}

func annotated(key, value string) change {
	return func(_ *topology.Cluster, s *topology.Service, _ []topology.Endpoint) {
		s.Annotations = map[string]string{"service.kubernetes.io/" + key: value}
	}
}

func gate(name string, on bool) change {
	return kubeProxy(func(kp *topology.KubeProxy) { kp.FeatureGates = map[string]bool{name: on} })
}

func ranges(of ...string) change {
	return func(_ *topology.Cluster, s *topology.Service, _ []topology.Endpoint) {
		for _, r := range of {
			s.SourceRanges = append(s.SourceRanges, netip.MustParsePrefix(r))
		}
	}
}

func all(list ...change) change {
	return func(c *topology.Cluster, s *topology.Service, e []topology.Endpoint) {
		for _, f := range list {
			f(c, s, e)
		}
	}
}
