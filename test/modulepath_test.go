package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// make module-path gives the whole module another path, and refuses one that is none with nothing changed.
func TestModulePath(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"cmd", "lab", "nat", "scenarios", "topology", ".ci", ".github", "go.mod", "go.sum", "Makefile", "README.md", ".golangci.yaml"} {
		out, err := exec.CommandContext(t.Context(), "cp", "-r", filepath.Join("..", name), dir).CombinedOutput() // #nosec G204 -- the names are ours
		require.NoError(t, err, "%s", out)
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, "test"), 0o700)) // whose files are many
	run := func(name string, args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	before, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	require.NoError(t, err)
	for _, bad := range []string{"", "Example org", "example.org/..", "/natlab", "example.org/#x"} {
		out, err := run("make", "module-path", "TO="+bad)
		require.Error(t, err, bad)
		require.Contains(t, out, "want the module's new path")
	}
	after, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	require.NoError(t, err)
	require.Equal(t, string(before), string(after))

	out, err := run("make", "module-path", "TO=example.org/team/natlab")
	require.NoError(t, err, out)
	out, err = run("go", "list", "-deps", "-test", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "./...")
	require.NoError(t, err, out)
	require.Contains(t, out, "example.org/team/natlab/lab/labtest")
	for line := range strings.Lines(out) {
		require.NotRegexp(t, `^natlab(/|$)`, line)
	}
	for name, want := range map[string]string{
		"lab/README.md":       "-require example.org/team/natlab@v0.0.0 -replace example.org/team/natlab=../natlab",
		"scenarios/README.md": "go doc example.org/team/natlab/scenarios",
		".golangci.yaml":      "local-prefixes: [example.org/team/natlab]",
	} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Contains(t, string(text), want, name)
	}
	out, err = run("go", "build", "./topology/near")
	require.NoError(t, err, out)
}
