//go:build kubeproxy

package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/lab/labtest"
	"natlab/lab/proxy"
	"natlab/lab/verify"
	"natlab/nat/proof"
	"natlab/topology"
)

// What one line of kube-proxy, changed on purpose, does is disproved, and the rule is named.
func TestKubeProxyWithALineChanged(t *testing.T) {
	const release = "v1.37.2"
	for _, row := range []struct{ name, mode, was, is, want string }{
		{"the mark is not set", topology.ModeIPTables, `"-j", "MARK", "--or-mark", proxier.masqueradeMark,`, `"-j", "MARK", "--or-mark", "0x0",`, "-A KUBE-MARK-MASQ -j MARK"},
		{
			"an endpoint is skipped", topology.ModeIPTables, "	numEndpoints := len(endpoints)\n	for i, ep := range endpoints {",
			"	if len(endpoints) > 1 {\n		endpoints = endpoints[1:]\n	}\n	numEndpoints := len(endpoints)\n	for i, ep := range endpoints {", "-A KUBE-SVC-",
		},
		{"the INVALID rule is gone", topology.ModeIPTables, "	if !proxier.conntrackTCPLiberal {", "	if false {", "-A KUBE-FORWARD -m conntrack --ctstate INVALID"},
		{"no mark by nft", topology.ModeNFTables, `fmt.Sprintf("mark set mark or %s", masqueradeMark)`, `fmt.Sprintf("mark set mark or %s", "0x0")`, "meta mark set meta mark | 0x00004000"},
		{"an endpoint is not in the map", topology.ModeNFTables, "	var elements []string\n	for i, ep := range endpoints {", "	endpoints = endpoints[1:]\n	var elements []string\n	for i, ep := range endpoints {", "dnat ip to numgen random mod 2 map"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := reference(t)
			if c.KubeProxy.Mode = row.mode; row.mode == topology.ModeNFTables {
				c.KubeProxy.Release = "v1.37"
			}
			l := labtest.New(t, c, labtest.KubeProxy(changedProxy(t, release, "pkg/proxy/"+row.mode+"/proxier.go", row.was, row.is)))
			only := proof.Selector{Service: "velero/minio:console", From: "outside"}
			if strings.Contains(row.want, "INVALID") { // no Service's flow meets the rule
				only = proof.Selector{}
			}
			found, err := verify.Lab(t.Context(), l, verify.Options{Selector: only})
			require.NoError(t, err)
			require.Equal(t, proof.Disproved, found.Outcome())
			require.Contains(t, notProved(found), row.want)
		})
	}
}

// changedProxy is a kube-proxy of a release in one of whose files a text is another.
func changedProxy(t *testing.T, release, file, was, is string) string {
	t.Helper()
	source := changedSource(t, release, file, was, is)
	binary, err := proxy.Builder{Dir: filepath.Join(t.TempDir(), "built"), Log: t.Output(), Source: source}.Build(t.Context(), release)
	require.NoError(t, err)
	return binary
}

// changedSource is a folder with what a release's kube-proxy is made of, in one of whose files a text is another.
func changedSource(t *testing.T, release, file, was, is string) string {
	t.Helper()
	_, err := proxy.Find(t.Context(), release, t.Output()) // fetches the sources
	require.NoError(t, err)
	cache, err := exec.CommandContext(t.Context(), "go", "env", "GOMODCACHE").Output()
	require.NoError(t, err)
	module := filepath.Join(strings.TrimSpace(string(cache)), "k8s.io", "kubernetes@"+release)
	dir := t.TempDir()
	source := filepath.Join(dir, "kubernetes")
	for _, part := range []string{"pkg", "cmd/kube-proxy", "third_party"} { // all that a kube-proxy is made of
		require.NoError(t, os.CopyFS(filepath.Join(source, part), os.DirFS(filepath.Join(module, part))))
	}
	mod, err := os.ReadFile(filepath.Join(module, "go.mod"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(source, "go.mod"), mod, 0o600))
	text, err := os.ReadFile(filepath.Join(source, file))
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(text), was), "the line to change")
	require.NoError(t, os.WriteFile(filepath.Join(source, file), []byte(strings.Replace(string(text), was, is, 1)), 0o600))
	return source
}
