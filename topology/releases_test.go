package topology

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A release is taken with any patch release, v or not, and what a distribution adds.
func TestParseRelease(t *testing.T) {
	for s, want := range map[string]string{
		"v1.31": "v1.31", "v1.31.4": "v1.31", "1.31": "v1.31", "1.31.14": "v1.31", "v1.25.0": "v1.25", "v1.37.2": "v1.37",
		"v1.33.1+k3s1": "v1.33", "v1.30.9-eks-5d632ec": "v1.30", "v1.36.0-rc.1": "v1.36", "v1.31+": "v1.31",
		"": "", "v1": "", "v1.24": "", "v1.38": "", "v1.3": "", "v2.31": "", "v1.31.": "", "v1.31.x": "", "vv1.31": "", "1.31 ": "", "latest": "", "v1.310": "",
	} {
		t.Run(s, func(t *testing.T) {
			got, err := ParseRelease(s)
			require.Equal(t, want, got, s)
			if want == "" {
				require.EqualError(t, err, "want v1.25 to v1.37, or a patch release of one", s)
			} else {
				require.NoError(t, err, s)
			}
		})
	}
	require.Len(t, Releases(), 13)
}

// A Lab document names a release as kubectl get nodes does.
func TestLabRelease(t *testing.T) {
	c, _ := load(t, strings.Replace(small, "release: v1.37", "release: v1.31.4", 1))
	require.Equal(t, "v1.31", c.KubeProxy.Release)
}

// What stands twice in slices is all there for the releases that choose among it in their own way.
func TestListed(t *testing.T) {
	const ports = `ports: [{name: p, port: 9}], `
	const gone = `, conditions: {ready: false, serving: false, terminating: true}`
	at := func(node, rest string) string {
		return `{addresses: [10.244.1.5], nodeName: ` + node + rest + `}`
	}
	for _, row := range []struct {
		name         string
		docs         []string
		want, listed string
		warnings     []string
	}{
		{"one of each", []string{slice("a", ports+`endpoints: [`+at("n1", "")+`]`)}, "10.244.1.5:9 n1 ready serving", "", nil},
		{"the terminating one first", []string{slice("a", ports+`endpoints: [`+at("n2", gone)+`, `+at("n1", "")+`]`)}, "10.244.1.5:9 n1 ready serving", "10.244.1.5:9 n2 terminating, 10.244.1.5:9 n1 ready serving", nil},
		{"the terminating one last", []string{slice("a", ports+`endpoints: [`+at("n1", "")+`, `+at("n2", gone)+`]`)}, "10.244.1.5:9 n1 ready serving", "10.244.1.5:9 n1 ready serving, 10.244.1.5:9 n2 terminating", nil},
		{"in two slices, chance until 1.35", []string{slice("a", ports+`endpoints: [`+at("n1", "")+`]`), slice("b", ports+`endpoints: [`+at("n2", gone)+`]`)}, "10.244.1.5:9 n1 ready serving", "10.244.1.5:9 n1 ready serving, 10.244.1.5:9 n2 terminating, slice 1", []string{"10.244.1.5:9 stands in two EndpointSlices that differ: kube-proxy before v1.36 may take either; natlab reads them in the order of the input"}},
		{"in two slices, chance", []string{slice("a", ports+`endpoints: [`+at("n1", "")+`]`), slice("b", ports+`endpoints: [`+at("n2", "")+`]`)}, "10.244.1.5:9 n2 ready serving", "10.244.1.5:9 n1 ready serving, 10.244.1.5:9 n2 ready serving, slice 1", []string{"10.244.1.5:9 stands in two EndpointSlices that differ: kube-proxy may take either; natlab reads them in the order of the input"}},
		{"in two slices, alike", []string{slice("a", ports+`endpoints: [`+at("n1", "")+`]`), slice("b", ports+`endpoints: [`+at("n1", "")+`]`)}, "10.244.1.5:9 n1 ready serving", "10.244.1.5:9 n1 ready serving, 10.244.1.5:9 n1 ready serving, slice 1", nil},
		{"spelled in two ways", []string{slice("a", ports+`endpoints: [`+at("n1", "")+`, `+strings.Replace(at("n1", ""), "10.244.1.5", "010.244.1.5", 1)+`]`)}, "10.244.1.5:9 n1 ready serving", "10.244.1.5:9 n1 ready serving, 10.244.1.5:9 n1 ready serving", nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, warnings, err := LoadForRules(Source{Name: "1.yaml", Reader: strings.NewReader(with(append(row.docs, service(`ports: [{name: p, port: 80}]`))...))})
			require.NoError(t, err)
			port := c.Services[0].Ports[0]
			require.Equal(t, row.want, describe(port.Endpoints))
			require.Equal(t, row.listed, describe(port.Listed))
			require.Len(t, warnings, len(row.warnings))
			for i, w := range row.warnings {
				require.Contains(t, warnings[i].String(), "Service shop/web: "+w)
			}
		})
	}
}

