package topology

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

func addr(s string) netip.Addr         { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix     { return netip.MustParsePrefix(s) }
func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// load is Load of texts that must be fine.
func load(t *testing.T, texts ...string) (Cluster, []string) {
	t.Helper()
	var srcs []Source
	for i, text := range texts {
		srcs = append(srcs, Source{Name: fmt.Sprintf("%d.yaml", i+1), Reader: strings.NewReader(text)})
	}
	c, warnings, err := Load(srcs...)
	require.NoError(t, err)
	var said []string
	for _, w := range warnings {
		said = append(said, w.String())
	}
	return c, said
}

func TestReference(t *testing.T) {
	c, warnings, err := Load(ReferenceSource())
	require.NoError(t, err)
	require.Empty(t, warnings)
	require.Equal(t, "reference", c.Name)
	require.Equal(t, Underlay{CIDR: prefix("192.168.26.0/24"), Gateway: addr("192.168.26.2"), Interface: "ens32", MTU: 1500}, c.Underlay)
	require.Equal(t, []LoadBalancer{{Address: addr("192.168.26.223"), AnnouncedBy: "vms102"}}, c.LoadBalancers)
	require.Equal(t, "v1.25", c.KubeProxy.Release)
	require.Equal(t, BackendLegacy, c.KubeProxy.Backend)
	require.Len(t, c.Nodes, 6)
	require.Len(t, c.Pods, 5)
	require.Len(t, c.Services, 3)
	console := c.Services[2].Ports[1]
	require.Equal(t, ServicePort{Name: "console", Protocol: "TCP", Port: 9099, NodePort: 30450, Endpoints: []Endpoint{
		{Addr: addrPort("10.244.169.89:9090"), Node: "vms105", Pod: "velero/minio-b6d98746c-m7rzc", Ready: true, Serving: true},
		{Addr: addrPort("10.244.38.178:9090"), Node: "vms103", Pod: "velero/minio-b6d98746c-lxt2c", Ready: true, Serving: true},
	}}, console)
}

// TestFormsOfInput sees that one cluster comes out however it is written: documents in any order and number of
// sources, a List, JSON, JSON objects in a row, typed lists as the API server prints them, CRLF, a BOM.
func TestFormsOfInput(t *testing.T) {
	docs := strings.Split(small, "---\n")
	want, _ := load(t, small)
	var items, jsons, nodes []string
	var rest []string
	for _, d := range docs {
		j, err := yaml.YAMLToJSON([]byte(d))
		require.NoError(t, err)
		jsons = append(jsons, string(j))
		items = append(items, "- "+strings.ReplaceAll(strings.TrimSpace(d), "\n", "\n  "))
		if strings.Contains(d, "kind: Node\n") {
			nodes = append(nodes, strings.NewReplacer(`"apiVersion":"v1",`, "", `"kind":"Node",`, "").Replace(string(j)))
		} else {
			rest = append(rest, d)
		}
	}
	var backwards []string
	for _, d := range docs {
		backwards = append([]string{d}, backwards...)
	}
	for name, texts := range map[string][]string{
		"a source each":   docs,
		"backwards":       {strings.Join(backwards, "---\n")},
		"List":            {"apiVersion: v1\nitems:\n" + strings.Join(items, "\n") + "\nkind: List\nmetadata:\n  resourceVersion: \"\"\n"},
		"JSON List":       {`{"apiVersion":"v1","kind":"List","items":[` + strings.Join(jsons, ",\n") + `]}`},
		"JSON in a row":   {strings.Join(jsons, "\n")},
		"JSON documents":  {strings.Join(jsons, "\n---\n")},
		"NodeList":        {`{"apiVersion":"v1","kind":"NodeList","items":[` + strings.Join(nodes, ",") + `]}`, strings.Join(rest, "---\n")},
		"CRLF":            {strings.ReplaceAll(small, "\n", "\r\n")},
		"BOM":             {"\xef\xbb\xbf" + small},
		"markers":         {"%YAML 1.1\n---\n" + strings.ReplaceAll(small, "---\n", "...\n--- # next\n") + "...\n"},
		"empty documents": {"---\n" + strings.ReplaceAll(small, "---\n", "---\n# nothing\n---\n") + "---\n"},
		"nested List":     {"apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: List\n  items:\n" + "  " + strings.ReplaceAll(strings.Join(items, "\n"), "\n", "\n  ") + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got, warnings := load(t, texts...)
			require.Empty(t, warnings)
			require.Empty(t, cmp.Diff(want, got, compareAddrs))
		})
	}
}

