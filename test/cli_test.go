package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"
)

// build builds natlab, once for all tests, and returns the directory that it is in.
func build(t *testing.T) (dir string) {
	t.Helper()
	dir, err := built()
	require.NoError(t, err)
	return dir
}

// built builds it once for all tests. TestMain takes builtIn away.
var (
	builtIn string
	built   = sync.OnceValues(func() (string, error) {
		dir, err := os.MkdirTemp("", "natlab-built-")
		if err != nil {
			return "", err
		}
		builtIn = dir
		if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // tests become other users
			return "", err
		}
		cmd := exec.Command("go", "build", "-o", dir, "natlab/cmd/natlab")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // static, as make builds it
		out, err := cmd.CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("build natlab: %w: %s", err, out)
		}
		return dir, nil
	})
)

// TestCLI runs the scripts of testdata/cli, each in a directory of its own, with natlab in PATH and the name of a lab
// that no other test uses in $LAB, and saved rule sets of hosts in $HOSTS, the reference cluster in $REFERENCE, a small one in $SHOP. Beside testscript's own commands a script has
//
//	exits STATUS natlab ARGUMENT...    run natlab, which has to end with that exit status
//	fits COLUMNS                       no line of what it printed last is wider, but for one that has no blank to break it at
//	document KIND                      what it printed last is JSON of that kind, valid by cmd/natlab/schema.json, which knows each of its fields
func TestCLI(t *testing.T) {
	t.Parallel()
	dir := build(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/cli",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", dir+string(filepath.ListSeparator)+env.Getenv("PATH"))
			hosts, err := filepath.Abs("testdata/hosts")
			if err != nil {
				return err
			}
			env.Setenv("HOSTS", hosts)
			env.Setenv("NATLAB_WITH", strconv.Itoa(os.Getpid())) // a lab ends with this test
			reference, err := filepath.Abs("../topology/reference/cluster.yaml")
			if err != nil {
				return err
			}
			env.Setenv("REFERENCE", reference)
			shop, err := filepath.Abs("../lab/labtest/testdata/shop.yaml")
			if err != nil {
				return err
			}
			env.Setenv("SHOP", shop)
			name := strings.ReplaceAll(filepath.Base(env.WorkDir), "_", "-")
			env.Setenv("LAB", fmt.Sprintf("cli%d-%s", os.Getpid(), strings.TrimPrefix(name, "script-")))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "fits": fits, "document": isDocument},
	})
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS PROGRAM ARGUMENT...")
	}
	got := "0"
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("exit status %s, want %s", got, args[0])
	}
}

// fits checks the lines of what was printed last. What is too long for a line stands in one of its own.
func fits(ts *testscript.TestScript, neg bool, args []string) {
	columns := 0
	if len(args) == 1 {
		columns, _ = strconv.Atoi(args[0])
	}
	if neg || columns <= 0 {
		ts.Fatalf("usage: fits COLUMNS")
	}
	text := ts.ReadFile("stdout")
	if text == "" {
		ts.Fatalf("nothing was printed")
	}
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, "\n"); utf8.RuneCountInString(line) > columns && len(strings.Fields(line)) > 1 {
			ts.Fatalf("%d columns, want %d at most: %s", utf8.RuneCountInString(line), columns, line)
		}
	}
}
