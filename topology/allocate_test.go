package topology

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Services that no API server has seen get what it would choose, and it is told.
func TestAllocate(t *testing.T) {
	t.Parallel()
	const other = "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {clusterIP: 10.43.0.1, ports: [{port: 1, nodePort: 30086}], type: NodePort}}\n---\n"
	service := func(spec string) string {
		return "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {" + spec + "}}\n"
	}
	for _, row := range []struct {
		name, docs, want string
	}{
		{"alone", service("ports: [{port: 80}]"), "10.96.1.0"},
		{"where the others are", other + service("ports: [{port: 80}]"), "10.43.1.0"},
		{"of the range that is told", "{apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {name: kubernetes}, spec: {cidrs: [10.7.0.0/28]}}\n---\n" + service("ports: [{port: 80}]"), "10.7.0.8"},
		{"an external IP tells no range", service("ports: [{port: 80}], externalIPs: [192.0.2.9]"), "10.96.1.0"},
		{"node ports", other + service("type: NodePort, ports: [{port: 80, name: a}, {port: 81, name: b, nodePort: 30100}]"), "10.43.1.0, node port 30087 for port 80"},
		{"a load balancer's", service("type: LoadBalancer, externalTrafficPolicy: Local, ports: [{port: 80}]"), "10.96.1.0, node port 30086 for port 80, health check node port 30087"},
		{"none wanted", service("type: LoadBalancer, allocateLoadBalancerNodePorts: false, ports: [{port: 80}]"), "10.96.1.0"},
		{"IPv6", service("ipFamilies: [IPv6], ports: [{port: 80}]"), "fd00:10:96::100"},
		{"headless", service("clusterIP: None, ports: [{port: 80}]"), ""},
		{"ExternalName", service("type: ExternalName, externalName: example.com, ports: [{port: 80}]"), ""},
		{"from an API server", service("clusterIP: 10.96.0.7, type: NodePort, ports: [{port: 80}]"), ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			_, warnings, err := LoadForRules(Source{Name: "in.yaml", Reader: strings.NewReader(row.docs)})
			require.NoError(t, err)
			got := ""
			for _, w := range texts(warnings) {
				if _, what, ok := strings.Cut(w, "natlab takes "); ok {
					got = what
				}
			}
			require.Equal(t, row.want, got)
		})
	}
}

// The second of two gets other addresses and ports than the first.
func TestAllocateTwice(t *testing.T) {
	t.Parallel()
	docs := ""
	for _, name := range []string{"a", "b"} {
		docs += "---\n{apiVersion: v1, kind: Service, metadata: {name: " + name + "}, spec: {type: NodePort, ports: [{port: 80}]}}\n"
	}
	c, _, err := LoadForRules(Source{Name: "in.yaml", Reader: strings.NewReader(docs)})
	require.NoError(t, err)
	require.Len(t, c.Services, 2)
	require.Equal(t, "10.96.1.0", c.Services[0].ClusterIPs[0].String())
	require.Equal(t, "10.96.1.1", c.Services[1].ClusterIPs[0].String())
	require.EqualValues(t, 30086, c.Services[0].Ports[0].NodePort)
	require.EqualValues(t, 30087, c.Services[1].Ports[0].NodePort)
}
