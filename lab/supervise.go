package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"natlab/topology"
)

// The descriptors that a supervisor is born with, after the standard three.
const (
	starterFD = 3 // a socket to the process that starts it
	lockFD    = 4 // the lab's directory, locked
)

// startRequest is what the starter sends, once: make this lab.
type startRequest struct {
	Cluster  topology.Cluster `json:"cluster"`
	Progress bool             `json:"progress"` // somebody looks at it
	With     process          `json:"with"`     // the process with which the lab ends; zero for none
	Bundles  []Bundle         `json:"bundles,omitempty"`
	Proxy    string           `json:"proxy"` // Options.KubeProxy
	Gateways GatewayOptions   `json:"gateways"`
}

// startProgress is what the supervisor sends back, a line each.
type startProgress struct {
	Step  string `json:"step,omitempty"` // progress
	Done  int    `json:"done,omitempty"`
	Total int    `json:"total,omitempty"`

	Ready bool   `json:"ready,omitempty"` // the last line of a success
	Error string `json:"error,omitempty"` // the last line of a failure: nothing is left
}

// Start makes a lab that a supervisor process serves, and returns when it is up. The supervisor is the calling program
// itself (/proc/self/exe), called as `natlab supervise --name NAME`, in a session of its own; it ends with the lab. If
// ctx ends, or the calling process does, before the lab is up, the supervisor takes everything down again.
func Start(ctx context.Context, c topology.Cluster, o Options) error {
	prepared, err := prepare(c, o)
	if err != nil {
		return err
	}
	c.Name, c.KubeProxy.Backend = prepared.Name(), string(prepared.Backend())
	request := startRequest{Cluster: c, Progress: o.Progress != nil, Bundles: o.Bundles, Proxy: o.KubeProxy, Gateways: o.Gateways}
	if o.With != 0 {
		if request.With, err = processOf(o.With); err != nil {
			return fmt.Errorf("lab %s: there is no process %d to end with: %w", c.Name, o.With, err)
		}
	}
	s, err := createState(c.Name)
	if err != nil {
		return err
	}
	err = s.start(ctx, request, o.Progress)
	if err == nil {
		return s.dir.Close() // the supervisor holds the lock now
	}
	// A supervisor that could do so has cleared up before it died.
	if r, readErr := s.read(); readErr == nil {
		return errors.Join(err, s.clear(context.WithoutCancel(ctx), r.Namespaces))
	}
	return errors.Join(err, s.dir.Close())
}

// start runs the supervisor until the lab is up, or until it has ended after a failure.
func (s *stateDir) start(ctx context.Context, r startRequest, tell Progress) error {
	ours, theirs, err := socketPair()
	if err != nil {
		return fmt.Errorf("lab %s: start its supervisor: %w", s.lab, err)
	}
	defer ours.Close()                                                  //nolint:errcheck // all was sent or the supervisor is dead
	cmd := exec.Command("/proc/self/exe", "supervise", "--name", s.lab) //nolint:noctx // it outlives ctx
	cmd.Args[0] = "natlab"
	cmd.Dir = "/"
	cmd.Stderr = os.Stderr // until the lab is up: the last words of a supervisor that dies
	cmd.ExtraFiles = []*os.File{theirs, s.dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	if err := errors.Join(err, theirs.Close()); err != nil {
		return fmt.Errorf("lab %s: start its supervisor: %w", s.lab, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = ours.CloseWrite() }) // told so, it takes all down and reports what it did
	defer stop()
	err = s.follow(ours, r, tell)
	if err == nil {
		return cmd.Process.Release()
	}
	_ = cmd.Wait() // how it ended has been reported
	if ctx.Err() != nil {
		return fmt.Errorf("lab %s: %w: all is down again", s.lab, context.Cause(ctx))
	}
	return err
}

// follow sends the request and listens until the last line.
func (s *stateDir) follow(conn *net.UnixConn, r startRequest, tell Progress) error {
	if err := json.NewEncoder(conn).Encode(r); err != nil {
		return fmt.Errorf("lab %s: tell its supervisor: %w", s.lab, err)
	}
	in := json.NewDecoder(conn)
	for {
		var n startProgress
		if err := in.Decode(&n); err != nil {
			if tell != nil {
				tell("", 0, 0)
			}
			return fmt.Errorf("lab %s: its supervisor died (%w)", s.lab, err)
		}
		switch {
		case n.Ready:
			return nil
		case n.Error != "":
			return errors.New(n.Error)
		case tell != nil:
			tell(n.Step, n.Done, n.Total)
		}
	}
}

func socketPair() (ours *net.UnixConn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	theirs = os.NewFile(uintptr(fds[1]), "supervisor")
	ours, err = unixConn(os.NewFile(uintptr(fds[0]), "starter"))
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return ours, theirs, nil
}

// unixConn turns a descriptor into a connection, and closes the descriptor.
func unixConn(f *os.File) (*net.UnixConn, error) {
	conn, err := net.FileConn(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("%s is not a Unix socket", f.Name()), conn.Close())
	}
	return u, nil
}

