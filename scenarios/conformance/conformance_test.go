package conformance_test

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/lab"
	"natlab/scenarios"
	"natlab/scenarios/conformance"
)

// up is the lab that natlab conformance makes for itself.
func up(t *testing.T, name string) *lab.Lab {
	t.Helper()
	require.Zero(t, os.Geteuid(), "a lab is network namespaces: run as root")
	c, err := conformance.Cluster()
	require.NoError(t, err)
	l, err := lab.Up(t.Context(), c, lab.Options{Name: fmt.Sprintf("%s%d", name, os.Getpid())})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Down(t.Context())) })
	return l
}

// Nearly all tests pass on the lab of natlab conformance, none fails, and those that are skipped tell why.
func TestConformance(t *testing.T) {
	t.Parallel()
	l := up(t, "cf")
	all, err := conformance.List()
	require.NoError(t, err)
	require.Len(t, all, 130)
	results, err := conformance.Run(t.Context(), l, all, conformance.Options{})
	require.NoError(t, err)
	require.Len(t, results, len(all))
	n := map[scenarios.Outcome]int{}
	for _, r := range results {
		n[r.Outcome]++
		if r.Outcome == scenarios.Skipped {
			require.NotEmpty(t, r.Why, r)
		}
		if r.Outcome == scenarios.Failed {
			t.Errorf("%s\n%s", r, r.Log)
		}
	}
	require.GreaterOrEqual(t, n[scenarios.Passed], 107)
	t.Log(n)
}

// A node that is broken by hand shows in the tests that it concerns, and in no other.
func TestBreaks(t *testing.T) { //nolint:tparallel // the rows break one lab, one after the other
	t.Parallel()
	l := up(t, "cb")
	all, err := conformance.List()
	require.NoError(t, err)
	var some []conformance.Test
	for _, file := range []string{"service.go:1020", "service.go:1095", "service.go:1287", "service.go:2229", "service.go:2778", "loadbalancer.go:422", "no_snat.go:67"} {
		i := slices.IndexFunc(all, func(t conformance.Test) bool { return t.File == file })
		require.GreaterOrEqual(t, i, 0, file)
		some = append(some, all[i])
	}
	for _, row := range []struct{ name, spoil, undo, red string }{
		{"nobody is masqueraded", "-I POSTROUTING 1 -j ACCEPT", "-D POSTROUTING 1", "service.go:1095 service.go:1287"},
		{"what comes from a pod is masqueraded", "-I POSTROUTING 1 -s 10.244.0.0/16 -j MASQUERADE", "-D POSTROUTING 1", "service.go:1020 no_snat.go:67"},
		{"node ports are not served", "-I PREROUTING 1 -m addrtype --dst-type LOCAL -j RETURN", "-D PREROUTING 1", "service.go:1287 service.go:2778"},
	} {
		t.Run(row.name, func(t *testing.T) {
			edit := func(command string) {
				for _, node := range l.Nodes() {
					status, err := l.Exec(t.Context(), node, append([]string{"iptables-legacy", "-w", "-t", "nat"}, strings.Fields(command)...), lab.Streams{Out: io.Discard, Err: os.Stderr})
					require.NoError(t, err)
					require.Zero(t, status)
				}
			}
			edit(row.spoil)
			results, err := conformance.Run(t.Context(), l, some, conformance.Options{})
			require.NoError(t, err)
			edit(row.undo)
			var red []string
			for _, r := range results {
				if r.Outcome == scenarios.Failed {
					red = append(red, r.File)
					require.Contains(t, r.Log, "FAIL: ")
				}
			}
			require.Equal(t, row.red, strings.Join(red, " "))
		})
	}
	results, err := conformance.Run(t.Context(), l, some, conformance.Options{})
	require.NoError(t, err)
	for _, r := range results {
		require.Equal(t, scenarios.Passed, r.Outcome, r.Log)
	}
}
