package witness

import (
	"context"
	"errors"
	"fmt"

	ctnetlink "github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"

	"natlab/nat"
)

// Conns lists the connection tracking entries of a namespace as they are now, under the name of a node. It needs no
// Session.
func Conns(ns Namespace, node string) ([]nat.Conn, error) {
	var out []nat.Conn
	err := eachEntry(ns, func(_ *ctnetlink.Conn, f ctnetlink.Flow) error {
		out = append(out, connOf(node, f))
		return nil
	})
	return out, err
}

// Entries lists the connection tracking entries of a namespace with all that conntrack -L prints of them.
func Entries(ns Namespace, node string) ([]nat.Entry, error) {
	var out []nat.Entry
	err := eachEntry(ns, func(_ *ctnetlink.Conn, f ctnetlink.Flow) error {
		out = append(out, entryOf(node, f))
		return nil
	})
	return out, err
}

// entryOf is an entry as the kernel tells it.
func entryOf(node string, f ctnetlink.Flow) nat.Entry {
	e := nat.Entry{
		Conn: connOf(node, f), Seconds: f.Timeout, Zone: f.Zone, Use: f.Use, Kind: f.TupleOrig.Proto.ICMPType, Code: f.TupleOrig.Proto.ICMPCode,
		AnswerKind: f.TupleReply.Proto.ICMPType,
		Packets:    [2]uint64{f.CountersOrig.Packets, f.CountersReply.Packets}, Bytes: [2]uint64{f.CountersOrig.Bytes, f.CountersReply.Bytes},
	}
	e.Counted = e.Packets[0] > 0
	switch {
	case f.ProtoInfo.TCP != nil:
		e.State = stateOf(nat.TCPStates, f.ProtoInfo.TCP.State)
	case f.ProtoInfo.SCTP != nil:
		e.State = stateOf(nat.SCTPStates, f.ProtoInfo.SCTP.State)
	}
	return e
}

func stateOf(names []string, number uint8) string {
	if int(number) < len(names) {
		return names[number]
	}
	return "UNKNOWN"
}

// ForgetConns deletes the entries of a namespace that match agrees to, as `conntrack -D` does, and returns how many there
// were. One that went by itself meanwhile is not counted.
func ForgetConns(ns Namespace, node string, match func(nat.Conn) bool) (n int, err error) {
	err = eachEntry(ns, func(c *ctnetlink.Conn, f ctnetlink.Flow) error {
		if !match(connOf(node, f)) {
			return nil
		}
		err := c.Delete(f)
		if err == nil {
			n++
		}
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		return err
	})
	return n, err
}

// Conns lists a watched namespace's connection tracking entries as they are now.
func (s *Session) Conns(_ context.Context, name string) ([]nat.Conn, error) {
	m, err := s.member(name)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.plane != nil {
		return m.plane.Conns()
	}
	out, err := m.entries()
	if err != nil {
		return nil, fmt.Errorf("connection tracking of %s: %w", name, err)
	}
	return out, nil
}

// entries lists the kernel's. Where it counts none, it is not asked for them: it would look through the entries of all namespaces.
func (m *member) entries() (out []nat.Conn, err error) {
	count, err := m.counted()
	if err != nil || count == 0 {
		return nil, err
	}
	if count <= fewEntries {
		if out, ok, err := m.few(count); ok || err != nil {
			return out, err
		}
	}
	var failed error
	err = m.control.request(newMessage(ctGet, unix.NLM_F_DUMP, unix.AF_UNSPEC, 0), func(kind uint16, body []byte) {
		o, ok, err := m.connEvent(frame{kind: kind, body: body})
		if failed = errors.Join(failed, err); ok {
			out = append(out, o.Conn)
		}
	})
	return out, errors.Join(err, failed)
}

// eachEntry calls use for every entry that a namespace has.
func eachEntry(ns Namespace, use func(*ctnetlink.Conn, ctnetlink.Flow) error) error {
	err := ns.Do(func() error {
		c, err := ctnetlink.Dial(nil)
		if err != nil {
			return err
		}
		defer c.Close() //nolint:errcheck // every request was answered
		flows, err := c.Dump(nil)
		for _, f := range flows {
			err = errors.Join(err, use(c, f))
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("connection tracking: %w", err)
	}
	return nil
}
