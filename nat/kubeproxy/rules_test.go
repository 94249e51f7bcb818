package kubeproxy_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/kubeproxy"
	"natlab/topology"
	"natlab/topology/topologytest"
)

// The names that the real cluster printed (facts.md of the reference cluster).
func TestNames(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ namespace, service, port, protocol, endpoint, want string }{
		{"velero", "minio", "console", "TCP", "", "K6NOPV6C6M2DHO7B"},
		{"velero", "minio", "console", "TCP", "10.244.169.89:9090", "KUBE-SEP-OLNIRCQFCXAN5USW"},
		{"velero", "minio", "console", "tcp", "10.244.38.178:9090", "KUBE-SEP-DB3JUIMGX6LERFY3"},
		{"kube-system", "kube-dns", "metrics", "TCP", "", "JD5MR3NA4I4DYORP"},
		{"kube-system", "kube-dns", "metrics", "TCP", "10.244.239.129:9153", "KUBE-SEP-DYDOGONVKJMXNXZO"},
		{"kube-system", "kube-dns", "metrics", "TCP", "10.244.239.132:9153", "KUBE-SEP-PURVZ5VLWID76HVQ"},
		{"default", "release-name-grafana", "http-web", "TCP", "", "XR6NUEPTVOUAGEC3"},
		{"default", "release-name-grafana", "http-web", "TCP", "10.244.31.123:3000", "KUBE-SEP-RLRDAS77BUJVWRRK"},
	} {
		t.Run(row.namespace, func(t *testing.T) {
			t.Parallel()
			name := kubeproxy.PortName(row.namespace, row.service, row.port)
			if row.endpoint == "" {
				require.Equal(t, row.want, kubeproxy.ServiceHash(name, row.protocol))
			} else {
				require.Equal(t, row.want, kubeproxy.EndpointChain(name, row.protocol, row.endpoint))
			}
		})
	}
	require.Equal(t, "a/b", kubeproxy.PortName("a", "b", ""))
}

func TestParseRelease(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]string{
		"v1.25": "v1.25", "1.25.1": "v1.25", "v1.28.15": "v1.28", "v1.37.2": "v1.37", "": "v1.37", "1.37": "v1.37",
		"v1.31": "v1.31", "v1.31.4": "v1.31", "1.31": "v1.31", "v1.33.1+k3s1": "v1.33", "v1.30.9-eks-5d632ec": "v1.30",
	} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			r, err := kubeproxy.ParseRelease(version)
			require.NoError(t, err, version)
			require.Equal(t, want, r.Name, version)
		})
	}
	for _, version := range []string{"v1.2", "v1.250", "1.24.17", "v1.38", "v2.28", "latest", "v", "vv1.25", "v1.28.", "v1.28.x", "v1.280"} {
		_, err := kubeproxy.ParseRelease(version)
		require.ErrorIs(t, err, kubeproxy.ErrRelease, version)
	}
	var names []string
	for _, r := range kubeproxy.Releases() {
		names = append(names, r.Name)
	}
	require.Equal(t, topology.Releases(), names, "topology knows other releases than kubeproxy")
}

// What is printed parses to the same rules, and the same cluster gives the same bytes.
func TestRulesPrintAndParse(t *testing.T) {
	t.Parallel()
	c := topologytest.ManyServices(400) // 1,200 endpoints: a large cluster
	for _, release := range kubeproxy.Releases() {
		for _, family := range []nat.Family{nat.IPv4, nat.IPv6} {
			o := kubeproxy.Options{Release: release.Name, Family: family}
			rs, err := kubeproxy.Rules(c, "node-1", o)
			require.NoError(t, err)
			parsed, err := iptables.ParseString(rs.String(), family)
			require.NoError(t, err)
			require.Equal(t, withoutLines(rs), withoutLines(parsed))
			again, err := kubeproxy.Rules(c, "node-1", o)
			require.NoError(t, err)
			require.Equal(t, rs.String(), again.String())
		}
	}
}

// withoutLines clears what a parsed rule has and a made one has not.
func withoutLines(rs iptables.Ruleset) iptables.Ruleset {
	rs = rs.Clone()
	for _, table := range rs.Tables {
		for _, chain := range table.Chains {
			for i := range chain.Rules {
				chain.Rules[i].Line = 0
			}
		}
	}
	return rs
}

