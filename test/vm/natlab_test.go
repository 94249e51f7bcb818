//go:build vm

package vm_test

import (
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/lab/vm"
	"natlab/nat"
	"natlab/scenarios"
)

// The reference cluster is proved on each kernel, with the kernel's own tunl0 and both backends.
func TestReferenceCluster(t *testing.T) {
	eachKernel(t, func(t *testing.T, kernel string) {
		for _, backend := range []string{"iptables-legacy", "iptables-nft"} {
			status, stdout, stderr, err := boot(t, kernel, func(c *vm.Config) { c.Timeout = 10 * time.Minute }, "sh", "-c", "natlab up --backend "+backend+" && natlab verify --brief")
			require.NoError(t, err)
			require.Zero(t, status, "%s%s", stdout, stderr)
			require.Contains(t, stdout+stderr, "kernel ipip")
			require.Contains(t, stdout, "337 of 337 flows proved")
		}
	})
}

// The emulator is equal to each kernel, packet by packet: NATLAB_DIFF generated packets, 4,000 where it does not say.
func TestTwins(t *testing.T) {
	twinsOn(t, "", "4000", "^TestDifferential(|ByHand|Found)$", "TestDifferential")
}

// So it is with tables of nf_tables' own, which one nft program loads in all kernels: 1,000 packets.
func TestNativeTwins(t *testing.T) {
	twinsOn(t, "bookworm", "1000", "^TestDifferentialNative(|Found)$", "TestDifferentialNative")
}

// twinsOn runs twins on each kernel with the programs of a release, "" for the kernel's own.
func twinsOn(t *testing.T, programs, packets, run, passed string) {
	t.Helper()
	seed, limit := "1", 15*time.Minute // the same ones every time
	if n := os.Getenv("NATLAB_DIFF"); n != "" {
		packets, seed, limit = n, os.Getenv("NATLAB_SEED"), 24*time.Hour
	}
	eachKernel(t, func(t *testing.T, kernel string) {
		status, stdout, stderr, err := boot(t, kernel, func(c *vm.Config) {
			c.Files, c.Env, c.Timeout = []vm.File{{Host: twins, Guest: twins}}, []string{"NATLAB_DIFF=" + packets, "NATLAB_SEED=" + seed}, limit
			c.Iptables, c.Stdout = programs, io.MultiWriter(c.Stdout, t.Output()) // as it comes: it may take hours
		}, twins, "-test.v", "-test.run", run)
		require.NoError(t, err)
		require.Zero(t, status, "%s%s", stdout, stderr)
		require.Contains(t, stdout, "--- PASS: "+passed+" ")
		require.NotContains(t, stdout, "--- SKIP")
	})
}

// Every scenario ends as its script expects on each kernel, and only what the kernel lacks is skipped.
func TestScenarios(t *testing.T) {
	eachKernel(t, func(t *testing.T, kernel string) {
		status, stdout, stderr, err := boot(t, kernel, func(c *vm.Config) { c.Timeout = 15 * time.Minute },
			"natlab", "scenario", "run", "--all", "--parallel", "2", "-o", "json")
		require.NoError(t, err)
		require.Zero(t, status, "%s%s", stdout, stderr)
		var found struct{ Items []scenarios.Result }
		require.NoError(t, json.Unmarshal([]byte(stdout), &found))
		results := found.Items
		require.NotEmpty(t, results)
		running, err := nat.ParseKernel(strings.Replace(kernel, ".x", ".99", 1))
		require.NoError(t, err)
		skipped := 0
		for _, r := range results {
			if r.Outcome != scenarios.Skipped {
				require.Equal(t, scenarios.Passed, r.Outcome, r.Log)
				continue
			}
			skipped++
			for _, missing := range r.Missing {
				if version, ok := strings.CutPrefix(missing, "kernel:"); ok {
					needed, err := nat.ParseKernel(version)
					require.NoError(t, err)
					require.True(t, running.Before(needed.Major, needed.Minor), "%s was skipped for want of %s", r.Scenario, missing)
				}
			}
			require.NotEmpty(t, r.Missing, r.Scenario)
		}
		t.Logf("kernel %s: %d runs, %d skipped", kernel, len(results), skipped)
	})
}
