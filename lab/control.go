package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"natlab/lab/witness"
	"natlab/nat"
	"natlab/topology"
)

// What can be asked over the control socket.
const (
	doStatus = "status"
	doDown   = "down"
	doStop   = "stop"
	doStart  = "start"
	doApply  = "apply"
	doSync   = "sync"
	doAttend = "attend" // answered at once; the connection then stays open as long as the lab does

	// Of a lab whose NAT is not the kernel's: a node's gateway.
	doRules   = "rules"   // what it obeys
	doInstall = "install" // what it is to obey
	doConns   = "conns"   // its connections
	doForget  = "forget"  // these connections
	doRecent  = "recent"  // the lists of -m recent: they are emptied
	doWatch   = "watch"   // from now on, by this connection
	doRead    = "read"    // what was seen since the last one
	doEvents  = "events"  // what happened to its connections since the last one; it waits for some
)

// request is one line to the control socket.
type request struct {
	Do     string `json:"do"`
	Server string `json:"server,omitempty"` // of stop and start: see serverSet.which

	Cluster *topology.Cluster `json:"cluster,omitempty"` // of apply
	Full    bool              `json:"full,omitempty"`    // of apply and sync: all rules anew
	Node    string            `json:"node,omitempty"`    // of what is a gateway's
	Nodes   []string          `json:"nodes,omitempty"`   // of sync; none is all
	Family  nat.Family        `json:"family,omitempty"`  // of rules and install
	Rules   string            `json:"rules,omitempty"`   // of install: whole tables
	Conns   []nat.Conn        `json:"conns,omitempty"`   // of forget
}

// maxRequest is how long a request may be, in bytes: that of an apply holds a cluster, that of an install a node's rules.
const maxRequest = 1 << 28

// reply is the line that comes back.
type reply struct {
	Error    string            `json:"error,omitempty"`
	Servers  []topology.Server `json:"servers,omitempty"`  // of status: those that run
	Gateways []GatewayState    `json:"gateways,omitempty"` // of status: the nodes' NAT, where that is natlab's own
	Applied  *Applied          `json:"applied,omitempty"`  // of apply

	Rules   string               `json:"rules,omitempty"`
	Entries []nat.Entry          `json:"entries,omitempty"` // of conns
	Events  []nat.Event          `json:"events,omitempty"`
	Lost    uint64               `json:"lost,omitempty"`  // of events
	Count   int                  `json:"count,omitempty"` // of forget
	Report  *witness.PlaneReport `json:"report,omitempty"`
}

// control is the owner's end of the control socket.
type control struct {
	lab    *Lab
	listen net.Listener
	wait   sync.WaitGroup // accept, and serve of every connection in conns

	mu       sync.Mutex
	closed   bool              // under mu
	conns    map[net.Conn]bool // under mu
	attended int               // under mu: how many wait for the lab's end, those that prove it
}

// listen opens the socket. Its directory is open to nobody else, and so is the socket itself.
func listen(l *Lab) (*control, error) {
	path := l.own.state.file(controlFile)
	socket, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", path)
	if err == nil {
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	c := &control{lab: l, listen: socket, conns: map[net.Conn]bool{}}
	c.wait.Go(c.accept)
	return c, nil
}

// Close ends the service. It may be called twice, and on nil.
func (c *control) Close() error {
	if c == nil {
		return nil
	}
	err := c.listen.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	c.mu.Lock()
	c.closed = true
	for conn := range c.conns {
		_ = conn.Close() // ends its serve
	}
	c.mu.Unlock()
	c.wait.Wait()
	return err
}

// track takes a connection on; false after Close.
func (c *control) track(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.conns[conn] = true
	return true
}

func (c *control) attend(more int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attended += more
}

// proved reports whether somebody proves the lab, or waits for its end for another reason.
func (c *control) proved() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.attended > 0
}

func (c *control) forget(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.conns, conn)
}

func (c *control) accept() {
	for {
		conn, err := c.listen.Accept()
		if err != nil {
			return
		}
		if !c.track(conn) {
			_ = conn.Close()
			return
		}
		c.wait.Go(func() { c.serve(conn) })
	}
}

// serve answers one connection: a line each way, as often as the caller likes. A silent one is cut off.
func (c *control) serve(conn net.Conn) {
	const silence = time.Minute
	in := bufio.NewScanner(conn)
	in.Buffer(nil, maxRequest)
	attended := false
	leave := func() {
		if attended {
			c.attend(-1)
		}
		attended = false
	}
	defer leave()
	var eyes wireEyes
	defer eyes.close()
	for {
		until := time.Now().Add(silence)
		if attended || eyes.by != nil || eyes.events != nil {
			until = time.Time{}
		}
		_ = conn.SetDeadline(until) // fails only on a closed connection
		if !in.Scan() {
			break
		}
		var q request
		if err := json.Unmarshal(in.Bytes(), &q); err != nil {
			respond(conn, reply{}, err)
			continue
		}
		if q.Do == doDown {
			c.forget(conn)
			// Down closes the control socket and waits for serve, so the answer is left to one that nobody waits for.
			go func() {
				respond(conn, reply{}, c.lab.Down(context.Background()))
				_ = conn.Close()
			}()
			return
		}
		if q.Do == doAttend && !attended {
			attended = true
			c.attend(1)
		}
		answer, err := c.do(q, &eyes)
		respond(conn, answer, err)
	}
	leave() // before the other end hears of it
	c.forget(conn)
	_ = conn.Close()
}

