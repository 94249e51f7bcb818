package witness

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"natlab/nat"
	"natlab/nat/nftables"
	"natlab/topology"
)

// member is one watched namespace.
type member struct {
	name string
	kind topology.Kind
	ns   Namespace
	// family is the one whose packets and rules are watched; layout and own, the name of natlab's table, follow from it.
	family nat.Family
	layout layout
	own    string
	wake   func()
	keep   bool // packets byte for byte
	again  *repeats

	mu     sync.Mutex // guards everything below, and every read and write of the sockets
	closed bool

	queues  *queues // NFQUEUE, all taps; nil in a control run
	trace   *socket // nf_tables trace; nil but in a node, and where there is nothing to trace (Options.Steady)
	log     *socket // NFLOG: the taps' copies, and in a node the trace of the legacy tables; nil in a control run
	conns   *socket // ctnetlink events; nil but in a node
	control *socket // requests and their answers; no events

	openPlane func() (Plane, error)
	plane     Plane // in place of trace and conns; nil where NAT is the kernel's
	planeSaw  PlaneReport

	queueFile  *os.File             // the namespace's /proc/net/netfilter/nfnetlink_queue
	entryFile  *os.File             // of a node, the namespace's entries as a text; nil where the kernel has no such file
	neighbours *netlink.Handle      // to list them; nil in a control run
	unresolved map[string]time.Time // by a neighbour's address, since when it is looked for
	logger     string               // what net.netfilter.nf_log.2, or .10, was before; "" where it was not changed
	table      bool                 // the table was made
	changes    transactions         // of the table
	copies     bool                 // by Options.Copies

	buf  []byte         // for reads
	head []byte         // for small pieces
	seq  *atomic.Uint64 // of the session
	seen untold
	err  error // the first that a read gave and no drain has returned

	walks       map[uint32]*walk
	devices     map[uint32]string              // what device found since the last reading began
	places      map[string]map[uint64]position // table, handle
	hooks       map[[2]string]nat.Hook         // of base chains: table, chain
	generation  uint32
	rules       [backends]index
	prefixes    map[string]*legacyRule     // by the prefix of a TRACE's message; nil for one that tells of no rule
	native      map[string]*nftables.Table // of nf_tables' own, by the name that a Step has
	logNext     map[uint16]uint32          // by group, the sequence number that comes next
	logLost     uint64
	lostAtClose uint64
	holds       []*Hold
}

func newMember(w Watched, f nat.Family, s *Session) *member {
	m := &member{
		name: w.Member, kind: w.Kind, ns: w.NS, seq: &s.seq, seen: untold{from: &s.blocks}, wake: s.wake, openPlane: w.Plane,
		buf: make([]byte, readSize), walks: map[uint32]*walk{}, devices: map[uint32]string{}, logNext: map[uint16]uint32{},
	}
	m.family, m.layout = f, layoutOf(f)
	m.own = m.layout.ownName()
	m.setRules(w.Rules)
	return m
}

// open makes the namespace's sockets and the table that feeds them. After an error, close takes away what was made.
func (m *member) open(o Options, table transactions) error {
	m.keep, m.changes = o.Keep, table
	return m.ns.Do(func() (err error) {
		if m.control, err = openQuiet(o.Buffer); err != nil {
			return err
		}
		switch {
		case m.openPlane != nil:
			if m.plane, err = m.openPlane(); err != nil {
				return err
			}
		case m.kind == topology.KindNode:
			if m.conns, err = openConns(o.Buffer, o.opener()); err != nil {
				return err
			}
			m.entryFile = openEntryFile()
		}
		if o.Control {
			return nil
		}
		if err := m.openRules(o); err != nil {
			return err
		}
		if o.Copies {
			m.table, m.copies = true, true
			return m.tableError("make", m.control.transact(table.make))
		}
		// The queues must be there before the rules that feed them.
		if m.queues, err = openQueues(o.Buffer); err != nil {
			return err
		}
		if m.queueFile, err = os.Open("/proc/thread-self/net/netfilter/nfnetlink_queue"); err != nil {
			return err
		}
		if m.neighbours, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
			return err
		}
		m.table = true
		return m.tableError("make", m.control.transact(table.make))
	})
}

// openRules opens what tells of rules and, by the same socket, of the packets that cannot be queued.
func (m *member) openRules(o Options) (err error) {
	var groups []uint16
	for _, tap := range nat.Taps() {
		groups = append(groups, logGroup(tap))
	}
	if m.kind != topology.KindNode || m.plane != nil {
		m.log, err = openLog(o.Buffer, groups)
		return err
	}
	if m.log, err = openLog(o.Buffer, append(groups, traceGroup)); err != nil {
		return err
	}
	tables := true
	if o.Steady {
		if tables, err = m.hasTables(); err != nil {
			return err
		}
	}
	if tables {
		if m.trace, err = openTrace(o.Buffer, o.opener()); err != nil {
			return err
		}
	}
	m.logger, err = useLogger(m.family, ourLogger)
	return err
}

// sockets lists those that events come from.
func (m *member) sockets() []*socket {
	var out []*socket
	for _, s := range []*socket{m.trace, m.log, m.conns} {
		if s != nil {
			out = append(out, s)
		}
	}
	return out
}

// calm keeps further packets from the queues.
func (m *member) calm() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || !m.table {
		return nil
	}
	return m.tableError("empty", m.control.transact(m.changes.empty))
}

// close undoes open, however far it came.
func (m *member) close() error {
	released := m.release()
	again, err := m.stop()
	if again {
		return nil
	}
	errs := []error{released, err}
	if m.queues != nil {
		errs = append(errs, m.queues.close())
	}
	// Not under the lock: closing waits for the readers, and they may be waiting for the lock.
	for _, s := range append(m.sockets(), m.control) {
		if s != nil {
			errs = append(errs, s.close())
		}
	}
	for _, f := range []*os.File{m.queueFile, m.entryFile} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	if m.plane != nil {
		errs = append(errs, m.plane.Close())
	}
	if m.neighbours != nil {
		m.neighbours.Close()
	}
	return errors.Join(errs...)
}

// release ends all holds and waits until no packet waits at a tap any more: it would die with its queue. No new ones
// come, since calm was there before. The wait is bounded, in case that a reader has died.
func (m *member) release() error {
	m.mu.Lock()
	taps := !m.closed && m.queues != nil
	var err error
	if taps {
		err = m.releaseAll()
	}
	m.mu.Unlock()
	if !taps {
		return err
	}
	bound := time.NewTimer(releaseBound)
	defer bound.Stop()
	for {
		m.mu.Lock()
		n := m.tapped()
		m.mu.Unlock()
		if n == 0 {
			return err
		}
		select {
		case <-m.queues.taken:
		case <-bound.C:
			return errors.Join(err, fmt.Errorf("%d packets still wait for their verdict", n))
		}
	}
}

const releaseBound = 2 * time.Second

// stop takes the table and the sysctl back, and ends the use of the sockets.
func (m *member) stop() (again bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return true, nil
	}
	defer func() { m.closed = true }()
	var errs []error
	if m.table {
		m.pumpLocked()
	}
	m.lostAtClose = m.countLostLocked()
	if m.table {
		errs = append(errs, m.tableError("remove", m.control.transact(m.changes.remove)))
	}
	if m.logger != "" && m.logger != ourLogger {
		errs = append(errs, m.ns.Do(func() error {
			_, err := useLogger(m.family, m.logger)
			return err
		}))
	}
	return false, errors.Join(errs...)
}