// dump is what `kubectl get nodes,pods,svc,endpointslices -A -o yaml` prints, with the fields and kinds that natlab
// does not need, and no Lab document.
const dump = `apiVersion: v1
items:
- apiVersion: v1
  kind: Node
  metadata:
    annotations: {node.alpha.kubernetes.io/ttl: "0", projectcalico.org/IPv4Address: 172.18.0.3/16}
    creationTimestamp: "2026-01-05T10:00:00Z"
    labels: {kubernetes.io/hostname: kind-worker, topology.kubernetes.io/zone: z1}
    managedFields: [{manager: kubelet, fieldsV1: {"f:status": {}}}]
    name: kind-worker
    resourceVersion: "123"
    uid: 0a1b
  spec: {podCIDR: 10.244.1.0/24, podCIDRs: [10.244.1.0/24], providerID: kind://docker/kind/kind-worker}
  status:
    addresses: [{address: 172.18.0.3, type: InternalIP}, {address: "fc00:f853:ccd:e793::3", type: InternalIP}, {address: kind-worker, type: Hostname}]
    allocatable: {cpu: "8", memory: 32Gi}
    conditions: [{type: Ready, status: "True"}, {type: MemoryPressure, status: "False"}]
    images: [{names: [registry.k8s.io/pause:3.10], sizeBytes: 320368}]
    nodeInfo: {kubeletVersion: v1.34.0, kubeProxyVersion: ""}
- apiVersion: v1
  kind: Node
  metadata: {name: kind-control-plane}
  spec: {podCIDRs: [10.244.0.0/24], taints: [{effect: NoSchedule, key: node-role.kubernetes.io/control-plane}]}
  status:
    addresses: [{address: 172.18.0.2, type: InternalIP}]
    conditions: [{type: Ready, status: "False"}]
    nodeInfo: {kubeletVersion: v1.34.0}
- apiVersion: v1
  kind: Pod
  metadata: {name: web-abc, namespace: default, labels: {app: web}}
  spec: {nodeName: kind-worker, containers: [{name: web, image: nginx, ports: [{name: http, containerPort: 8080, protocol: TCP}], resources: {requests: {cpu: 100m}}}]}
  status: {phase: Running, podIP: 10.244.1.7, podIPs: [{ip: 10.244.1.7}], conditions: [{type: Ready, status: "True"}], qosClass: Burstable}
- apiVersion: v1
  kind: Pod
  metadata: {name: done, namespace: default}
  spec: {nodeName: kind-worker}
  status: {phase: Succeeded, podIP: 10.244.1.7}
- apiVersion: v1
  kind: Pod
  metadata: {name: waits, namespace: default}
  spec: {}
  status: {phase: Pending}
- apiVersion: v1
  kind: Pod
  metadata: {name: kube-apiserver-kind-control-plane, namespace: kube-system, labels: {component: kube-apiserver}}
  spec: {nodeName: kind-control-plane, hostNetwork: true}
  status: {phase: Running, podIP: 172.18.0.2, podIPs: [{ip: 172.18.0.2}]}
- apiVersion: v1
  kind: Service
  metadata: {name: kubernetes, namespace: default, labels: {component: apiserver, provider: kubernetes}}
  spec: {clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1], internalTrafficPolicy: Cluster, ipFamilies: [IPv4], ipFamilyPolicy: SingleStack, ports: [{name: https, port: 443, protocol: TCP, targetPort: 6443}], sessionAffinity: None, type: ClusterIP}
  status: {loadBalancer: {}}
- apiVersion: v1
  kind: Service
  metadata: {name: web, namespace: default, annotations: {service.kubernetes.io/topology-mode: Auto, other: x}}
  spec: {clusterIP: 10.96.0.9, clusterIPs: [10.96.0.9], externalTrafficPolicy: Local, healthCheckNodePort: 31000, loadBalancerSourceRanges: [" 10.0.0.0/8 "], ports: [{name: http, port: 80, protocol: TCP, targetPort: http, nodePort: 30080}], selector: {app: web}, sessionAffinity: ClientIP, type: LoadBalancer}
  status: {loadBalancer: {ingress: [{ip: 172.18.255.200, ipMode: VIP}, {hostname: lb.example.com}]}}
- apiVersion: v1
  kind: Service
  metadata: {name: headless, namespace: default}
  spec: {clusterIP: None, clusterIPs: [None], ports: [{port: 80}], selector: {app: web}, type: ClusterIP}
- apiVersion: v1
  kind: Service
  metadata: {name: elsewhere, namespace: default}
  spec: {externalName: example.com, type: ExternalName}
- apiVersion: discovery.k8s.io/v1
  kind: EndpointSlice
  metadata: {name: kubernetes, namespace: default, labels: {kubernetes.io/service-name: kubernetes}}
  addressType: IPv4
  endpoints: [{addresses: [172.18.0.2], conditions: {ready: true}}]
  ports: [{name: https, port: 6443, protocol: TCP}]
- apiVersion: v1
  kind: ConfigMap
  metadata: {name: a, namespace: default}
  data: {script: "--- not a document\n&anchor *alias\n"}
- apiVersion: v1
  kind: ConfigMap
  metadata: {name: b, namespace: default}
- apiVersion: apps/v1
  kind: Deployment
  metadata: {name: web, namespace: default}
kind: List
metadata:
  resourceVersion: ""
`

