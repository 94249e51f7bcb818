package traffic

import (
	"errors"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"natlab/nat"
)

// roomEach is how long a client waits before it sends again what its kernel had no room for: nothing tells when there is some.
const roomEach = 20 * time.Millisecond

// send hands the kernel all of b: a stream's bytes, or one packet. What the kernel had no room for it takes as lost on the way, as a client does
// that asks for no errors (ip(7), IP_RECVERR), and sends it again until the socket may wait no more.
func (c *Conn) send(b []byte) error {
	packets := c.tuple.Proto() == nat.UDP || c.sctp != nil
	for {
		var failed error
		err := c.raw.Write(func(fd uintptr) bool {
			var n int
			n, failed = unix.SendmsgN(int(fd), b, nil, nil, unix.MSG_NOSIGNAL)
			if failed == nil && n < len(b) {
				b = b[n:]
				return false
			}
			return !errors.Is(failed, unix.EAGAIN)
		})
		switch {
		case err != nil || !packets:
		case errors.Is(failed, unix.EPERM):
			return nil // the namespace's own rules dropped it; where one of them rejects, the ICMP error tells
		case c.noRoom(failed):
			time.Sleep(roomEach)
			continue
		}
		return errors.Join(err, os.NewSyscallError("send", failed))
	}
}

// noRoom reports whether a packet was lost in the client's own kernel for want of room: in a device's queue, or in the table of neighbours, which all
// namespaces share (net.ipv4.neigh.default.gc_thresh3). For the latter IPv6 says EINVAL (ip6_finish_output2), as it does for a blackhole route,
// to which no socket can be connected.
func (c *Conn) noRoom(failed error) (full bool) {
	switch {
	case errors.Is(failed, unix.ENOBUFS):
		return true
	case !errors.Is(failed, unix.EINVAL) || !c.tuple.Dst().Addr().Is6():
		return false
	}
	_ = c.raw.Control(func(fd uintptr) { full = unix.Connect(int(fd), sockaddr(c.peer())) == nil })
	return full
}

// peer is where the socket is connected: a raw one has no port.
func (c *Conn) peer() netip.AddrPort {
	if c.sctp != nil {
		return netip.AddrPortFrom(c.tuple.Dst().Addr(), 0)
	}
	return c.tuple.Dst()
}
