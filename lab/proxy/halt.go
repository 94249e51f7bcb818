package proxy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"natlab/topology"
)

// Pace is how a kube-proxy's log is read, and with it how far the program comes: it has room for one line, and who logs the next waits, as all who log take turns. So the order
// in which a kube-proxy's own goroutines go on is decided by lines of its log.
type Pace struct {
	// Verbosity is that of kube-proxy's --v; 0 is that of other kube-proxies in labs. There is no --vmodule: with that, who asks whether to log takes his turn, too (klog: VDepth), and
	// so does who is to answer by HTTP.
	Verbosity int
	Slow      *regexp.Regexp // behind a line that matches nothing is read until another goroutine waits to log; nil for no such line
	Halt      *regexp.Regexp // behind a line that matches nothing is read until Go; nil for no such line
	Fair      bool           // who waits longest to log is the next; else it is mostly who has just logged, from 1.30 on
}

// pacedLog is a kube-proxy's log of that kind.
type pacedLog struct {
	lines *os.File // a write of the program at a time
	into  *os.File // where they are kept
	turns func() bool
	ended chan struct{} // closed when all was read

	mu     sync.Mutex
	pace   Pace          // under mu
	halted chan struct{} // closed where the program has halted; under mu
	on     chan struct{} // closed by release; under mu
}

// oneLine is the least that a pipe can have room for: one write, as it keeps them apart.
const oneLine = 4096

// openPaced makes a log for a program, which is handed its own end; that has to be closed once it runs. turns reports whether a goroutine waits to log.
func openPaced(into *os.File, pace Pace, turns func() bool) (p *pacedLog, end *os.File, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_DIRECT); err != nil {
		return nil, nil, fmt.Errorf("a pipe for a log: %w", err)
	}
	err = unix.SetNonblock(fds[0], true) // the program's end is not
	end = os.NewFile(uintptr(fds[1]), "log")
	lines := os.NewFile(uintptr(fds[0]), "log")
	if _, size := unix.FcntlInt(uintptr(fds[1]), unix.F_SETPIPE_SZ, oneLine); err != nil || size != nil {
		return nil, nil, errors.Join(err, size, lines.Close(), end.Close())
	}
	p = &pacedLog{lines: lines, into: into, turns: turns, ended: make(chan struct{}), on: make(chan struct{})}
	p.arm(pace)
	go p.copy()
	return p, end, nil
}

// arm has other lines slow the program down and halt it, from the next one on; where it has halted it goes on.
func (p *pacedLog) arm(pace Pace) {
	p.release()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pace, p.halted, p.on = pace, make(chan struct{}), make(chan struct{})
}

// release has the program go on, and no line stop it any more. It may be called on nil, and twice.
func (p *pacedLog) release() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pace = Pace{}
	select {
	case <-p.on:
	default:
		close(p.on)
	}
}

// copy reads until the program has ended.
func (p *pacedLog) copy() {
	defer close(p.ended)
	defer p.lines.Close() //nolint:errcheck // it was read
	defer p.into.Close()  //nolint:errcheck // nothing waits for it to be on a disk
	line := make([]byte, oneLine)
	for {
		n, err := p.lines.Read(line)
		if err != nil {
			return
		}
		_, _ = p.into.Write(line[:n]) // a full disk must not stop the program
		p.mu.Lock()
		pace, halted, on := p.pace, p.halted, p.on
		p.mu.Unlock()
		if pace.Halt != nil && pace.Halt.Match(line[:n]) {
			close(halted)
			<-on
		} else if pace.Slow != nil && pace.Slow.Match(line[:n]) {
			p.yield(on)
		}
	}
}

// yield waits until another goroutine waits to log. Where none does for long there is none, and no line is waited behind any more.
func (p *pacedLog) yield(on <-chan struct{}) {
	const pause, long = 5 * time.Millisecond, 10 * time.Second
	late := time.After(long)
	for !p.turns() {
		select {
		case <-on:
			return
		case <-late:
			_, _ = fmt.Fprintf(p.into, "natlab: behind this line nobody else came to log within %v\n", long)
			p.mu.Lock()
			p.pace.Slow = nil
			p.mu.Unlock()
			return
		case <-time.After(pause):
		}
	}
}

// turns reports whether a goroutine of the kube-proxy waits for another to have logged.
func (n *node) turns() bool { return n.waits(context.Background(), "") }

