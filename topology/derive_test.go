package topology

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestInvented sees who is made up for an endpoint without a Pod.
func TestInvented(t *testing.T) {
	endpoints := func(e string) string { return slice("a", `ports: [{name: p, port: 9}], endpoints: [`+e+`]`) }
	for _, row := range []struct{ name, endpoint, pod, client string }{
		{"on its node", `{addresses: [10.244.1.5], nodeName: n1}`, "shop/endpoint-10-244-1-5 n1 [10.244.1.5]", ""},
		{"by its targetRef's name", `{addresses: [10.244.1.5], nodeName: n1, targetRef: {kind: Pod, namespace: shop, name: w}}`, "shop/w n1 [10.244.1.5]", ""},
		{"with the node's network", `{addresses: [10.0.0.12], nodeName: n2}`, "shop/host-n2 n2 [10.0.0.12] host", ""},
		{"with the node's network, no nodeName", `{addresses: [10.0.0.12]}`, "shop/host-n2 n2 [10.0.0.12] host", ""},
		{"by its block", `{addresses: [10.244.2.9]}`, "shop/endpoint-10-244-2-9 n2 [10.244.2.9]", ""},
		{"outside of the cluster", `{addresses: [203.0.113.9]}`, "", "endpoint-203-0-113-9 203.0.113.9"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, _ := load(t, with(service(`ports: [{name: p, port: 80}]`), endpoints(row.endpoint)))
			pod, client := "", ""
			for _, p := range c.Pods {
				require.True(t, p.Invented)
				if pod = fmt.Sprint(p.Member(), " ", p.Node, " ", p.IPs); p.HostNetwork {
					pod += " host"
				}
				require.Equal(t, p.Member(), c.Services[0].Ports[0].Endpoints[0].Pod)
			}
			for _, cl := range c.Clients {
				if cl.Invented {
					client = cl.Name + " " + cl.Addresses[0].String()
				}
			}
			require.Equal(t, row.pod, pod)
			require.Equal(t, row.client, client)
			planOf(t, c)
		})
	}
}

// TestDerived sees what a lab gets that nobody has written down.
func TestDerived(t *testing.T) {
	node := func(name, ip string) string {
		return fmt.Sprintf("{apiVersion: v1, kind: Node, metadata: {name: %s}, status: {addresses: [{type: InternalIP, address: %s}]}}", name, ip)
	}
	for _, row := range []struct {
		name     string
		docs     []string
		underlay string
		gateway  string
		client   string
		blocks   string
	}{
		{"two nodes", []string{node("a", "10.0.0.1"), node("b", "10.0.0.2")}, "10.0.0.0/24", "10.0.0.3", "10.0.0.254", "[10.244.0.0/26] [10.244.0.64/26]"},
		{"one node", []string{node("a", "10.0.0.7")}, "10.0.0.0/24", "10.0.0.1", "10.0.0.254", "[10.244.0.0/26]"},
		{"across a /23", []string{node("a", "10.0.0.7"), node("b", "10.0.1.7")}, "10.0.0.0/23", "10.0.0.1", "10.0.1.254", "[10.244.0.0/26] [10.244.0.64/26]"},
		{"at a /24's edge", []string{node("a", "10.0.1.0"), node("b", "10.0.1.255")}, "10.0.0.0/22", "10.0.0.1", "10.0.3.254", "[10.244.0.0/26] [10.244.0.64/26]"},
		{"Calico's blocks", []string{node("a", "10.0.0.1"), node("b", "10.0.0.2"), webPod("w1", "a", "10.9.5.70", ""), webPod("w2", "b", "10.9.6.3", "")}, "10.0.0.0/24", "10.0.0.3", "10.0.0.254", "[10.9.5.64/26] [10.9.6.0/26]"},
		{"a block of two nodes", []string{node("a", "10.0.0.1"), node("b", "10.0.0.2"), webPod("w1", "a", "10.9.5.70", ""), webPod("w2", "b", "10.9.5.71", "")}, "10.0.0.0/24", "10.0.0.3", "10.0.0.254", "[10.9.0.0/26] [10.9.0.64/26]"},
		{"podCIDRs that are not in use", []string{with(webPod("w1", "n1", "10.244.169.89", ""))}, "10.0.0.0/24", "10.0.0.1", "10.0.0.254", "[10.244.169.64/26] [10.244.2.0/24]"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, _ := load(t, strings.Join(row.docs, "\n---\n")+"\n")
			require.Equal(t, row.underlay, c.Underlay.CIDR(IPv4).String())
			require.Equal(t, row.gateway, c.Underlay.Gateway(IPv4).String())
			require.Equal(t, row.client, c.Clients[0].Address(IPv4).String())
			var blocks []string
			for _, n := range c.Nodes {
				blocks = append(blocks, fmt.Sprint(n.PodBlocks))
			}
			require.Equal(t, row.blocks, strings.Join(blocks, " "))
			planOf(t, c)
		})
	}
}

// A node without a block gets the first free one, however large those are that others have.
func TestBlockBehindALargeOne(t *testing.T) {
	c, _ := load(t, `{apiVersion: v1, kind: Node, metadata: {name: n1}, spec: {podCIDRs: ["fd00:10:244::/64"]}, status: {addresses: [{type: InternalIP, address: "fd00:26::10"}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: n2}, status: {addresses: [{type: InternalIP, address: "fd00:26::11"}]}}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: d, name: far}, spec: {nodeName: n1}, status: {phase: Running, podIP: "fd00:10:244::5", podIPs: [{ip: "fd00:10:244::5"}]}}
---
{apiVersion: natlab/v1alpha1, kind: Lab, spec: {podNetwork: {cidr: "fd00:10:244::/56"}}}
`)
	require.Equal(t, "[[fd00:10:244::/64] [fd00:10:244:1::/122]]", fmt.Sprint([][]netip.Prefix{c.Nodes[0].PodBlocks, c.Nodes[1].PodBlocks}))
	planOf(t, c)
}

