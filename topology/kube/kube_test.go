package kube_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"natlab/topology"
	"natlab/topology/kube"
)

// shop has what the reference cluster has not.
const shop = `
apiVersion: v1
kind: Node
metadata: {name: n1}
status: {addresses: [{type: InternalIP, address: 192.168.1.11}, {type: ExternalIP, address: 203.0.113.1}]}
---
apiVersion: v1
kind: Service
metadata: {name: six, namespace: shop}
spec: {clusterIP: "fd00::80", clusterIPs: ["fd00::80"], ipFamilies: [IPv6], ports: [{name: a, port: 80}, {name: b, port: 81, protocol: UDP}], externalIPs: [203.0.113.7]}
---
apiVersion: v1
kind: Service
metadata: {name: pending, namespace: shop}
spec: {type: LoadBalancer, clusterIP: 10.96.0.81, ports: [{port: 80, nodePort: 30080}]}
---
apiVersion: v1
kind: Service
metadata: {name: two, namespace: shop}
spec: {type: LoadBalancer, clusterIP: 10.96.0.82, ports: [{port: 80}], externalIPs: [203.0.113.8]}
status: {loadBalancer: {ingress: [{ip: 203.0.113.10}, {ip: 203.0.113.11}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: six-1, namespace: shop, labels: {kubernetes.io/service-name: six}}
addressType: IPv6
ports: [{name: a, port: 8080, protocol: TCP}, {name: b, port: 8081, protocol: UDP}]
endpoints:
- {addresses: ["fd00:1::2"], nodeName: n1}
- {addresses: ["fd00:1::3"], nodeName: n1, conditions: {ready: false}}
`

func load(t *testing.T, text string) topology.Cluster {
	t.Helper()
	c, _, err := topology.LoadForRules(topology.Source{Name: "shop", Reader: strings.NewReader(text)})
	require.NoError(t, err)
	return c
}

func reference(t *testing.T) topology.Cluster {
	t.Helper()
	c, err := topology.Reference()
	require.NoError(t, err)
	return c
}

// The rows are kubectl's, with <unknown> for what a Cluster does not hold.
func TestRows(t *testing.T) {
	t.Parallel()
	c := load(t, shop)
	for _, row := range []struct {
		of   string
		c    topology.Cluster
		wide kube.Width
		want string // of each object, with a bar between cells
	}{
		{"nodes", c, kube.Wide, "n1|Unknown|<none>|<unknown>||192.168.1.11|203.0.113.1|<unknown>|<unknown>|<unknown>"},
		{"svc", c, kube.Narrow, "pending|LoadBalancer|10.96.0.81|<pending>|80:30080/TCP|<unknown>|<unknown>\n" +
			"six|ClusterIP|fd00::80|203.0.113.7|80/TCP,81/UDP|<unknown>|<unknown>\n" +
			"two|LoadBalancer|10.96.0.82|203.0.113.10,...,203.0.113.8|80/TCP|<unknown>|<unknown>"},
		{"ep", c, kube.Narrow, "pending|<none>|<unknown>\nsix|[fd00:1::2]:8080,[fd00:1::2]:8081|<unknown>\ntwo|<none>|<unknown>"},
		{"services", c, kube.Wide, "pending|LoadBalancer|10.96.0.81|<pending>|80:30080/TCP|<unknown>|<unknown>\n" +
			"six|ClusterIP|fd00::80|203.0.113.7|80/TCP,81/UDP|<unknown>|<unknown>\n" +
			"two|LoadBalancer|10.96.0.82|203.0.113.10,203.0.113.11,203.0.113.8|80/TCP|<unknown>|<unknown>"},
		{"po", c, kube.Wide, ""},
	} {
		r, ok := kube.Find(row.of)
		require.True(t, ok, row.of)
		table := r.Table(r.Objects(row.c), row.wide)
		var lines []string
		for _, got := range table.Rows {
			require.Len(t, got.Cells, len(table.ColumnDefinitions))
			lines = append(lines, strings.Trim(strings.ReplaceAll(strings.Trim(fmt.Sprintf("%q", got.Cells), "[]"), `" "`, "|"), `"`))
		}
		require.Equal(t, row.want, strings.Join(lines, "\n"), row.of)
	}
}

