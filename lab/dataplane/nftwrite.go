package dataplane

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"natlab/nat/nftnl"
)

// WriteNFT carries a transaction out in a namespace, by netlink: all of it, or nothing, and the error is a *RefusedError then. What natlab does not
// write is nftnl.ErrUnwritten, and nothing is sent.
func WriteNFT(ns Namespace, tx nftnl.Transaction) error {
	return ns.Do(func() error {
		var err error
		if tx.Devices, err = deviceIndices(); err != nil {
			return err
		}
		messages, err := nftnl.Encode(tx)
		if err != nil || len(messages) == 0 {
			return err
		}
		s, err := openNFNetlink()
		if err != nil {
			return err
		}
		defer s.close()
		return s.transaction(tx, messages)
	})
}

// transaction sends all messages at once, and waits for the kernel's word on the last: it tells of what it refuses before. The end of a batch is
// acknowledged by newer kernels alone.
func (s *nfnetlink) transaction(tx nftnl.Transaction, messages []nftnl.Message) error {
	size := 2 * netlinkHead
	for i := range messages {
		size += netlinkHead + len(messages[i].Attrs) + 4
	}
	b := s.message(make([]byte, 0, size), unix.NFNL_MSG_BATCH_BEGIN, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil)
	first := s.seq
	for i, m := range messages {
		flags := m.Flags
		if i == len(messages)-1 {
			flags |= unix.NLM_F_ACK
		}
		b = s.message(b, m.Kind, flags, m.Family, 0, m.Attrs)
	}
	last := s.seq
	b = s.message(b, unix.NFNL_MSG_BATCH_END, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil)
	if err := s.send(b); err != nil {
		return err
	}
	var refused error
	for over := false; !over; {
		err := s.receive(func(r reply) error {
			if r.kind != unix.NLMSG_ERROR || r.seq < first || r.seq > last {
				return nil
			}
			over = over || r.seq == last || r.seq == first && r.status() != nil
			if err := r.status(); err != nil && refused == nil {
				refused = refusedBy(tx, messages, int(r.seq)-int(first)-1, err)
			}
			return nil
		})
		if errors.Is(err, unix.ENOBUFS) { // more refusals than there is room for: the first ones are there
			continue
		}
		if err != nil {
			return err
		}
	}
	return refused
}

// refusedBy names the command that the kernel refused; one of the whole batch has none.
func refusedBy(tx nftnl.Transaction, messages []nftnl.Message, at int, why error) error {
	refused := &RefusedError{Program: "nf_tables", Reason: why.Error()}
	if at >= 0 && at < len(messages) {
		refused.Reason = fmt.Sprintf("table %s %s: %s: %s", tx.Family, tx.Table, &tx.Commands[messages[at].Command], why)
	}
	return refused
}

// send hands a batch to the kernel, which takes it as a whole or not at all.
func (s *nfnetlink) send(b []byte) error {
	room := len(b) + len(b)/4 + 4096
	if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, room); err != nil {
		_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, room) // as much as is allowed; too little is told by sendto
	}
	if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 1<<20); err != nil {
		_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<20) // as above
	}
	err := unix.Sendto(s.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	if errors.Is(err, unix.EMSGSIZE) {
		return fmt.Errorf("a transaction of %d bytes: net.core.wmem_max does not allow a message so long here: %w", len(b), ErrUnsupported)
	}
	return os.NewSyscallError("sendto", err)
}