// waits does of a goroutine that has text in its stack (klog: loggingT.mu; its textlogger leaves that to os.File).
func (n *node) waits(ctx context.Context, text string) bool {
	_, stacks, err := Get(ctx, n.client, "http://"+metricsAddress+"/debug/pprof/goroutine?debug=2")
	return err == nil && waitsToLog(stacks, text)
}

// waitsToLog looks for such a goroutine among the stacks that Go's pprof prints, a paragraph each.
func waitsToLog(stacks, text string) bool {
	for stack := range strings.SplitSeq(stacks, "\n\n") {
		waits := strings.Contains(stack, "\nsync.(*Mutex).") || strings.Contains(stack, "\ninternal/poll.(*fdMutex).")
		if waits && strings.Contains(stack, "\nk8s.io/klog/") && strings.Contains(stack, text) {
			return true
		}
	}
	return false
}

// paced is a node and its process, whose log is read at a pace.
func (s *Set) paced(name string) (*node, *process, error) {
	n, err := s.find(name)
	if err != nil {
		return nil, nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process == nil || n.process.log == nil {
		return nil, nil, fmt.Errorf("the log of node %s's kube-proxy is not read at a pace: start it anew for that", n.name)
	}
	return n, n.process, nil
}

// RestartPaced is Restart of one node's kube-proxy whose log is read at a pace. With a line to halt at it returns when the program has halted there.
func (s *Set) RestartPaced(ctx context.Context, name string, pace Pace) error {
	n, err := s.find(name)
	if err != nil {
		return err
	}
	if err := n.stop(); err != nil {
		return err
	}
	n.pace = &pace
	defer func() { n.pace = nil }()
	if pace.Halt == nil {
		return s.begin(ctx, []*node{n})
	}
	s.api.Forget(name)
	if err := n.start(s.cluster, s.options); err != nil {
		return err
	}
	return s.Halted(ctx, name)
}

// Halt has a node's kube-proxy, started by RestartPaced, be slow and halt at other lines of its log from now on. Where it has halted it goes on. Its verbosity stays.
func (s *Set) Halt(name string, pace Pace) error {
	_, p, err := s.paced(name)
	if err == nil {
		p.log.arm(pace)
	}
	return err
}

// Halted returns when a node's kube-proxy has halted.
func (s *Set) Halted(ctx context.Context, name string) error {
	n, p, err := s.paced(name)
	if err != nil {
		return err
	}
	p.log.mu.Lock()
	halted, line := p.log.halted, p.log.pace.Halt
	p.log.mu.Unlock()
	if line == nil {
		return fmt.Errorf("no line is there for node %s's kube-proxy to halt at", name)
	}
	select {
	case <-halted:
		return nil
	case <-p.ended:
		return errors.Join(fmt.Errorf("kube-proxy of node %s has not halted at %q", name, line), n.runs())
	case <-ctx.Done():
		return fmt.Errorf("kube-proxy of node %s has not halted at %q: %w: %s", name, line, context.Cause(ctx), n.lastWords(3))
	}
}

// Waits returns when a goroutine of a node's kube-proxy waits to log that has text in its stack, such as the name of a function.
func (s *Set) Waits(ctx context.Context, name, text string) error {
	const pause = 5 * time.Millisecond
	n, _, err := s.paced(name)
	if err != nil {
		return err
	}
	for !n.waits(ctx, text) {
		if dead := n.runs(); dead != nil {
			return dead
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("in kube-proxy of node %s nobody waits to log in %s: %w: %s", name, text, context.Cause(ctx), n.lastWords(3))
		case <-time.After(pause):
		}
	}
	return nil
}

// Go has a node's kube-proxy go on, and returns when it has programmed all that it was told.
func (s *Set) Go(ctx context.Context, name string) error {
	n, p, err := s.paced(name)
	if err != nil {
		return err
	}
	p.log.release()
	ctx, cancel := context.WithTimeout(ctx, patient)
	defer cancel()
	if n.perService() == 0 { // it halted as it started
		return s.first(ctx, []*node{n})
	}
	return s.follow(ctx, []*node{n}, s.version)
}

// Tell makes the kube-proxies' cluster another one, and does not wait for what they make of it. The configuration has to be the same.
func (s *Set) Tell(c topology.Cluster) {
	s.cluster = c
	s.version = s.api.Set(c)
}