func TestRulesErrors(t *testing.T) {
	t.Parallel()
	good := topologytest.ManyServices(1)
	for _, row := range []struct {
		name, node string
		edit       func(c *topology.Cluster)
		options    kubeproxy.Options
		want       string
	}{
		{"node", "node-9", nil, kubeproxy.Options{}, `node "node-9" is not described; there is node-1`},
		{"no node", "a", func(c *topology.Cluster) { c.Nodes = nil }, kubeproxy.Options{}, `node "a" is not described; no Node is described at all`},
		{"release", "node-1", nil, kubeproxy.Options{Release: "v1.9"}, `release "v1.9": not a release of kube-proxy that natlab knows: want v1.25 to v1.37, or a patch release of one`},
		{
			"pods' range", "node-1", func(c *topology.Cluster) { c.KubeProxy.DetectLocalMode = "NodeCIDR" },
			kubeproxy.Options{},
			`node "node-1": it has no spec.podCIDR, and with detectLocalMode NodeCIDR kube-proxy waits for one`,
		},
		{
			"keyword", "node-1", func(c *topology.Cluster) { c.KubeProxy.NodePortAddresses = []string{"primary"} },
			kubeproxy.Options{Release: "v1.28"},
			`kube-proxy v1.28 exits: nodePortAddresses[0]: "primary" must be a valid CIDR (write CIDRs)`,
		},
		// nothing can break out of its rule
		{
			"newline", "node-1", func(c *topology.Cluster) { c.Services[0].Name = "a\n-A INPUT -j ACCEPT" },
			kubeproxy.Options{},
			`service "namespace-0/a\n-A INPUT -j ACCEPT:http": its name cannot stand in a rule`,
		},
		{
			"port", "node-1", func(c *topology.Cluster) { c.Services[0].Ports[0].Name = "a\" -j DROP" },
			kubeproxy.Options{},
			`service "namespace-0/service-0:a\" -j DROP": its name cannot stand in a rule`,
		},
		{
			"device", "node-1", func(c *topology.Cluster) {
				c.KubeProxy.DetectLocalMode, c.KubeProxy.BridgeInterface = "BridgeInterface", "br0 -j ACCEPT"
			},
			kubeproxy.Options{},
			`device "br0 -j ACCEPT" of detectLocal cannot stand in a rule`,
		},
		{
			"protocol", "node-1", func(c *topology.Cluster) { c.Services[0].Ports[0].Protocol = "tcp -j ACCEPT" },
			kubeproxy.Options{},
			`service "namespace-0/service-0:http": protocol "tcp -j ACCEPT": want TCP, UDP or SCTP`,
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c := good
			c.Services = slices.Clone(good.Services)
			c.Services[0].Ports = slices.Clone(good.Services[0].Ports)
			if row.edit != nil {
				row.edit(&c)
			}
			rs, err := kubeproxy.Rules(c, row.node, row.options)
			require.EqualError(t, err, row.want, row.name)
			require.Zero(t, rs, row.name)
		})
	}
}

func TestServingEndpoints(t *testing.T) {
	t.Parallel()
	at := func(last byte) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, last}), 80)
	}
	ready := func(last byte, node string, zones ...string) topology.Endpoint {
		return topology.Endpoint{Addr: at(last), Node: node, Ready: true, Serving: true, ZoneHints: zones}
	}
	leaving := func(last byte, node string) topology.Endpoint {
		return topology.Endpoint{Addr: at(last), Node: node, Serving: true, Terminating: true}
	}
	here, there := "node-1", "node-2"
	local := topology.Service{Type: topology.NodePort, ExternalPolicy: topology.PolicyLocal, InternalPolicy: topology.PolicyLocal}
	plain := topology.Service{Type: topology.NodePort}
	type list = []topology.Endpoint
	for _, row := range []struct {
		name                string
		service             topology.Service
		release             string
		endpoints           list
		cluster, local, all []byte
		any                 bool
	}{
		{"all ready", plain, "", list{ready(2, there), ready(1, here)}, []byte{1, 2}, nil, []byte{1, 2}, true},
		{"local policy", local, "", list{ready(1, here), ready(2, there)}, []byte{1, 2}, []byte{1}, []byte{1, 2}, true},
		{"none local", local, "", list{ready(2, there)}, []byte{2}, nil, []byte{2}, true},
		{"none at all", local, "", nil, nil, nil, nil, false},
		{"leaving ones for want of others", plain, "", list{leaving(1, here), leaving(2, there)}, []byte{1, 2}, nil, []byte{1, 2}, true},
		{"not while others are ready", plain, "", list{leaving(1, here), ready(2, there)}, []byte{2}, nil, []byte{2}, true},
		{"a local one that leaves", local, "", list{leaving(1, here), ready(2, there)}, []byte{2}, []byte{1}, []byte{2, 1}, true},
		{"not before 1.26", plain, "v1.25", list{leaving(1, here)}, nil, nil, nil, false},
		{"hints", plain, "", list{ready(1, here, "a"), ready(2, there, "b")}, []byte{1}, nil, []byte{1}, true},
		{"one without a hint", plain, "", list{ready(1, here, "a"), ready(2, there)}, []byte{1, 2}, nil, []byte{1, 2}, true},
		{"hints without an annotation", plain, "v1.28", list{ready(1, here, "a"), ready(2, there, "b")}, []byte{1, 2}, nil, []byte{1, 2}, true},
		{"no hint for this zone", plain, "", list{ready(1, here, "b"), ready(2, there, "b")}, []byte{1, 2}, nil, []byte{1, 2}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			row.service.Namespace, row.service.Name = "default", "web"
			row.service.Ports = []topology.ServicePort{{Protocol: "TCP", Port: 80, NodePort: 30080, Endpoints: row.endpoints}}
			c := topology.Cluster{Nodes: []topology.Node{{Name: here, Labels: map[string]string{"topology.kubernetes.io/zone": "a"}}}}
			c.KubeProxy.MasqueradeBit = -1
			got, err := kubeproxy.ServingEndpoints(c, here, kubeproxy.Options{Release: row.release}, row.service, row.service.Ports[0])
			require.NoError(t, err, row.name)
			last := func(endpoints list) []byte {
				var out []byte
				for _, e := range endpoints {
					out = append(out, e.Addr.Addr().As4()[3])
				}
				return out
			}
			require.Equal(t, row.cluster, last(got.Cluster), row.name)
			require.Equal(t, row.local, last(got.Local), row.name)
			require.Equal(t, row.all, last(got.All), row.name)
			require.Equal(t, row.any, got.Any, row.name)
		})
	}
}
