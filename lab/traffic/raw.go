package traffic

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Values of linux/tcp.h for TCP_REPAIR and TCP_REPAIR_QUEUE.
const (
	repairOn       = 1
	repairOff      = -1 // TCP_REPAIR_OFF_NO_WP: without the window probe that would change what is looked at
	repairReceived = 1  // TCP_RECV_QUEUE
	repairSent     = 2  // TCP_SEND_QUEUE
)

// Sequence tells a TCP connection's own next sequence number and the one that it expects of the server, host byte order
// (TCP_REPAIR, TCP_QUEUE_SEQ). It needs CAP_NET_ADMIN in the socket's namespace.
func (c *Conn) Sequence() (next, expected uint32, err error) {
	read := func(fd, queue int) (uint32, error) {
		if err := unix.SetsockoptInt(fd, unix.SOL_TCP, unix.TCP_REPAIR_QUEUE, queue); err != nil {
			return 0, os.NewSyscallError("setsockopt TCP_REPAIR_QUEUE", err)
		}
		n, err := unix.GetsockoptInt(fd, unix.SOL_TCP, unix.TCP_QUEUE_SEQ)
		return uint32(n), os.NewSyscallError("getsockopt TCP_QUEUE_SEQ", err)
	}
	controlErr := c.raw.Control(func(s uintptr) {
		fd := int(s)
		if err = unix.SetsockoptInt(fd, unix.SOL_TCP, unix.TCP_REPAIR, repairOn); err != nil {
			err = os.NewSyscallError("setsockopt TCP_REPAIR", err)
			return
		}
		var sent, received error
		next, sent = read(fd, repairSent)
		expected, received = read(fd, repairReceived)
		err = errors.Join(sent, received, os.NewSyscallError("setsockopt TCP_REPAIR", unix.SetsockoptInt(fd, unix.SOL_TCP, unix.TCP_REPAIR, repairOff)))
	})
	if err = errors.Join(controlErr, err); err != nil {
		return 0, 0, fmt.Errorf("sequence numbers of %s: %w", c.tuple, err)
	}
	return next, expected, nil
}

// Inject sends an IPv4 packet, headers and all, from a namespace as a process of its own would: through OUTPUT and
// POSTROUTING, by the route to dst.
func Inject(ns Namespace, dst netip.Addr, packet []byte) error {
	err := ns.Do(func() error {
		family := unix.AF_INET
		if dst.Is6() {
			family = unix.AF_INET6
		}
		fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW) // implies IP_HDRINCL, and IPV6_HDRINCL
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		var to unix.Sockaddr
		if dst.Is6() {
			to = &unix.SockaddrInet6{Addr: dst.As16()}
		} else {
			to = &unix.SockaddrInet4{Addr: dst.As4()}
		}
		sent := unix.Sendto(fd, packet, 0, to)
		return errors.Join(os.NewSyscallError("sendto", sent), unix.Close(fd))
	})
	if err != nil {
		return fmt.Errorf("inject a packet to %s: %w", dst, err)
	}
	return nil
}
