// Package witness watches packets, rules and connections in network namespaces, and reports what it saw as
// proof.Observations. It changes nothing of what it watches, but for one private nftables table in each namespace; what
// the observations mean is for nat/proof to judge.
package witness

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"natlab/lab/nfqueue"
	"natlab/nat"
	"natlab/nat/proof"
	"natlab/topology"
)

// Namespace is the door into a network namespace (lab/netns.Handle): Do runs f on a thread that is in it.
type Namespace interface {
	Do(f func() error) error
}

// Watched is one namespace to watch.
type Watched struct {
	Member string // the name that observations bear
	Kind   topology.Kind
	NS     Namespace
	Rules  Known // of a node: what it holds; see Known
	// Plane opens what stands for the kernel's tables and conntrack in a node where NAT is not the kernel's; nil where it is.
	Plane func() (Plane, error)
}

// Plane tells what rules and connections did in a node whose NAT is not its kernel's.
type Plane interface {
	// Read tells what was seen since the last Read. What a packet met that has come to a tap is in it.
	Read() (PlaneReport, error)
	// Conns lists the connections that there are now.
	Conns() ([]nat.Conn, error)
	Close() error
}

// PlaneReport is what a Plane has seen.
type PlaneReport struct {
	Seen     []proof.Observation
	Lost     uint64   // observations that nobody got, since it was opened
	Counters Counters // of its connection table
}

// Options are how to watch. The zero value is the usual way.
type Options struct {
	Family  nat.Family // whose packets and rules are watched: those of the other one pass untouched
	Control bool       // connection tracking events only: no table, no queue, no trace; the control run of a proof
	Keep    bool       // keep packets byte for byte (Observation.Packet)
	Once    bool       // keep back what TCP sends again of a connection's first packets while the one before is on its way; see repeats
	Copies  bool       // take copies of packets at the taps, so that none waits for anybody; nothing is read before a Drain. See Pending
	// Drained: Drain is called all the time, and reads what is told of connections, and of rules by the trace of nf_tables: nobody is woken for that. Packets,
	// copies of them too, are read as they come: where one was last is told by the order in which natlab received them (Observation.Seq).
	Drained bool
	// Steady: no namespace gets a table of nf_tables meanwhile that it had none of. Where there is no table, its trace is not asked for: it would tell of natlab's own rules alone.
	Steady bool
	Buffer int // bytes of each socket's receive buffer; 0 is 16 MiB
}

const defaultBuffer = 16 << 20

// opener opens a socket for so many bytes.
type opener func(buffer int) (*socket, error)

// opener is how the sockets are opened that no packet is read from.
func (o Options) opener() opener {
	if o.Drained {
		return openQuiet
	}
	return openSocket
}

// ErrUnsupported is a witness that this kernel does not offer.
var ErrUnsupported = errors.New("not supported by this kernel")

// ErrBusy is a namespace that somebody watches already: a queue or log group has one reader.
var ErrBusy = errors.New("another process watches this namespace: let it end first")

// busy names the cause of an error that a kernel gives for a queue or log group that is taken.
func busy(err error) error {
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EPERM) && unix.Geteuid() == 0 {
		return fmt.Errorf("%w (%w)", ErrBusy, err)
	}
	return err
}

// Session is the witnesses at work. Its methods may be called by many goroutines.
type Session struct {
	members []*member
	byName  map[string]*member
	notify  chan struct{}
	readers sync.WaitGroup
	seq     atomic.Uint64 // of the last observation
	blocks  blocks
}

// Start opens the witnesses in all of the namespaces, or in none: a node gets all three, any other namespace the packet
// taps alone. Nothing is missed of what happens after Start has returned.
func Start(ctx context.Context, watched []Watched, o Options) (*Session, error) {
	if o.Buffer == 0 {
		o.Buffer = defaultBuffer
	}
	s := &Session{byName: map[string]*member{}, notify: make(chan struct{}, 1)}
	var again *repeats
	if o.Once {
		again = newRepeats()
	}
	for _, w := range watched {
		m := newMember(w, o.Family, s)
		m.again = again
		if s.byName[m.name] != nil {
			return nil, fmt.Errorf("watch %q: named twice", m.name)
		}
		s.members = append(s.members, m)
		s.byName[m.name] = m
	}
	table, err := tableFor(watched, o)
	if err != nil {
		return nil, err
	}
	err = s.each("watch", working(), func(m *member) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return m.open(o, table)
	})
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	for _, m := range s.members {
		for _, k := range m.sockets() {
			if k.quiet {
				continue
			}
			s.readers.Go(func() { k.wait(m.reader(o)) })
		}
		if m.queues != nil {
			s.readers.Go(func() { m.queues.wait(m.takePackets) })
		}
	}
	return s, nil
}

