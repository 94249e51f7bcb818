package topology

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// small is a cluster of two nodes with one of each kind, document by document.
const small = `apiVersion: natlab/v1alpha1
kind: Lab
metadata:
  name: small
spec:
  underlay: {cidr: 192.168.26.0/24, gateway: 192.168.26.2, interface: ens32, mtu: 1500}
  podNetwork: {cidr: 10.244.0.0/16, overlay: ipip}
  nodes:
  - {name: a, podBlocks: [10.244.1.0/24], tunnelAddress: 10.244.1.0}
  - {name: b, podBlocks: [10.244.2.0/24], tunnelAddress: 10.244.2.0}
  clients:
  - {name: outside, address: 192.168.26.1}
  loadBalancers:
  - {address: 192.168.26.200, announcedBy: a}
  kubeProxy: {release: v1.37, backend: iptables-nft}
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clusterCIDR: 10.244.0.0/16
---
apiVersion: v1
kind: Node
metadata: {name: a}
status: {addresses: [{type: InternalIP, address: 192.168.26.10}]}
---
apiVersion: v1
kind: Node
metadata: {name: b}
status: {addresses: [{type: InternalIP, address: 192.168.26.11}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop, labels: {app: web}}
spec: {nodeName: a}
status: {phase: Running, podIP: 10.244.1.5}
---
apiVersion: v1
kind: Pod
metadata: {name: web-2, namespace: shop, labels: {app: web}}
spec: {nodeName: b}
status: {phase: Running, podIP: 10.244.2.5}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.1
  selector: {app: web}
  ports:
  - {name: http, port: 80, targetPort: 8080, nodePort: 30080}
status: {loadBalancer: {ingress: [{ip: 192.168.26.200}]}}
---
apiVersion: v1
kind: Service
metadata: {name: other, namespace: shop}
spec:
  type: NodePort
  clusterIP: 10.96.0.2
  ports:
  - {name: x, port: 80, nodePort: 30081}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: other-1, namespace: shop, labels: {kubernetes.io/service-name: other}}
addressType: IPv4
ports: [{name: x, port: 9000}]
endpoints:
- {addresses: [10.244.2.9], nodeName: b}
`

func loadText(text string) (Cluster, []Warning, error) {
	return Load(Source{Name: "in.yaml", Reader: strings.NewReader(text)})
}

func TestSmallLoads(t *testing.T) {
	_, warnings, err := loadText(small)
	require.NoError(t, err)
	require.Empty(t, warnings)
}

