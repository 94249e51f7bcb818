//go:build vm

package vm_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/lab/vm"
)

// kernels are what the tests run on: NATLAB_KERNELS, or the two that CI takes.
func kernels() []string {
	if k := os.Getenv("NATLAB_KERNELS"); k != "" {
		return strings.Fields(k)
	}
	return []string{"6.1", "6.12"}
}

var natlab, twins string // the static binaries under test: the program, and the tests of package test

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "natlab-vm-test-")
	if err != nil {
		panic(err)
	}
	natlab, twins = filepath.Join(dir, "natlab"), filepath.Join(dir, "twins.test")
	for _, args := range [][]string{{"build", "-o", natlab, "natlab/cmd/natlab"}, {"test", "-c", "-o", twins, "natlab/test"}} {
		build := exec.Command("go", args...) //nolint:gosec // the arguments are above
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			panic(err)
		}
	}
	status := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(status) //nolint:revive // TestMain ends the process
}

// boot runs a command in a VM and returns what it printed.
func boot(t *testing.T, kernel string, change func(*vm.Config), argv ...string) (status int, stdout, stderr string, err error) {
	t.Helper()
	store, err := vm.DefaultStore(io.Discard)
	require.NoError(t, err)
	spec, err := vm.ParseSpec(kernel)
	require.NoError(t, err)
	var out, errOut bytes.Buffer
	c := vm.Config{
		Store: store, Kernel: spec, Natlab: natlab, Argv: argv,
		Stdout: &out, Stderr: &errOut, Timeout: 3 * time.Minute, Accel: vm.Accel(os.Getenv("NATLAB_ACCEL")),
	}
	if change != nil {
		change(&c)
	}
	status, err = vm.Run(t.Context(), c)
	return status, out.String(), errOut.String(), err
}

func eachKernel(t *testing.T, test func(t *testing.T, kernel string)) {
	t.Helper()
	for _, k := range kernels() {
		t.Run(k, func(t *testing.T) {
			t.Parallel()
			test(t, k)
		})
	}
}

// Output, exit status and files come back, and the kernel is the one that was asked for.
func TestCommand(t *testing.T) {
	eachKernel(t, func(t *testing.T, kernel string) {
		out := t.TempDir()
		status, stdout, stderr, err := boot(t, kernel, func(c *vm.Config) { c.Out = out },
			"sh", "-c", "cat /proc/sys/kernel/osrelease; echo to-stderr >&2; echo kept >/out/note.txt; exit 3")
		require.NoError(t, err)
		require.Equal(t, 3, status)
		require.True(t, strings.HasPrefix(stdout, strings.TrimSuffix(kernel, ".x")+"."), stdout)
		require.Equal(t, "to-stderr\n", stderr)
		note, err := os.ReadFile(filepath.Join(out, "note.txt"))
		require.NoError(t, err)
		require.Equal(t, "kept\n", string(note))
	})
}

// The clock of an emulated machine is one that nobody has to measure: by a TSC that was measured while the host stood still it runs too fast, and all timeouts with it.
func TestEmulatedClock(t *testing.T) {
	eachKernel(t, func(t *testing.T, kernel string) {
		status, stdout, stderr, err := boot(t, kernel, func(c *vm.Config) { c.Accel = vm.AccelTCG }, "cat", "/sys/devices/system/clocksource/clocksource0/current_clocksource")
		require.NoError(t, err)
		require.Zero(t, status, stderr)
		require.Equal(t, "hpet\n", stdout)
	})
}

// A file of the host is where it was, also below /tmp, which the VM has of its own.
func TestFiles(t *testing.T) {
	script := filepath.Join(t.TempDir(), "say.sh")
	require.NoError(t, os.WriteFile(script, []byte("echo said\n"), 0o600))
	status, stdout, stderr, err := boot(t, kernels()[0], func(c *vm.Config) { c.Files = []vm.File{{Host: script, Guest: script}} }, "sh", script)
	require.NoError(t, err)
	require.Zero(t, status, stderr)
	require.Equal(t, "said\n", stdout)
}

// The real tunl0 is there, and both backends of iptables work.
func TestKernelHasWhatALabNeeds(t *testing.T) {
	eachKernel(t, func(t *testing.T, kernel string) {
		status, stdout, stderr, err := boot(t, kernel, nil, "sh", "-ec", `
			ls /sys/class/net
			for backend in legacy nft; do
				iptables-$backend -t nat -A PREROUTING -p tcp --dport 80 -m statistic --mode random --probability 0.5 -j DNAT --to 10.0.0.1:8080
				iptables-$backend-save -t nat | grep DNAT
			done`)
		require.NoError(t, err)
		require.Zero(t, status, stderr)
		require.Contains(t, stdout, "tunl0")
		require.Equal(t, 2, strings.Count(stdout, "-j DNAT --to-destination 10.0.0.1:8080"), stdout)
	})
}

// There are random bytes from the beginning, and terminals.
func TestRandomBytesAndTerminals(t *testing.T) {
	eachKernel(t, func(t *testing.T, kernel string) {
		status, stdout, stderr, err := boot(t, kernel, func(c *vm.Config) { c.Timeout = 40 * time.Second },
			"sh", "-c", "head -c 16 /dev/random | wc -c; ls /dev/pts")
		require.NoError(t, err)
		require.Zero(t, status, stderr)
		require.Equal(t, []string{"16", "ptmx"}, strings.Fields(stdout))
	})
}

// A panic, a hang and a full disk are faults of the VM, with the console's last lines, and not the command's outcome.
func TestFaults(t *testing.T) {
	t.Run("panic", func(t *testing.T) {
		_, _, _, err := boot(t, kernels()[0], nil, "sh", "-c", "kill -SEGV 1; sleep 1000") // a kernel cannot do without init
		var fault *vm.Fault
		require.ErrorAs(t, err, &fault)
		require.Contains(t, fault.Console, "Kernel panic")
	})
	t.Run("hang", func(t *testing.T) {
		_, _, _, err := boot(t, kernels()[0], func(c *vm.Config) { c.Timeout = 15 * time.Second }, "sleep", "1000")
		require.ErrorIs(t, err, vm.ErrTimeout)
	})
	t.Run("full disk", func(t *testing.T) {
		_, _, _, err := boot(t, kernels()[0], nil, "sh", "-c", "cat /dev/zero > /tmp/zeros")
		require.ErrorContains(t, err, "/tmp is full")
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		store, err := vm.DefaultStore(io.Discard)
		require.NoError(t, err)
		_, err = vm.Run(ctx, vm.Config{Store: store, Kernel: vm.Spec{Release: "bookworm"}, Natlab: natlab, Argv: []string{"true"}, Stdout: io.Discard, Stderr: io.Discard})
		require.ErrorIs(t, err, context.Canceled)
	})
}
