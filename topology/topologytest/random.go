package topologytest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"natlab/topology"
)

// Random is the input of a small cluster in which chance chose all that decides what comes of a Service: types, policies,
// addresses, conditions and hints of endpoints, the release and the settings of kube-proxy. below(n) is a number of 0 to n-1,
// which a property test draws. Load takes every such input.
func Random(below func(n int) int) string {
	r := &random{below: below}
	r.minor = 25 + r.below(len(topology.Releases()))
	r.lab()
	r.kubeProxy()
	for i := range r.nodes {
		r.node(i)
	}
	r.pods()
	for i := range 1 + r.below(4) {
		r.service(i)
	}
	return r.out.String()
}

type random struct {
	below func(n int) int
	out   strings.Builder
	minor int
	nodes int
	all   []randomPod
}

type randomPod struct {
	address, node string
}

func (r *random) chance(of int) bool { return r.below(of) == of-1 }

func (r *random) pick(of ...string) string { return of[r.below(len(of))] }

// some is a list of a few of the words, each at most once.
func (r *random) some(of ...string) string {
	var out []string
	for _, w := range of {
		if r.chance(2) {
			out = append(out, w)
		}
	}
	return "[" + strings.Join(out, ", ") + "]"
}

func (r *random) document(format string, args ...any) {
	fmt.Fprintf(&r.out, format+"\n---\n", args...)
}

func nodeName(i int) string { return string(rune('a' + i)) }

func (r *random) lab() {
	r.nodes = 2 + r.below(2)
	nodes := make([]string, r.nodes)
	for i := range nodes {
		nodes[i] = fmt.Sprintf("{name: %s, podBlocks: [10.60.%d.0/26]}", nodeName(i), i+1)
	}
	r.document(`{apiVersion: natlab/v1alpha1, kind: Lab, metadata: {name: drawn}, spec: {underlay: {cidr: 172.20.0.0/24, gateway: 172.20.0.254, interface: eth0},
  podNetwork: {cidr: 10.60.0.0/16, overlay: %s}, nodes: [%s], clients: [{name: near, address: 172.20.0.200}, {name: far, address: 198.51.100.7}],
  loadBalancers: [{address: 172.20.0.100, announcedBy: a}, {address: 172.20.0.101, announcedBy: b}], kubeProxy: {release: v1.%d}}}`,
		r.pick("ipip", "vxlan", "none"), strings.Join(nodes, ", "), r.minor)
}

func (r *random) kubeProxy() {
	var fields []string
	add := func(format string, args ...any) { fields = append(fields, fmt.Sprintf(format, args...)) }
	if !r.chance(4) {
		add("clusterCIDR: %s", r.pick("10.60.0.0/16", "10.60.1.0/24"))
	}
	switch r.below(6) {
	case 0:
		add("detectLocalMode: NodeCIDR")
	case 1:
		add("detectLocalMode: BridgeInterface, detectLocal: {bridgeInterface: %s}", r.pick("cbr0", "eth0"))
	case 2:
		add("detectLocalMode: InterfaceNamePrefix, detectLocal: {interfaceNamePrefix: cali}")
	}
	iptables := []string{fmt.Sprintf("masqueradeAll: %t", r.chance(5))}
	if r.chance(4) {
		iptables = append(iptables, "localhostNodePorts: false")
	}
	add("iptables: {%s}", strings.Join(iptables, ", "))
	if r.chance(3) {
		add("nodePortAddresses: %s", r.nodePortAddresses())
	}
	if r.chance(3) {
		if gates := r.gates(); gates != "" {
			add("featureGates: {%s}", gates)
		}
	}
	r.document("{apiVersion: kubeproxy.config.k8s.io/v1alpha1, kind: KubeProxyConfiguration, mode: iptables, %s}", strings.Join(fields, ", "))
}

func (r *random) nodePortAddresses() string {
	ranges := r.some("172.20.0.0/24", "172.20.0.1/32", "127.0.0.0/8", "0.0.0.0/0", "10.0.0.0/0", "192.0.2.0/24", "fd00::/8")
	switch {
	case r.minor >= 37 && r.chance(2):
		return r.some("primary", "localhost", "192.0.2.0/24")
	case r.minor >= 31 && r.chance(2):
		return "[primary]"
	}
	return ranges
}

// gates are feature gates that the release lets be set, at random.
func (r *random) gates() string {
	var out []string
	for _, g := range []struct {
		name        string
		first, last int
	}{
		{"ProxyTerminatingEndpoints", 25, 27},
		{"ServiceInternalTrafficPolicy", 25, 25},
		{"TopologyAwareHints", 25, 32},
		{"LoadBalancerIPMode", 29, 31},
		{"ServiceTrafficDistribution", 30, 32},
		{"PreferSameTrafficDistribution", 33, 34},
		{"AllowServiceExternalIPs", 36, 1 << 30},
	} {
		if r.minor >= g.first && r.minor <= g.last && r.chance(2) {
			out = append(out, fmt.Sprintf("%s: %t", g.name, r.chance(2)))
		}
	}
	return strings.Join(out, ", ")
}

func (r *random) node(i int) {
	name, labels := nodeName(i), ""
	if !r.chance(4) {
		labels = fmt.Sprintf(", labels: {topology.kubernetes.io/zone: %s}", r.pick("east", "west"))
	}
	addresses := fmt.Sprintf("{type: InternalIP, address: 172.20.0.%d}", i+1)
	if r.chance(4) {
		addresses += fmt.Sprintf(", {type: InternalIP, address: 172.20.0.%d}", i+11)
	}
	r.document("{apiVersion: v1, kind: Node, metadata: {name: %s%s}, spec: {podCIDRs: [10.60.%d.0/26]}, status: {addresses: [%s]}}", name, labels, i+1, addresses)
}