func TestErrors(t *testing.T) {
	for _, row := range []struct{ name, old, new, want string }{
		// The text itself.
		{"cut in a line", "ports: [{name: x, port: 9000}]\nendpoints:\n- {addresses: [10.244.2.9], nodeName: b}\n", "ports: [{name: x, po", "in.yaml: document 9: not valid YAML, or cut off: line 68: did not find expected ',' or '}'"},
		{"cut between lines", "addressType: IPv4\nports: [{name: x, port: 9000}]\nendpoints:\n- {addresses: [10.244.2.9], nodeName: b}\n", "", `in.yaml: document 9: EndpointSlice shop/other-1: addressType: "" is not known: want IPv4, IPv6 or FQDN (is the document cut off?)`},
		{"Service cut before its ports", "  ports:\n  - {name: x, port: 80, nodePort: 30081}\n", "", "in.yaml: document 8: Service shop/other: spec.ports: is empty: a Service needs a port (is the document cut off?)"},
		{"tab", "  type: NodePort", "\ttype: NodePort", "in.yaml: document 8: not valid YAML, or cut off: line 59: found character that cannot start any token"},
		{"key twice", "  type: NodePort\n", "  type: NodePort\n  type: NodePort\n", `in.yaml: document 8: not valid YAML, or cut off: line 60: key "type" already set in map`},
		{"no object", "apiVersion: v1\nkind: Node\nmetadata: {name: a}\nstatus: {addresses: [{type: InternalIP, address: 192.168.26.10}]}", "- one\n- two", "in.yaml: document 3: want a Kubernetes object (a mapping with apiVersion and kind)"},
		{"no kind", "kind: Node\nmetadata: {name: a}", "metadata: {name: a}", "in.yaml: document 3: an object needs apiVersion and kind (kubectl writes a List's kind after its items: is the document cut off?)"},
		{"a word for a number", "nodePort: 30081", "nodePort: http", "in.yaml: document 8: Service shop/other: spec.ports.nodePort: want a number, not a string"},
		{"a number for a word", "{name: x, port: 80, nodePort", "{name: 7, port: 80, nodePort", "in.yaml: document 8: Service shop/other: spec.ports.name: want a string (quote it), not a number"},
		{"object twice", "name: web-2", "name: web-1", "in.yaml: document 6: Pod shop/web-1: there is one of that name already, in in.yaml: document 5"},

		// The Lab document.
		{"unknown field", "gateway: 192", "gatewy: 192", `in.yaml: document 1: Lab small: spec.underlay.gatewy: unknown field: want cidr, gateway, interface or mtu`},
		{"unknown field at the top", "spec:\n  underlay", "spek: {}\nspec:\n  underlay", `in.yaml: document 1: Lab small: spek: unknown field: want apiVersion, kind, metadata or spec`},
		{"unknown field in a list", "{name: outside, address", "{name: outside, place: 1, address", `in.yaml: document 1: Lab small: spec.clients[0].place: unknown field: want address or name`},
		{"two Lab documents", "---\napiVersion: v1\nkind: Node\nmetadata: {name: a}", "---\napiVersion: natlab/v1alpha1\nkind: Lab\nmetadata: {name: two}\n---\napiVersion: v1\nkind: Node\nmetadata: {name: a}", "in.yaml: document 3: Lab two: there is one already, in in.yaml: document 1"},
		{"another version of it", "natlab/v1alpha1", "natlab/v1", "in.yaml: document 1: Lab small: natlab/v1 Lab is not known: want natlab/v1alpha1 Lab"},
		{"its name", "name: small", "name: Small_lab", `in.yaml: document 1: Lab Small_lab: metadata.name: "Small_lab" has 'S' in it: lower-case letters, digits and dashes only`},
		{"its name's length", "name: small", "name: a23456789-123456789-123456789-123", "in.yaml: document 1: Lab a23456789-123456789-123456789-123: metadata.name: is longer than 32 characters"},
		{"underlay", "cidr: 192.168.26.0/24", "cidr: 192.168.26.0", `in.yaml: document 1: Lab small: spec.underlay.cidr: "192.168.26.0" is not an address range in CIDR form`},
		{"underlay's host bits", "cidr: 192.168.26.0/24", "cidr: 192.168.26.9/24", "in.yaml: document 1: Lab small: spec.underlay.cidr: 192.168.26.9/24 has host bits set: write 192.168.26.0/24"},
		{"underlay of IPv6", "cidr: 192.168.26.0/24", "cidr: 'fd00::/64'", "in.yaml: document 3: Node a: status.addresses: no InternalIP of IPv6: the underlay of the Lab document is fd00::/64\nin.yaml: document 4: Node b: status.addresses: no InternalIP of IPv6: the underlay of the Lab document is fd00::/64"},
		{"two underlays of a family", "cidr: 192.168.26.0/24", "cidr: '192.168.26.0/24,10.0.0.0/24'", "in.yaml: document 1: Lab small: spec.underlay.cidr: 10.0.0.0/24 is the second network of IPv4: want one a family at most"},
		{"gateway of IPv6", "gateway: 192.168.26.2", "gateway: 'fd00::1'", "in.yaml: document 1: Lab small: spec.underlay.gateway: fd00::1 is IPv6, and the underlay is [192.168.26.0/24]"},
		{"ipip for IPv6", "overlay: ipip", "overlay6: ipip", "in.yaml: document 1: Lab small: spec.podNetwork.overlay6: ipip carries IPv4 only: want vxlan or none"},
		{"underlay too small", "cidr: 192.168.26.0/24", "cidr: 192.168.26.0/31", "in.yaml: document 1: Lab small: spec.underlay.cidr: 192.168.26.0/31: want a range of /8 to /29"},
		{"gateway elsewhere", "gateway: 192.168.26.2", "gateway: 192.168.27.2", "in.yaml: document 1: Lab small: spec.underlay.gateway: 192.168.27.2 is not of the underlay 192.168.26.0/24: correct it or spec.underlay.cidr of the Lab document"},
		{"gateway a node's", "gateway: 192.168.26.2", "gateway: 192.168.26.11", "in.yaml: document 1: Lab small: spec.underlay.gateway: 192.168.26.11 is already the address of Node b: give one of them another"},
		{"gateway the broadcast address", "gateway: 192.168.26.2", "gateway: 192.168.26.255", "in.yaml: document 1: Lab small: spec.underlay.gateway: 192.168.26.255 is the underlay's own or its broadcast address (192.168.26.0/24): no host can have it"},
		{"interface an option", "interface: ens32", "interface: -j", `in.yaml: document 1: Lab small: spec.underlay.interface: "-j" is not a device name`},
		{"interface of another", "interface: ens32", "interface: tunl0", `in.yaml: document 1: Lab small: spec.underlay.interface: "tunl0" is the name of another device of the node`},
		{"interface too long", "interface: ens32", "interface: a234567890123456", `in.yaml: document 1: Lab small: spec.underlay.interface: "a234567890123456" is not a device name: 1 to 15 characters`},
		{"mtu", "mtu: 1500", "mtu: 60", "in.yaml: document 1: Lab small: spec.underlay.mtu: 60: want 576 to 65535"},
		{"mtu of the pods", "mtu: 1500", "mtu: 580", "in.yaml: document 1: Lab small: spec.underlay.mtu: 580 leaves the pods 560: want 576 at least"},
		{"overlay", "overlay: ipip", "overlay: gre", `in.yaml: document 1: Lab small: spec.podNetwork.overlay: overlay "gre" is not known: want ipip, vxlan or none`},
		{"pod network on the underlay", "podNetwork: {cidr: 10.244.0.0/16", "podNetwork: {cidr: 192.168.0.0/16", "in.yaml: document 1: Lab small: spec.podNetwork.cidr: 192.168.0.0/16 overlaps the underlay 192.168.26.0/24"},
		{"node not described", "- {name: b, pod", "- {name: c, pod", "in.yaml: document 1: Lab small: spec.nodes[1].name: Node c is not described: add its Node object or take the entry away"},
		{"node twice", "- {name: b, pod", "- {name: a, pod", "in.yaml: document 1: Lab small: spec.nodes[1].name: a is here twice"},
		{"blocks overlap", "podBlocks: [10.244.2.0/24]", "podBlocks: [10.244.1.0/25]", "in.yaml: document 1: Lab small: spec.nodes[1].podBlocks: 10.244.1.0/25 overlaps 10.244.1.0/24 of Node a"},
		{"block outside", "podBlocks: [10.244.2.0/24]", "podBlocks: [10.245.2.0/24]", "in.yaml: document 1: Lab small: spec.nodes[1].podBlocks: 10.245.2.0/24 is not of the pod network 10.244.0.0/16"},
		{"tunnel address a pod's", "tunnelAddress: 10.244.2.0", "tunnelAddress: 10.244.2.5", "in.yaml: document 1: Lab small: spec.nodes[1]: tunnelAddress: 10.244.2.5 is already the address of Pod shop/web-2: give one of them another"},
		{"client's name", "{name: outside", "{name: --help", `in.yaml: document 1: Lab small: spec.clients[0].name: "--help" begins or ends with a dash`},
		{"client's name a node's", "{name: outside", "{name: b", "in.yaml: document 1: Lab small: spec.clients[0].name: client b and Node b would both be the network namespace small.b: rename one"},
		{"client's name the router's", "{name: outside", "{name: router", "in.yaml: document 1: Lab small: spec.clients[0].name: client router and the router would both be the network namespace small.router: rename one"},
		{"client's address a pod's", "address: 192.168.26.1}", "address: 10.244.1.77}", "in.yaml: document 1: Lab small: spec.clients[0].address: 10.244.1.77 is of the pod network 10.244.0.0/16"},
		{"client's address no address", "address: 192.168.26.1}", "address: 192.168.26.300}", `in.yaml: document 1: Lab small: spec.clients[0].address: "192.168.26.300" is not an IP address`},
		{"client's address loopback", "address: 192.168.26.1}", "address: 127.0.0.1}", "in.yaml: document 1: Lab small: spec.clients[0].address: 127.0.0.1 is a loopback address: nobody can be reached by it"},
		{"announced by nobody", "announcedBy: a", "announcedBy: z", "in.yaml: document 1: Lab small: spec.loadBalancers[0].announcedBy: Node z is not described"},
		{"announced address a node's", "{address: 192.168.26.200,", "{address: 192.168.26.10,", "in.yaml: document 1: Lab small: spec.loadBalancers[0].address: 192.168.26.10 is already the address of Node a: give one of them another"},
		{"release", "release: v1.37", "release: v1.38", `in.yaml: document 1: Lab small: spec.kubeProxy.release: "v1.38" is not known: want v1.25 to v1.37, or a patch release of one`},
		{"backend", "backend: iptables-nft", "backend: nftables", `in.yaml: document 1: Lab small: spec.kubeProxy.backend: "nftables" is not known: want iptables-legacy or iptables-nft`},

		// KubeProxyConfiguration.
		{"mode", "mode: iptables", "mode: userspace", `in.yaml: document 2: KubeProxyConfiguration: mode: "userspace": kube-proxy's modes are iptables, nftables and ipvs`},
		{"scheduler", "mode: iptables", "mode: ipvs\nipvs: {scheduler: sh}", `in.yaml: document 2: KubeProxyConfiguration: ipvs.scheduler: "sh": natlab proves what the scheduler rr does, kube-proxy's own; set that`},
		{"clusterCIDR", "clusterCIDR: 10.244.0.0/16", "clusterCIDR: 10.244.0.0/99", `in.yaml: document 2: KubeProxyConfiguration: clusterCIDR: "10.244.0.0/99" is not an address range in CIDR form`},
		{"syncPeriod", "mode: iptables", "iptables: {syncPeriod: soon}", `in.yaml: document 2: KubeProxyConfiguration: iptables.syncPeriod: "soon" is not a duration such as 30s`},
		{"nftables' own section", "mode: iptables", "mode: nftables\nnftables: {masqueradeBit: 32}", "in.yaml: document 2: KubeProxyConfiguration: nftables.masqueradeBit: 32: want 0 to 31"},
		{"nftables' own periods", "mode: iptables", "mode: nftables\nnftables: {syncPeriod: 500ms}", "in.yaml: document 2: KubeProxyConfiguration: nftables.syncPeriod: 500ms is shorter than nftables.minSyncPeriod, 1s: kube-proxy exits"},
		{"syncPeriod below zero", "mode: iptables", "iptables: {minSyncPeriod: -1s}", `in.yaml: document 2: KubeProxyConfiguration: iptables.minSyncPeriod: "-1s" is not a duration such as 30s`},
		{"syncPeriod too short", "mode: iptables", "iptables: {syncPeriod: 500ms}", "in.yaml: document 2: KubeProxyConfiguration: iptables.syncPeriod: 500ms is shorter than iptables.minSyncPeriod, 1s: kube-proxy exits"},
		{"masqueradeBit", "mode: iptables", "iptables: {masqueradeBit: 32}", "in.yaml: document 2: KubeProxyConfiguration: iptables.masqueradeBit: 32: want 0 to 31"},
		{"nodePortAddresses", "mode: iptables", "nodePortAddresses: [first]", `in.yaml: document 2: KubeProxyConfiguration: nodePortAddresses[0]: "first" is not an address range in CIDR form, nor "primary", "localhost" or "all"`},
		{"nodePortAddresses primary twice", "mode: iptables", "nodePortAddresses: [primary, 10.0.0.0/8, primary]", `in.yaml: document 2: KubeProxyConfiguration: nodePortAddresses[2]: "primary" stands there twice`},
		{"detectLocalMode", "mode: iptables", "detectLocalMode: Magic", `in.yaml: document 2: KubeProxyConfiguration: detectLocalMode: "Magic" is not known: want ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix`},
		{"bridge with a newline", "mode: iptables", "detectLocalMode: BridgeInterface\ndetectLocal: {bridgeInterface: \"a\\n-j X\"}", `in.yaml: document 2: KubeProxyConfiguration: detectLocal.bridgeInterface: "a\n-j X" has '\n' in it: letters, digits, dash, underscore and dot only`},
		{"prefix missing", "mode: iptables", "detectLocalMode: InterfaceNamePrefix", `in.yaml: document 2: KubeProxyConfiguration: detectLocal.interfaceNamePrefix: "" is not a device name: 1 to 15 characters`},

		// Nodes and Pods.
		{"node's name", "metadata: {name: b}", `metadata: {name: "b\n-j ACCEPT"}`, `in.yaml: document 4: Node b?-j ACCEPT: metadata.name: "b\n-j ACCEPT" has '\n' in it: lower-case letters, digits and dashes only`},
		{"node without IPv4", "address: 192.168.26.11", "address: 'fd00::1'", "in.yaml: document 4: Node b: status.addresses: no InternalIP of IPv4: the underlay of the Lab document is 192.168.26.0/24"},
		{"node off the underlay", "address: 192.168.26.11", "address: 192.168.27.11", "in.yaml: document 4: Node b: status.addresses: 192.168.27.11 is not of the underlay 192.168.26.0/24: correct it or spec.underlay.cidr of the Lab document"},
		{"nodes with one address", "address: 192.168.26.11", "address: 192.168.26.10", "in.yaml: document 4: Node b: status.addresses: 192.168.26.10 is already the address of Node a: give one of them another"},
		{"node's address no address", "address: 192.168.26.11", "address: somewhere", `in.yaml: document 4: Node b: status.addresses[0]: "somewhere" is not an IP address`},
		{"pod on no described node", "spec: {nodeName: b}", "spec: {nodeName: z}", "in.yaml: document 6: Pod shop/web-2: spec.nodeName: Node z is not described: add it (kubectl get nodes -o yaml) or leave the Pod out"},
		{"pods with one address", "podIP: 10.244.2.5", "podIP: 10.244.1.5", "in.yaml: document 6: Pod shop/web-2: status.podIPs: 10.244.1.5 is already the address of Pod shop/web-1: give one of them another"},
		{"pod with a node's address", "podIP: 10.244.2.5", "podIP: 192.168.26.11", "in.yaml: document 6: Pod shop/web-2: status.podIPs: 192.168.26.11 is already the address of Node b: give one of them another"},
		{"pod with an underlay address", "podIP: 10.244.2.5", "podIP: 192.168.26.77", "in.yaml: document 6: Pod shop/web-2: status.podIPs: 192.168.26.77 is of the underlay 192.168.26.0/24, and the overlay is ipip: is the Pod on the node's own network (hostNetwork: true), or is there no overlay (spec.podNetwork.overlay: none in a Lab document)?"},
		{"pod's name", "name: web-2", "name: web_2", `in.yaml: document 6: Pod shop/web_2: metadata.name: "web_2" has '_' in it: lower-case letters, digits and dashes only`},
		{"pod's namespace an option", "name: web-2, namespace: shop", "name: web-2, namespace: '-n'", `in.yaml: document 6: Pod -n/web-2: metadata.namespace: "-n" begins or ends with a dash`},
		{"pod's node an option", "spec: {nodeName: b}", "spec: {nodeName: '-b'}", `in.yaml: document 6: Pod shop/web-2: spec.nodeName: "-b" begins or ends with a dash`},
		{"pod's namespace a node's", "metadata: {name: b}\n", "metadata: {name: shop.web-2}\n", "in.yaml: document 1: Lab small: spec.nodes[1].name: Node b is not described: add its Node object or take the entry away"},

		// Services.
		{"node port twice", "nodePort: 30081", "nodePort: 30080", `in.yaml: document 8: Service shop/other: port "x": nodePort 30080 is already taken by shop/web port "http": give one of them another`},
		{"node port too large", "nodePort: 30081", "nodePort: 70000", `in.yaml: document 8: Service shop/other: port "x": nodePort 70000: want 1 to 65535`},
		{"no port", "{name: x, port: 80, nodePort", "{name: x, nodePort", `in.yaml: document 8: Service shop/other: port "x": port 0: want 1 to 65535 (is the document cut off?)`},
		{"protocol", "{name: x, port: 80, nodePort", "{name: x, protocol: ICMP, port: 80, nodePort", `in.yaml: document 8: Service shop/other: port "x": protocol "ICMP" is not known: want TCP, UDP or SCTP`},
		{"ports with one name", "- {name: x, port: 80, nodePort: 30081}", "- {name: x, port: 80}\n  - {name: x, port: 81}", `in.yaml: document 8: Service shop/other: port "x": there are two ports of that name: give each its own`},
		{"ports with one number", "- {name: x, port: 80, nodePort: 30081}", "- {name: x, port: 80}\n  - {name: z, port: 80}", `in.yaml: document 8: Service shop/other: port "z": 10.96.0.2:80 TCP is already taken by shop/other port "x": give one of them another port`},
		{"port's name", "{name: x, port: 80, nodePort", `{name: "x\" -j DROP", port: 80, nodePort`, `in.yaml: document 8: Service shop/other: spec.ports[0].name: "x\" -j DROP" has '"' in it: lower-case letters, digits and dashes only`},
		{"service's name", "{name: other, namespace", "{name: Other, namespace", `in.yaml: document 8: Service shop/Other: metadata.name: "Other" has 'O' in it: lower-case letters, digits and dashes only`},
		{"type", "type: NodePort", "type: Nodeport", `in.yaml: document 8: Service shop/other: spec.type: "Nodeport" is not known: want ClusterIP, NodePort or LoadBalancer`},
		{"cluster IP twice", "clusterIP: 10.96.0.2", "clusterIP: 10.96.0.1", "in.yaml: document 8: Service shop/other: spec.clusterIPs: 10.96.0.1 is already the address of Service shop/web: give one of them another"},
		{"cluster IP a pod's", "clusterIP: 10.96.0.2", "clusterIP: 10.244.1.5", "in.yaml: document 8: Service shop/other: spec.clusterIPs: 10.244.1.5 is already the address of Pod shop/web-1: give one of them another"},
		{"cluster IP of the pod network", "clusterIP: 10.96.0.2", "clusterIP: 10.244.77.7", "in.yaml: document 8: Service shop/other: spec.clusterIPs: 10.244.77.7 is of the pod network 10.244.0.0/16"},
		{"cluster IP of the underlay", "clusterIP: 10.96.0.2", "clusterIP: 192.168.26.60", "in.yaml: document 8: Service shop/other: spec.clusterIPs: 192.168.26.60 is of the underlay 192.168.26.0/24"},
		{"no cluster IP", "  clusterIP: 10.96.0.2\n", "  clusterIPs: [\"\"]\n", "in.yaml: document 8: Service shop/other: spec.clusterIP: is empty: write the address that the API server would choose, or None for a headless Service"},
		{"no name", "{name: other-1, namespace", "{namespace", "in.yaml: document 9: EndpointSlice shop/: metadata.name: is empty (is the document cut off?)"},
		{"no name at all", "metadata: {name: b}", "metadata: {}", "in.yaml: document 4: Node: metadata.name: is empty (is the document cut off?)"},
		{"cluster IP no address", "clusterIP: 10.96.0.2", "clusterIP: ten", `in.yaml: document 8: Service shop/other: spec.clusterIP: "ten" is not an IP address`},
		{"external IP a pod's", "clusterIP: 10.96.0.2", "clusterIP: 10.96.0.2\n  externalIPs: [10.244.1.5]", "in.yaml: document 8: Service shop/other: spec.externalIPs: 10.244.1.5 is already the address of Pod shop/web-1: give one of them another"},
		{"external IP no address", "clusterIP: 10.96.0.2", "clusterIP: 10.96.0.2\n  externalIPs: ['-j']", `in.yaml: document 8: Service shop/other: spec.externalIPs[0]: "-j" is not an IP address`},
		{"external IP the cluster IP", "clusterIP: 10.96.0.2", "clusterIP: 10.96.0.2\n  externalIPs: [10.96.0.1]", "in.yaml: document 8: Service shop/other: spec.externalIPs: 10.96.0.1 is already the address of Service shop/web: give one of them another"},
		{"source range", "clusterIP: 10.96.0.2", "clusterIP: 10.96.0.2\n  loadBalancerSourceRanges: [10.0.0.0/33]", `in.yaml: document 8: Service shop/other: spec.loadBalancerSourceRanges[0]: "10.0.0.0/33" is not an address range in CIDR form`},
		{"one load balancer, one port, two Services", "type: NodePort", "type: LoadBalancer\n  externalIPs: [192.168.26.200]", `in.yaml: document 8: Service shop/other: port "x": 192.168.26.200:80 TCP is already taken by shop/web port "http": give one of them another port`},
		{"affinity", "type: NodePort", "type: NodePort\n  sessionAffinity: ClientIP\n  sessionAffinityConfig: {clientIP: {timeoutSeconds: 0}}", "in.yaml: document 8: Service shop/other: spec.sessionAffinityConfig.clientIP.timeoutSeconds: 0: want 1 to 86400"},
		{"health check port a node port", "type: LoadBalancer", "type: LoadBalancer\n  healthCheckNodePort: 30081", `in.yaml: document 8: Service shop/other: port "x": nodePort 30081 is already taken by shop/web healthCheckNodePort: give one of them another`},

		// EndpointSlices.
		{"endpoint on no described node", "[10.244.2.9], nodeName: b", "[10.244.2.9], nodeName: z", "in.yaml: document 8: Service shop/other: endpoint 10.244.2.9:9000: it is on Node z, which is not described: add it (kubectl get nodes -o yaml)"},
		{"endpoint and pod disagree", "[10.244.2.9], nodeName: b", "[10.244.1.5], nodeName: b", "in.yaml: document 8: Service shop/other: endpoint 10.244.1.5:9000: its nodeName is b, but Pod shop/web-1, which has the address, is on a"},
		{"endpoint and node disagree", "[10.244.2.9], nodeName: b", "[192.168.26.10], nodeName: b", "in.yaml: document 8: Service shop/other: endpoint 192.168.26.10:9000: its nodeName is b, but the address is that of Node a"},
		{"endpoint nowhere", "[10.244.2.9], nodeName: b", "[10.244.99.9]", "in.yaml: document 8: Service shop/other: endpoint 10.244.99.9:9000: it has no nodeName, and its address is of no node's pod block: which Node is it on?"},
		{"endpoint of the other family", "[10.244.2.9]", "['fd00::9']", "in.yaml: document 9: EndpointSlice shop/other-1: endpoints[0].addresses[0]: fd00::9 is not an IPv4 address, as the slice's addressType requires"},
		{"endpoint no address", "[10.244.2.9]", "[here]", `in.yaml: document 9: EndpointSlice shop/other-1: endpoints[0].addresses[0]: "here" is not an IP address`},
		{"endpoint's node an option", "[10.244.2.9], nodeName: b", "[10.244.2.9], nodeName: --all", `in.yaml: document 9: EndpointSlice shop/other-1: endpoints[0].nodeName: "--all" begins or ends with a dash`},
		{"endpoint's port", "port: 9000", "port: 90000", "in.yaml: document 9: EndpointSlice shop/other-1: ports[0]: port 90000: want 1 to 65535"},
	} {
		t.Run(row.name, func(t *testing.T) {
			text := strings.Replace(small, row.old, row.new, 1)
			require.NotEqual(t, small, text, "the row changes nothing")
			c, _, err := loadText(text)
			require.EqualError(t, err, row.want)
			require.Zero(t, c)
			require.ErrorIs(t, err, ErrInput)
			var one *Error
			require.ErrorAs(t, err, &one)
			require.Equal(t, "in.yaml", one.File)
			require.Positive(t, one.Document)
		})
	}
}

