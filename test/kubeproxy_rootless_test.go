//go:build kubeproxy

package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/lab/proxy"
	"natlab/nat/kubeproxy"
	"natlab/topology"
)

// TestKubeProxyWithoutRoot proves the reference cluster on real kube-proxies as a user who is not root does, in a user namespace: the flows and
// verdicts are those of root's proof, by the same rules.
func TestKubeProxyWithoutRoot(t *testing.T) {
	const somebody = 65534
	natlab := build(t)
	for _, what := range kubeProxies(t) {
		program, err := proxy.Find(t.Context(), what, t.Output())
		require.NoError(t, err)
		for mode, flows := range map[string]int{topology.ModeIPTables: 337, topology.ModeNFTables: 325} {
			c := reference(t)
			c.KubeProxy.Mode = mode
			require.True(t, program.Writes(&c))
			if _, err := kubeproxy.Tables(c, c.Nodes[0].Name, kubeproxy.Options{}); mode == topology.ModeNFTables && err != nil {
				require.ErrorContains(t, err, "there it is alpha")
				continue
			}
			t.Run(filepath.Base(what)+" "+mode, func(t *testing.T) {
				home, err := os.MkdirTemp("", "natlab-home-") //nolint:usetesting // t.TempDir's parent is root's alone
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, os.RemoveAll(home)) })
				text, err := os.ReadFile(program.Path)
				require.NoError(t, err)
				require.NoError(t, os.WriteFile(filepath.Join(home, "kube-proxy"), text, 0o755)) //nolint:gosec // another user runs it
				require.NoError(t, os.Chown(home, somebody, somebody))
				cmd := exec.CommandContext(t.Context(), filepath.Join(natlab, "natlab"), "--rootless", "verify", "--strict", "--brief", "--kube-proxy", "./kube-proxy", "--mode", mode) // #nosec G204 -- natlab
				cmd.Dir, cmd.Env = home, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "XDG_RUNTIME_DIR=" + home}
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: somebody, Gid: somebody}}
				out, err := cmd.CombinedOutput()
				require.NoError(t, err, "%s", out)
				require.Contains(t, string(out), fmt.Sprintf("%d of %d flows proved", flows, flows))
			})
		}
	}
}

// TestKubeProxyOfAnotherTree proves a kube-proxy as its developer does, by the page: a module of its own in that tree has a test of twenty lines, and who is not root runs it.
// It fails where the kube-proxy has a line changed, and names the rule.
func TestKubeProxyOfAnotherTree(t *testing.T) {
	const somebody = 65534
	tree, err := os.MkdirTemp("", "natlab-tree-") //nolint:usetesting // t.TempDir's parent is root's alone
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(tree)) })
	dir, bin := filepath.Join(tree, "test", "proxytest"), filepath.Join(tree, "_output", "bin")
	for _, d := range []string{tree, dir, bin} {
		require.NoError(t, os.MkdirAll(d, 0o755)) //nolint:gosec // another user reads it
		require.NoError(t, os.Chmod(d, 0o755))    //nolint:gosec // the same
	}
	layTwentyLines(t, dir)
	program, err := proxy.Find(t.Context(), kubeProxies(t)[0], t.Output())
	require.NoError(t, err)
	spoilt := changedProxy(t, "v1.37.2", "pkg/proxy/iptables/proxier.go", `"-j", "MARK", "--or-mark", proxier.masqueradeMark,`, `"-j", "MARK", "--or-mark", "0x0",`)
	for _, row := range []struct{ path, says string }{{program.Path, "--- PASS: TestServices"}, {spoilt, "-A KUBE-MARK-MASQ -j MARK"}} {
		text, err := os.ReadFile(row.path)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(bin, "kube-proxy"), text, 0o755)) //nolint:gosec // another user runs it
		cmd := exec.CommandContext(t.Context(), "./proxy.test", "-test.v")
		cmd.Dir, cmd.Env = dir, []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=/tmp"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: somebody, Gid: somebody}}
		out, err := cmd.CombinedOutput()
		require.Contains(t, string(out), row.says)
		require.Equal(t, row.path == program.Path, err == nil, "%s", out)
	}
}

// layTwentyLines makes the module that lab's page tells of in a folder, by its commands and with its test, and builds the test there.
func layTwentyLines(t *testing.T, dir string) {
	t.Helper()
	page, err := os.ReadFile("../lab/README.md")
	require.NoError(t, err)
	_, section, _ := strings.Cut(string(page), "\n## In a test of yours\n")
	joins, own, found := strings.Cut(section, "These twenty lines")
	require.True(t, found)
	block := func(of, language string) string {
		_, text, ok := strings.Cut(of, "\n```"+language+"\n")
		require.True(t, ok, language)
		text, _, _ = strings.Cut(text, "\n```")
		return text
	}
	text := func(file string) string {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		return string(b)
	}
	for name, text := range map[string]string{"proxy_test.go": block(own, "go"), "go.sum": text("../go.sum"), "cluster.yaml": text("../lab/labtest/testdata/shop.yaml")} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), 0o644)) //nolint:gosec // another user reads it
	}
	repository, err := filepath.Abs("..")
	require.NoError(t, err)
	script := block(own, "sh") + "\n" + strings.ReplaceAll(block(joins, "sh"), "../natlab", repository)
	script = strings.ReplaceAll(script, "go mod tidy", "go test -mod=mod -c -o proxy.test .") // which asks for the modules of others' tests
	cmd := exec.CommandContext(t.Context(), "sh", "-ec", script)                              // #nosec G204 -- the page is ours
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NoError(t, os.Chmod(filepath.Join(dir, "proxy.test"), 0o755)) //nolint:gosec // another user runs it
}
