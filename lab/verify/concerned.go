package verify

import (
	"net/netip"
	"slices"
	"strings"

	"natlab/lab"
	"natlab/nat/proof"
	"natlab/topology"
)

// watchedWhole is how many members a lab has at most that is watched whole.
const watchedWhole = 128

// concerned lists the members that flows can have to do with, in the lab's order: of a large lab all but the pods that ask nothing and
// serve no Service that is asked.
func concerned(l *lab.Lab, intent topology.Cluster, flows []proof.Flow) []string {
	if len(l.Members()) <= watchedWhole {
		return l.Members()
	}
	asked, pods, targets, hostPorts := map[string]bool{}, map[string]bool{}, map[netip.Addr]bool{}, map[uint16]bool{}
	for _, f := range flows {
		service, _, _ := strings.Cut(f.Service, ":")
		asked[service], pods[f.From], targets[f.Target.Addr()] = true, true, true
		if f.Type == proof.ByHostPort || f.Type == proof.ByAddress {
			hostPorts[f.Target.Port()] = true
		}
	}
	for _, s := range slices.Concat(intent.Services, l.Cluster().Services) {
		if !asked[s.Namespace+"/"+s.Name] {
			continue
		}
		for _, port := range s.Ports {
			for _, e := range port.Endpoints {
				pods[e.Pod] = true
			}
		}
	}
	for _, p := range l.Cluster().Pods {
		if slices.ContainsFunc(p.IPs, func(ip netip.Addr) bool { return targets[ip] }) ||
			slices.ContainsFunc(p.HostPorts, func(h topology.HostPort) bool { return hostPorts[h.Port] }) {
			pods[p.Namespace+"/"+p.Name] = true
		}
	}
	var out []string
	for _, ns := range l.Plan().Namespaces {
		if ns.Kind != topology.KindPod || pods[ns.Member] {
			out = append(out, ns.Member)
		}
	}
	return out
}
