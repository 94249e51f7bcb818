package traffic

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"natlab/nat"
)

// DontFragment has the kernel send a UDP Conn's datagrams whole, or not at all: with DF set in IPv4, without a fragment header in IPv6. What is
// longer than the path's MTU, as far as the kernel knows that, is an error of Probe (IP_PMTUDISC_DO).
func (c *Conn) DontFragment() error {
	level, option, value := unix.SOL_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO
	if c.tuple.Dst().Addr().Is6() {
		level, option, value = unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DO
	}
	var failed error
	err := c.raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), level, option, value) })
	return errors.Join(err, os.NewSyscallError("setsockopt MTU_DISCOVER", failed))
}

// PathMTU is what the kernel knows of the path's MTU, in bytes with the IP header (IP_MTU, IPV6_MTU).
func (c *Conn) PathMTU() (n int, err error) {
	level, option := unix.SOL_IP, unix.IP_MTU
	if c.tuple.Dst().Addr().Is6() {
		level, option = unix.SOL_IPV6, unix.IPV6_MTU
	}
	controlErr := c.raw.Control(func(fd uintptr) { n, err = unix.GetsockoptInt(int(fd), level, option) })
	return n, errors.Join(controlErr, os.NewSyscallError("getsockopt MTU", err))
}

// ErrTooLong is a datagram that may not be split and does not fit: the sender's own kernel or a router on the way told so.
var ErrTooLong = errors.New("the datagram is longer than the path's MTU")

// MaxProbe is how many bytes a Probe's datagram may have: those that fit into a line with its answer.
const MaxProbe = MaxSize

// Probe sends a datagram of exactly size bytes from a UDP Conn and waits for its answer, which is longer. Datagrams of one size that are sent from
// one Conn have one answer: that to any of them will do.
func (c *Conn) Probe(ctx context.Context, size int) (Answer, error) {
	if c.tuple.Proto() != nat.UDP || size < 1 || size > MaxProbe {
		return Answer{}, fmt.Errorf("probe of %d bytes over %s: want 1 to %d over udp", size, c.tuple.Proto(), MaxProbe)
	}
	defer c.until(ctx)()
	payload := strings.Repeat("x", size)
	if err := c.write([]byte(payload)); err != nil {
		return Answer{}, c.long(err)
	}
	a, err := c.receive(payload)
	return a, c.long(err)
}

// long tells ErrTooLong apart.
func (c *Conn) long(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EMSGSIZE), tooLong(err):
		return fmt.Errorf("%w: %w", ErrTooLong, err)
	}
	if f, ok := errors.AsType[*Failure](err); ok {
		return f
	}
	return c.failure(err)
}
