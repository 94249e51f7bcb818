package proxy

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/topology"
)

// What natlab answers in place of a kube-proxy is what that answers (pkg/proxy/healthcheck), release by release.
func TestHealth(t *testing.T) {
	t.Parallel()
	node, other, pod := netip.MustParseAddr("172.20.0.1"), netip.MustParseAddr("172.20.0.2"), netip.MustParseAddrPort("10.60.1.10:8080")
	local := topology.Service{
		Namespace: "d", Name: "web", Type: topology.LoadBalancerType, ExternalPolicy: topology.PolicyLocal, HealthCheckNodePort: 31002, ClusterIPs: []netip.Addr{netip.MustParseAddr("10.70.0.1")},
		Ports: []topology.ServicePort{{Endpoints: []topology.Endpoint{{Addr: pod, Node: "a", Ready: true}, {Addr: netip.MustParseAddrPort("10.60.2.10:8080"), Node: "b", Serving: true, Terminating: true}}}},
	}
	all := topology.Cluster{
		Services: []topology.Service{local},
		Nodes:    []topology.Node{{Name: "a", Addresses: []netip.Addr{node}}, {Name: "b", Addresses: []netip.Addr{other}}},
	}
	const service, itself = "{\n\t\"service\": {\n\t\t\"namespace\": \"d\",\n\t\t\"name\": \"web\"\n\t},\n\t\"localEndpoints\": ", ",\n\t\"serviceProxyHealthy\": true\n}"
	for _, row := range []struct {
		name, release, member string
		at                    netip.Addr
		port                  uint16
		path                  string
		status                int
		weight, body          string
	}{
		{"an endpoint here", "v1.37", "a", node, 31002, "/", 200, "1", service + "1" + itself},
		{"one that is going away", "v1.37", "b", other, 31002, "/healthz", 503, "0", service + "0" + itself},
		{"before 1.28 without a weight", "v1.27", "a", node, 31002, "/", 200, "", service + "1" + itself},
		{"before 1.27 without itself", "v1.26", "a", node, 31002, "/", 200, "", service + "1\n}"},
		{"itself", "v1.37", "a", node, topology.HealthzPort, "/healthz", 200, "", `{"lastUpdated":"T","currentTime":"T","nodeEligible":true,"healthy":true,"status":{"IPv4":{"lastUpdated":"T","healthy":true}}}`},
		{"itself, whatever the node", "v1.37", "a", node, topology.HealthzPort, "/livez", 200, "", `{"lastUpdated":"T","currentTime":"T","healthy":true,"status":{"IPv4":{"lastUpdated":"T","healthy":true}}}`},
		{"before 1.33 of no family", "v1.32", "a", node, topology.HealthzPort, "/healthz", 200, "", `{"lastUpdated": "T","currentTime": "T", "nodeEligible": true}`},
		{"nor for livez", "v1.32", "a", node, topology.HealthzPort, "/livez", 200, "", `{"lastUpdated": "T","currentTime": "T"}`},
		{"before 1.28 of the node nothing", "v1.27", "a", node, topology.HealthzPort, "/healthz", 200, "", `{"lastUpdated": "T","currentTime": "T"}`},
		{"before 1.28 no livez", "v1.27", "a", node, topology.HealthzPort, "/livez", 404, "", "404 page not found\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c := all
			release, err := topology.ParseRelease(row.release)
			require.NoError(t, err)
			c.KubeProxy.Release = release
			at := topology.Server{Name: topology.KubeProxyServer, Member: row.member, Proto: "tcp", Addr: netip.AddrPortFrom(row.at, row.port)}
			w := httptest.NewRecorder()
			Health(at, func() topology.Cluster { return c }).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, row.path, nil))
			require.Equal(t, row.status, w.Code)
			require.Equal(t, row.weight, w.Header().Get("X-Load-Balancing-Endpoint-Weight"))
			require.Equal(t, row.body, regexp.MustCompile(`"\d{4}-[^"]*"`).ReplaceAllString(w.Body.String(), `"T"`))
		})
	}
}
