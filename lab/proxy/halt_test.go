package proxy

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// logged has a program log twenty lines at a pace, and returns the log and what is read of it.
func logged(t *testing.T, pace Pace, turns func() bool) (p *pacedLog, text func() string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "log")
	into, err := os.Create(path) //nolint:gosec // the test's own
	require.NoError(t, err)
	p, end, err := openPaced(into, pace, turns)
	require.NoError(t, err)
	go func() {
		for n := range 20 {
			_, _ = fmt.Fprintf(end, "line %d\n", n)
		}
		_ = end.Close()
	}()
	return p, func() string {
		b, err := os.ReadFile(path) //nolint:gosec // the test's own
		require.NoError(t, err)
		return string(b)
	}
}

// A program halts behind the line that it is to halt at, again behind a later one, and then logs to its end, whatever else is like it.
func TestPacedLogHalts(t *testing.T) {
	t.Parallel()
	p, text := logged(t, Pace{Halt: regexp.MustCompile("line 3")}, nil)
	<-p.halted
	require.True(t, strings.HasSuffix(text(), "line 3\n"), text())
	p.arm(Pace{Halt: regexp.MustCompile("line 1?7")})
	<-p.halted
	require.True(t, strings.HasSuffix(text(), "line 7\n"), text())
	p.release()
	p.release()
	<-p.ended
	require.Equal(t, 20, strings.Count(text(), "line "))
}

// Behind a line that slows it down a program waits until others want to log.
func TestPacedLogSlows(t *testing.T) {
	t.Parallel()
	var asked, wanted atomic.Int64
	p, text := logged(t, Pace{Slow: regexp.MustCompile("line 1[0-4]"), Halt: regexp.MustCompile("line 15")}, func() bool {
		return asked.Add(1) > 3*(wanted.Load()+1) && wanted.Add(1) > 0 // each time the fourth that is asked
	})
	<-p.halted
	require.Equal(t, 16, strings.Count(text(), "line "))
	require.EqualValues(t, 5, wanted.Load())
	p.release()
	<-p.ended
}

// Who waits to log is found by the stacks of Go's pprof.
func TestWaitsToLog(t *testing.T) {
	t.Parallel()
	const (
		writes = "goroutine 1 [syscall]:\nsyscall.write(...)\nos.(*File).Write(...)\nk8s.io/klog/v2.(*loggingT).output(...)\nmain.main()\n"
		waits  = "goroutine 2 [sync.Mutex.Lock]:\nsync.(*Mutex).lockSlow(...)\nk8s.io/klog/v2.(*loggingT).output(...)\nmain.other()\n"
		file   = "goroutine 3 [semacquire]:\ninternal/poll.(*fdMutex).rwlock(...)\nos.(*File).Write(...)\nk8s.io/klog/v2/textlogger.(*tlogger).print(...)\n"
		idle   = "goroutine 4 [sync.Mutex.Lock]:\nsync.(*Mutex).lockSlow(...)\nmain.idle()\n"
	)
	for _, row := range []struct {
		stacks []string
		in     string
		want   bool
	}{
		{[]string{writes, idle}, "", false},
		{[]string{writes, idle, waits}, "", true},
		{[]string{writes, file}, "", true},
		{[]string{writes, idle, waits}, "main.other", true},
		{[]string{writes, idle, file}, "main.other", false},
		{[]string{writes, idle, waits}, "main.main", false},
		{[]string{writes, idle, waits}, "main.idle", false},
	} {
		require.Equal(t, row.want, waitsToLog(strings.Join(row.stacks, "\n"), row.in), row)
	}
}
