package witness

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"natlab/lab/nfqueue"
)

// socket is one nfnetlink socket. It is not safe for concurrent use: its member's lock guards it. mdlayher/netlink is
// not used for these, since a reader of its own would stand between Drain and the kernel: what Drain promises is that
// nothing which the kernel had queued is left, and only a read that would block can tell.
type socket struct {
	file *os.File // owns fd; lets the runtime's poller wait for it
	fd   int
	seq  uint32
	lost uint64 // messages that found the receive buffer full, as far as SO_MEMINFO has told
	buf  []byte // for the answers to requests; nil before the first

	quiet bool // nobody waits for what comes
}

// openSocket opens an nfnetlink socket in the namespace of this thread, for which the runtime's poller waits.
func openSocket(buffer int) (*socket, error) { return open(buffer, false) }

// openQuiet opens one that nobody waits for: what comes to it wakes no thread, and stays until it is read. Where the kernel gives it less
// room than it should have, it is not quiet.
func openQuiet(buffer int) (*socket, error) { return open(buffer, true) }

func open(buffer int, quiet bool) (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open nfnetlink: %w", err)
	}
	s := &socket{fd: fd}
	if err = s.prepare(buffer); err == nil && quiet {
		s.quiet, err = s.hasRoom(buffer)
	}
	if !s.quiet {
		err = errors.Join(err, unix.SetNonblock(fd, true))
	}
	s.file = os.NewFile(uintptr(fd), "nfnetlink") // the poller takes what does not block by now
	if err = errors.Join(err, unix.SetNonblock(fd, true)); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *socket) prepare(buffer int) error {
	if err := unix.Bind(s.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("bind nfnetlink: %w", err)
	}
	if err := nfqueue.ReceiveBuffer(s.fd, buffer); err != nil {
		return fmt.Errorf("nfnetlink: %w", err)
	}
	// Loss is read from the socket's drop counter, exactly; ENOBUFS would only mean "some".
	if err := unix.SetsockoptInt(s.fd, unix.SOL_NETLINK, unix.NETLINK_NO_ENOBUFS, 1); err != nil {
		return fmt.Errorf("set NETLINK_NO_ENOBUFS: %w", err)
	}
	return nil
}

// hasRoom reports whether the receive buffer is as large as was asked for: without CAP_NET_ADMIN over the machine it may be smaller.
func (s *socket) hasRoom(buffer int) (bool, error) {
	got, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	if err != nil {
		return false, fmt.Errorf("nfnetlink: the size of the receive buffer: %w", err)
	}
	return got >= buffer, nil
}

func (s *socket) close() error { return s.file.Close() }

// join subscribes to a multicast group of nfnetlink.
func (s *socket) join(group int) error {
	return unix.SetsockoptInt(s.fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, group)
}

// dropped is the number of messages that the kernel could not queue to this socket since it was opened.
func (s *socket) dropped() uint64 {
	var info [skMeminfoVars]uint32
	if err := getsockopt(s.fd, unix.SOL_SOCKET, unix.SO_MEMINFO, info[:]); err == nil {
		s.lost = uint64(info[skMeminfoDrops])
	}
	return s.lost
}

// SK_MEMINFO_DROPS and SK_MEMINFO_VARS of linux/sock_diag.h.
const (
	skMeminfoDrops = 8
	skMeminfoVars  = 9
)

// read takes one datagram, which may hold several messages. ok is false where the socket has nothing more.
func (s *socket) read(buf []byte) (n int, ok bool, err error) {
	for {
		n, err = unix.Read(s.fd, buf)
		switch {
		case err == nil:
			return n, n > 0, nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ENOBUFS): // counted by dropped
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EBADF):
			return 0, false, nil
		default:
			return 0, false, err
		}
	}
}

// request sends one message and waits for the kernel's answer to it; nfnetlink has queued that before sendmsg returns.
// Messages of other kinds that arrive before it are given to other, which may be nil.
func (s *socket) request(msg *message, other func(kind uint16, body []byte)) error {
	s.seq++
	seq := s.seq
	if err := s.send(msg.finish(seq)); err != nil {
		return err
	}
	return s.answered(seq, other)
}

// answered reads until the end of the answer to a request.
func (s *socket) answered(seq uint32, other func(kind uint16, body []byte)) error {
	size := readSize
	if other == nil {
		size = answerSize
	}
	if len(s.buf) < size {
		s.buf = make([]byte, size)
	}
	for {
		n, ok, err := s.read(s.buf)
		if err != nil {
			return err
		}
		if !ok {
			return errors.New("the kernel did not answer")
		}
		done, err := answer(s.buf[:n], seq, other)
		if done || err != nil {
			return err
		}
	}
}

// answerSize has room for an answer that tells nothing but whether a request was carried out: with an error comes the request.
const answerSize = 4 << 10

// answer looks through a datagram for the end of the request seq.
func answer(b []byte, seq uint32, other func(kind uint16, body []byte)) (done bool, err error) {
	for len(b) > 0 {
		var m frame
		if m, b, err = nextFrame(b); err != nil {
			return true, err
		}
		switch {
		case m.seq != seq || m.kind > unix.NLMSG_DONE:
			if other != nil {
				other(m.kind, m.body)
			}
		case m.kind == unix.NLMSG_ERROR && len(m.body) >= 4:
			if code := int32(binary.NativeEndian.Uint32(m.body)); code != 0 {
				return true, syscall.Errno(-code)
			}
			return true, nil
		case m.kind == unix.NLMSG_DONE:
			return true, nil
		}
	}
	return false, nil
}

// send hands one or more messages to the kernel.
func (s *socket) send(b []byte) error {
	for {
		_, err := unix.Write(s.fd, b)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// wait calls pump each time that the socket may have become readable, until the socket is closed. pump reads until the
// socket would block.
func (s *socket) wait(pump func()) {
	raw, err := s.file.SyscallConn()
	if err != nil {
		return
	}
	// The error is that of a socket that was closed.
	_ = raw.Read(func(uintptr) bool { pump(); return false })
}
