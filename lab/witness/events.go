package witness

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/mdlayher/netlink"
	ctnetlink "github.com/ti-mo/conntrack"

	"natlab/nat"
)

// eventBuffer is how many bytes of events may wait to be read.
const eventBuffer = 8 << 20

// Events calls sink with what happens to the connection tracking entries of a namespace, as ctnetlink tells it, until ctx ends or sink gives an error.
// ready, which may be nil, is called when nothing is missed any more. lost counts messages that found no room. It needs no Session.
func Events(ctx context.Context, ns Namespace, node string, ready func(), sink func(nat.Event) error) (lost uint64, err error) {
	var s *socket
	err = ns.Do(func() (err error) {
		s, err = openConns(eventBuffer, openSocket)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("connection tracking of %s: %w", node, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = s.close() })
	defer stop()
	if ready != nil {
		ready()
	}
	raw, err := s.file.SyscallConn()
	if err != nil {
		return 0, ctx.Err()
	}
	buf := make([]byte, readSize)
	var inner error
	_ = raw.Read(func(uintptr) bool { // its error is that of a file that was closed
		for {
			n, more, err := s.read(buf)
			if err != nil || !more {
				inner = err
				return err != nil
			}
			if inner = eachEvent(buf[:n], node, sink); inner != nil {
				return true
			}
			lost = s.dropped()
		}
	})
	if err := s.close(); err != nil && !errors.Is(err, os.ErrClosed) {
		inner = errors.Join(inner, err)
	}
	return lost, inner
}

// eachEvent calls sink with the events of a datagram.
func eachEvent(b []byte, node string, sink func(nat.Event) error) error {
	for len(b) > 0 {
		f, rest, err := nextFrame(b)
		if err != nil {
			return err
		}
		b = rest
		var e ctnetlink.Event
		body := append([]byte(nil), f.body...) // the decoder keeps views into the bytes
		err = e.Unmarshal(netlink.Message{Header: netlink.Header{Type: netlink.HeaderType(f.kind), Flags: netlink.HeaderFlags(f.flags)}, Data: body})
		if err != nil || e.Flow == nil {
			continue // of no connection, or of a kind that is not known
		}
		kind := map[any]nat.EventKind{ctnetlink.EventNew: nat.New, ctnetlink.EventUpdate: nat.Updated, ctnetlink.EventDestroy: nat.Destroyed}[e.Type]
		if kind.String() == "none" {
			continue
		}
		if err := sink(nat.Event{Kind: kind, Entry: entryOf(node, *e.Flow)}); err != nil {
			return err
		}
	}
	return nil
}
