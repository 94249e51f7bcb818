package outcome_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/lab/labtest"
	"natlab/lab/outcome"
	"natlab/nat"
	"natlab/nat/migrate"
	"natlab/topology"
)

// two are a node with a second address and the only endpoint of two Services, and a node with a pod that is none.
const two = `{apiVersion: v1, kind: Node, metadata: {name: n1}, spec: {podCIDR: 10.244.1.0/24, podCIDRs: [10.244.1.0/24, "fd00:244:1::/64"]}, status: {addresses: [{type: InternalIP, address: 192.168.26.10}, {type: InternalIP, address: "fd00:26::10"}, {type: InternalIP, address: 192.168.26.12}, {type: InternalIP, address: "fd00:26::12"}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: n2}, spec: {podCIDR: 10.244.2.0/24, podCIDRs: [10.244.2.0/24, "fd00:244:2::/64"]}, status: {addresses: [{type: InternalIP, address: 192.168.26.20}, {type: InternalIP, address: "fd00:26::20"}]}}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: d, name: p1}, spec: {nodeName: n1}, status: {phase: Running, podIP: 10.244.1.5, podIPs: [{ip: 10.244.1.5}, {ip: "fd00:244:1::5"}]}}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: d, name: p2}, spec: {nodeName: n2}, status: {phase: Running, podIP: 10.244.2.6, podIPs: [{ip: 10.244.2.6}, {ip: "fd00:244:2::6"}]}}
---
{apiVersion: kubeproxy.config.k8s.io/v1alpha1, kind: KubeProxyConfiguration, clusterCIDR: "10.244.0.0/16,fd00:244::/32"}
---
{apiVersion: v1, kind: Service, metadata: {namespace: d, name: web}, spec: {type: NodePort, externalTrafficPolicy: Local, clusterIP: 10.96.0.10, clusterIPs: [10.96.0.10, "fd00:96::10"], ipFamilies: [IPv4, IPv6], ipFamilyPolicy: RequireDualStack, ports: [{name: h, protocol: TCP, port: 80, targetPort: 8080, nodePort: 30080}]}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {namespace: d, name: web-1, labels: {kubernetes.io/service-name: web}}, addressType: IPv4, ports: [{name: h, protocol: TCP, port: 8080}], endpoints: [{addresses: [10.244.1.5], nodeName: n1, targetRef: {kind: Pod, namespace: d, name: p1}}]}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {namespace: d, name: web-6, labels: {kubernetes.io/service-name: web}}, addressType: IPv6, ports: [{name: h, protocol: TCP, port: 8080}], endpoints: [{addresses: ["fd00:244:1::5"], nodeName: n1, targetRef: {kind: Pod, namespace: d, name: p1}}]}
---
{apiVersion: v1, kind: Service, metadata: {namespace: d, name: empty}, spec: {externalIPs: [203.0.113.9, "2001:db8:113::9"], clusterIP: 10.96.0.11, clusterIPs: [10.96.0.11, "fd00:96::11"], ipFamilies: [IPv4, IPv6], ipFamilyPolicy: RequireDualStack, ports: [{protocol: UDP, port: 53}]}}
---
{apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {name: kubernetes}, spec: {cidrs: [10.96.0.0/16, "fd00:96::/112"]}}
`

// What natlab migrate predicts of a move is what packets show in a lab of each mode, flow by flow: those that end otherwise, and the others.
func TestMigrationIsShown(t *testing.T) {
	c, _, err := topology.Load(topology.Source{Name: "two.yaml", Reader: strings.NewReader(two)})
	require.NoError(t, err)
	o := migrate.Options{From: topology.ModeIPTables, To: topology.ModeNFTables, Sample: 1000}
	r, err := migrate.Check(c, o)
	require.NoError(t, err)
	require.Zero(t, r.Undocumented())
	c, err = migrate.Cluster(c, o)
	require.NoError(t, err)
	flows := r.Askable()
	probes := make([]nat.Probe, len(flows))
	for i, d := range flows {
		probes[i] = d.Probe()
	}
	var seen [2][]migrate.Sight
	for i, mode := range []string{"", topology.ModeNFTables} {
		c.KubeProxy.Mode = mode
		l := labtest.New(t, c)
		all, err := outcome.Ask(t.Context(), l, probes, func(k int) time.Duration {
			if migrate.Silent([][]migrate.Ending{flows[k].From, flows[k].To}[i]) {
				return 300 * time.Millisecond // nothing comes, however long it waits
			}
			return time.Minute
		})
		require.NoError(t, err)
		for _, s := range all {
			seen[i] = append(seen[i], migrate.Sight{End: s.End, Endpoint: s.Endpoint, As: s.As, Barred: s.Barred})
		}
		_, err = outcome.Ask(t.Context(), l, []nat.Probe{{From: "nobody", Tuple: probes[0].Tuple}}, func(int) time.Duration { return time.Second })
		require.ErrorContains(t, err, "nobody")
	}
	r.Show(seen[0], seen[1])
	shown, shown6 := map[string]int{}, map[string]int{}
	for _, d := range r.Askable() {
		for i, s := range d.Seen {
			require.True(t, s.Foretold, "%s\npredicted %v\nseen      %v", d.Question, [][]migrate.Ending{d.From, d.To}[i], s)
		}
		if shown[d.Class]++; d.Source.Is6() {
			shown6[d.Class]++
		}
	}
	for _, class := range []string{
		"", "node-port-address", "node-port-localhost", "cluster-ip-other-port", "cluster-ip-unallocated", "no-endpoints-from-node", "hairpin-by-another-node",
	} {
		require.Positive(t, shown[class], "%q: %v", class, shown)
		require.Positive(t, shown6[class], "%q of IPv6: %v", class, shown6)
	}
	require.Zero(t, r.Otherwise())
}
