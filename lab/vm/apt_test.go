package vm

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Who comes while another fetches a release's lists waits for it, and fetches none; apt itself would fail. Who does not want to wait any more need not.
func TestListsAreFetchedOnce(t *testing.T) { //nolint:paralleltest // it has a PATH of its own
	bin, dir := t.TempDir(), t.TempDir()
	gate := filepath.Join(bin, "gate")
	script := fmt.Sprintf("#!/bin/sh\ncase \"$*\" in *update*) echo update >> %[1]s/updates; until [ -e %[1]s/gate ]; do sleep 0.01; done;; *) echo http://deb.example.org/debian bookworm;; esac\n", bin)
	require.NoError(t, os.WriteFile(filepath.Join(bin, "apt-get"), []byte(script), 0o700)) //nolint:gosec // a program
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	updates := func() int {
		b, _ := os.ReadFile(filepath.Join(bin, "updates"))
		return strings.Count(string(b), "update")
	}
	a := apt{dir: dir, release: releases()[0], kind: "deb", log: io.Discard}
	errs := make(chan error, 2)
	prepare := func(ctx context.Context) { errs <- a.prepare(ctx, false) }
	go prepare(t.Context())
	require.Eventually(t, func() bool { return updates() == 1 }, time.Minute, time.Millisecond)

	go prepare(t.Context())
	require.Eventually(t, func() bool { return updates() > 1 || waited(filepath.Join(dir, "lock")) }, time.Minute, time.Millisecond)
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, a.prepare(impatient, false), context.Canceled)

	require.NoError(t, os.WriteFile(gate, nil, 0o600))
	for range 2 {
		require.NoError(t, <-errs)
	}
	require.Equal(t, 1, updates())
	require.NoError(t, a.prepare(t.Context(), false), "they are there")
}

// waited reports whether somebody waits for the lock of a file.
func waited(name string) bool {
	var s syscall.Stat_t
	if syscall.Stat(name, &s) != nil {
		return false
	}
	locks, _ := os.ReadFile("/proc/locks")
	for line := range strings.Lines(string(locks)) {
		if strings.Contains(line, "->") && strings.Contains(line, fmt.Sprintf(":%d ", s.Ino)) {
			return true
		}
	}
	return false
}