func TestDumpWithoutLabDocument(t *testing.T) {
	c, warnings := load(t, dump)
	require.Equal(t, []string{
		"1.yaml: document 1: passed over 2 objects of kind ConfigMap (v1), which natlab does not need",
		"1.yaml: document 1: passed over 1 object of kind Deployment (apps/v1), which natlab does not need",
		"the nodes run v1.34.0: natlab writes the rules of kube-proxy v1.28",
	}, warnings)
	require.Equal(t, "lab", c.Name)
	require.Equal(t, Underlay{CIDR: prefix("172.18.0.0/24"), Gateway: addr("172.18.0.1"), Interface: "eth0", MTU: 1500}, c.Underlay)
	require.Equal(t, PodNetwork{CIDR: prefix("10.244.0.0/16"), Overlay: IPIP}, c.PodNetwork)
	require.Equal(t, []Client{{Name: "outside", Address: addr("172.18.0.254")}}, c.Clients)
	require.Equal(t, []LoadBalancer{{Address: addr("172.18.255.200"), AnnouncedBy: "kind-worker"}}, c.LoadBalancers, "the control plane is not ready")
	require.Equal(t, []netip.Prefix{prefix("10.244.1.0/24")}, c.Nodes[1].PodBlocks)
	require.Equal(t, addr("10.244.1.0"), c.Nodes[1].TunnelAddress)
	require.Equal(t, "v1.28", c.KubeProxy.Release)
	require.Equal(t, []Pod{ // not those that have ended or wait; one made up for the API server's endpoint, which names no Pod
		{Namespace: "default", Name: "host-kind-control-plane", Node: "kind-control-plane", IPs: []netip.Addr{addr("172.18.0.2")}, HostNetwork: true, Invented: true},
		{Namespace: "default", Name: "web-abc", Node: "kind-worker", IPs: []netip.Addr{addr("10.244.1.7")}},
		{Namespace: "kube-system", Name: "kube-apiserver-kind-control-plane", Node: "kind-control-plane", IPs: []netip.Addr{addr("172.18.0.2")}, HostNetwork: true},
	}, c.Pods)
	require.Len(t, c.Services, 2)
	api, web := c.Services[0], c.Services[1]
	require.Equal(t, []Endpoint{{Addr: addrPort("172.18.0.2:6443"), Pod: "default/host-kind-control-plane", Ready: true, Serving: true}}, api.Ports[0].Endpoints)
	require.Equal(t, []Endpoint{{Addr: addrPort("10.244.1.7:8080"), Node: "kind-worker", Pod: "default/web-abc", Zone: "z1", Ready: true, Serving: true}}, web.Ports[0].Endpoints)
	require.Equal(t, int32(10800), web.AffinitySeconds)
	require.Equal(t, "Auto", web.TopologyMode)
	require.Equal(t, map[string]string{"service.kubernetes.io/topology-mode": "Auto"}, web.Annotations)
	require.Equal(t, []netip.Prefix{prefix("10.0.0.0/8")}, web.SourceRanges)
	require.Equal(t, []Ingress{{IP: addr("172.18.255.200"), IPMode: "VIP"}}, web.Ingress)
	require.Equal(t, PolicyLocal, web.ExternalPolicy)
	_, err := NewPlan(c)
	require.NoError(t, err)
}

