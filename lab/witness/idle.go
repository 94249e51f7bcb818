package witness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// softnetFile is where the kernel counts what waits to be received, for all namespaces together (softnet_seq_show).
const softnetFile = "/proc/net/softnet_stat"

// Idle reports whether the kernel has nothing on its way that a tap could still see: no packet waits at a tap, in the backlog
// of a CPU, where one that crossed a veth waits for its turn, or for the address of a neighbour. What a process has, a server
// or the end of a tunnel, it does not know of. Where the kernel does not tell of its backlog, nothing is ever idle.
func (s *Session) Idle(ctx context.Context) (bool, error) {
	b, err := os.ReadFile(softnetFile)
	if err != nil {
		return false, err
	}
	if waiting, known := column(b, backlogColumn); waiting > 0 || !known {
		return false, nil
	}
	for _, m := range s.members {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		waits, err := m.waits()
		if err != nil {
			return false, fmt.Errorf("watch %s: %w", m.name, err)
		}
		if waits {
			return false, nil
		}
	}
	return true, nil
}

// waits reports whether a packet waits in the namespace.
func (m *member) waits() (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || m.queueFile == nil || m.queued() > 0 {
		return true, nil
	}
	neighbours, err := m.neighbours.NeighListExecute(netlink.Ndmsg{Family: m.layout.number, State: unix.NUD_INCOMPLETE})
	if errors.Is(err, netlink.ErrDumpInterrupted) { // they change
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("list the neighbours: %w", err)
	}
	return m.resolving(neighbours, time.Now()), nil
}

// resolveWithin is how long a packet is waited for that waits for a neighbour's address: after a second without an answer the
// kernel asks again (retrans_time_ms), and after three it gives up (mcast_solicit). Who does not answer in this time does not
// answer for want of a processor, and a packet that a neighbour's late answer lets go is asked for once more.
const resolveWithin = 1200 * time.Millisecond

// resolving reports whether an address may still be found, and remembers since when each is looked for.
func (m *member) resolving(neighbours []netlink.Neigh, now time.Time) bool {
	since, waits := map[string]time.Time{}, false
	for _, n := range neighbours {
		if n.State&unix.NUD_INCOMPLETE == 0 {
			continue
		}
		began, known := m.unresolved[n.IP.String()]
		if !known {
			began = now
		}
		since[n.IP.String()] = began
		waits = waits || now.Sub(began) < resolveWithin
	}
	m.unresolved = since
	return waits
}

// Columns of softnet_stat.
const (
	droppedColumn = 1  // what found a CPU's backlog full
	backlogColumn = 11 // the length of a CPU's backlog (since Linux 5.10)
)

// column adds up a column of softnet_stat over all CPUs; known is false where a line has no such column.
func column(b []byte, at int) (sum uint64, known bool) {
	for line := range bytes.Lines(b) {
		f := bytes.Fields(line)
		if len(f) <= at {
			return 0, false
		}
		n, err := strconv.ParseUint(string(f[at]), 16, 64)
		if err != nil {
			return 0, false
		}
		sum += n
	}
	return sum, len(b) > 0
}
