package traffic

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// kernelSCTP reports whether the kernel speaks SCTP itself: then it answers whatever comes, and its sockets have to be used (the calling
// thread's /proc/net/protocols). A module that is not loaded does not.
func kernelSCTP() bool {
	b, err := os.ReadFile("/proc/thread-self/net/protocols")
	return err == nil && bytes.Contains(b, []byte("\nSCTP "))
}

// listenKernelSCTP starts a server on the kernel's own socket, one to one like one of TCP (RFC 6458, 4). The caller's thread is in the
// namespace.
func listenKernelSCTP(at netip.AddrPort) (net.Listener, error) {
	family := unix.AF_INET
	if at.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), "sctp "+at.String())
	defer f.Close() //nolint:errcheck // the listener has a descriptor of its own
	if err := errors.Join(os.NewSyscallError("bind", unix.Bind(fd, sockaddr(at))), os.NewSyscallError("listen", unix.Listen(fd, unix.SOMAXCONN))); err != nil {
		return nil, err
	}
	return net.FileListener(f)
}