// with is a cluster of three nodes without any Lab document, and more documents.
func with(docs ...string) string {
	return `{apiVersion: v1, kind: Node, metadata: {name: n1, labels: {topology.kubernetes.io/zone: z1}}, spec: {podCIDR: 10.244.1.0/24}, status: {addresses: [{type: InternalIP, address: 10.0.0.11}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: n2}, spec: {podCIDR: 10.244.2.0/24}, status: {addresses: [{type: InternalIP, address: 10.0.0.12}]}}
---
` + strings.Join(docs, "\n---\n") + "\n"
}

func service(rest string) string {
	return `{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {clusterIP: 10.96.0.1, ` + rest + `}}`
}

// webPod is a pod of the Service "web" whose port "http" has the last digit of its name in it; rest goes into its status.
func webPod(name, node, ip, rest string) string {
	return fmt.Sprintf(`{apiVersion: v1, kind: Pod, metadata: {name: %s, namespace: shop, labels: {app: web}}, spec: {nodeName: %s, `+
		`containers: [{name: c, ports: [{name: http, containerPort: 80%s}]}]}, status: {podIP: %s%s}}`, name, node, name[len(name)-1:], ip, rest)
}

// TestDerivedEndpoints sees that a Service without slices gets those the EndpointSlice controller would make.
func TestDerivedEndpoints(t *testing.T) {
	const selector = `selector: {app: web}, ports: [{name: p, port: 80, targetPort: http}]`
	for _, row := range []struct{ name, spec, pod, want string }{
		{"a named port is the pod's", selector, webPod("w1", "n1", "10.244.1.5", ", phase: Running"), "10.244.1.5:801 n1 z1 ready serving"},
		{"no phase at all is fine", selector, webPod("w1", "n1", "10.244.1.5", ""), "10.244.1.5:801 n1 z1 ready serving"},
		{"a Ready condition decides", selector, webPod("w1", "n1", "10.244.1.5", `, phase: Running, conditions: [{type: Ready, status: "False"}]`), "10.244.1.5:801 n1 z1"},
		{"pending is not ready", selector, webPod("w1", "n1", "10.244.1.5", ", phase: Pending"), "10.244.1.5:801 n1 z1"},
		{"publishNotReadyAddresses", selector + ", publishNotReadyAddresses: true", webPod("w1", "n1", "10.244.1.5", ", phase: Pending"), "10.244.1.5:801 n1 z1 ready"},
		{"one that ends serves but is not ready", selector, strings.Replace(webPod("w1", "n1", "10.244.1.5", ", phase: Running"), "labels:", `deletionTimestamp: "2026-01-01T00:00:00Z", labels:`, 1), "10.244.1.5:801 n1 z1 serving terminating"},
		{"one that has ended is none", selector, webPod("w1", "n1", "10.244.1.5", ", phase: Failed"), ""},
		{"another label", `selector: {app: other}, ports: [{name: p, port: 80}]`, webPod("w1", "n1", "10.244.1.5", ""), ""},
		{"no selector", `ports: [{name: p, port: 80}]`, webPod("w1", "n1", "10.244.1.5", ""), ""},
		{"a number", `selector: {app: web}, ports: [{name: p, port: 80, targetPort: 9}]`, webPod("w1", "n1", "10.244.1.5", ""), "10.244.1.5:9 n1 z1 ready serving"},
		{"no targetPort is the port", `selector: {app: web}, ports: [{port: 80}]`, webPod("w1", "n1", "10.244.1.5", ""), "10.244.1.5:80 n1 z1 ready serving"},
		{"a name the pod has not", `selector: {app: web}, ports: [{port: 80, targetPort: grpc}]`, webPod("w1", "n1", "10.244.1.5", ""), ""},
		{"a name of another protocol", `selector: {app: web}, ports: [{port: 80, protocol: UDP, targetPort: http}]`, webPod("w1", "n1", "10.244.1.5", ""), ""},
		{"hostNetwork", selector, strings.Replace(webPod("w1", "n1", "10.0.0.11", ""), "nodeName: n1", "nodeName: n1, hostNetwork: true", 1), "10.0.0.11:801 n1 z1 ready serving"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, _ := load(t, with(service(row.spec), row.pod))
			require.Equal(t, row.want, describe(c.Services[0].Ports[0].Endpoints))
		})
	}
}

