package proof

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/topology"
)

// A hostPort is asked at the addresses that it has, by whoever can get there, and what is not asked of it is told.
func TestHostPortFlows(t *testing.T) {
	addr := netip.MustParseAddr
	for _, row := range []struct {
		name    string
		change  func(*topology.Cluster, *topology.Pod)
		asked   []string // the targets, each once
		clients int      // of the first target
		unasked []string
	}{
		{"any address", func(*topology.Cluster, *topology.Pod) {}, []string{"10.0.0.1:8080", "10.9.0.1:8080", "127.0.0.1:8080"}, 6, nil},
		{"no route_localnet", func(c *topology.Cluster, _ *topology.Pod) { c.KubeProxy.LocalhostNodePorts = false }, []string{"10.0.0.1:8080", "10.9.0.1:8080"}, 6, nil},
		{"one address", func(_ *topology.Cluster, p *topology.Pod) { p.HostPorts[0].IP = addr("10.0.0.1") }, []string{"10.0.0.1:8080"}, 6, nil},
		{"0.0.0.0", func(_ *topology.Cluster, p *topology.Pod) { p.HostPorts[0].IP = addr("0.0.0.0") }, []string{"10.0.0.1:8080", "10.9.0.1:8080", "127.0.0.1:8080"}, 6, nil},
		{"loopback", func(_ *topology.Cluster, p *topology.Pod) { p.HostPorts[0].IP = addr("127.0.0.1") }, []string{"127.0.0.1:8080"}, 1, nil},
		{"loopback without route_localnet", func(c *topology.Cluster, p *topology.Pod) {
			c.KubeProxy.LocalhostNodePorts, p.HostPorts[0].IP = false, addr("127.0.0.1")
		}, nil, 0, []string{"hostPort 127.0.0.1:8080 TCP: Pod d/web: no client reaches its address: the node has no route_localnet"}},
		{
			"SCTP", func(_ *topology.Cluster, p *topology.Pod) { p.HostPorts[0].Protocol = "SCTP" },
			[]string{"10.0.0.1:8080", "10.9.0.1:8080", "127.0.0.1:8080"},
			6, nil,
		},
		{
			"an IPv6 address", func(_ *topology.Cluster, p *topology.Pod) { p.HostPorts[0].IP = addr("fd00::1") }, nil, 0,
			[]string{"hostPort [fd00::1]:8080 TCP: Pod d/web: the lab has no IPv6"},
		},
		{
			"a pod of both families", func(_ *topology.Cluster, p *topology.Pod) { p.IPs = append(p.IPs, addr("fd00::2")) },
			[]string{"10.0.0.1:8080", "10.9.0.1:8080", "127.0.0.1:8080"},
			6,
			[]string{"hostPort [::]:8080 TCP: Pod d/web: the lab has no IPv6"},
		},
		{"on the host network", func(_ *topology.Cluster, p *topology.Pod) {
			p.HostNetwork, p.IPs = true, []netip.Addr{addr("10.0.0.1")}
		}, []string{"10.0.0.1:8080"}, 5, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, protocol := small(), ""
			c.Services = nil
			for i := range c.Pods {
				if p := &c.Pods[i]; p.Member() == "d/web" {
					p.HostPorts = []topology.HostPort{{Port: 8080, Container: 80, Protocol: "TCP"}}
					row.change(&c, p)
					protocol = strings.ToLower(p.HostPorts[0].Protocol)
				}
			}
			var targets []string
			clients := map[string]int{}
			for _, f := range Flows(c, Selector{}) {
				if f.Type == ByNothing {
					continue
				}
				require.Equal(t, ByHostPort, f.Type, f.Name)
				require.Contains(t, f.Name, " "+protocol+" d/web")
				at := f.Target.String()
				if clients[at]++; clients[at] == 1 {
					targets = append(targets, at)
				}
			}
			require.Equal(t, row.asked, targets)
			if len(targets) > 0 {
				require.Equal(t, row.clients, clients[targets[0]])
			}
			var unasked []string
			for _, n := range Unasked(c, Selector{}) {
				unasked = append(unasked, n.String()+": "+n.Reason)
			}
			require.Equal(t, row.unasked, unasked)
		})
	}
}
