package topology

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// An Endpoints object counts as the mirroring controller and the endpoints controller have it.
func TestEndpointsObject(t *testing.T) {
	t.Parallel()
	const (
		bare     = `ports: [{name: pg, port: 5432}]`
		selected = `selector: {app: web}, ports: [{name: pg, port: 5432, targetPort: http}]`
		subset   = `, subsets: [{addresses: [{ip: 10.0.9.1, nodeName: n1}, {ip: "fd00::9"}], notReadyAddresses: [{ip: 10.0.9.2}], ports: [{name: pg, port: 15432}]}]}`
		two      = "10.0.9.1:15432 n1 ready serving, 10.0.9.2:15432 serving, [fd00::9]:15432 ready serving"
		slice    = `{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: s, namespace: shop, labels: {kubernetes.io/service-name: web}}, addressType: IPv4, endpoints: [{addresses: [10.0.9.7]}], ports: [{name: pg, port: 5}]}`
	)
	object := func(metadata string) string {
		return `{apiVersion: v1, kind: Endpoints, metadata: {namespace: shop, name: ` + metadata + `}` + subset
	}
	for _, row := range []struct {
		name, spec string
		docs       []string
		want       string
	}{
		{"of a Service without a selector", bare, []string{object("web")}, two},
		{"of another Service", bare, []string{object("web2")}, ""},
		{"not to be mirrored", bare, []string{object(`web, labels: {endpointslice.kubernetes.io/skip-mirror: "true"}`)}, ""},
		{"a lock of leader election", bare, []string{object(`web, annotations: {control-plane.alpha.kubernetes.io/leader: "{}"}`)}, ""},
		{"beside a slice", bare, []string{object("web"), slice}, "10.0.9.7:5 ready serving"},
		{"of a Service with a selector, without Pods", selected, []string{object("web")}, two},
		{"of one with Pods", selected, []string{object("web"), webPod("w1", "n1", "10.244.1.5", "")}, "10.244.1.5:801 n1 z1 ready serving"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c, warnings := load(t, with(append(row.docs, service(row.spec))...))
			require.Empty(t, warnings)
			require.Equal(t, row.want, describe(c.Services[0].Ports[0].Endpoints))
		})
	}
	_, _, err := Load(Source{Name: "in.yaml", Reader: strings.NewReader(with(service(bare), `{apiVersion: v1, kind: Endpoints, metadata: {namespace: shop, name: web}, subsets: [{addresses: [{ip: here}], ports: [{name: pg, port: 1}]}]}`))})
	require.ErrorContains(t, err, "Endpoints shop/web: endpoints[0].addresses[0]")
}
