package traffic

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// responder is a server of SCTP: a raw socket bound to its address, and the associations of its port.
type responder struct {
	*server
	file *os.File
	raw  syscall.RawConn
	at   netip.AddrPort
	open map[netip.AddrPort]*served // by the client
}

// served is the server's end of an association.
type served struct {
	side
	closing bool // to be shut down once all is acknowledged
}

// listenSCTP starts a server.
func (s *server) listenSCTP(ns Namespace, at netip.AddrPort) error {
	family := unix.AF_INET
	if at.Addr().Is6() {
		family = unix.AF_INET6
	}
	r := &responder{server: s, at: at, open: map[netip.AddrPort]*served{}}
	var kernels net.Listener
	err := ns.Do(func() (err error) {
		if kernelSCTP() {
			kernels, err = listenKernelSCTP(at)
			return err
		}
		fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(at.Addr(), 0))); err != nil {
			return errors.Join(os.NewSyscallError("bind", err), unix.Close(fd))
		}
		r.file = os.NewFile(uintptr(fd), "sctp "+at.String())
		return nil
	})
	if err != nil {
		return err
	}
	if kernels != nil {
		s.track(kernels)
		s.wait.Go(func() { s.accept(kernels) })
		return nil
	}
	if r.raw, err = r.file.SyscallConn(); err != nil {
		return errors.Join(err, r.file.Close())
	}
	s.track(r.file)
	s.wait.Go(func() {
		defer s.drop(r.file)
		r.serve()
	})
	return nil
}

// serve answers packets until the socket is closed.
func (r *responder) serve() {
	buf := make([]byte, 1<<16)
	for {
		var n int
		var from unix.Sockaddr
		var failed error
		err := r.raw.Read(func(fd uintptr) bool {
			n, from, failed = unix.Recvfrom(int(fd), buf, 0)
			return !errors.Is(failed, unix.EAGAIN)
		})
		if err != nil {
			return
		}
		p, ok := parseSCTP(transport(buf[:max(n, 0)], r.at.Addr()))
		if failed != nil || !ok || p.dst != r.at.Port() {
			continue
		}
		peer := netip.AddrPortFrom(addrOf(from), p.src)
		for _, c := range p.chunks {
			for _, answer := range r.chunk(peer, p.tag, c) {
				r.send(peer, answer)
			}
		}
	}
}

// addrOf is the address of a raw socket's peer.
func addrOf(sa unix.Sockaddr) netip.Addr {
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(a.Addr)
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(a.Addr)
	}
	return netip.Addr{}
}

func (r *responder) send(to netip.AddrPort, packet []byte) {
	_ = r.raw.Write(func(fd uintptr) bool { // a client that went away needs no answer
		err := unix.Sendto(int(fd), packet, unix.MSG_NOSIGNAL, sockaddr(netip.AddrPortFrom(to.Addr(), 0)))
		return !errors.Is(err, unix.EAGAIN)
	})
}

// chunk is what answers a chunk. Nothing is kept of a client before its cookie comes back.
func (r *responder) chunk(peer netip.AddrPort, tag uint32, c chunk) [][]byte {
	switch c.kind {
	case chunkInit:
		s := newSide(r.at.Port(), peer.Port())
		if s.heard(c.value) != nil {
			return nil
		}
		return [][]byte{s.packet(chunk{kind: chunkInitAck, value: s.init(s.cookie()...)})}
	case chunkCookieEcho:
		s, ok := remembered(r.at.Port(), peer.Port(), c.value)
		if !ok || tag != s.mine {
			return nil
		}
		r.open[peer] = &served{side: s}
		return [][]byte{s.packet(chunk{kind: chunkCookieAck})}
	}
	s := r.open[peer]
	if s == nil || tag != s.mine {
		if c.kind == chunkAbort || c.kind == chunkShutdownComplete {
			return nil
		}
		lost := sctpPacket{r.at.Port(), peer.Port(), tag, []chunk{{kind: chunkAbort, flags: flagReflected}}} // out of the blue (8.4)
		return [][]byte{lost.bytes()}
	}
	return r.within(peer, s, c)
}

// within is what answers a chunk of an association.
func (r *responder) within(peer netip.AddrPort, s *served, c chunk) [][]byte {
	switch c.kind {
	case chunkData:
		message, sack := s.took(c)
		if message == nil {
			return [][]byte{sack}
		}
		request := strings.TrimRight(string(message), "\r\n")
		word, _, _ := strings.Cut(request, " ")
		s.closing = word == askWord
		return append([][]byte{sack}, s.data(r.answer(request, peer, r.at))...)
	case chunkSack:
		if s.sacked(c) && s.closing {
			return [][]byte{s.shutdown()}
		}
	case chunkHeartbeat:
		return [][]byte{s.packet(chunk{kind: chunkHeartbeatAck, value: c.value})}
	case chunkShutdown:
		return [][]byte{s.packet(chunk{kind: chunkShutdownAck})}
	case chunkShutdownAck:
		delete(r.open, peer)
		return [][]byte{s.packet(chunk{kind: chunkShutdownComplete})}
	case chunkAbort, chunkShutdownComplete:
		delete(r.open, peer)
	}
	return nil
}

// cookie is the parameter that has all of an end that is not kept.
func (s *side) cookie() []byte {
	b := []byte{0, stateCookie, 0, chunkHeader + cookieSize}
	for _, n := range []uint32{s.mine, s.peer, s.next, s.got} {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return b
}

// remembered is the end that a cookie has.
func remembered(src, dst uint16, cookie []byte) (side, bool) {
	if len(cookie) != cookieSize {
		return side{}, false
	}
	n := func(i int) uint32 { return binary.BigEndian.Uint32(cookie[4*i:]) }
	return side{src: src, dst: dst, mine: n(0), peer: n(1), next: n(2), acked: n(2) - 1, got: n(3)}, true
}
