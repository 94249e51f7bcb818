package proxy

import (
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/topology"
)

func TestConfiguration(t *testing.T) {
	c := topology.Cluster{KubeProxy: topology.KubeProxy{
		Configured: true, Mode: topology.ModeNFTables, MasqueradeBit: 15, MasqueradeAll: true, TCPBeLiberal: true, LocalhostNodePorts: false,
		ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00::/64")}, NodePortAddresses: []string{"primary"},
		DetectLocalMode: "BridgeInterface", BridgeInterface: "cbr0", BindAddress: netip.MustParseAddr("192.168.26.100"), FeatureGates: map[string]bool{"A": true},
	}}
	text, err := configuration(c, "vms100", "/kubeconfig", false)
	require.NoError(t, err)
	require.JSONEq(t, `{"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": "nftables", "hostnameOverride": "vms100",
		"nftables": {"minSyncPeriod": "10ms", "masqueradeBit": 15, "masqueradeAll": true}, "conntrack": {"maxPerCore": 0, "min": 0, "tcpBeLiberal": true},
		"oomScoreAdj": 0, "metricsBindAddress": "127.0.0.1:10249", "healthzBindAddress": "0.0.0.0:10256", "enableProfiling": true,
		"clientConnection": {"kubeconfig": "/kubeconfig", "qps": 100, "burst": 100}, "bindAddress": "192.168.26.100",
		"clusterCIDR": "10.244.0.0/16,fd00::/64", "nodePortAddresses": ["primary"], "detectLocalMode": "BridgeInterface",
		"detectLocal": {"bridgeInterface": "cbr0", "interfaceNamePrefix": ""}, "featureGates": {"A": true}}`, string(text))

	c.KubeProxy.Mode = ""
	text, err = configuration(c, "vms100", "/kubeconfig", false)
	require.NoError(t, err)
	var got struct {
		Mode     string
		IPTables map[string]any
	}
	require.NoError(t, json.Unmarshal(text, &got))
	require.Equal(t, "iptables", got.Mode)
	require.Equal(t, false, got.IPTables["localhostNodePorts"])

	c.KubeProxy.Mode, c.KubeProxy.StrictARP = topology.ModeIPVS, true // which masquerades as iptables mode is told to
	text, err = configuration(c, "vms100", "/kubeconfig", false)
	require.NoError(t, err)
	var ipvs struct {
		Mode           string
		IPTables, IPVS map[string]any
	}
	require.NoError(t, json.Unmarshal(text, &ipvs))
	require.Equal(t, "ipvs", ipvs.Mode)
	require.Equal(t, map[string]any{"minSyncPeriod": "10ms", "syncPeriod": "1h0m0s", "strictARP": true}, ipvs.IPVS)
	require.Equal(t, map[string]any{"minSyncPeriod": "10ms", "syncPeriod": "1h0m0s", "masqueradeBit": 15.0, "masqueradeAll": true}, ipvs.IPTables)
}

// A kube-proxy can be told to have those who log take turns, which releases before 1.30 do by themselves.
func TestFairLog(t *testing.T) {
	for release, can := range map[string]bool{"v1.29": false, "v1.30": true, "": true} {
		c := topology.Cluster{KubeProxy: topology.KubeProxy{Release: release, FeatureGates: map[string]bool{"A": true}}}
		require.Equal(t, can, len(fairLog(c.KubeProxy)) > 0, release)
		for _, fair := range []bool{false, true} {
			text, err := configuration(c, "vms100", "/kubeconfig", fair)
			require.NoError(t, err)
			var got struct{ FeatureGates map[string]bool }
			require.NoError(t, json.Unmarshal(text, &got))
			require.Equal(t, fair && can, got.FeatureGates["LoggingAlphaOptions"], release)
			require.True(t, got.FeatureGates["A"])
		}
		require.Len(t, c.KubeProxy.FeatureGates, 1, "the cluster's stay as they are")
	}
}

func TestLinkPrograms(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bin")
	for _, backend := range []string{"legacy", "nft"} { // the second time in place of the first
		require.NoError(t, linkPrograms(dir, backend, func(name string) (string, error) { return "/sbin/" + name, nil }))
		for name, want := range map[string]string{"iptables": "iptables-" + backend, "iptables-save": "iptables-" + backend + "-save", "ip6tables-restore": "ip6tables-" + backend + "-restore"} {
			to, err := os.Readlink(filepath.Join(dir, name))
			require.NoError(t, err)
			require.Equal(t, "/sbin/"+want, to)
		}
	}
	err := linkPrograms(dir, "nft", func(string) (string, error) { return "", errors.New("none") })
	require.ErrorContains(t, err, "kube-proxy calls iptables: none")
}

func TestParseMetrics(t *testing.T) {
	m, err := parseMetrics("# HELP a b\na 1\nb_count{ip_family=\"IPv4\"} 2\nb_count{ip_family=\"IPv6\"} 1e+00\n\nc{x=\"a b\"} +Inf\n")
	require.NoError(t, err)
	require.InDelta(t, 1, m["a"], 0)
	require.InDelta(t, 3, m["b_count"], 0)
	for _, bad := range []string{"a", "a b"} {
		_, err := parseMetrics(bad)
		require.ErrorContains(t, err, bad)
	}
}

func TestRelease(t *testing.T) {
	for text, want := range map[string]string{
		"1.37.2": "v1.37.2", "v1.25.1": "v1.25.1", "v1.38.0-alpha.1": "v1.38.0-alpha.1",
		"1.37": "", "./kube-proxy": "", "v1.37.2/kube-proxy": "", "2.0.0": "", "v1.37.2; rm": "", "1.37.2-": "", "": "",
	} {
		got, ok := Release(text)
		require.Equal(t, want, got, text)
		require.Equal(t, want != "", ok, text)
	}
}

