package labtest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A test of another module has a lab by what the page tells: its commands, and its test.
func TestAnotherModule(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	_, section, ok := strings.Cut(string(page), "\n## In a test of yours\n")
	require.True(t, ok)
	block := func(language string) string {
		_, text, ok := strings.Cut(section, "\n```"+language+"\n")
		require.True(t, ok, language)
		text, _, _ = strings.Cut(text, "\n```")
		return text
	}
	repository, err := filepath.Abs("../..")
	require.NoError(t, err)
	dir := t.TempDir()
	for from, to := range map[string]string{"testdata/shop.yaml": "cluster.yaml", "../../go.sum": "go.sum"} {
		text, err := os.ReadFile(from)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, to), text, 0o600))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "shop_test.go"), []byte(block("go")), 0o600))
	run := func(command string) string {
		cmd := exec.CommandContext(t.Context(), "sh", "-ec", command) // #nosec G204 -- the page is ours
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s\n%s", command, out)
		return string(out)
	}
	run("go mod init example.com/shop")
	for line := range strings.Lines(block("sh")) {
		if !strings.Contains(line, "go mod tidy") { // it would ask for the modules of others' tests
			run(strings.ReplaceAll(line, "../natlab", repository))
		}
	}
	require.Contains(t, run("go test -count=1 -v ."), "--- PASS: TestShop")

	// What a kube-proxy developer adds to his tree is twenty lines, and compiles.
	_, own, ok := strings.Cut(section, "These twenty lines")
	require.True(t, ok)
	_, own, ok = strings.Cut(own, "\n```go\n")
	require.True(t, ok)
	own, _, _ = strings.Cut(own, "\n```")
	require.LessOrEqual(t, strings.Count(own, "\n"), 20)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "proxytest"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "proxytest", "proxy_test.go"), []byte(own+"\n"), 0o600))
	run("go vet ./proxytest")
}