// pods are a few on each node, and one on the network of some.
func (r *random) pods() {
	for i := range r.nodes {
		for j := range 1 + r.below(3) {
			r.pod(fmt.Sprintf("p%d", j), randomPod{fmt.Sprintf("10.60.%d.%d", i+1, 10+j), nodeName(i)}, false)
		}
		if r.chance(3) {
			r.pod("host", randomPod{fmt.Sprintf("172.20.0.%d", i+1), nodeName(i)}, true)
		}
	}
}

func (r *random) pod(name string, p randomPod, host bool) {
	r.all = append(r.all, p)
	r.document("{apiVersion: v1, kind: Pod, metadata: {namespace: d, name: %s-%s}, spec: {nodeName: %s, hostNetwork: %t}, status: {phase: Running, podIP: %s}}",
		name, p.node, p.node, host, p.address)
}

func (r *random) service(i int) {
	kind := r.pick("ClusterIP", "NodePort", "LoadBalancer")
	spec := []string{fmt.Sprintf("type: %s, clusterIP: 10.70.0.%d", kind, i+1)}
	add := func(format string, args ...any) { spec = append(spec, fmt.Sprintf(format, args...)) }
	if r.chance(3) {
		add("internalTrafficPolicy: Local")
	}
	if r.chance(2) {
		add("externalTrafficPolicy: Local")
		if kind == "LoadBalancer" {
			add("healthCheckNodePort: %d", 31000+i)
		}
	}
	if r.chance(4) {
		add("sessionAffinity: ClientIP")
	}
	if r.chance(3) {
		add("externalIPs: %s", r.some("172.20.0.2", "172.20.0.101", "203.0.113.9"))
	}
	status := ""
	if kind == "LoadBalancer" {
		mode := r.pick("", "", ", ipMode: VIP", ", ipMode: Proxy")
		status = fmt.Sprintf(", status: {loadBalancer: {ingress: [{ip: %s%s}]}}", r.pick("172.20.0.100", "172.20.0.101", "203.0.113.50"), mode)
		if r.chance(3) {
			add("loadBalancerSourceRanges: %s", r.some("198.51.100.0/24", "172.20.0.0/24", "10.60.1.0/24", "0.0.0.0/0", "fd00::/8"))
		}
	}
	var ports, listed []string
	for j := range 1 + r.below(2) {
		name, protocol, target := "n"+strconv.Itoa(j), r.pick("TCP", "UDP"), 8000+10*i+j
		nodePort := ""
		if kind != "ClusterIP" {
			nodePort = fmt.Sprintf(", nodePort: %d", 30000+10*i+j)
		}
		ports = append(ports, fmt.Sprintf("{name: %s, protocol: %s, port: %d, targetPort: %d%s}", name, protocol, 80+10*i+j, target, nodePort))
		listed = append(listed, fmt.Sprintf("{name: %s, protocol: %s, port: %d}", name, protocol, target))
	}
	add("ports: [%s]", strings.Join(ports, ", "))
	annotations := ""
	if r.chance(2) {
		annotations = fmt.Sprintf(", annotations: {service.kubernetes.io/%s: %s}", r.pick("topology-mode", "topology-aware-hints"), r.pick("Auto", "auto", "PreferZone", "Disabled"))
	}
	r.document("{apiVersion: v1, kind: Service, metadata: {namespace: d, name: s%d%s}, spec: {%s}%s}", i, annotations, strings.Join(spec, ", "), status)
	r.slice(i, listed)
}

// slice is a Service's endpoints: some of the pods, and a host outside of the cluster now and then.
func (r *random) slice(i int, ports []string) {
	var endpoints []string
	hinted := r.chance(2)
	pods := slices.Clone(r.all)
	if r.chance(6) {
		pods = append(pods, randomPod{"198.51.100.50", ""})
	}
	for _, p := range pods {
		if !r.chance(3) {
			continue
		}
		e := fmt.Sprintf("addresses: [%s], conditions: {%s}", p.address, r.pick(
			"ready: true", "ready: true", "ready: true, serving: true", "ready: false", "ready: false, serving: true, terminating: true",
			"ready: false, serving: false, terminating: true", "ready: false, serving: true",
		))
		if p.node != "" && !r.chance(8) {
			e += ", nodeName: " + p.node
		}
		if hinted && !r.chance(6) {
			e += fmt.Sprintf(", hints: {forZones: [{name: %s}], forNodes: [{name: %s}]}", r.pick("east", "west"), nodeName(r.below(r.nodes)))
		}
		endpoints = append(endpoints, "{"+e+"}")
	}
	r.write(i, "x", ports, endpoints)
	if r.chance(8) && len(r.all) > 0 { // an address twice, as where a pod moves its endpoint to another slice
		r.write(i, "y", ports, []string{fmt.Sprintf("{addresses: [%s], conditions: {%s}, nodeName: %s}", r.all[0].address, r.pick("ready: true", "ready: false"), r.all[0].node)})
	}
}

func (r *random) write(i int, name string, ports, endpoints []string) {
	r.document("{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {namespace: d, name: s%d-%s, labels: {kubernetes.io/service-name: s%d}}, addressType: IPv4, ports: [%s], endpoints: [%s]}",
		i, name, i, strings.Join(ports, ", "), strings.Join(endpoints, ", "))
}
