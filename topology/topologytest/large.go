package topologytest

import (
	"fmt"
	"strings"
)

// Large is the input of a cluster of at most 100 nodes and 30,000 Services, each served by three pods; every tenth Service, up to 2,700 of them,
// has a node port, the first one port 30000. Load takes it.
func Large(services, nodes int) string {
	var out, listed strings.Builder
	document := func(format string, args ...any) { fmt.Fprintf(&out, format+"\n---\n", args...) }
	for i := range nodes {
		fmt.Fprintf(&listed, "{name: n%d, podBlocks: [10.%d.0.0/16]}, ", i, 100+i)
		document("{apiVersion: v1, kind: Node, metadata: {name: n%d}, status: {addresses: [{type: InternalIP, address: 172.20.1.%d}]}}", i, i+1)
	}
	document("{apiVersion: natlab/v1alpha1, kind: Lab, metadata: {name: large}, spec: {underlay: {cidr: 172.20.0.0/16, gateway: 172.20.255.254}, "+
		"podNetwork: {cidr: 10.64.0.0/10, overlay: ipip}, nodes: [%s], clients: [{name: outside, address: 172.20.200.1}], kubeProxy: {release: v1.37}}}", strings.TrimSuffix(listed.String(), ", "))
	document("{apiVersion: kubeproxy.config.k8s.io/v1alpha1, kind: KubeProxyConfiguration, mode: iptables, clusterCIDR: 10.64.0.0/10}")
	for i := range services {
		var endpoints []string
		for j := range 3 {
			pod := 3*i + j
			node, address := pod%nodes, fmt.Sprintf("10.%d.%d.%d", 100+pod%nodes, pod/nodes/250, pod/nodes%250+2)
			document("{apiVersion: v1, kind: Pod, metadata: {namespace: large, name: p%d}, spec: {nodeName: n%d}, status: {phase: Running, podIP: %s, podIPs: [{ip: %s}]}}", pod, node, address, address)
			endpoints = append(endpoints, fmt.Sprintf("{addresses: [%s], nodeName: n%d, targetRef: {kind: Pod, namespace: large, name: p%d}, conditions: {ready: true}}", address, node, pod))
		}
		kind, port := "ClusterIP", "{name: http, protocol: TCP, port: 80, targetPort: 8080"
		if i%10 == 0 && i < 27_000 {
			kind, port = "NodePort", fmt.Sprintf("%s, nodePort: %d", port, 30000+i/10)
		}
		document("{apiVersion: v1, kind: Service, metadata: {namespace: large, name: s%d}, spec: {type: %s, clusterIP: 10.32.%d.%d, ports: [%s}]}}", i, kind, i>>8, i&255, port)
		document("{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {namespace: large, name: s%d-a, labels: {kubernetes.io/service-name: s%d}}, addressType: IPv4, "+
			"ports: [{name: http, protocol: TCP, port: 8080}], endpoints: [%s]}", i, i, strings.Join(endpoints, ", "))
	}
	return out.String()
}
