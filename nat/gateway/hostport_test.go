package gateway_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/portmap"
	"natlab/topology"
)

// A Pod with a hostPort, as Traefik or ingress-nginx has one, and one without.
const hostPortCluster = `
{apiVersion: v1, kind: Node, metadata: {name: n1}, spec: {podCIDRs: [10.42.0.0/24]}, status: {addresses: [{type: InternalIP, address: 192.0.2.11}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: ingress-1, namespace: i}, spec: {nodeName: n1, containers: [{name: c, ports: [{containerPort: 8000, hostPort: 80}]}]}, status: {phase: Running, podIP: 10.42.0.9}}
---
{apiVersion: v1, kind: Pod, metadata: {name: client, namespace: i}, spec: {nodeName: n1, containers: [{name: c}]}, status: {phase: Running, podIP: 10.42.0.10}}
`

// Who asks a hostPort gets the Pod's answer; from localhost and from the Pod itself it is masqueraded.
func TestHostPort(t *testing.T) {
	t.Parallel()
	c, _, err := topology.Load(topology.Source{Name: "in.yaml", Reader: strings.NewReader(hostPortCluster)})
	require.NoError(t, err)
	n := network(t, c, func(node string, rs *iptables.Ruleset) { *rs = portmap.Add(*rs, c, node) })
	for _, row := range []struct{ name, from, tuple, end, peer string }{
		{"from outside", "outside", "tcp 192.0.2.254:40000 > 192.0.2.11:80", "answered 10.42.0.9:8000", "192.0.2.254:40000"},
		{"from a Pod of the node", "i/client", "tcp 10.42.0.10:40000 > 192.0.2.11:80", "answered 10.42.0.9:8000", "10.42.0.10:40000"},
		{"from the Pod itself", "i/ingress-1", "tcp 10.42.0.9:40000 > 192.0.2.11:80", "answered 10.42.0.9:8000", "192.0.2.11:40000"},
		{"from the node by localhost", "n1", "tcp 127.0.0.1:40000 > 127.0.0.1:80", "answered 10.42.0.9:8000", "192.0.2.11:40000"},
		{"another port", "outside", "tcp 192.0.2.254:40000 > 192.0.2.11:81", "refused invalid AddrPort", "invalid AddrPort"},
		{"another protocol", "outside", "udp 192.0.2.254:40000 > 192.0.2.11:80", "refused invalid AddrPort", "invalid AddrPort"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			ways := predict(t, n, row.from, row.tuple)
			require.Len(t, ways, 1)
			require.Equal(t, row.end, ways[0].End.String()+" "+ways[0].Endpoint.String())
			require.Equal(t, row.peer, ways[0].ServerPeer.String())
		})
	}
	without := network(t, c, nil)
	require.Equal(t, nat.EndRefused, predict(t, without, "outside", "tcp 192.0.2.254:40000 > 192.0.2.11:80")[0].End, "by nobody else's rules")
}