// TestLabDocumentIsOptional sees that each part of it may be missing.
func TestLabDocumentIsOptional(t *testing.T) {
	bare, _ := load(t, with())
	empty, _ := load(t, with("{apiVersion: natlab/v1alpha1, kind: Lab}"))
	require.Equal(t, bare, empty)
	none, _ := load(t, with("{apiVersion: natlab/v1alpha1, kind: Lab, spec: {clients: [], podNetwork: {overlay: none}}}"))
	require.Empty(t, none.Clients, "an empty list means that there is none")
	require.Equal(t, None, none.PodNetwork.Overlay)
	gateway, _ := load(t, with("{apiVersion: natlab/v1alpha1, kind: Lab, spec: {underlay: {gateway: 10.0.9.1}}}"))
	require.Equal(t, "10.0.0.0/20", gateway.Underlay.CIDR(IPv4).String(), "the gateway is of the underlay too")
}

// TestUnderivable sees the errors of a dump from which no network can be made out.
func TestUnderivable(t *testing.T) {
	for _, row := range []struct{ name, text, want string }{
		{"no node", service("ports: [{port: 80}]"), "the input has no Node: a lab needs one at least (kubectl get nodes -o yaml)"},
		{"nodes apart", strings.Replace(with(), "10.0.0.12", "172.16.0.1", 1), "the nodes' addresses (10.0.0.11, 172.16.0.1) are not of one network of /16 or smaller: set spec.underlay.cidr in a Lab document"},
		{"pods apart", strings.Replace(with(), "10.244.2.0/24", "192.168.7.0/24", 1), "the pods' addresses (10.244.1.0, 192.168.7.255, ...) have too little in common to derive the pod network: set spec.podNetwork.cidr in a Lab document"},
		{"namespaces collide", with(strings.Replace(webPod("w1", "n1", "10.244.1.5", ""), "namespace: shop", "namespace: n9", 1), "{apiVersion: v1, kind: Node, metadata: {name: n9.w1}, status: {addresses: [{type: InternalIP, address: 10.0.0.13}]}}"), "in.yaml: document 3: Pod n9/w1: metadata.name: Pod n9/w1 and Node n9.w1 would both be the network namespace lab.n9.w1: rename one"},
		{"podCIDRs overlap", strings.Replace(with(), "10.244.2.0/24", "10.244.0.0/16", 1), "in.yaml: document 2: Node n2: spec.podCIDRs: 10.244.0.0/16 overlaps 10.244.1.0/24 of Node n1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, _, err := loadText(row.text)
			require.EqualError(t, err, row.want, row.name)
		})
	}
}

func TestAnnouncers(t *testing.T) {
	lb := `type: LoadBalancer, externalIPs: [203.0.113.7, 10.0.0.11], ports: [{name: p, port: 80}]`
	ep := slice("a", `ports: [{name: p, port: 9}], endpoints: [{addresses: [10.244.2.5], nodeName: n2}]`)
	c, _ := load(t, with(service(lb), ep))
	require.Equal(t, []LoadBalancer{{Address: addr("203.0.113.7"), AnnouncedBy: "n1"}}, c.LoadBalancers, "a node's own address needs no announcing")
	c, _ = load(t, with(service("externalTrafficPolicy: Local, "+lb), ep))
	require.Equal(t, []LoadBalancer{{Address: addr("203.0.113.7"), AnnouncedBy: "n2"}}, c.LoadBalancers, "where an endpoint is")
}

func TestReleases(t *testing.T) {
	for version, want := range map[string]string{"v1.25.1": "v1.25", "v1.24.0": "v1.25", "v1.27.3": "v1.27", "v1.28.15": "v1.28", "v1.36.0": "v1.36", "v1.37.2": "v1.37", "v1.40.0": "v1.37", "v1.33.1+k3s1": "v1.33", "v1.30.9-eks-5d632ec": "v1.30", "": "v1.37", "unknown": "v1.37"} {
		t.Run(version, func(t *testing.T) {
			c, _ := load(t, strings.Replace(with(), "status: {", `status: {nodeInfo: {kubeletVersion: "`+version+`"}, `, 1))
			require.Equal(t, want, c.KubeProxy.Release, version)
		})
	}
}

// TestCalicoAnnotations sees that a node's tunnel address and the overlay are taken from what Calico wrote on it.
func TestCalicoAnnotations(t *testing.T) {
	for key, want := range map[string]Overlay{"IPv4IPIPTunnelAddr": IPIP, "IPv4VXLANTunnelAddr": VXLAN} {
		text := strings.Replace(with(), "name: n1", "name: n1, annotations: {projectcalico.org/"+key+": 10.244.169.64}", 1)
		c, _ := load(t, text)
		require.Equal(t, want, c.PodNetwork.Overlay)
		require.Equal(t, addr("10.244.169.64"), c.Nodes[0].Tunnel(IPv4))
		require.Equal(t, "[10.244.169.64/26]", fmt.Sprint(c.Nodes[0].PodBlocks), "its podCIDR is not in use")
	}
}
