package main

import (
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

// A command that only computes ends when it is interrupted, whatever it is at: here it waits for its rules for ever.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"explain", "--rules", "-", "--packet", "tcp 10.0.0.1:1 > 10.0.0.2:2"},
		{"explain", "--bundle", "-", "--packet", "tcp 10.0.0.1:1 > 10.0.0.2:2"},
		{"diff", "-", "/dev/null"},
		{"rules", "-f", "-", "--node", "n"},
		{"plan", "-f", "-"},
	} {
		t.Run(args[0]+args[1], func(t *testing.T) {
			t.Parallel()
			in, forever := io.Pipe()
			t.Cleanup(func() { _ = forever.Close() })
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			var problems bytes.Buffer
			p := program{in: in, out: io.Discard, err: &problems}
			require.Equal(t, exitInterrupted, p.run(ctx, args))
			require.Equal(t, "natlab: interrupted\n", problems.String())
		})
	}
}

// And where its time is over.
func TestTimeout(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"explain", "--timeout", "1ms", "--bundle", "-", "--packet", "tcp 10.0.0.1:1 > 10.0.0.2:2"},
		{"diff", "--timeout", "1ms", "-", "/dev/null"},
	} {
		t.Run(args[0], func(t *testing.T) {
			t.Parallel()
			in, forever := io.Pipe()
			t.Cleanup(func() { _ = forever.Close() })
			var problems bytes.Buffer
			p := program{in: in, out: io.Discard, err: &problems}
			require.Equal(t, exitError, p.run(t.Context(), args))
			require.Equal(t, "natlab: the time was over before the answer was there: it was 1ms (--timeout)\n", problems.String())
		})
	}
}