// Pods of one Service with one set of port numbers are in one slice, whose order is that of the input.
func TestDerivedListed(t *testing.T) {
	leaving := strings.Replace(webPod("w1", "n1", "10.244.1.5", ", phase: Running"), "labels:", `deletionTimestamp: "2026-01-01T00:00:00Z", labels:`, 1)
	c, warnings, err := LoadForRules(Source{Name: "1.yaml", Reader: strings.NewReader(with(
		service(`selector: {app: web}, ports: [{name: p, port: 80, targetPort: 9}]`), leaving, webPod("w2", "n2", "10.244.1.5", ", phase: Running")))})
	require.NoError(t, err)
	require.Empty(t, warnings)
	require.Equal(t, "10.244.1.5:9 n2 ready serving", describe(c.Services[0].Ports[0].Endpoints))
	require.Equal(t, "10.244.1.5:9 n1 z1 serving terminating, 10.244.1.5:9 n2 ready serving", describe(c.Services[0].Ports[0].Listed))
}

// A node's ExternalIP addresses stand for its InternalIP ones where it has none, else beside them.
func TestExternalIPs(t *testing.T) {
	node := func(addresses string) Node {
		c, _, err := LoadForRules(Source{Name: "1.yaml", Reader: strings.NewReader(`{apiVersion: v1, kind: Node, metadata: {name: n1}, status: {addresses: [` + addresses + `]}}`)})
		require.NoError(t, err)
		return c.Nodes[0]
	}
	internal, external := `{type: InternalIP, address: 10.0.0.1}`, `{type: ExternalIP, address: "2001:db8::1"}`
	require.Equal(t, Node{Name: "n1", Addresses: []netip.Addr{addr("10.0.0.1")}, ExternalIPs: []netip.Addr{addr("2001:db8::1")}}, node(external+", "+internal))
	require.Equal(t, Node{Name: "n1", Addresses: []netip.Addr{addr("2001:db8::1")}}, node(external))
}

// What a kube-proxy does not know in its configuration it passes over: a lab's sysctls are those that it sets.
func TestConfigurationOfOldReleases(t *testing.T) {
	const config = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\niptables: {localhostNodePorts: false}\nconntrack: {tcpBeLiberal: true}\n"
	for _, row := range []struct {
		release            string
		localhost, liberal bool
		warnings           []string
	}{
		{"v1.25", true, false, []string{"kube-proxy v1.25 does not know iptables.localhostNodePorts, and passes it over", "kube-proxy v1.25 does not know conntrack.tcpBeLiberal, and passes it over"}},
		{"v1.26", false, false, []string{"kube-proxy v1.26 does not know conntrack.tcpBeLiberal, and passes it over"}},
		{"v1.28", false, false, []string{"kube-proxy v1.28 does not know conntrack.tcpBeLiberal, and passes it over"}},
		{"v1.29", false, true, nil},
		{"v1.37", false, true, nil},
	} {
		t.Run(row.release, func(t *testing.T) {
			lab := "{apiVersion: natlab/v1alpha1, kind: Lab, metadata: {name: x}, spec: {kubeProxy: {release: " + row.release + "}}}\n"
			c, warnings := load(t, with(), config, lab)
			require.Equal(t, row.localhost, c.KubeProxy.LocalhostNodePorts, row.release)
			require.Equal(t, row.localhost, c.KubeProxy.routesLocalnet(), row.release)
			require.Equal(t, row.liberal, c.KubeProxy.TCPBeLiberal, row.release)
			require.Len(t, warnings, len(row.warnings), "%s %v", row.release, warnings)
			for i, w := range row.warnings {
				require.Contains(t, warnings[i], w)
			}
		})
	}
}

func TestSinceRelease(t *testing.T) {
	for _, row := range []struct {
		release string
		want    bool
	}{{"v1.25", false}, {"v1.26", true}, {"1.26.3", true}, {"v1.37", true}, {"", true}} {
		require.Equal(t, row.want, KubeProxy{Release: row.release}.SinceRelease(26), row.release)
	}
}