// Supervise is the body of `natlab supervise`, which only Start calls: it makes the lab it is told to make over the
// descriptors it was born with, and serves it until a signal or a Down. What goes wrong before the lab is up is told to
// the starter and is not an error here.
func Supervise(ctx context.Context, name string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ctx, stop := signal.NotifyContext(ctx, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	defer stop()
	s, err := inherited(name)
	if err != nil {
		return err
	}
	conn, err := unixConn(os.NewFile(starterFD, "starter"))
	if err != nil {
		return notInherited(name, err)
	}
	var watch sync.WaitGroup
	defer watch.Wait()
	defer conn.Close() //nolint:errcheck // all was sent
	in := json.NewDecoder(conn)
	var o startRequest
	if err := in.Decode(&o); err != nil {
		return errors.Join(fmt.Errorf("lab %s: its starter is gone: %w", name, err), s.clear(ctx, nil))
	}
	up := make(chan struct{})
	watch.Go(func() { watchStarter(in, up, cancel) })
	l, err := s.supervise(ctx, o, conn, up)
	if err != nil {
		if told := json.NewEncoder(conn).Encode(startProgress{Error: err.Error()}); told == nil {
			return nil // it is the starter's to print
		}
		return err
	}
	_ = conn.Close()
	if o.With != (process{}) {
		watch.Go(func() { o.With.await(ctx, cancel) })
	}
	select {
	case <-ctx.Done():
	case <-l.own.gone:
	}
	cancel(nil)
	return l.Down(context.WithoutCancel(ctx))
}

// watchStarter ends ctx when the starter goes away before the lab is up. It ends with the connection.
func watchStarter(in *json.Decoder, up <-chan struct{}, cancel context.CancelCauseFunc) {
	var nothing json.RawMessage
	_ = in.Decode(&nothing) // returns at the end of the connection: the starter sends nothing more
	select {
	case <-up:
	default:
		cancel(errors.New("its starter is gone"))
	}
}

// supervise makes the lab, and reports so, up being closed from the moment at which the starter may go its way. A lab of
// which the starter does not hear is taken down again.
func (s *stateDir) supervise(ctx context.Context, o startRequest, conn net.Conn, up chan<- struct{}) (*Lab, error) {
	l, err := prepare(o.Cluster, Options{Bundles: o.Bundles, KubeProxy: o.Proxy, Gateways: o.Gateways})
	if err != nil {
		return nil, errors.Join(err, s.clear(ctx, nil))
	}
	l.record.Supervised, l.own = true, &owned{state: s}
	if err := l.keepBundles(o.Bundles); err != nil {
		return nil, errors.Join(err, s.clear(ctx, nil))
	}
	out := json.NewEncoder(conn)
	var tell Progress
	if o.Progress {
		tell = func(step string, done, total int) {
			_ = out.Encode(startProgress{Step: step, Done: done, Total: total}) // a starter that is gone ends ctx
		}
	}
	l, err = bringUp(ctx, l, tell)
	if err != nil {
		return nil, err
	}
	close(up)
	err = context.Cause(ctx)
	if err == nil {
		err = s.detach()
	}
	if err == nil {
		err = out.Encode(startProgress{Ready: true})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lab %s: %w", s.lab, err), l.Down(context.WithoutCancel(ctx)))
	}
	return l, nil
}

// detach sends what the process may still print, such as why it crashed, to the lab's log.
func (s *stateDir) detach() error {
	log, err := os.OpenFile(s.file(logFile), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	for fd := 1; err == nil && fd <= 2; fd++ {
		err = unix.Dup3(int(log.Fd()), fd, 0)
	}
	return errors.Join(err, log.Close())
}

// inherited is the lab's directory, which the starter made and locked.
func inherited(name string) (*stateDir, error) {
	s, err := openState(name)
	if err != nil {
		return nil, notInherited(name, err)
	}
	mine := os.NewFile(lockFD, s.path)
	if err := s.dir.Close(); err != nil {
		return nil, err
	}
	s.dir = mine
	if !s.stillThere() {
		return nil, notInherited(name, errors.New("the lab's directory is not the one it was born with"))
	}
	unix.CloseOnExec(lockFD)
	// A second descriptor that is never closed keeps the lock as long as the process is there: who waits for the lock of a
	// lab that is gone, as Down does, has waited for its supervisor too.
	if _, err := unix.FcntlInt(lockFD, unix.F_DUPFD_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("lab %s: keep the lock: %w", name, err)
	}
	return s, nil
}

func notInherited(name string, err error) error {
	return fmt.Errorf("lab %s: supervise is internal; use natlab up --name %s: %w", name, name, err)
}
