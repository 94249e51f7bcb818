package nfqueue

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ReceiveBuffer gives a socket a receive buffer of so many bytes. Who has no CAP_NET_ADMIN over the machine, as inside a user namespace, gets as
// much as net.core.rmem_max allows (sk_setsockopt in net/core/sock.c): what finds no room is lost then, and counted by the kernel all the same.
func ReceiveBuffer(fd, bytes int) error {
	return buffer(fd, bytes, "receive", unix.SO_RCVBUFFORCE, unix.SO_RCVBUF)
}

// sendBuffer is ReceiveBuffer of the other direction, by net.core.wmem_max.
func sendBuffer(fd, bytes int) error {
	return buffer(fd, bytes, "send", unix.SO_SNDBUFFORCE, unix.SO_SNDBUF)
}

func buffer(fd, bytes int, direction string, force, ask int) error {
	err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, bytes)
	if errors.Is(err, unix.EPERM) {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, ask, bytes)
	}
	if err != nil {
		return fmt.Errorf("set the socket's %s buffer to %d bytes: %w", direction, bytes, err)
	}
	return nil
}
