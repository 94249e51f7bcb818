package topology

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// Server is one socket that listens behind a Service: a process of a pod.
type Server struct {
	Name   string         `json:"name"`   // as it calls itself: the pod, "NAMESPACE/NAME", also where it is on the host network
	Member string         `json:"member"` // whose namespace it is in: the pod, or the node of a pod on the host network
	Proto  string         `json:"proto"`  // "tcp", "udp" or "sctp"
	Addr   netip.AddrPort `json:"addr"`   // the address it is bound to, never a wildcard
}

// String is "tcp 10.244.169.89:9090 velero/minio-b6d98746c-m7rzc".
func (s Server) String() string { return s.Proto + " " + s.Addr.String() + " " + s.Name }

// Servers lists what listens in a lab of the cluster: one server for each address, port and protocol that is an endpoint
// of some Service port, ready or not, or behind a hostPort, sorted.
func Servers(c Cluster) (servers []Server) {
	type key struct {
		proto string
		addr  netip.AddrPort
	}
	seen := map[key]bool{}
	pods := make(map[string]*Pod, len(c.Pods)) // by member
	for i := range slices.Backward(c.Pods) {
		pods[c.Pods[i].Member()] = &c.Pods[i]
	}
	for _, svc := range c.Services {
		for _, port := range svc.Ports {
			proto := strings.ToLower(port.Protocol)
			for _, e := range port.Endpoints {
				pod := pods[e.Pod]
				k := key{proto, e.Addr}
				if pod == nil || !c.Has(e.Addr.Addr()) || seen[k] { // every endpoint that Load gives an address in it has a pod
					continue
				}
				seen[k] = true
				s := Server{Name: e.Pod, Member: e.Pod, Proto: proto, Addr: e.Addr}
				if pod.HostNetwork {
					s.Member = pod.Node
				}
				servers = append(servers, s)
			}
		}
	}
	for _, p := range c.Pods {
		for _, s := range hostPortServers(c, p) {
			if k := (key{s.Proto, s.Addr}); !seen[k] {
				seen[k] = true
				servers = append(servers, s)
			}
		}
	}
	slices.SortFunc(servers, func(a, b Server) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Proto, b.Proto), a.Addr.Compare(b.Addr))
	})
	return servers
}