func describe(list []Endpoint) string {
	var out []string
	for _, e := range list {
		s := strings.TrimSpace(e.Addr.String() + " " + e.Node + " " + e.Zone)
		if e.Ready {
			s += " ready"
		}
		if e.Serving {
			s += " serving"
		}
		if e.Terminating {
			s += " terminating"
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}

func slice(name, rest string) string {
	return `{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: ` + name + `, namespace: shop, labels: {kubernetes.io/service-name: web}}, addressType: IPv4, ` + rest + `}`
}

// TestSlices sees that slices are read as kube-proxy reads them.
func TestSlices(t *testing.T) {
	const ports = `ports: [{name: p, port: 9}], `
	for _, row := range []struct {
		name string
		docs []string
		want string
	}{
		{"no conditions", []string{slice("a", ports+`endpoints: [{addresses: [10.244.1.5], nodeName: n1}]`)}, "10.244.1.5:9 n1 ready serving"},
		{"conditions", []string{slice("a", ports+`endpoints: [{addresses: [10.244.1.5], nodeName: n1, conditions: {ready: false, serving: true, terminating: true}}]`)}, "10.244.1.5:9 n1 serving terminating"},
		{"the first address only", []string{slice("a", ports+`endpoints: [{addresses: [10.244.1.5, 10.244.1.6], nodeName: n1}]`)}, "10.244.1.5:9 n1 ready serving"},
		{"two slices, as text in order", []string{slice("a", ports+`endpoints: [{addresses: [10.244.1.5], nodeName: n1}]`), slice("b", ports+`endpoints: [{addresses: [10.244.1.10], nodeName: n1}]`)}, "10.244.1.10:9 n1 ready serving, 10.244.1.5:9 n1 ready serving"},
		{"of two alike the one that stays", []string{slice("a", ports+`endpoints: [{addresses: [10.244.1.5], nodeName: n1}]`), slice("b", ports+`endpoints: [{addresses: [10.244.1.5], nodeName: n1, conditions: {ready: false, terminating: true}}]`)}, "10.244.1.5:9 n1 ready serving"},
		{"another port's name", []string{slice("a", `ports: [{name: q, port: 9}], endpoints: [{addresses: [10.244.1.5], nodeName: n1}]`)}, ""},
		{"another protocol", []string{slice("a", `ports: [{name: p, port: 9, protocol: UDP}], endpoints: [{addresses: [10.244.1.5], nodeName: n1}]`)}, ""},
		{"a port without name", []string{slice("a", `ports: [{port: 9}], endpoints: [{addresses: [10.244.1.5], nodeName: n1}]`)}, ""},
		{"a port without number", []string{slice("a", `ports: [{name: p}], endpoints: [{addresses: [10.244.1.5], nodeName: n1}]`)}, ""},
		{"no endpoints: null", []string{slice("a", ports+`endpoints: null`)}, ""},
		{"names, not addresses", []string{strings.Replace(slice("a", ports+`endpoints: [{addresses: [example.com]}]`), "IPv4", "FQDN", 1)}, ""},
		{"leading zeros", []string{slice("a", ports+`endpoints: [{addresses: [010.244.001.005], nodeName: n1}]`)}, "10.244.1.5:9 n1 ready serving"},
		{"headless label", []string{strings.Replace(slice("a", ports+`endpoints: [{addresses: [10.244.1.5], nodeName: n1}]`), "labels: {", `labels: {service.kubernetes.io/headless: "", `, 1)}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, _ := load(t, with(append(row.docs, service(`ports: [{name: p, port: 80}]`))...))
			require.Equal(t, row.want, describe(c.Services[0].Ports[0].Endpoints))
		})
	}
}

func TestHints(t *testing.T) {
	c, _ := load(t, with(service(`trafficDistribution: PreferClose, ports: [{name: p, port: 80}]`),
		slice("a", `ports: [{name: p, port: 9}], endpoints: [{addresses: [10.244.1.5], nodeName: n1, zone: z1, hints: {forZones: [{name: z2}, {name: z1}], forNodes: [{name: n1}]}}]`)))
	e := c.Services[0].Ports[0].Endpoints[0]
	require.Equal(t, []string{"z1", "z2"}, e.ZoneHints)
	require.Equal(t, []string{"n1"}, e.NodeHints)
	require.Equal(t, "PreferClose", c.Services[0].TrafficDistribution)
}

// TestServicesPassedOver sees that what kube-proxy does not proxy is not there.
func TestServicesPassedOver(t *testing.T) {
	const ports = "ports: [{port: 80}]"
	for _, row := range []struct {
		name, doc string
		want      int
	}{
		{"plain", service(ports), 1},
		{"headless", strings.Replace(service(ports), "10.96.0.1", "None", 1), 0},
		{"ExternalName", service("type: ExternalName, " + ports), 0},
		{"of another proxy", strings.Replace(service(ports), "namespace: shop", `namespace: shop, labels: {service.kubernetes.io/service-proxy-name: x}`, 1), 0},
		{"headless by label, v1.37", strings.Replace(service(ports), "namespace: shop", `namespace: shop, labels: {service.kubernetes.io/headless: ""}`, 1), 1},
		{"headless by label, v1.28", strings.Replace(service(ports), "namespace: shop", `namespace: shop, labels: {service.kubernetes.io/headless: ""}`, 1) + "\n---\n{apiVersion: natlab/v1alpha1, kind: Lab, metadata: {name: x}, spec: {kubeProxy: {release: v1.28}}}", 0},
	} {
		c, _ := load(t, with(row.doc))
		require.Len(t, c.Services, row.want, row.name)
	}
	c, warnings := load(t, with(`{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {ports: [{port: 80}]}}`))
	require.Empty(t, c.Services)
	require.Equal(t, []string{"1.yaml: document 3: Service default/web: it has no clusterIP: kube-proxy passes it over"}, warnings)
}

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
					client = cl.Name + " " + cl.Address.String()
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
			require.Equal(t, row.underlay, c.Underlay.CIDR.String())
			require.Equal(t, row.gateway, c.Underlay.Gateway.String())
			require.Equal(t, row.client, c.Clients[0].Address.String())
			var blocks []string
			for _, n := range c.Nodes {
				blocks = append(blocks, fmt.Sprint(n.PodBlocks))
			}
			require.Equal(t, row.blocks, strings.Join(blocks, " "))
			planOf(t, c)
		})
	}
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
		_, _, err := loadText(row.text)
		require.EqualError(t, err, row.want, row.name)
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
	for version, want := range map[string]string{"v1.25.1": "v1.25", "v1.24.0": "v1.25", "v1.27.3": "v1.25", "v1.28.15": "v1.28", "v1.36.0": "v1.28", "v1.37.2": "v1.37", "v1.40.0": "v1.37", "v1.33.1+k3s1": "v1.28", "": "v1.37", "unknown": "v1.37"} {
		c, _ := load(t, strings.Replace(with(), "status: {", `status: {nodeInfo: {kubeletVersion: "`+version+`"}, `, 1))
		require.Equal(t, want, c.KubeProxy.Release, version)
	}
}

