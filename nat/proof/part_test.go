package proof

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/topology"
)

// Of a cluster stays what a Service's flows have to do with: whoever asks and answers, and whatever shares an address with them.
func TestPart(t *testing.T) {
	t.Parallel()
	c := small()
	service := func(name, ip string, endpoints ...topology.Endpoint) topology.Service {
		return topology.Service{
			Namespace: "d", Name: name, ClusterIPs: addrs(ip),
			Ports: []topology.ServicePort{{Protocol: "TCP", Port: 80, Endpoints: endpoints}},
		}
	}
	at := func(pod, addr string) topology.Endpoint {
		return topology.Endpoint{Addr: netip.MustParseAddrPort(addr), Pod: pod, Ready: true, Serving: true}
	}
	c.Pods = append(c.Pods,
		topology.Pod{Namespace: "d", Name: "far", Node: "n1", IPs: addrs("10.244.1.9")},
		topology.Pod{Namespace: "d", Name: "other", Node: "n1", IPs: addrs("10.244.1.10")},
		topology.Pod{Namespace: "d", Name: "late", Node: "n1", IPs: addrs("10.244.1.12")},
		topology.Pod{Namespace: "d", Name: "last", Node: "n2", IPs: addrs("10.244.2.12")},
		topology.Pod{Namespace: "d", Name: "port", Node: "n1", IPs: addrs("10.244.1.11"), HostPorts: []topology.HostPort{{Port: 9}}},
	)
	shares := service("shares", "10.96.0.3", at("d/far", "10.244.1.9:80"), at("d/late", "10.244.1.12:80"))
	web := &c.Services[0].Ports[0]
	web.Endpoints = append(web.Endpoints, at("d/last", "10.244.2.12:8080"))
	shares.ExternalIPs = addrs("10.0.0.2") // a node's
	c.Services = append(c.Services, service("unasked", "10.96.0.2", at("d/other", "10.244.1.10:80")), shares)
	only := Selector{Service: "d/web", From: "n1"}
	part := Part(c, only)
	require.Equal(t, []string{"web", "shares"}, names(part.Services, func(s topology.Service) string { return s.Name }))
	require.Equal(t, []string{"web", "a", "host", "far", "late", "last", "port"}, names(part.Pods, func(p topology.Pod) string { return p.Name }))
	require.Equal(t, c.Nodes, part.Nodes)
	require.Equal(t, Flows(c, only), Flows(part, only))
	require.NotEmpty(t, Flows(part, only))
	for _, whole := range []Selector{{}, {From: "n1"}, {Service: "d/nothing"}} {
		require.Equal(t, c, Part(c, whole))
	}
}

func names[T any](all []T, of func(T) string) (out []string) {
	for _, one := range all {
		out = append(out, of(one))
	}
	return out
}