// TestAllErrorsAtOnce sees that independent faults are all reported, a line each.
func TestAllErrorsAtOnce(t *testing.T) {
	text := strings.NewReplacer("type: NodePort", "type: Nodeport", "overlay: ipip", "overlay: gre").Replace(small)
	_, _, err := loadText(text)
	require.EqualError(t, err, `in.yaml: document 1: Lab small: spec.podNetwork.overlay: overlay "gre" is not known: want ipip, vxlan or none
in.yaml: document 8: Service shop/other: spec.type: "Nodeport" is not known: want ClusterIP, NodePort or LoadBalancer`)
	var all Errors
	require.ErrorAs(t, err, &all)
	require.Len(t, all, 2)
	require.ErrorIs(t, err, ErrInput)
}

func TestManyErrorsAreCut(t *testing.T) {
	_, _, err := loadText(strings.Repeat("apiVersion: v1\nkind: Node\nmetadata: {name: -x}\n---\n", 30))
	require.Error(t, err)
	require.Len(t, strings.Split(err.Error(), "\n"), 21)
	require.True(t, strings.HasSuffix(err.Error(), "\nand 9 more") || strings.HasSuffix(err.Error(), "\nand 10 more") || strings.HasSuffix(err.Error(), "\nand 39 more"), err.Error())
}

