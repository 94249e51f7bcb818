package topology

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// with is a cluster of two nodes without any Lab document, and more documents.
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
		if e.Slice > 0 {
			s += fmt.Sprintf(", slice %d", e.Slice)
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

// TestUnnamedPorts sees that a Service's port without a name and a slice's one without a name meet, as the API server gives both the empty one.
func TestUnnamedPorts(t *testing.T) {
	for _, port := range []string{`{port: 9}`, `{name: "", port: 9}`} {
		c, _ := load(t, with(service(`ports: [{port: 80}]`), slice("a", `ports: [`+port+`], endpoints: [{addresses: [10.244.1.5], nodeName: n1}]`)))
		require.Equal(t, "10.244.1.5:9 n1 ready serving", describe(c.Services[0].Ports[0].Endpoints), port)
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
		{"headless by label, which each release reads its way", strings.Replace(service(ports), "namespace: shop", `namespace: shop, labels: {service.kubernetes.io/headless: ""}`, 1), 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, _ := load(t, with(row.doc))
			require.Len(t, c.Services, row.want, row.name)
		})
	}
}
