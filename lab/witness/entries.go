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
	if m.plane != nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.plane.Conns()
	}
	return Conns(m.ns, name)
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
