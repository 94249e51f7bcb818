package traffic

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"natlab/nat"
	"natlab/nat/packet"
)

// The bits of TCP's flag byte.
const (
	flagSYN = 2
	flagACK = 16
)

// ErrNotReached is the class of a target that nothing comes to, so that nothing is known of what does not.
var ErrNotReached = errors.New("no packet reaches it")

// strayRounds is how often a stray is sent: one that comes by another CPU may come behind what was sent after it.
const strayRounds = 3

// StrayPasses reports whether a SYN-ACK that belongs to no connection comes from one namespace to an address of another: to every conntrack on the way such a packet is INVALID
// (nf_conntrack_proto_tcp.c: tcp_new). The client's ports are the two from src's on. Behind each stray goes a SYN, and when that is there the stray is, or is lost; where none
// comes before ctx ends it is ErrNotReached. IPv4 alone.
func StrayPasses(ctx context.Context, from, to Namespace, src, dst netip.AddrPort) (passes bool, err error) {
	in, err := rawTCP(to)
	if err != nil {
		return false, fmt.Errorf("listen for packets to %s: %w", dst, err)
	}
	defer unix.Close(in) //nolint:errcheck // it was read from alone
	known := netip.AddrPortFrom(src.Addr(), src.Port()+1)
	for round := range strayRounds {
		// Each round has another sequence number, by which a packet of an earlier one is known.
		stray := packet.Build(nat.TupleOf(nat.TCP, src, dst), packet.Fields{TCP: packet.TCP{Seq: uint32(round), Ack: 1, Flags: flagSYN | flagACK, Window: 0xffff}})
		syn := packet.Build(nat.TupleOf(nat.TCP, known, dst), packet.Fields{TCP: packet.TCP{Seq: uint32(round), Flags: flagSYN, Window: 0xffff}})
		for again := true; again; {
			if err := errors.Join(Inject(from, dst.Addr(), stray.Bytes()), Inject(from, dst.Addr(), syn.Bytes())); err != nil {
				return false, err
			}
			strayed, reached, err := arrivals(in, dst, uint32(round))
			if err != nil || strayed {
				return strayed, err
			}
			again = !reached
			if again && ctx.Err() != nil {
				return false, fmt.Errorf("%s: %w from %s", dst, ErrNotReached, src.Addr())
			}
		}
	}
	return false, nil
}

// strayWait is how long a SYN is waited for before another is sent.
const strayWait = 200 * time.Millisecond

func rawTCP(in Namespace) (fd int, err error) {
	err = in.Do(func() error {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
		return os.NewSyscallError("socket", err)
	})
	if err != nil {
		return -1, err
	}
	wait := unix.NsecToTimeval(strayWait.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
		return -1, errors.Join(os.NewSyscallError("setsockopt SO_RCVTIMEO", err), unix.Close(fd))
	}
	return fd, nil
}

// arrivals reads until a stray came, or the SYN of the round, or neither in time.
func arrivals(fd int, dst netip.AddrPort, round uint32) (strayed, reached bool, err error) {
	b := make([]byte, 1<<16)
	until := time.Now().Add(strayWait)
	for time.Now().Before(until) {
		n, err := unix.Read(fd, b)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return false, false, os.NewSyscallError("read", err)
		}
		p, err := packet.Parse(slices.Clone(b[:n]))
		if err != nil || p.Tuple().Dst() != dst {
			continue // somebody else's
		}
		switch h, is := p.TCP(); {
		case !is:
		case h.Flags == flagSYN|flagACK:
			return true, false, nil
		case h.Flags == flagSYN && h.Seq == round:
			return false, true, nil
		}
	}
	return false, false, nil
}
