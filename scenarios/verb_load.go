package scenarios

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"natlab/lab/traffic"
	"natlab/nat"
)

// load is a client that asks anew and anew, each time by a socket of its own, and what came of it.
type load struct {
	tuple nat.Tuple
	stop  context.CancelFunc
	done  sync.WaitGroup
	more  chan struct{} // a token for each request that has ended, while somebody waits for it

	mu   sync.Mutex
	sent int            // under mu
	ends map[string]int // under mu: how many requests ended so, in the words of end=
	by   map[string]int // under mu: how many an endpoint answered
	last string         // under mu: the last one that was not answered
}

// How many requests of a load are under way at a time, and how long one begins after another.
const (
	loadClients = 4
	loadPace    = 2 * time.Millisecond
)

// loadCounts are the counts that load stop holds against what is wanted.
var loadCounts = []string{"lost", "refused", "rejected", "reset", "closed", "misdirected"}

// doLoad: load start NAME MEMBER PROTO ADDRESS:PORT begins a steady load of new connections (datagrams from new ports for UDP); load pass NAME N
// waits until N more requests have begun and ended; load stop NAME [by=ENDPOINT|ENDPOINT] [lost=N] [refused=N] [rejected=N] [reset=N] [closed=N]
// [misdirected=N] ends it and holds the counts against what is wanted, each at most N; ! load stop holds if one is more. misdirected is what was answered by none of by=.
func doLoad(s *stage, ts *testscript.TestScript, not bool, args []string) error {
	const how = "load start NAME MEMBER tcp|udp ADDRESS:PORT, load pass NAME N, or load stop NAME [by=...] [lost=N] [...]"
	if len(args) < 2 || not && args[0] != "stop" {
		return usagef(how)
	}
	l := s.loads[args[1]]
	switch {
	case args[0] == "start" && len(args) == 5 && l == nil:
		return s.startLoad(args[1], args[2], args[3], args[4])
	case l == nil:
		return usagef("no load %q is there: %s", args[1], how)
	case args[0] == "pass" && len(args) == 3:
		n, err := strconv.Atoi(args[2])
		if err != nil {
			return usagef("load pass %s: want a number", args[2])
		}
		return l.pass(s.ctx, n)
	case args[0] == "stop":
		delete(s.loads, args[1])
		l.end()
		ts.Logf("%s", l)
		err := l.check(args[2:])
		if not && err == nil {
			return fmt.Errorf("want other counts than %s\n%s", strings.Join(args[2:], " "), l)
		}
		if not && !errors.Is(err, errUsage) {
			return nil
		}
		return err
	}
	return usagef(how)
}

func (s *stage) startLoad(name, member, proto, to string) error {
	tuple, err := clientTuple(proto, to, nil)
	if err != nil {
		return err
	}
	h, err := s.lab.Handle(member)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(s.ctx)
	l := &load{tuple: tuple, stop: stop, more: make(chan struct{}, 1), ends: map[string]int{}, by: map[string]int{}}
	begin := make(chan struct{})
	for range loadClients {
		l.done.Go(func() {
			for range begin {
				l.ask(s.ctx, h)
			}
		})
	}
	l.done.Go(func() {
		defer close(begin)
		tick := time.NewTicker(loadPace)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			select {
			case begin <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	})
	s.loads[name] = l
	return nil
}

// ask is one request. It has the patience of any other, so that a slow machine loses none.
func (l *load) ask(ctx context.Context, ns traffic.Namespace) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	l.mu.Lock()
	l.sent++
	l.mu.Unlock()
	a := asked{tuple: l.tuple}
	a.answer, a.err = traffic.Ask(ctx, ns, l.tuple)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ends[a.end()]++
	if a.err == nil {
		l.by[a.answer.Endpoint.String()]++
	} else {
		l.last = a.err.Error()
	}
	select {
	case l.more <- struct{}{}:
	default:
	}
}

// counted is how many have begun, and how many of them have ended.
func (l *load) counted() (sent, ended int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.ends {
		ended += n
	}
	return l.sent, ended
}

// pass waits until n requests that begin from now on have ended.
func (l *load) pass(ctx context.Context, n int) error {
	before, _ := l.counted()
	ctx, cancel := context.WithTimeout(ctx, time.Duration(n)*patience)
	defer cancel()
	for {
		if _, ended := l.counted(); ended >= before+n {
			return nil
		}
		select {
		case <-l.more:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", l, ctx.Err())
		}
	}
}

// end ends the load; every request that has begun ends by itself.
func (l *load) end() {
	l.stop()
	l.done.Wait()
}

// Close is end, for a script that fails before it.
func (l *load) Close() error {
	l.end()
	return nil
}

// String is what came of a load.
func (l *load) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "load of %s: %d requests", l.tuple, l.sent)
	for _, end := range slices.Sorted(maps.Keys(l.ends)) {
		fmt.Fprintf(&b, ", %d %s", l.ends[end], end)
	}
	for _, by := range slices.Sorted(maps.Keys(l.by)) {
		fmt.Fprintf(&b, "\n  %d answered by %s", l.by[by], by)
	}
	if l.last != "" {
		fmt.Fprintf(&b, "\n  the last that was not answered: %s", l.last)
	}
	return b.String()
}

// check holds the counts against what is wanted.
func (l *load) check(args []string) error {
	o, err := options(args, append([]string{"by"}, loadCounts...)...)
	if err != nil {
		return err
	}
	l.mu.Lock()
	counts := maps.Clone(l.ends)
	for by, n := range l.by {
		if o["by"] != "" && !oneOf(o["by"], by) {
			counts["misdirected"] += n
		}
	}
	l.mu.Unlock()
	if o["misdirected"] != "" && o["by"] == "" {
		return usagef("misdirected= needs by=, who may answer")
	}
	for _, name := range loadCounts {
		if o[name] == "" {
			continue
		}
		most, err := strconv.Atoi(o[name])
		if err != nil {
			return usagef("%s=%s: want a number", name, o[name])
		}
		if counts[name] > most {
			return fmt.Errorf("want %s=%d, got %d\n%s", name, most, counts[name], l)
		}
	}
	if counts["answered"] == 0 {
		return fmt.Errorf("nobody answered\n%s", l)
	}
	return nil
}
