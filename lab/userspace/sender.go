package userspace

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"natlab/nat/gateway"
	"natlab/nat/packet"
)

// sender sends packets as they are. They pass OUTPUT and POSTROUTING as any other of the namespace.
type sender struct{ sockets [2]rawSocket }

type rawSocket struct {
	fd   int
	mark uint32 // that it sends with now
}

// openSender opens raw sockets in the namespace of this thread.
func openSender() (*sender, error) {
	s := &sender{}
	for i, domain := range []int{unix.AF_INET, unix.AF_INET6} {
		fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_RAW)
		if err != nil {
			fd = -1
			if domain == unix.AF_INET || !errors.Is(err, unix.EAFNOSUPPORT) {
				return nil, errors.Join(fmt.Errorf("raw socket: %w", err), s.close())
			}
		}
		s.sockets[i].fd = fd
	}
	// An answer of the kernel's may be to a broadcast address, too.
	if err := unix.SetsockoptInt(s.sockets[0].fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1); err != nil {
		return nil, errors.Join(fmt.Errorf("raw socket: %w", err), s.close())
	}
	return s, nil
}

func (s *sender) send(a gateway.Answer) error {
	p, err := packet.Parse(a.Packet)
	if err != nil {
		return err
	}
	dst := p.Tuple().Dst().Addr()
	if a.Via.IsValid() { // the route is that of the address that is told with the packet (FLOWI_FLAG_KNOWN_NH in raw_sendmsg)
		dst = a.Via
	}
	var to unix.Sockaddr
	one := &s.sockets[0]
	if p.V6() {
		one, to = &s.sockets[1], &unix.SockaddrInet6{Addr: dst.As16()}
	} else {
		to = &unix.SockaddrInet4{Addr: dst.As4()}
	}
	if one.mark != a.Mark {
		if err := unix.SetsockoptInt(one.fd, unix.SOL_SOCKET, unix.SO_MARK, int(a.Mark)); err != nil {
			return err
		}
		one.mark = a.Mark
	}
	// A socket that is bound would keep the packet at its device where rules have the kernel route it anew (ip_route_me_harder).
	by, err := one.by(a.Dev, p.V6())
	if err != nil {
		return err
	}
	return unix.Sendmsg(one.fd, a.Packet, by, to, 0)
}

// by is the control message that has a packet leave by a device of the socket's namespace; "" needs none.
func (r *rawSocket) by(dev string, v6 bool) ([]byte, error) {
	if dev == "" {
		return nil, nil
	}
	ask, err := unix.NewIfreq(dev)
	if err != nil {
		return nil, err
	}
	if err := unix.IoctlIfreq(r.fd, unix.SIOCGIFINDEX, ask); err != nil {
		return nil, err
	}
	if v6 {
		return unix.PktInfo6(&unix.Inet6Pktinfo{Ifindex: ask.Uint32()}), nil
	}
	return unix.PktInfo4(&unix.Inet4Pktinfo{Ifindex: int32(ask.Uint32())}), nil //nolint:gosec // as the kernel has it
}

func (s *sender) close() error {
	var errs []error
	for i := range s.sockets {
		if fd := s.sockets[i].fd; fd > 0 {
			errs = append(errs, unix.Close(fd))
			s.sockets[i].fd = -1
		}
	}
	return errors.Join(errs...)
}
