package labtest_test

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/lab/labtest"
)

func TestMain(m *testing.M) { labtest.Main(m) }

// somebody is a user who is nobody's.
const somebody = 65534

// The tests of a package whose TestMain is Main pass without root, and fail as they do with it.
func TestMainWithoutRoot(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Fatal("it becomes another user: run as root")
	}
	dir, err := os.MkdirTemp("", "natlab-labtest-") //nolint:usetesting // t.TempDir's parent is root's alone
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	for from, to := range map[string]string{"/proc/self/exe": "labtest.test", "testdata/shop.yaml": "testdata/shop.yaml"} {
		copyTo(t, from, filepath.Join(dir, to))
	}
	require.NoError(t, os.Chmod(dir, 0o755)) //nolint:gosec // another user reads it
	for _, row := range []struct {
		test   string
		status int
		prints string
	}{
		{"TestExample", 0, "--- PASS: TestExample"},
		{"TestProveFails", 0, "--- PASS: TestProveFails"},
		{"TestMainWithoutRoot", 1, "--- FAIL: TestMainWithoutRoot"}, // inside there is one user alone
	} {
		cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "labtest.test"), "-test.v", "-test.run=^"+row.test+"$") // #nosec G204 -- this program
		cmd.Dir, cmd.Env = dir, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=/tmp"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: somebody, Gid: somebody}}
		out, err := cmd.CombinedOutput()
		require.NotNil(t, cmd.ProcessState, "%v", err)
		require.Equal(t, row.status, cmd.ProcessState.ExitCode(), "%s", out)
		require.Contains(t, string(out), row.prints)
	}
}

func copyTo(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	require.NoError(t, err)
	defer in.Close() //nolint:errcheck // read
	var text bytes.Buffer
	_, err = io.Copy(&text, in)
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Dir(to), 0o755))  //nolint:gosec // another user reads it
	require.NoError(t, os.WriteFile(to, text.Bytes(), 0o755)) //nolint:gosec // and runs it
}
