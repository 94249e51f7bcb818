package topology

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// bareNode is a Node without podCIDRs, as of a cloud whose pods are of the nodes' own network.
func bareNode(name, ip string) string {
	return "{apiVersion: v1, kind: Node, metadata: {name: " + name + "}, status: {addresses: [{type: InternalIP, address: " + ip + "}]}}"
}

// Pods with addresses of the nodes' own network: their nodes answer for them, and nothing leads to them but that.
func TestFlatNetwork(t *testing.T) {
	t.Parallel()
	two := []string{bareNode("a", "10.0.12.34"), bareNode("b", "10.0.77.8"), webPod("w1", "b", "10.0.70.19", "")}
	for _, row := range []struct {
		name    string
		docs    []string
		warning string
		routes  string // of node a, without those of its own pods
		answers string // of node b
	}{
		{"single addresses", two, "Pod shop/w1 has 10.0.70.19, of the nodes' own network 10.0.0.0/17: there is no overlay, and the nodes answer for their Pods", "default via 10.0.0.1 dev eth0", "proxy 10.0.70.19 dev eth0"},
		{"none by the Lab document", append([]string{"{apiVersion: natlab/v1alpha1, kind: Lab, spec: {podNetwork: {cidr: 10.0.0.0/16, overlay: none}}}"}, two...), "", "default via 10.0.0.1 dev eth0", "proxy 10.0.70.19 dev eth0"},
		{"a range of the nodes' network a node", []string{bareNode("a", "10.0.12.34"), strings.Replace(bareNode("b", "10.0.77.8"), "status", "spec: {podCIDRs: [10.0.70.0/24]}, status", 1), webPod("w1", "b", "10.0.70.19", "")}, "Pod shop/w1 has 10.0.70.19, of the nodes' own network 10.0.0.0/17: there is no overlay, and the nodes answer for their Pods", "default via 10.0.0.1 dev eth0, 10.0.70.0/24 via 10.0.77.8 dev eth0 proto bird", "proxy 10.0.70.19 dev eth0"},
		{"a range and no pods", []string{bareNode("a", "10.0.12.34"), strings.Replace(bareNode("b", "10.0.77.8"), "status", "spec: {podCIDRs: [10.0.0.0/24]}, status", 1)}, "Node b has 10.0.0.0/24 for its Pods, of the nodes' own network 10.0.0.0/17: there is no overlay, and the nodes answer for their Pods", "default via 10.0.1.0 dev eth0, 10.0.0.0/24 via 10.0.77.8 dev eth0 proto bird", ""},
		{"some of another range", append([]string{webPod("w2", "b", "100.64.3.7", "")}, two...), "Pod shop/w1 has 10.0.70.19, of the nodes' own network 10.0.0.0/17: there is no overlay, and the nodes answer for their Pods", "default via 10.0.0.1 dev eth0, 100.64.3.0/26 via 10.0.77.8 dev eth0 proto bird", "proxy 10.0.70.19 dev eth0"},
		{"an endpoint without a Pod", []string{two[0], two[1], service(`ports: [{name: p, port: 80}]`), slice("a", `ports: [{name: p, port: 9}], endpoints: [{addresses: [10.0.70.20], nodeName: b}]`)}, "Pod shop/endpoint-10-0-70-20 has 10.0.70.20, of the nodes' own network 10.0.0.0/17: there is no overlay, and the nodes answer for their Pods", "default via 10.0.0.1 dev eth0", "proxy 10.0.70.20 dev eth0"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c, warnings := load(t, strings.Join(row.docs, "\n---\n")+"\n")
			require.Equal(t, row.warning, strings.Join(warnings, "\n"))
			require.Equal(t, None, c.PodNetwork.Overlay)
			p := planOf(t, c)
			require.Equal(t, row.routes, strings.Join(texts(namespace(t, p, "a").Routes), ", "))
			require.Equal(t, row.answers, strings.Join(texts(namespace(t, p, "b").Neighbours), ", "))
			for _, pod := range c.Pods {
				require.Contains(t, texts(namespace(t, p, "b").Routes), pod.Address(IPv4).String()+" dev "+pod.HostDevice()+" scope link")
			}
		})
	}
}

// What is no flat network, though addresses are of the nodes' own.
func TestNotFlat(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, text, want string }{
		{"a range with a node in it", strings.Replace(with(), "10.244.2.0/24", "10.0.0.0/28", 1), "in.yaml: document 2: Node n2: spec.podCIDRs: 10.0.0.0/28 is of the underlay 10.0.0.0/24 and holds the address of Node n1, which is no Pod"},
		{"a range with the gateway in it", with("{apiVersion: natlab/v1alpha1, kind: Lab, spec: {underlay: {gateway: 10.0.0.1}, podNetwork: {overlay: none}, nodes: [{name: n1, podBlocks: [10.0.0.0/29]}]}}"), "in.yaml: document 3: Lab: spec.nodes[0].podBlocks: 10.0.0.0/29 is of the underlay 10.0.0.0/24 and holds the address of the gateway, which is no Pod"},
		{"an overlay", with("{apiVersion: natlab/v1alpha1, kind: Lab, spec: {podNetwork: {overlay: vxlan}}}", webPod("w1", "n1", "10.0.0.77", "")), "in.yaml: document 4: Pod shop/w1: status.podIPs: 10.0.0.77 is of the underlay 10.0.0.0/24, and the overlay is vxlan: is the Pod on the node's own network (hostNetwork: true), or is there no overlay (spec.podNetwork.overlay: none in a Lab document)?"},
		{"a node's own address", with(webPod("w1", "n1", "10.0.0.12", "")), "in.yaml: document 3: Pod shop/w1: status.podIPs: 10.0.0.12 is already the address of Node n2: give one of them another"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			_, _, err := loadText(row.text)
			require.EqualError(t, err, row.want)
		})
	}
}