// What Kubernetes has in folders of its repository is replaced by what is published of them; its other replacements are kept.
func TestModule(t *testing.T) {
	var m goMod
	require.NoError(t, json.Unmarshal([]byte(`{"Go": "1.24.0", "Godebug": [{"Key": "default", "Value": "go1.24"}], "Replace": [
		{"Old": {"Path": "k8s.io/api"}, "New": {"Path": "./staging/src/k8s.io/api"}},
		{"Old": {"Path": "a/b", "Version": "v1.0.0"}, "New": {"Path": "c/d", "Version": "v1.2.3"}}]}`), &m))
	require.Equal(t, `module natlab.invalid/kube-proxy

go 1.24.0

require k8s.io/kubernetes v1.33.4
godebug default=go1.24
replace k8s.io/api => k8s.io/api v0.33.4
replace a/b v1.0.0 => c/d v1.2.3
`, string(m.requiredBy("k8s.io/kubernetes", "v1.33.4")))
}

func TestFind(t *testing.T) {
	program := func(text string) string {
		file := filepath.Join(t.TempDir(), "kube-proxy")
		require.NoError(t, os.WriteFile(file, []byte("#!/bin/sh\n"+text+"\n"), 0o700))
		return file
	}
	p, err := Find(t.Context(), program("echo Kubernetes v1.33.4-dirty"), nil)
	require.NoError(t, err)
	require.Equal(t, "v1.33.4-dirty", p.Version)
	c := topology.Cluster{}
	require.True(t, p.Writes(&c))
	require.Equal(t, "v1.33", c.KubeProxy.Release)
	require.False(t, Program{Version: "v0.0.0-master+$Format:%H$"}.Writes(&c))
	require.Equal(t, "v1.33", c.KubeProxy.Release)
	for what, want := range map[string]string{
		program("echo a; echo b"): `"b": not a kube-proxy`, program("exit 3"): "exit status 3", filepath.Join(t.TempDir(), "none"): "want a program or a patch release",
	} {
		_, err := Find(t.Context(), what, nil)
		require.ErrorContains(t, err, want)
	}
}

// A release is built once, in a folder of its own; one whose build failed is not there.
func TestBuild(t *testing.T) {
	dir := t.TempDir()
	tool := filepath.Join(dir, "go")
	require.NoError(t, os.WriteFile(tool, []byte(`#!/bin/sh
echo "$@" >> `+dir+`/calls
case "$1 $2" in
"mod download") [ "$4" = k8s.io/kubernetes@v1.99.0 ] && { printf '{"Error": "k8s.io/kubernetes@v1.99.0: 404\\n\\tnot found"}'; exit 1; }; echo '{"GoMod": "/there/go.mod"}' ;;
"mod edit") echo '{"Go": "1.24.0"}' ;;
"build "*) [ -e `+dir+`/fails ] && { echo it does not compile >&2; exit 1; }; grep -q 'require k8s.io/kubernetes v1.33.4' go.mod && echo built > kube-proxy ;;
esac
`), 0o700))
	b := Builder{Dir: filepath.Join(dir, "cache"), Go: tool, Log: io.Discard}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "fails"), nil, 0o600))
	_, err := b.Build(t.Context(), "v1.33.4")
	require.ErrorContains(t, err, "it does not compile")
	require.NoError(t, os.Remove(filepath.Join(dir, "fails")))

	_, err = b.Build(t.Context(), "v1.99.0")
	require.ErrorContains(t, err, "exit status 1: k8s.io/kubernetes@v1.99.0: 404 not found")

	binary, err := b.Build(t.Context(), "v1.33.4")
	require.NoError(t, err)
	text, err := os.ReadFile(binary)
	require.NoError(t, err)
	require.Equal(t, "built\n", string(text))
	calls, err := os.ReadFile(filepath.Join(dir, "calls"))
	require.NoError(t, err)
	again, err := b.Build(t.Context(), "v1.33.4")
	require.NoError(t, err)
	require.Equal(t, binary, again)
	after, err := os.ReadFile(filepath.Join(dir, "calls"))
	require.NoError(t, err)
	require.Equal(t, calls, after)
	left, err := filepath.Glob(filepath.Join(b.Dir, "build-*"))
	require.NoError(t, err)
	require.Empty(t, left)

	b.Go = filepath.Join(dir, "none")
	_, err = b.Build(t.Context(), "v1.34.0")
	require.ErrorContains(t, err, "install Go, or give the path of a kube-proxy")
}

// The timeouts that a kube-proxy sets are told from others.
func TestSets(t *testing.T) {
	for line, sets := range map[string]bool{
		"net/netfilter/nf_conntrack_tcp_timeout_established is 86400, a new namespace has 432000": true,
		"net/netfilter/nf_conntrack_tcp_timeout_close_wait is 3600, a new namespace has 60":       true,
		"net/netfilter/nf_conntrack_tcp_timeout_established is 864000, a new one has 432000":      false,
		"net/netfilter/nf_conntrack_tcp_timeout_time_wait is 3600, a new namespace has 120":       false,
	} {
		require.Equal(t, sets, Sets(line), line)
	}
}

// The addresses that ipvs mode gives a node are told from others.
func TestBinds(t *testing.T) {
	require.True(t, Binds("the address 10.96.0.80/32 dev kube-ipvs0 is not the lab's"))
	require.False(t, Binds("the address 10.96.0.80/32 dev eth0 is not the lab's"))
}
