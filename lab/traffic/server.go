package traffic

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"time"

	"natlab/nat"
)

// Serve answers every request to addr in the namespace under the given name, until the Closer is closed; Close waits
// for the last one and may be called twice. The address must be one of the namespace's own, since a server on a
// wildcard address would answer a datagram from whatever address the route back prefers. TCP, UDP and SCTP are known.
func Serve(ns Namespace, name string, proto nat.Proto, addr netip.AddrPort) (io.Closer, error) {
	if !addr.Addr().IsValid() || addr.Addr().IsUnspecified() {
		return nil, fmt.Errorf("serve %s as %q: %s is not one address", proto, name, addr)
	}
	s := &server{name: name, open: map[io.Closer]bool{}}
	var err error
	switch proto {
	case nat.TCP:
		err = s.listen(ns, addr)
	case nat.UDP:
		err = s.listenPacket(ns, addr)
	case nat.SCTP:
		err = s.listenSCTP(ns, addr)
	default:
		err = fmt.Errorf("protocol %s has no server here", proto)
	}
	if err != nil {
		return nil, fmt.Errorf("serve %s on %s as %q: %w", proto, addr, name, err)
	}
	return s, nil
}

// tryAgain is how long a server that cannot accept waits before it tries again.
const tryAgain = 10 * time.Millisecond

// server is one listening socket with all connections that came in by it.
type server struct {
	name string
	wait sync.WaitGroup

	mu     sync.Mutex
	closed bool               // under mu
	open   map[io.Closer]bool // under mu: the listening socket and the connections
}

func (s *server) listen(ns Namespace, addr netip.AddrPort) error {
	config := net.ListenConfig{KeepAlive: -1}
	config.SetMultipathTCP(false)
	var l net.Listener
	err := ns.Do(func() (err error) {
		l, err = config.Listen(context.Background(), "tcp", addr.String())
		return err
	})
	if err != nil {
		return err
	}
	s.track(l)
	s.wait.Go(func() { s.accept(l) })
	return nil
}

func (s *server) accept(l net.Listener) {
	defer s.drop(l)
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(tryAgain) // descriptors or memory are short, and the connection waits in the queue
			continue
		}
		if !s.track(conn) {
			return
		}
		s.wait.Go(func() {
			defer s.drop(conn)
			s.converse(conn)
		})
	}
}

// converse answers line after line. The server closes first where it can: then TIME_WAIT is at its end, which takes a
// new SYN of the same client port at once, while at the client's end it would keep that port from being used again.
func (s *server) converse(conn net.Conn) {
	if c, ok := conn.(syscall.Conn); ok {
		delayAcks(c)
	}
	peer, local := addrPort(conn.RemoteAddr()), addrPort(conn.LocalAddr())
	in := bufio.NewReaderSize(conn, maxLine)
	for {
		raw, err := in.ReadSlice('\n')
		if err != nil {
			return
		}
		request := strings.TrimRight(string(raw), "\r\n")
		if strings.Contains(request, " HTTP/1.") {
			s.answerHTTP(in, conn, peer, local)
			return
		}
		word, _, _ := strings.Cut(request, " ")
		if word == streamWord {
			if !s.stream(in, conn, request) {
				return
			}
			continue
		}
		if _, err := conn.Write(s.answer(request, peer, local)); err != nil || word == askWord {
			return
		}
	}
}

func (s *server) answerHTTP(in *bufio.Reader, out io.Writer, peer, local netip.AddrPort) {
	for {
		header, err := in.ReadSlice('\n')
		if err != nil {
			return
		}
		if strings.TrimRight(string(header), "\r\n") == "" {
			break
		}
	}
	body := s.answer("", peer, local)
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", len(body))
	_, _ = out.Write(append([]byte(head), body...)) // a client that went away needs no answer
}

func (s *server) listenPacket(ns Namespace, addr netip.AddrPort) error {
	var config net.ListenConfig
	var conn net.PacketConn
	err := ns.Do(func() (err error) {
		conn, err = config.ListenPacket(context.Background(), "udp", addr.String())
		return err
	})
	if err != nil {
		return err
	}
	udp, ok := conn.(*net.UDPConn)
	if !ok {
		return errors.Join(fmt.Errorf("a %T is not a UDP socket", conn), conn.Close())
	}
	s.track(udp)
	s.wait.Go(func() {
		defer s.drop(udp)
		s.echo(udp)
	})
	return nil
}

func (s *server) echo(conn *net.UDPConn) {
	local := addrPort(conn.LocalAddr())
	buf := make([]byte, maxLine)
	for {
		n, peer, err := conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		peer = netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port())
		request := strings.TrimRight(string(buf[:n]), "\r\n")
		_, _ = conn.WriteToUDPAddrPort(s.answer(request, peer, local), peer) // UDP promises nothing
	}
}

// answer is the line that answers a request.
func (s *server) answer(request string, peer, local netip.AddrPort) []byte {
	nonce := request
	if word, rest, ok := strings.Cut(request, " "); ok && (word == askWord || word == holdWord) {
		nonce = rest
	}
	b, err := json.Marshal(line{Server: s.name, Peer: peer, Local: local, Nonce: nonce})
	if err != nil {
		panic(err) // strings and addresses always marshal
	}
	return append(b, '\n')
}

// track takes c into the server's care; false means that the server is closed, and c with it.
func (s *server) track(c io.Closer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = c.Close() // nothing was sent on it
		return false
	}
	s.open[c] = true
	return true
}

func (s *server) drop(c io.Closer) {
	_ = c.Close() // the peer has its answer, or is gone
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
}

// Close ends the server and its connections.
func (s *server) Close() error {
	s.mu.Lock()
	s.closed = true
	for c := range s.open {
		_ = c.Close() // drop closes it a second time
	}
	s.mu.Unlock()
	s.wait.Wait()
	return nil
}

// addrPort is a socket address as netip has it, IPv4 plain.
func addrPort(a net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	switch a := a.(type) {
	case *net.TCPAddr:
		ap = a.AddrPort()
	case *net.UDPAddr:
		ap = a.AddrPort()
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
