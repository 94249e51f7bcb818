package topologytest

import (
	"fmt"
	"strings"
)

// ManyNodes is the input of a cluster of at most 200 nodes, ten pods on each, and as many Services as pods, each served by one. The first
// Service has a node port. Load takes it.
func ManyNodes(name string, nodes int) string {
	var out, listed strings.Builder
	document := func(format string, args ...any) { fmt.Fprintf(&out, format+"\n---\n", args...) }
	for i := range nodes {
		fmt.Fprintf(&listed, "{name: n%d, podBlocks: [10.100.%d.0/24]}, ", i, i)
		document("{apiVersion: v1, kind: Node, metadata: {name: n%d}, status: {addresses: [{type: InternalIP, address: 172.20.1.%d}]}}", i, i+1)
	}
	document("{apiVersion: natlab/v1alpha1, kind: Lab, metadata: {name: %s}, spec: {underlay: {cidr: 172.20.0.0/16, gateway: 172.20.255.254}, "+
		"podNetwork: {cidr: 10.64.0.0/10, overlay: ipip}, nodes: [%s], clients: [{name: outside, address: 172.20.200.1}], kubeProxy: {release: v1.37}}}", name, listed.String())
	document("{apiVersion: kubeproxy.config.k8s.io/v1alpha1, kind: KubeProxyConfiguration, mode: iptables, clusterCIDR: 10.64.0.0/10}")
	for i := range 10 * nodes {
		node, address, kind := i%nodes, fmt.Sprintf("10.100.%d.%d", i%nodes, i/nodes+2), "type: ClusterIP"
		port := "{name: http, protocol: TCP, port: 80, targetPort: 8080"
		if i == 0 {
			kind, port = "type: NodePort", port+", nodePort: 30000"
		}
		document("{apiVersion: v1, kind: Pod, metadata: {namespace: many, name: p%d}, spec: {nodeName: n%d}, status: {phase: Running, podIP: %s, podIPs: [{ip: %s}]}}", i, node, address, address)
		document("{apiVersion: v1, kind: Service, metadata: {namespace: many, name: s%d}, spec: {%s, clusterIP: 10.32.%d.%d, ports: [%s}]}}", i, kind, i>>8, i&255, port)
		document("{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {namespace: many, name: s%d-a, labels: {kubernetes.io/service-name: s%d}}, addressType: IPv4, "+
			"ports: [{name: http, protocol: TCP, port: 8080}], endpoints: [{addresses: [%s], nodeName: n%d, targetRef: {kind: Pod, namespace: many, name: p%d}, conditions: {ready: true}}]}", i, i, address, node, i)
	}
	return out.String()
}
