//go:build kubeproxy

package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