// TestKubeProxyConfiguration reads every field that matters, and passes the others over.
func TestKubeProxyConfiguration(t *testing.T) {
	c, _ := load(t, with(`apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
bindAddress: 0.0.0.0
clientConnection: {kubeconfig: /var/lib/kube-proxy/kubeconfig.conf}
clusterCIDR: 10.244.0.0/16,fd00:10:244::/48
conntrack: {maxPerCore: 32768, tcpBeLiberal: true, tcpEstablishedTimeout: 24h0m0s}
detectLocal: {bridgeInterface: cni0, interfaceNamePrefix: cali}
detectLocalMode: BridgeInterface
featureGates: {TopologyAwareHints: false}
hostnameOverride: " N1 "
iptables: {localhostNodePorts: false, masqueradeAll: true, masqueradeBit: 5, syncPeriod: 30s}
ipvs: {scheduler: rr}
metricsBindAddress: ""
mode: ""
nodePortAddresses: [10.0.0.0/24, 127.0.0.0/8]
winkernel: {enableDSR: false}
aFieldOfTheFuture: {x: 1}
`))
	require.Empty(t, cmp.Diff(KubeProxy{
		Release: "v1.37", Backend: BackendLegacy, HostnameOverride: "n1",
		ClusterCIDRs: []netip.Prefix{prefix("10.244.0.0/16"), prefix("fd00:10:244::/48")}, NodePortAddresses: []string{"10.0.0.0/24", "127.0.0.0/8"},
		DetectLocalMode: "BridgeInterface", BridgeInterface: "cni0", InterfacePrefix: "cali", MasqueradeAll: true, MasqueradeBit: 5,
		BindAddress: addr("0.0.0.0"), TCPBeLiberal: true, FeatureGates: map[string]bool{"TopologyAwareHints": false},
	}, c.KubeProxy, compareAddrs))
	c, _ = load(t, with())
	require.Equal(t, KubeProxy{Release: "v1.37", Backend: BackendLegacy, MasqueradeBit: -1, LocalhostNodePorts: true}, c.KubeProxy)
}

