package traffic

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"natlab/nat"
)

// The deadlines of a socket that may wait, and of one that may not any more.
var (
	noDeadline = time.Time{}
	longAgo    = time.Unix(1, 0)
)

// Start makes a socket for each tuple and starts to connect it; it enters the namespace once. Either the Conn or the error of
// a tuple is nil. A Conn is for AskOnce, each with a context of its own.
func Start(ns Namespace, tuples []nat.Tuple) ([]*Conn, []error) {
	return startWith(ns, tuples, func(int, nat.Tuple) error { return nil })
}

// startWith starts sockets that were prepared before anything is sent by them.
func startWith(ns Namespace, tuples []nat.Tuple, prepare func(fd int, t nat.Tuple) error) ([]*Conn, []error) {
	conns, errs := make([]*Conn, len(tuples)), make([]error, len(tuples))
	entered := ns.Do(func() error {
		for i, t := range tuples {
			conns[i], errs[i] = open(t, prepare)
		}
		return nil
	})
	for i, t := range tuples {
		if err := errors.Join(entered, errs[i]); err != nil && conns[i] == nil {
			f := &Failure{Tuple: t, Err: err}
			f.classify()
			errs[i] = f
		}
	}
	return conns, errs
}

// open makes a non-blocking socket, binds it where the tuple has a source, and starts to connect it. The caller's
// thread is in the namespace.
func open(t nat.Tuple, prepare func(fd int, t nat.Tuple) error) (*Conn, error) {
	family := unix.AF_INET
	if t.Dst().Addr().Is6() {
		family = unix.AF_INET6
	}
	kind, protocol := unix.SOCK_STREAM, 0
	switch t.Proto() {
	case nat.TCP:
	case nat.UDP:
		kind = unix.SOCK_DGRAM
	case nat.SCTP:
		if !kernelSCTP() {
			return openSCTP(t)
		}
		protocol = unix.IPPROTO_SCTP
	default:
		return nil, fmt.Errorf("protocol %s has no client here", t.Proto())
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := errors.Join(prepare(fd, t), start(fd, t)); err != nil {
		_ = unix.Close(fd) // nothing was sent by it
		return nil, err
	}
	// Only now: a socket that is not connecting yet reports itself as hung up when the poller takes it in.
	c := &Conn{tuple: t, file: os.NewFile(uintptr(fd), t.String())}
	if c.raw, err = c.file.SyscallConn(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func start(fd int, t nat.Tuple) error {
	level, option := unix.SOL_IP, unix.IP_RECVERR
	if t.Dst().Addr().Is6() {
		level, option = unix.SOL_IPV6, unix.IPV6_RECVERR
	}
	if err := unix.SetsockoptInt(fd, level, option, 1); err != nil {
		return os.NewSyscallError("setsockopt RECVERR", err)
	}
	if src := t.Src(); src.Addr().IsValid() || src.Port() != 0 {
		if err := bind(fd, t); err != nil {
			return err
		}
	}
	err := unix.Connect(fd, sockaddr(t.Dst()))
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return os.NewSyscallError("connect", err)
	}
	return nil
}

func bind(fd int, t nat.Tuple) error {
	src := t.Src()
	if !src.Addr().IsValid() {
		src = netip.AddrPortFrom(netip.IPv4Unspecified(), src.Port())
		if t.Dst().Addr().Is6() {
			src = netip.AddrPortFrom(netip.IPv6Unspecified(), src.Port())
		}
	}
	if t.Proto() == nat.TCP {
		// A fixed port may still be in TIME_WAIT towards another server; a free one is best chosen when both ends are known.
		level, option := unix.SOL_SOCKET, unix.SO_REUSEADDR
		if src.Port() == 0 {
			level, option = unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT
		}
		if err := unix.SetsockoptInt(fd, level, option, 1); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	if err := unix.Bind(fd, sockaddr(src)); err != nil {
		return fmt.Errorf("bind to %s: %w", src, err)
	}
	return nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// connected waits until a TCP connection or an SCTP association is made or has failed.
func (c *Conn) connected() error {
	if c.sctp != nil && !c.made {
		err := c.sctp.open()
		c.made = err == nil
		return err
	}
	if c.tuple.Proto() == nat.UDP || c.sctp != nil {
		return nil
	}
	var failed error
	err := c.raw.Write(func(fd uintptr) bool {
		code, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		if err != nil || code != 0 {
			failed = errors.Join(err, os.NewSyscallError("connect", errno(code)))
			return true
		}
		_, err = unix.Getpeername(int(fd))
		return err == nil // ENOTCONN while the SYN is on its way
	})
	c.made = err == nil && failed == nil
	return errors.Join(err, failed)
}

// delayAcks has a TCP connection acknowledge as one does that goes on for longer: with what it sends itself, or every second segment. Of a new one the kernel acknowledges
// each segment (tcp_incr_quickack): packets that tell nothing, and go all the way. Of another protocol, and where it cannot be had, it does nothing.
func delayAcks(c syscall.Conn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_TCP, unix.TCP_QUICKACK, 0) })
}

// errno is nil for 0, which a unix.Errno is not.
func errno(code int) error {
	if code == 0 {
		return nil
	}
	return unix.Errno(code)
}

// write is send(2), as often as it takes: a stream's buffer may have less room than all needs.
func (c *Conn) write(b []byte) error {
	if c.sctp != nil {
		return c.sctp.write(b)
	}
	return c.send(b)
}

// read is recv(2): 0 and no error is the end of a stream, or an empty datagram.
func (c *Conn) read(b []byte) (n int, err error) {
	if c.sctp != nil {
		return c.sctp.read(b)
	}
	var failed error
	err = c.raw.Read(func(fd uintptr) bool {
		n, _, failed = unix.Recvfrom(int(fd), b, 0)
		return !errors.Is(failed, unix.EAGAIN)
	})
	if err := errors.Join(err, os.NewSyscallError("receive", failed)); err != nil {
		return 0, err
	}
	return n, nil
}

// name asks the kernel for one of the socket's two addresses; the zero value where it has none (any more).
func (c *Conn) name(which func(int) (unix.Sockaddr, error)) netip.AddrPort {
	var sa unix.Sockaddr
	if err := c.raw.Control(func(fd uintptr) { sa, _ = which(int(fd)) }); err != nil {
		return netip.AddrPort{}
	}
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	return netip.AddrPort{}
}

// failure is what err of this socket means.
func (c *Conn) failure(err error) *Failure {
	f := &Failure{Tuple: c.tuple, Local: c.Local(), Stage: c.Stage(), Err: err}
	f.classify()
	if c.made && f.Kind == Refused {
		f.Kind = Reset
	}
	if f.Kind == Timeout {
		return f
	}
	if c.sctp != nil && c.sctp.refused != nil {
		f.Kind, f.ICMPType, f.ICMPCode, f.Sender = Unreachable, c.sctp.refused.ICMPType, c.sctp.refused.ICMPCode, c.sctp.refused.Sender
		return f
	}
	_ = c.raw.Control(func(fd uintptr) { f.readErrorQueue(int(fd)) }) // without the queue the Failure tells less, but nothing wrong
	return f
}

func (f *Failure) classify() {
	switch {
	case errors.Is(f.Err, os.ErrDeadlineExceeded), errors.Is(f.Err, unix.ETIMEDOUT):
		f.Kind = Timeout
	case errors.Is(f.Err, unix.ECONNREFUSED) && f.Tuple.Proto() != nat.UDP:
		f.Kind = Refused
	case errors.Is(f.Err, unix.ECONNREFUSED), errors.Is(f.Err, unix.EHOSTUNREACH), errors.Is(f.Err, unix.ENETUNREACH),
		errors.Is(f.Err, unix.ENOPROTOOPT), errors.Is(f.Err, unix.EPROTO), errors.Is(f.Err, unix.EACCES), blackholed(f.Err):
		f.Kind = Unreachable
	case errors.Is(f.Err, unix.ECONNRESET), errors.Is(f.Err, unix.EPIPE), errors.Is(f.Err, unix.ENOTCONN):
		f.Kind = Reset
	}
}

// blackholed reports whether the sender's own kernel found a blackhole route (fib_props, net/ipv4/fib_semantics.c).
func blackholed(err error) bool {
	call, ok := errors.AsType[*os.SyscallError](err)
	return ok && (call.Syscall == "connect" || call.Syscall == "send") && errors.Is(call.Err, unix.EINVAL)
}

// readErrorQueue looks for the ICMP error behind a failure, which IP_RECVERR keeps with its sender (ip(7)). A
// refusal without one was a RST.
func (f *Failure) readErrorQueue(fd int) {
	var data [512]byte
	var control [512]byte
	_, n, _, _, err := unix.Recvmsg(fd, data[:], control[:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
	if err != nil {
		return
	}
	f.readControl(control[:n])
}

// readControl looks for the ICMP error in what stands beside a message of the error queue.
func (f *Failure) readControl(control []byte) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return
	}
	for _, m := range messages {
		is4 := m.Header.Level == unix.SOL_IP && m.Header.Type == unix.IP_RECVERR
		is6 := m.Header.Level == unix.SOL_IPV6 && m.Header.Type == unix.IPV6_RECVERR
		if (is4 || is6) && len(m.Data) >= 16 {
			f.readExtendedError(m.Data)
		}
	}
}

// readExtendedError reads a struct sock_extended_err (linux/errqueue.h) and the offender's socket address after it.
func (f *Failure) readExtendedError(b []byte) {
	origin, icmpType, icmpCode, offender := b[4], b[5], b[6], b[16:]
	if origin != unix.SO_EE_ORIGIN_ICMP && origin != unix.SO_EE_ORIGIN_ICMP6 {
		return
	}
	f.Kind, f.ICMPType, f.ICMPCode = Unreachable, icmpType, icmpCode
	if len(offender) < 8 {
		return
	}
	switch binary.NativeEndian.Uint16(offender) {
	case unix.AF_INET:
		f.Sender = netip.AddrFrom4([4]byte(offender[4:8]))
	case unix.AF_INET6:
		if len(offender) >= 24 {
			f.Sender = netip.AddrFrom16([16]byte(offender[8:24])).Unmap()
		}
	}
}