// tableFor is what is done to natlab's table in each namespace: with a queue expression of nf_tables' own where the kernel has one, else
// with x_tables' NFQUEUE.
func tableFor(watched []Watched, o Options) (t transactions, err error) {
	switch {
	case o.Control || len(watched) == 0:
		return t, nil
	case o.Copies:
		return transactionsOf(o.Family, copying(layoutOf(o.Family)))
	}
	native := false
	err = watched[0].NS.Do(func() error {
		native, err = nfqueue.Native()
		return err
	})
	if err != nil {
		return t, err
	}
	return transactionsOf(o.Family, queueing(native))
}

// wake signals that something was recorded.
func (s *Session) wake() {
	select {
	case s.notify <- struct{}{}:
	default:
	}
}

// Notify is a channel that has a value when something was recorded since the last receive from it.
func (s *Session) Notify() <-chan struct{} { return s.notify }

// Drain returns everything that the kernel had to report up to now and that no Drain has returned before, member by
// member in the order of Start. It is a barrier: what a client has its answer for, the kernel has queued already, and
// Drain reads each socket until it would block.
//
// Within a namespace the order is that of the packets: all rules that a packet met before a tap come before that tap's
// observation of it.
func (s *Session) Drain(ctx context.Context) ([]proof.Observation, error) {
	return drain(ctx, nil, s.members)
}

// DrainTo is Drain that puts what it returns behind seen, in its place where there is room.
func (s *Session) DrainTo(ctx context.Context, seen []proof.Observation) ([]proof.Observation, error) {
	return drain(ctx, seen, s.members)
}

// DrainOf is Drain of some of the members.
func (s *Session) DrainOf(ctx context.Context, names []string) ([]proof.Observation, error) {
	var members []*member
	for _, name := range names {
		m, err := s.member(name)
		if err != nil {
			return nil, err
		}
		members = append(members, m)
	}
	return drain(ctx, nil, members)
}

func drain(ctx context.Context, out []proof.Observation, members []*member) ([]proof.Observation, error) {
	var errs []error
	for _, m := range members {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		var err error
		if out, err = m.drain(out); err != nil {
			errs = append(errs, fmt.Errorf("watch %s: %w", m.name, err))
		}
	}
	return out, errors.Join(errs...)
}

// Lost is the number of events that the kernel had and that no witness got, since Start. With any, what was seen is not
// all that happened.
func (s *Session) Lost() uint64 {
	var n uint64
	for _, m := range s.members {
		n += m.countLost()
	}
	return n
}

// SetRules sets what a node holds from now on; see Known.
func (s *Session) SetRules(name string, r Known) error {
	m, err := s.member(name)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.setRules(r)
	return nil
}

// Later makes the taps and the trace tell of all packets of TCP connections, and not only of those that open and refuse them, or no
// more. What it tells of is not held: copies are taken.
func (s *Session) Later(on bool) error {
	return s.each("watch later packets of", working(), func(m *member) error {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.closed || !m.table {
			return nil
		}
		change := m.changes.later[0]
		if on {
			change = m.changes.later[1]
		}
		return m.tableError("watch later packets by", m.control.transact(change))
	})
}

// Close ends the watch: held packets go on, natlab's table and sockets go, and the namespaces are as before. A second
// Close does nothing.
func (s *Session) Close() error {
	// First nothing is queued any more, anywhere; then what waits goes on, and finds its way free.
	err := s.each("stop watching", waiting, (*member).calm)
	err = errors.Join(err, s.each("stop watching", waiting, (*member).close))
	s.readers.Wait()
	return err
}

// working is for how many members at a time a thing is done that keeps a processor busy: each has a thread of its own, and threads that take
// turns take time.
func working() int { return 2 * runtime.GOMAXPROCS(0) }

// waiting is for how many at a time a thing is done that waits for the kernel: a table goes when every processor has let go of it (RCU), and one
// such moment serves all who wait for it.
const waiting = 32

// each calls f for all members, for so many at the same time.
func (s *Session) each(what string, atOnce int, f func(*member) error) error {
	var group errgroup.Group
	group.SetLimit(atOnce)
	for _, m := range s.members {
		group.Go(func() error {
			if err := f(m); err != nil {
				return fmt.Errorf("%s %s: %w", what, m.name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

func (s *Session) member(name string) (*member, error) {
	if m := s.byName[name]; m != nil {
		return m, nil
	}
	return nil, fmt.Errorf("%q is not watched", name)
}
