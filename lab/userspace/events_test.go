package userspace_test

import (
	"bufio"
	"context"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/lab/userspace"
	"natlab/lab/witness"
	"natlab/nat"
)

// eventLines are lines of events without what is of the clock and of chance.
type eventLines struct {
	mu   sync.Mutex
	list []string
}

var eventChance = regexp.MustCompile(`(?m)(^ *\[\w+\] \w+ +\d+ )\d+ |(port=|id=)\d{5}\b`)

func (l *eventLines) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, eventChance.ReplaceAllString(line, "$1$2"))
}

func (l *eventLines) sorted() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := slices.Clone(l.list)
	slices.Sort(out)
	return out
}

// exchange has a flow of TCP and one of UDP come, be answered and be forgotten.
func exchange(t *testing.T, s scene, forget func()) {
	t.Helper()
	serve(t, s.server, "tcp", "10.0.2.2:8080")
	serve(t, s.server, "udp", "10.0.2.2:5353")
	require.Equal(t, "seen as 10.0.1.2", ask(t.Context(), s.client, "tcp", "10.96.0.1:80", []byte("x"), nil))
	require.Equal(t, "seen as 10.0.1.2", ask(t.Context(), s.client, "udp", "10.96.0.1:53", []byte("x"), nil))
	forget()
}

// The kernel's events are told as conntrack -E prints them, and those of a gateway on the wire are the same.
func TestEventsAsConntrack(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.translate(t, planeKernel, "")
	ctx, stop := context.WithCancel(t.Context())
	var printed, told, wired eventLines
	var busy sync.WaitGroup
	var out *bufio.Scanner
	cmd := exec.CommandContext(ctx, "conntrack", "-E")
	require.NoError(t, s.gateway.Do(func() error {
		pipe, err := cmd.StdoutPipe()
		if err != nil {
			return err
		}
		out = bufio.NewScanner(pipe)
		return cmd.Start()
	}))
	busy.Go(func() {
		for out.Scan() {
			line, _, _ := strings.Cut(out.Text(), " [USERSPACE] portid=") // who forgot it
			printed.add(strings.TrimRight(line, " "))
		}
	})
	ready := make(chan struct{})
	busy.Go(func() {
		_, err := witness.Events(ctx, s.gateway, "node", func() { close(ready) }, func(e nat.Event) error { told.add(e.String()); return nil })
		require.NoError(t, err)
	})
	<-ready
	listens(t, s)
	exchange(t, s, func() {
		_, err := witness.ForgetConns(s.gateway, "node", func(nat.Conn) bool { return true })
		require.NoError(t, err)
	})
	gone := func(l *eventLines) bool { return strings.Count(strings.Join(l.sorted(), "\n"), "[DESTROY]") >= 2 }
	require.Eventually(t, func() bool { return gone(&printed) && gone(&told) }, 20*time.Second, 5*time.Millisecond)
	stop()
	_ = cmd.Wait() // it was killed
	busy.Wait()
	require.Equal(t, printed.sorted(), told.sorted())

	s = newScene(t)
	g := s.translate(t, planeWire, "")
	e := g.Events()
	defer e.Close()
	exchange(t, s, func() { require.Positive(t, g.Forget(func(nat.Conn) bool { return true })) })
	require.Eventually(t, func() bool { read(e, &wired, 10*time.Millisecond); return gone(&wired) }, 20*time.Second, time.Millisecond)
	require.Equal(t, told.sorted(), wired.sorted())
}

// listens waits until conntrack -E hears what happens: it lists its socket's groups no earlier.
func listens(t *testing.T, s scene) {
	t.Helper()
	require.Eventually(t, func() bool {
		var list []byte
		require.NoError(t, s.gateway.Do(func() (err error) {
			list, err = exec.CommandContext(t.Context(), "cat", "/proc/thread-self/net/netlink").Output()
			return err
		}))
		n := 0
		for line := range strings.Lines(string(list)) {
			if f := strings.Fields(line); len(f) > 3 && f[1] == "12" && f[3] == "00000007" { // NETLINK_NETFILTER, the three groups of conntrack
				n++
			}
		}
		return n >= 2
	}, 20*time.Second, 5*time.Millisecond)
}

func read(e *userspace.Events, into *eventLines, wait time.Duration) {
	seen, _ := e.Read(wait)
	for _, one := range seen {
		into.add(one.String())
	}
}

// A connection whose time is over is told of although no packet comes any more; who reads is not left waiting when the gateway ends.
func TestEventsEnd(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	require.NoError(t, s.gateway.Do(func() error {
		return exec.CommandContext(t.Context(), "sysctl", "-qw", "net.netfilter.nf_conntrack_udp_timeout=1", "net.netfilter.nf_conntrack_udp_timeout_stream=1").Run()
	}))
	g := s.translate(t, planeWire, "")
	e := g.Events()
	serve(t, s.server, "udp", "10.0.2.2:5353")
	require.Equal(t, "seen as 10.0.1.2", ask(t.Context(), s.client, "udp", "10.96.0.1:53", []byte("x"), nil))
	var all eventLines
	require.Eventually(t, func() bool { read(e, &all, time.Second); return len(all.sorted()) >= 3 }, 20*time.Second, time.Millisecond)
	require.Contains(t, all.sorted()[2], "[DESTROY] udp")
	waits := make(chan struct{})
	go func() {
		defer close(waits)
		e.Read(time.Hour)
	}()
	require.NoError(t, g.Close())
	<-waits
	e.Close()
}