// respond answers. Who asked may be gone: then the next Scan ends.
func respond(conn net.Conn, answer reply, err error) {
	if err != nil {
		answer.Error = err.Error()
	}
	_ = json.NewEncoder(conn).Encode(answer)
}

func (c *control) do(q request, eyes *wireEyes) (reply, error) {
	servers := c.lab.own.servers
	act := servers.start
	switch q.Do {
	case doAttend:
		return reply{}, nil
	case doApply:
		if q.Cluster == nil {
			return reply{}, errors.New("apply: no cluster")
		}
		applied, err := c.lab.apply(context.Background(), *q.Cluster, Sync(q.Full))
		return reply{Applied: &applied}, err
	case doSync:
		if q.Cluster == nil {
			return reply{}, errors.New("sync: no cluster")
		}
		return reply{}, c.lab.own.program(context.Background(), *q.Cluster, Sync(q.Full), q.Nodes)
	case doStatus:
		gateways, err := c.lab.own.states()
		return reply{Servers: servers.list(), Gateways: gateways}, err
	case doRules, doInstall, doConns, doForget, doRecent, doWatch, doRead, doEvents:
		return c.lab.own.gateway(q, eyes)
	case doStop:
		act = servers.stop
	case doStart:
	default:
		return reply{}, fmt.Errorf("%q is not known: want %s, %s, %s, %s, %s or %s", q.Do, doStatus, doDown, doStop, doStart, doApply, doAttend)
	}
	which, err := servers.which(q.Server)
	for _, s := range which {
		err = errors.Join(err, act(s))
	}
	return reply{}, err
}

// call asks the lab's owner.
func (s *stateDir) call(ctx context.Context, q request) (reply, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", s.file(controlFile))
	if err != nil {
		return reply{}, err
	}
	defer conn.Close() //nolint:errcheck // the answer is here
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if err := json.NewEncoder(conn).Encode(q); err != nil {
		return reply{}, err
	}
	var answer reply
	if err := json.NewDecoder(conn).Decode(&answer); err != nil {
		return reply{}, err
	}
	if answer.Error != "" {
		return answer, errors.New(answer.Error)
	}
	return answer, nil
}

// call asks the lab's owner, which may be this process.
func (l *Lab) call(ctx context.Context, q request) (reply, error) {
	s, err := openState(l.Name())
	if err != nil {
		return reply{}, err
	}
	defer s.dir.Close() //nolint:errcheck // opened for reading
	answer, err := s.call(ctx, q)
	if err != nil {
		return reply{}, fmt.Errorf("lab %s: %s: %w", l.Name(), q.Do, err)
	}
	return answer, nil
}

// lettingGo is how long the lab's owner may take to notice that nobody attends any more.
const lettingGo = 10 * time.Second

// Attend is a context that ends when the lab does: its cause is then ErrGone. stop lets go of the lab.
func (l *Lab) Attend(ctx context.Context) (attended context.Context, stop func(), err error) {
	s, err := openState(l.Name())
	if err != nil {
		return nil, nil, err
	}
	defer s.dir.Close() //nolint:errcheck // opened for reading
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", s.file(controlFile))
	if err != nil {
		return nil, nil, fmt.Errorf("lab %s: %w", l.Name(), err)
	}
	var answer reply
	in := json.NewDecoder(conn)
	if err := errors.Join(json.NewEncoder(conn).Encode(request{Do: doAttend}), in.Decode(&answer)); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("lab %s: %s: %w", l.Name(), doAttend, err), conn.Close())
	}
	attended, cancel := context.WithCancelCause(ctx)
	over := make(chan struct{})
	go func() {
		defer close(over)
		_ = in.Decode(&answer) // returns when the connection is closed, at either end
		cancel(fmt.Errorf("lab %s %w", l.Name(), ErrGone))
	}()
	return attended, func() {
		cancel(nil)
		// The owner lets go of it first: who comes next, with an apply, finds the lab free.
		_ = errors.Join(conn.(*net.UnixConn).CloseWrite(), conn.SetReadDeadline(time.Now().Add(lettingGo))) // an owner that hangs is not waited for
		<-over
		_ = conn.Close()
	}, nil
}

// RunningServers lists the servers that listen now.
func (l *Lab) RunningServers(ctx context.Context) ([]topology.Server, error) {
	answer, err := l.call(ctx, request{Do: doStatus})
	return answer.Servers, err
}

// GatewayStates are how the nodes' gateways do, sorted by node: none where their NAT is the kernel's.
func (l *Lab) GatewayStates(ctx context.Context) ([]GatewayState, error) {
	answer, err := l.call(ctx, request{Do: doStatus})
	return answer.Gateways, err
}

// StopServer makes the servers of that name, or the one whose String it is, stop listening and close their connections:
// the pod stays, its process is gone.
func (l *Lab) StopServer(ctx context.Context, name string) error {
	_, err := l.call(ctx, request{Do: doStop, Server: name})
	return err
}

// StartServer undoes StopServer.
func (l *Lab) StartServer(ctx context.Context, name string) error {
	_, err := l.call(ctx, request{Do: doStart, Server: name})
	return err
}
