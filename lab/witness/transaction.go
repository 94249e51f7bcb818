package witness

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"natlab/nat"
)

// transaction is a change of nf_tables as the kernel reads it, all of it or nothing. It is written once for all namespaces that get the same.
type transaction []byte

// transactionSeq is the sequence number of all messages of a transaction; those of a socket's requests count up from 1.
const transactionSeq = 1 << 31

// written is what a change is in bytes. The last of its messages alone asks to be acknowledged: what fails is told of without being asked
// (nfnetlink_rcv_batch).
func written(change func(*nftables.Conn) error) (transaction, error) {
	var batch []netlink.Message
	done := netlink.Message{Header: netlink.Header{Type: netlink.Error}, Data: make([]byte, 4)}
	c, err := nftables.New(nftables.WithTestDial(func(sent []netlink.Message) ([]netlink.Message, error) {
		if len(sent) == 0 {
			return []netlink.Message{done}, nil
		}
		batch = append(batch, sent...)
		return nil, nil
	}))
	if err != nil {
		return nil, err
	}
	if err := errors.Join(change(c), c.Flush()); err != nil {
		return nil, err
	}
	var out transaction
	for i, m := range batch {
		m.Header.Flags &^= netlink.Acknowledge | netlink.Echo
		if i == len(batch)-2 { // the end of the batch is behind it
			m.Header.Flags |= netlink.Acknowledge
		}
		m.Header.Sequence, m.Header.PID = transactionSeq, 0
		b, err := m.MarshalBinary()
		if err != nil {
			return nil, err
		}
		out = append(out, b...)
	}
	return out, nil
}

// transact has a transaction carried out in the socket's namespace.
func (s *socket) transact(t transaction) error {
	if err := s.send(t); err != nil {
		return err
	}
	return s.answered(transactionSeq, nil)
}

// transactions are what is done to natlab's table in each namespace of a session.
type transactions struct {
	make   transaction // replaces it, a leftover of a run that crashed included
	empty  transaction // takes its rules out: no packet comes to a queue any more, and none is dropped, as deleting a chain drops those that wait
	remove transaction
	later  [2]transaction // whether its taps copy the later packets of TCP connections, too: no, yes
}

// transactionsOf are those of a family, with what the taps do with packets.
func transactionsOf(f nat.Family, take feed) (t transactions, err error) {
	l := layoutOf(f)
	own := l.own()
	for _, one := range []struct {
		to     *transaction
		change func(*nftables.Conn) error
	}{
		{&t.make, func(c *nftables.Conn) error { return makeTable(c, l, take) }},
		{&t.empty, func(c *nftables.Conn) error { c.FlushTable(own); return nil }},
		{&t.remove, func(c *nftables.Conn) error { removeTable(c, own); return nil }},
		{&t.later[0], func(c *nftables.Conn) error { passLater(c, l); return nil }},
		{&t.later[1], func(c *nftables.Conn) error { watchLater(c, l); return nil }},
	} {
		if *one.to, err = written(one.change); err != nil {
			return t, fmt.Errorf("write table %s: %w", l.ownName(), err)
		}
	}
	return t, nil
}

// tableError tells what was done to natlab's table where it failed. A table that is not there cannot be emptied, and need not.
func (m *member) tableError(what string, err error) error {
	if err == nil || errors.Is(err, unix.ENOENT) && what == "empty" {
		return nil
	}
	return fmt.Errorf("%s table %s: %w", what, m.own, err)
}
