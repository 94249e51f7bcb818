package lab

import (
	"errors"
	"fmt"
	"net/netip"

	ctnetlink "github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"

	"natlab/lab/dataplane"
	"natlab/nat"
)

// Conns lists the connection tracking entries of a member's namespace.
func (l *Lab) Conns(member string) ([]nat.Conn, error) {
	h, err := l.Handle(member)
	if err != nil {
		return nil, err
	}
	return trackedConns(h)
}

// ForgetConns deletes the connection tracking entries that match agrees to, as `conntrack -D` does, and returns how many
// there were. One that went by itself meanwhile is not counted.
func (l *Lab) ForgetConns(member string, match func(nat.Conn) bool) (n int, err error) {
	h, err := l.Handle(member)
	if err != nil {
		return 0, err
	}
	err = eachTracked(h, func(c *ctnetlink.Conn, f ctnetlink.Flow) error {
		if !match(tracked(f)) {
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

// trackedConns are the entries of connection tracking.
func trackedConns(ns dataplane.Namespace) (conns []nat.Conn, err error) {
	err = eachTracked(ns, func(_ *ctnetlink.Conn, f ctnetlink.Flow) error {
		conns = append(conns, tracked(f))
		return nil
	})
	return conns, err
}

// eachTracked calls use for every entry that a namespace has.
func eachTracked(ns dataplane.Namespace, use func(*ctnetlink.Conn, ctnetlink.Flow) error) error {
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

func tracked(f ctnetlink.Flow) nat.Conn {
	return nat.Conn{
		Original: trackedTuple(f.TupleOrig), Reply: trackedTuple(f.TupleReply),
		Status: nat.Status(f.Status), Mark: f.Mark,
	}
}

func trackedTuple(t ctnetlink.Tuple) nat.Tuple {
	return nat.TupleOf(nat.Proto(t.Proto.Protocol),
		netip.AddrPortFrom(t.IP.SourceAddress, t.Proto.SourcePort), netip.AddrPortFrom(t.IP.DestinationAddress, t.Proto.DestinationPort))
}
