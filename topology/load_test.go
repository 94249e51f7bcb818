package topology

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

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
	var printed []string
	for _, w := range warnings {
		printed = append(printed, w.String())
	}
	return c, printed
}

func TestReference(t *testing.T) {
	c, warnings, err := Load(ReferenceSource())
	require.NoError(t, err)
	require.Empty(t, warnings)
	require.Equal(t, "reference", c.Name)
	require.Equal(t, Underlay{CIDRs: []netip.Prefix{prefix("192.168.26.0/24")}, Gateways: []netip.Addr{addr("192.168.26.2")}, Interface: "ens32", MTU: 1500}, c.Underlay)
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
	}, warnings)
	require.Equal(t, "lab", c.Name)
	require.Equal(t, Underlay{CIDRs: []netip.Prefix{prefix("172.18.0.0/24")}, Gateways: []netip.Addr{addr("172.18.0.1")}, Interface: "eth0", MTU: 1500}, c.Underlay)
	require.Equal(t, PodNetwork{CIDRs: []netip.Prefix{prefix("10.244.0.0/16")}, Overlay: IPIP}, c.PodNetwork)
	require.Equal(t, []Client{{Name: "outside", Addresses: []netip.Addr{addr("172.18.0.254")}}}, c.Clients)
	require.Equal(t, []LoadBalancer{{Address: addr("172.18.255.200"), AnnouncedBy: "kind-worker"}}, c.LoadBalancers, "the control plane is not ready")
	require.Equal(t, []netip.Prefix{prefix("10.244.1.0/24")}, c.Nodes[1].PodBlocks)
	require.Equal(t, addr("10.244.1.0"), c.Nodes[1].Tunnel(IPv4))
	require.Equal(t, "v1.34", c.KubeProxy.Release)
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
iptables: {localhostNodePorts: false, masqueradeAll: true, masqueradeBit: 5, syncPeriod: 45s, minSyncPeriod: 0s}
ipvs: {scheduler: rr}
metricsBindAddress: ""
mode: ""
nodePortAddresses: [10.0.0.0/24, 127.0.0.0/8, "0::/0", "10.0.00.0/8"]
winkernel: {enableDSR: false}
aFieldOfTheFuture: {x: 1}
`))
	require.Empty(t, cmp.Diff(KubeProxy{
		Release: "v1.37", Backend: BackendLegacy, HostnameOverride: "n1", Configured: true,
		ClusterCIDRs: []netip.Prefix{prefix("10.244.0.0/16"), prefix("fd00:10:244::/48")}, NodePortAddresses: []string{"10.0.0.0/24", "127.0.0.0/8", "0::/0", "10.0.0.0/8"},
		DetectLocalMode: "BridgeInterface", BridgeInterface: "cni0", InterfacePrefix: "cali", MasqueradeAll: true, MasqueradeBit: 5,
		BindAddress: addr("0.0.0.0"), TCPBeLiberal: true, FeatureGates: map[string]bool{"TopologyAwareHints": false},
		SyncPeriod: 45 * time.Second,
	}, c.KubeProxy, compareAddrs))
	c, _ = load(t, with())
	require.Equal(t, KubeProxy{Release: "v1.37", Backend: BackendLegacy, MasqueradeBit: -1, LocalhostNodePorts: true}, c.KubeProxy)
}

// TestConfigMap reads the configuration where kubeadm keeps it, unless there is one of its own.
func TestConfigMap(t *testing.T) {
	const cm = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kube-proxy, namespace: kube-system}\ndata:\n  config.conf: |\n    apiVersion: kubeproxy.config.k8s.io/v1alpha1\n    clusterCIDR: 10.0.0.0/8\n    mode: iptables\n"
	c, warnings := load(t, cm, with())
	require.Empty(t, warnings)
	require.Equal(t, []netip.Prefix{prefix("10.0.0.0/8")}, c.KubeProxy.ClusterCIDRs)
	c, warnings = load(t, cm, small)
	require.Equal(t, []string{"1.yaml: document 1: passed over 1 object of kind ConfigMap (v1), which natlab does not need"}, warnings)
	require.Equal(t, []netip.Prefix{prefix("10.244.0.0/16")}, c.KubeProxy.ClusterCIDRs)
	c, _ = load(t, strings.Replace(cm, "mode: iptables", "mode: ipvs", 1), with())
	require.Equal(t, ModeIPVS, c.KubeProxy.Mode)
	require.False(t, c.KubeProxy.StrictARP)
	c, _ = load(t, strings.Replace(cm, "mode: iptables", "mode: ipvs\n    ipvs: {strictARP: true}", 1), with())
	require.True(t, c.KubeProxy.StrictARP)
	_, _, err := loadText(strings.Replace(cm, "mode: iptables", "mode: userspace", 1))
	require.ErrorContains(t, err, `in.yaml: document 1: ConfigMap kube-system/kube-proxy: config.conf: mode: "userspace": kube-proxy's modes are iptables, nftables and ipvs`)
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
	require.Empty(t, c.Underlay.CIDRs)
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
			if len(c.Underlay.CIDRs) > 0 {
				p, err := NewPlan(c)
				require.NoError(t, err)
				require.NotContains(t, strings.ReplaceAll(p.String(), "||", ""), "|")
			}
		}
	})
}