func TestCutOffWarning(t *testing.T) {
	_, warnings := load(t, strings.TrimSuffix(small, "\n"))
	require.Equal(t, []string{"1.yaml: document 9: the file does not end with a newline: is it cut off?"}, warnings)
}

// TestForRules sees that kube-proxy's rules need no more than the Node they are asked for.
func TestForRules(t *testing.T) {
	text := strings.Replace(with(service(`externalIPs: [nonsense, "", 203.0.113.7], loadBalancerSourceRanges: [nonsense, 10.0.0.0/8], ports: [{name: p, port: 80}]`),
		slice("a", `ports: [{name: p, port: 9}], endpoints: [{addresses: [10.244.9.5], nodeName: nowhere}]`)), "10.0.0.12", "fd00::1", 1)
	c, warnings, err := LoadForRules(Source{Name: "in.yaml", Reader: strings.NewReader(text)})
	require.NoError(t, err)
	require.Equal(t, []string{
		`in.yaml: document 3: Service shop/web: spec.externalIPs[0]: "nonsense" is not an IP address: kube-proxy passes it over`,
		`in.yaml: document 3: Service shop/web: spec.loadBalancerSourceRanges[0]: "nonsense" is not an address range in CIDR form: kube-proxy passes it over`,
	}, texts(warnings))
	require.Equal(t, "10.244.9.5:9 nowhere ready serving", describe(c.Services[0].Ports[0].Endpoints))
	require.Equal(t, []netip.Addr{addr("203.0.113.7")}, c.Services[0].ExternalIPs)
	require.False(t, c.Underlay.CIDR.IsValid())
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(small))
	f.Add([]byte(dump))
	f.Add([]byte(with(service("ports: [{port: 80}]"))))
	f.Add([]byte(`{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"Node","metadata":{"name":"a"}}]}`))
	f.Add([]byte("--- {a: &b [*b]}\n...\n%"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, load := range []func(...Source) (Cluster, []Warning, error){Load, LoadForRules} {
			c, _, err := load(Source{Name: "fuzz", Reader: strings.NewReader(string(text))})
			if err != nil {
				require.Empty(t, cmp.Diff(Cluster{}, c, compareAddrs))
				require.ErrorIs(t, err, ErrInput)
				require.Less(t, len(err.Error()), 1<<16)
				continue
			}
			if c.Underlay.CIDR.IsValid() {
				p, err := NewPlan(c)
				require.NoError(t, err)
				require.NotContains(t, strings.ReplaceAll(p.String(), "||", ""), "|")
			}
		}
	})
}