// endless is a source without an end that counts what was read of it.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '#'
	}
	e.read += len(p)
	return len(p), nil
}

func TestTooLarge(t *testing.T) {
	src := &endless{}
	_, _, err := Load(Source{Name: "big.yaml", Reader: src})
	require.EqualError(t, err, "big.yaml: the input is larger than 32 MiB: select what the lab needs, for example kubectl get nodes,pods,services,endpointslices -A -o yaml")
	require.Less(t, src.read, 2*maxInput)
}

func TestTooLargeTogether(t *testing.T) {
	half := strings.Repeat("#", maxInput/2+1)
	_, _, err := Load(Source{Name: "one", Reader: strings.NewReader(half)}, Source{Name: "two", Reader: strings.NewReader(half)})
	require.ErrorContains(t, err, "two: the input is larger than 32 MiB")
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestUnreadable(t *testing.T) {
	_, _, err := Load(Source{Name: "gone.yaml", Reader: broken{}})
	require.EqualError(t, err, "gone.yaml: read: io: read/write on closed pipe")
}

func TestNothing(t *testing.T) {
	for _, text := range []string{"", "\n", "---\n---\n", "# a comment\n", "---\n...\n"} {
		_, _, err := loadText(text)
		require.EqualError(t, err, "the input has no Kubernetes object in it", "%q", text)
		require.ErrorIs(t, err, ErrInput)
	}
}

func TestAliasBombs(t *testing.T) {
	laughs := "apiVersion: v1\nkind: Node\nmetadata: {name: a}\nx0: &x0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n"
	for i := '1'; i <= '9'; i++ {
		prev := "*x" + string(i-1)
		laughs += "x" + string(i) + ": &x" + string(i) + " [" + strings.Repeat(prev+", ", 9) + prev + "]\n"
	}
	fat := "apiVersion: v1\nkind: Node\nmetadata: {name: a}\nbig: &big " + strings.Repeat("x", 100_000) + "\nall: [" + strings.Repeat("*big, ", 900) + "*big]\n"
	for name, text := range map[string]string{"many": laughs, "fat": fat} {
		_, _, err := loadText(text)
		require.ErrorContains(t, err, "in.yaml: document 1: its aliases make it", name)
	}
	_, _, err := loadText(strings.Replace(small, "metadata: {name: b}\nstatus: {addresses: [{type: InternalIP, ", "metadata: {name: b, labels: &l {a: b}, annotations: *l}\nstatus: {addresses: [{type: InternalIP, ", 1))
	require.NoError(t, err, "aliases as people write them are fine")
}

func TestDeepDocument(t *testing.T) {
	_, _, err := loadText("apiVersion: v1\nkind: Node\nx: " + strings.Repeat("[", 200_000))
	require.Error(t, err)
	_, _, err = loadText(`{"apiVersion":"v1","kind":"Node","x":` + strings.Repeat("[", 200_000))
	require.Error(t, err)
}
