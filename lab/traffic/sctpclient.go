package traffic

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"natlab/nat"
)

// The source ports of clients that leave the choice to the kernel, which has none of SCTP to give: those that it gives others.
const (
	firstPort = 32768
	ports     = 28232
)

// association is a client's end, over a raw socket that is connected: the kernel hands it what comes from where it asked, and nothing else.
type association struct {
	side
	conn    *Conn
	refused *Failure // the ICMP error that came
	ended   bool     // the server has shut it down
}

// openSCTP makes a raw socket that asks a tuple's destination. The caller's thread is in the namespace.
func openSCTP(t nat.Tuple) (*Conn, error) {
	family := unix.AF_INET
	if t.Dst().Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	port := t.Src().Port()
	if port == 0 {
		port = firstPort + uint16(rand.N(ports)) // #nosec G404 -- nothing to keep secret
	}
	bare := nat.TupleOf(nat.SCTP, netip.AddrPortFrom(t.Src().Addr(), 0), t.Dst())
	if err := start(fd, bare); err != nil {
		_ = unix.Close(fd) // nothing was sent by it
		return nil, err
	}
	c := &Conn{tuple: t, file: os.NewFile(uintptr(fd), t.String())}
	c.sctp = &association{side: newSide(port, t.Dst().Port()), conn: c}
	if c.raw, err = c.file.SyscallConn(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// open makes the association: INIT, INIT ACK, COOKIE ECHO, COOKIE ACK.
func (a *association) open() error {
	first := sctpPacket{a.src, a.dst, 0, []chunk{{kind: chunkInit, value: a.init()}}}
	if err := a.send(first.bytes()); err != nil {
		return err
	}
	for {
		p, err := a.receive()
		if err != nil {
			return err
		}
		for _, c := range p.chunks {
			switch c.kind {
			case chunkInitAck:
				if err := a.heard(c.value); err != nil {
					return err
				}
				if err := a.send(a.packet(chunk{kind: chunkCookieEcho, value: cookieIn(c.value)})); err != nil {
					return err
				}
			case chunkCookieAck:
				return nil
			}
		}
	}
}

// cookieIn is the state cookie of an INIT ACK; nil where it has none.
func cookieIn(value []byte) []byte {
	for rest := value[initFixed:]; len(rest) >= chunkHeader; {
		kind, n := binary.BigEndian.Uint16(rest), int(binary.BigEndian.Uint16(rest[2:]))
		if n < chunkHeader || n > len(rest) {
			return nil
		}
		if kind == stateCookie {
			return rest[chunkHeader:n]
		}
		rest = rest[min(len(rest), (n+3)&^3):]
	}
	return nil
}

// write sends a message.
func (a *association) write(message []byte) error {
	for _, p := range a.data(message) {
		if err := a.send(p); err != nil {
			return err
		}
	}
	return nil
}

// read waits for a message; 0 and no error is the end of the association.
func (a *association) read(b []byte) (int, error) {
	for !a.ended {
		p, err := a.receive()
		if err != nil {
			return 0, err
		}
		for _, c := range p.chunks {
			message, err := a.take(c)
			if err != nil {
				return 0, err
			}
			if message != nil {
				return copy(b, message), nil
			}
		}
	}
	return 0, nil
}

// take does what a chunk asks for.
func (a *association) take(c chunk) (message []byte, err error) {
	switch c.kind {
	case chunkData:
		message, sack := a.took(c)
		return message, a.send(sack)
	case chunkSack:
		a.sacked(c)
	case chunkShutdown:
		return nil, a.send(a.packet(chunk{kind: chunkShutdownAck}))
	case chunkShutdownComplete:
		a.ended = true
	}
	return nil, nil
}

// abandon tells the server that the client is gone, where it has not ended the association itself.
func (a *association) abandon() {
	if a.peer != 0 && !a.ended {
		_ = a.send(a.packet(chunk{kind: chunkAbort})) // whoever does not hear of it goes on waiting
	}
}

func (a *association) send(packet []byte) error { return a.conn.send(packet) }

// receive waits for the next packet of the association. The raw socket gets those of others with the same two addresses as well.
func (a *association) receive() (sctpPacket, error) {
	buf := make([]byte, maxLine)
	for {
		var n int
		var failed error
		err := a.conn.raw.Read(func(fd uintptr) bool {
			n, _, failed = unix.Recvfrom(int(fd), buf, 0)
			if failed != nil && !errors.Is(failed, unix.EAGAIN) {
				a.complaint(int(fd), failed)
			}
			return !errors.Is(failed, unix.EAGAIN)
		})
		switch {
		case err != nil:
			return sctpPacket{}, err
		case a.refused != nil:
			return sctpPacket{}, os.NewSyscallError("receive", a.refused.Err)
		case failed != nil: // an ICMP error about another association
			continue
		}
		p, ok := parseSCTP(transport(buf[:n], a.conn.tuple.Dst().Addr()))
		if !ok || p.src != a.dst || p.dst != a.src {
			continue
		}
		abort := p.chunks[0].kind == chunkAbort
		if reflected := abort && p.chunks[0].flags&flagReflected != 0 && p.tag == a.peer; p.tag != a.mine && !reflected {
			continue
		}
		if abort {
			return sctpPacket{}, os.NewSyscallError("receive", a.aborted())
		}
		return p, nil
	}
}

// aborted is what an ABORT means: nobody listens, or the association is over.
func (a *association) aborted() error {
	if a.conn.made {
		return unix.ECONNRESET
	}
	return unix.ECONNREFUSED
}

// complaint reads the ICMP errors behind a failure and keeps one about this association: they quote its ports (RFC 792, RFC 4443).
func (a *association) complaint(fd int, failed error) {
	for {
		var data, control [512]byte
		n, m, _, _, err := unix.Recvmsg(fd, data[:], control[:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		if err != nil {
			return
		}
		if n < 4 || binary.BigEndian.Uint16(data[:]) != a.src || binary.BigEndian.Uint16(data[2:]) != a.dst {
			continue
		}
		f := &Failure{Err: failed}
		if f.readControl(control[:m]); f.Kind == Unreachable {
			a.refused = f
			return
		}
	}
}