// Every resource of the reference cluster has objects, with their type and without what is not known, and columns for each row.
func TestResources(t *testing.T) {
	t.Parallel()
	for _, r := range kube.Resources() {
		all := r.Objects(reference(t))
		require.NotEmpty(t, all)
		for _, o := range all {
			require.Equal(t, r.Kind, o.GetObjectKind().GroupVersionKind().Kind)
			require.Equal(t, r.Namespaced, o.GetNamespace() != "", o.GetName())
		}
		for _, row := range r.Table(all, kube.Wide).Rows {
			require.Len(t, row.Cells, len(r.Table(nil, kube.Wide).ColumnDefinitions))
		}
		for _, name := range append(r.Short, r.Name, strings.ToUpper(r.Name)) {
			found, ok := kube.Find(name)
			require.True(t, ok)
			require.Equal(t, r.Name, found.Name)
		}
	}
	_, ok := kube.Find("deployments")
	require.False(t, ok)
}

// The objects that are made of a cluster are read into the same nodes, pods, Services and endpoints again: with the EndpointSlices, and with the
// Endpoints alone.
func TestObjectsAreReadAgain(t *testing.T) {
	for name, c := range map[string]topology.Cluster{"reference": reference(t), "shop": load(t, shop)} {
		for _, of := range []string{"slices", "endpoints"} {
			if name == "shop" && of == "endpoints" {
				continue // its IPv6 address is of an endpoint that is not ready
			}
			t.Run(name+" "+of, func(t *testing.T) {
				var text strings.Builder
				write := func(o any) {
					b, err := yaml.Marshal(o)
					require.NoError(t, err)
					text.WriteString("---\n" + string(b))
				}
				for _, r := range kube.Resources() {
					for _, o := range r.Objects(c) {
						if r.Name != "endpoints" || of == "endpoints" {
							write(o)
						}
					}
				}
				for _, s := range c.Services {
					for _, o := range kube.EndpointSlices(s) {
						if of == "slices" {
							write(o)
						}
					}
				}
				again := load(t, text.String())
				require.Equal(t, forRules(c).Services, forRules(again).Services)
				require.Len(t, again.Nodes, len(c.Nodes))
				for i, n := range again.Nodes {
					require.Equal(t, c.Nodes[i].Addresses, n.Addresses)
					require.Equal(t, c.Nodes[i].Labels, n.Labels)
				}
				require.Len(t, again.Pods, len(c.Pods))
			})
		}
	}
}

// forRules is a cluster without what EndpointSlices do not have, whose endpoints no Pod was found for.
func forRules(c topology.Cluster) topology.Cluster {
	for i := range c.Services {
		for j := range c.Services[i].Ports {
			for k := range c.Services[i].Ports[j].Endpoints {
				c.Services[i].Ports[j].Endpoints[k].Pod = ""
			}
		}
	}
	return c
}

// A port that its endpoints do not agree about has none as its target.
func TestTargetPort(t *testing.T) {
	t.Parallel()
	c := reference(t)
	r, _ := kube.Find("services")
	for _, o := range r.Objects(c) {
		for _, p := range o.(*corev1.Service).Spec.Ports {
			require.NotZero(t, p.TargetPort.IntVal, "%s %s", o.GetName(), p.Name)
		}
	}
	for i := range c.Services {
		for j := range c.Services[i].Ports {
			c.Services[i].Ports[j].Endpoints = append(c.Services[i].Ports[j].Endpoints, topology.Endpoint{})
		}
	}
	for _, s := range c.Services {
		for _, p := range kube.Service(s).Spec.Ports {
			require.Zero(t, p.TargetPort.IntVal)
		}
	}
}
