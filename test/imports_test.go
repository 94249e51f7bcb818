package test

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// allowed says which of our packages each package may import: the arrows of the house, drawn downward. What ends in
// "/..." stands for a whole subtree. A package that is not listed may import nothing of ours.
var allowed = map[string][]string{
	"topology":              {},
	"topology/topologytest": {"topology"},
	"nat":                   {},
	"nat/packet":            {"nat"},
	"nat/iptables":          {"nat", "nat/packet", "nat/conntrack"},
	"nat/conntrack":         {"nat", "nat/packet"},
	"nat/kubeproxy":         {"nat", "nat/iptables", "topology"},
	"nat/xtables":           {"nat", "nat/iptables"},
	"nat/gateway":           {"nat", "nat/iptables", "nat/conntrack", "nat/packet", "topology"},
	"nat/proof":             {"nat", "topology"},
	"nat/audit":             {"nat", "nat/iptables", "nat/kubeproxy", "nat/xtables", "topology"},
	"nat/report":            {"nat", "nat/proof"},

	"lab/netns":     {},
	"lab/tunnel":    {},
	"lab/vm":        {},
	"lab/traffic":   {"nat"},
	"lab/dataplane": {"nat", "nat/iptables", "nat/xtables"},
	"lab/witness":   {"nat", "nat/iptables", "nat/proof", "topology"},
	"lab/realise":   {"topology", "lab/netns", "lab/tunnel"},
	"lab/doctor":    {"nat", "nat/iptables", "lab/netns", "lab/dataplane", "lab/witness"},
	"lab/inspect": {
		"nat", "nat/audit", "nat/iptables", "nat/kubeproxy", "nat/xtables", "topology", "lab/netns", "lab/dataplane", "lab/witness",
	},
	"lab": {
		"nat", "nat/gateway", "nat/kubeproxy", "topology", "lab/netns", "lab/tunnel", "lab/traffic", "lab/dataplane", "lab/witness", "lab/realise",
	},
	"lab/verify": {
		"nat", "nat/gateway", "nat/iptables", "nat/kubeproxy", "nat/proof", "topology", "lab", "lab/dataplane", "lab/netns", "lab/traffic", "lab/witness",
	},
	"lab/labtest": {"nat/proof", "nat/report", "topology", "lab", "lab/verify"},

	"scenarios":  {"nat/...", "topology", "lab/..."},
	"cmd/natlab": {"nat/...", "topology", "lab/...", "scenarios"},
	"test":       {},
	"test/vm":    {"nat/...", "topology", "lab/..."},
}

// pure are the packages that touch no root, kernel, clock or chance, and what they must not import for it.
var (
	pure      = []string{"topology", "nat", "nat/..."}
	forbidden = []string{"os", "os/exec", "os/signal", "net", "net/http", "syscall", "math/rand", "math/rand/v2", "crypto/rand", "log", "log/slog", "golang.org/x/sys/unix"}
)

// doors are the packages of others that only one package of ours may import, tests aside.
var doors = map[string][]string{
	"github.com/vishvananda/netns":   {"lab/netns"},
	"github.com/vishvananda/netlink": {"lab/doctor", "lab/netns", "lab/realise", "lab/witness"},
	"github.com/ti-mo/conntrack":     {"lab/witness"},
	"github.com/google/nftables":     {"lab/dataplane", "lab/witness"},
	"github.com/spf13/cobra":         {"cmd/natlab"},
}

func TestImportsPointDownward(t *testing.T) {
	for pkg, imports := range importsOf(t, "linux") {
		list, known := allowed[pkg]
		if !known {
			t.Errorf("package %s is not in the list of this test: which packages may it import?", pkg)
		}
		for _, i := range imports {
			if ours, ok := strings.CutPrefix(i, "natlab/"); ok && !covered(list, ours) {
				t.Errorf("%s imports %s, which is not below it", pkg, ours)
			}
			if owners, ok := doors[i]; ok && !slices.Contains(owners, pkg) {
				t.Errorf("%s imports %s, which only %s may", pkg, i, strings.Join(owners, ", "))
			}
			if covered(pure, pkg) && slices.Contains(forbidden, i) {
				t.Errorf("%s is pure and imports %s", pkg, i)
			}
		}
	}
}

// The core builds where there is no Linux, and knows of nothing above it there either.
func TestCoreIsPortable(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "build", "./topology/...", "./nat/...")
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "GOOS=darwin", "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
}

func TestTopLevel(t *testing.T) {
	known := []string{"cmd", "lab", "nat", "topology", "scenarios", "test", "bin", "go.mod", "go.sum", "Makefile", "README.md", "LICENSE"}
	entries, err := os.ReadDir("..")
	require.NoError(t, err)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && !slices.Contains(known, e.Name()) {
			t.Errorf("%s lies at the top level, where only %s belong", e.Name(), strings.Join(known, " "))
		}
	}
	for _, name := range []string{".ci/run", ".ci/deps"} {
		info, err := os.Stat(filepath.Join("..", name))
		require.NoError(t, err)
		require.NotZero(t, info.Mode()&0o111, "%s has no run bit", name)
	}
}

// importsOf lists what each package of ours imports, test files aside.
func importsOf(t *testing.T, goos string) map[string][]string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, "./...")
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "GOOS="+goos)
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	require.NoError(t, err, problems.String())
	all := map[string][]string{}
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		all[strings.TrimPrefix(words[0], "natlab/")] = words[1:]
	}
	require.Contains(t, all, "nat")
	return all
}

func covered(list []string, pkg string) bool {
	return slices.ContainsFunc(list, func(entry string) bool {
		tree, ok := strings.CutSuffix(entry, "/...")
		return entry == pkg || ok && (pkg == tree || strings.HasPrefix(pkg, tree+"/"))
	})
}
