package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
)

// Proofs of files side by side do not meet: each has a lab of its own, and its own right answer. NATLAB_PAIRS pairs, 2 where it is not
// set.
func TestProofsSideBySide(t *testing.T) {
	t.Parallel()
	pairs, err := strconv.Atoi(os.Getenv("NATLAB_PAIRS"))
	if err != nil {
		pairs = 2
	}
	dir := build(t)
	proofs := []struct {
		file   string
		status int
		last   string // in the last line
	}{
		{"../lab/labtest/testdata/shop.yaml", 0, " flows proved"},
		{"testdata/verify/reused.yaml", 1, " disproved"}, // by kube-proxy's own fault
	}
	for i := range pairs {
		var wait sync.WaitGroup
		for j, p := range []int{i % 2, (i / 2) % 2} {
			wait.Go(func() {
				cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "natlab"), "verify", "--brief", "-f", proofs[p].file) //nolint:gosec // just built
				out, err := cmd.CombinedOutput()
				lines := strings.Split(strings.TrimSpace(string(out)), "\n")
				assert.Equal(t, proofs[p].status, cmd.ProcessState.ExitCode(), "pair %d, proof %d: %v: %s", i+1, j+1, err, out)
				assert.Contains(t, lines[len(lines)-1], proofs[p].last, "pair %d, proof %d", i+1, j+1)
			})
		}
		wait.Wait()
	}
}
