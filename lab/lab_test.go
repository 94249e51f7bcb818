package lab

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/topology"
)

// TestMain is also the supervisor that Start starts (the test binary, called as `natlab supervise --name NAME`), an up to be
// killed, and a program with labs to be killed.
func TestMain(m *testing.M) {
	role := ""
	if len(os.Args) == 4 {
		role = os.Args[1]
	}
	var err error
	switch role {
	default:
		os.Exit(m.Run())
	case "supervise":
		err = Supervise(context.Background(), os.Args[3])
	case "hold": // a program with a lab of its own, a supervised one and a namespace, which is killed
		err = hold(os.Args[3])
	case "up":
		var c topology.Cluster
		if c, err = topology.Reference(); err == nil {
			err = Start(context.Background(), c, Options{Name: os.Args[3]})
		}
	}
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, role+":", err)
		os.Exit(2)
	}
	os.Exit(0)
}

// reference is the reference cluster under a name that nobody else has; whatever becomes of its lab is gone when the
// test ends.
func reference(tb testing.TB) topology.Cluster {
	tb.Helper()
	require.Zero(tb, os.Geteuid(), "a lab needs root")
	c, err := topology.Reference()
	require.NoError(tb, err)
	b := make([]byte, 4)
	_, _ = rand.Read(b) // never fails
	c.Name = fmt.Sprintf("t%d-%s", os.Getpid(), hex.EncodeToString(b))
	tb.Cleanup(func() {
		if err := Down(context.Background(), c.Name); err != nil {
			require.ErrorIs(tb, err, ErrNoLab)
		}
	})
	return c
}

func raise(tb testing.TB, c topology.Cluster) *Lab {
	tb.Helper()
	l, err := Up(tb.Context(), c, Options{})
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, l.Down(context.Background())) })
	return l
}

// requireGone looks for anything that is left of a lab.
func requireGone(tb testing.TB, name string) {
	tb.Helper()
	require.NoFileExists(tb, root+"/"+name)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(tb, err)
	require.NotContains(tb, string(mounts), "/run/netns/"+name+".")
	entries, err := os.ReadDir("/run/netns")
	require.NoError(tb, err)
	for _, e := range entries {
		require.False(tb, strings.HasPrefix(e.Name(), name+"."), e.Name())
	}
	require.Eventually(tb, func() bool { return len(processesOf(tb, name)) == 0 }, time.Minute, pause, "a process ends after what it has made: %v", processesOf(tb, name))
}

// processesOf are the command lines that name a lab.
func processesOf(tb testing.TB, name string) (lines []string) {
	tb.Helper()
	for _, pid := range processes(tb) {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && strings.Contains(string(line), name) {
			lines = append(lines, fmt.Sprintf("%d: %q", pid, line))
		}
	}
	return lines
}

func TestUpAndDown(t *testing.T) {
	l := raise(t, reference(t))
	require.Len(t, l.Members(), 14)
	require.NoError(t, l.Down(t.Context()))
	requireGone(t, l.Name())
	require.NoError(t, l.Down(t.Context()), "a second Down")
	require.ErrorIs(t, Down(t.Context(), l.Name()), ErrNoLab)
}

func namespace(l *Lab, member string) *topology.Namespace {
	for i := range l.plan.Namespaces {
		if l.plan.Namespaces[i].Member == member {
			return &l.plan.Namespaces[i]
		}
	}
	return nil
}

func device(l *Lab, member, name string) *topology.Device {
	ns := namespace(l, member)
	for i := range ns.Devices {
		if ns.Devices[i].Name == name {
			return &ns.Devices[i]
		}
	}
	return nil
}

func mustAddrPort(tb testing.TB, s string) netip.AddrPort {
	tb.Helper()
	a, err := netip.ParseAddrPort(s)
	require.NoError(tb, err)
	return a
}
