//go:build vm

package vm_test

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/lab/proxy"
	"natlab/lab/vm"
	"natlab/nat"
	"natlab/nat/proof"
	"natlab/topology"
)

// built is a release's kube-proxy, and the file of a VM that it is.
func built(t *testing.T, release string) vm.File {
	t.Helper()
	dir, err := proxy.DefaultDir()
	require.NoError(t, err)
	id, is := proxy.Release(release)
	require.True(t, is)
	binary, err := proxy.Builder{Dir: dir, Log: t.Output()}.Build(t.Context(), id)
	require.NoError(t, err)
	return vm.File{Host: binary, Guest: "/kube-proxy/" + release}
}

// newest is the newest of the kernels.
func newest() string { return kernels()[len(kernels())-1] }

// A real kube-proxy in ipvs mode serves a Service on both nodes of a small cluster: natlab has no rules of that mode, and proves what comes of each flow. With
// strictARP the node that announces an address is the one that gets its packets.
func TestIPVSMode(t *testing.T) {
	program := built(t, "1.37.2")
	cluster, err := filepath.Abs("../../lab/labtest/testdata/shop.yaml")
	require.NoError(t, err)
	config := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(config, []byte(`
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: ipvs
clusterCIDR: 10.244.0.0/16
ipvs: {strictARP: true}
---
apiVersion: v1
kind: Service
metadata: {name: edge}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  clusterIP: 10.96.0.81
  selector: {app: shop}
  ports:
  - {port: 80, targetPort: 8080, nodePort: 30081}
status: {loadBalancer: {ingress: [{ip: 192.168.1.200}]}}
`), 0o600))
	status, stdout, stderr, err := boot(t, newest(), func(c *vm.Config) {
		c.Files = []vm.File{program, {Host: cluster, Guest: cluster}, {Host: config, Guest: config}}
		c.Timeout = 30 * time.Minute
	}, "natlab", "verify", "-f", cluster, "-f", config, "--kube-proxy", program.Guest, "-o", "json")
	require.NoError(t, err)
	var found proof.Report
	require.NoError(t, json.Unmarshal([]byte(stdout), &found), stderr)
	for _, c := range found.Flows {
		require.Equal(t, proof.Proved, c.Verdict, "%s: %+v", c.Name, c.Wrong)
	}
	require.Zero(t, status, stderr)
	require.Equal(t, topology.ModeIPVS, found.Backend)
	served := map[string]bool{}
	for _, c := range found.Flows {
		served[c.Server] = true
		if c.End == nat.EndAnswered {
			require.NotEmpty(t, c.Hops, c.Name)
		}
	}
	require.True(t, served["default/shop-1"] && served["default/shop-2"], served)
	announced := slices.IndexFunc(found.Flows, func(c proof.Certificate) bool { return c.From == "outside" && c.Target.String() == "192.168.1.200:80" })
	require.GreaterOrEqual(t, announced, 0)
	require.Equal(t, "default/shop-1", found.Flows[announced].Server, "of the node that announces it")
	require.Equal(t, found.Flows[announced].Source, netip.MustParseAddr("192.168.1.254"))
}
