package traffic

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"natlab/nat"
)

// Ask opens a socket in the namespace, asks once and closes it: one TCP connection, or one UDP datagram. The tuple's
// source port 0 and a source address that is not set leave the choice to the kernel. Every error is a *Failure. How
// long Ask waits is ctx's to decide.
func Ask(ctx context.Context, ns Namespace, t nat.Tuple) (Answer, error) {
	r := AskAll(ctx, ns, []nat.Tuple{t})[0]
	return r.Answer, r.Err
}

// Result is what one Ask of several returned.
type Result struct {
	Answer Answer
	Err    error
}

// AskAll asks all at once from one namespace; the results are in the order of the tuples. It enters the namespace
// once, which is what an Ask costs most for.
func AskAll(ctx context.Context, ns Namespace, tuples []nat.Tuple) []Result {
	results := make([]Result, len(tuples))
	conns, errs := Start(ns, tuples)
	var wait sync.WaitGroup
	for i, c := range conns {
		if errs[i] != nil {
			results[i].Err = errs[i]
			continue
		}
		wait.Go(func() { results[i].Answer, results[i].Err = c.AskOnce(ctx) })
	}
	wait.Wait()
	return results
}

// Conn is a client's socket that asks as often as it is told to: a TCP connection or SCTP association that stays open, or a UDP socket
// whose datagrams are all of one flow. One goroutine at a time may use it.
type Conn struct {
	tuple   nat.Tuple
	file    *os.File
	raw     syscall.RawConn
	made    bool            // TCP and SCTP: the connection is made
	stage   atomic.Uint32   // of an Exchange: a Stage
	pending []byte          // TCP: what came in after the last line's end
	early   map[string]line // answers that nobody has asked for yet, by nonce
	sctp    *association    // of SCTP; else nil
}

// Open makes a client's socket and, for TCP, the connection. The caller closes it.
func Open(ctx context.Context, ns Namespace, t nat.Tuple) (*Conn, error) {
	conns, errs := Start(ns, []nat.Tuple{t})
	if errs[0] != nil {
		return nil, errs[0]
	}
	return opened(ctx, conns[0])
}

// opened waits for a Conn's connection, and closes the Conn where there is none.
func opened(ctx context.Context, c *Conn) (*Conn, error) {
	defer c.until(ctx)()
	if err := c.connected(); err != nil {
		_ = c.Close() // the failure to connect is the news
		return nil, c.failure(err)
	}
	return c, nil
}

// Ask sends one request and waits for its answer.
func (c *Conn) Ask(ctx context.Context) (Answer, error) {
	nonce, err := c.Send(ctx)
	if err != nil {
		return Answer{}, err
	}
	return c.Receive(ctx, nonce)
}

// Send sends one request and returns the nonce by which Receive knows its answer.
func (c *Conn) Send(ctx context.Context) (nonce string, err error) {
	defer c.until(ctx)()
	return c.sendWord(holdWord)
}

// Receive waits for the answer to one request. Answers to others that come first are kept for their Receive.
func (c *Conn) Receive(ctx context.Context, nonce string) (Answer, error) {
	defer c.until(ctx)()
	return c.receive(nonce)
}

// Local is the socket's own address.
func (c *Conn) Local() netip.AddrPort {
	at := c.name(unix.Getsockname)
	if c.sctp != nil && at.IsValid() {
		return netip.AddrPortFrom(at.Addr(), c.sctp.src)
	}
	return at
}

// Close ends the connection. A second Close does nothing.
func (c *Conn) Close() error {
	if c.sctp != nil {
		c.sctp.abandon()
	}
	if err := c.file.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("close the client of %s: %w", c.tuple, err)
	}
	return nil
}

// AskOnce asks by a Conn that Start made and closes it, letting the server close first (see server.converse).
func (c *Conn) AskOnce(ctx context.Context) (Answer, error) {
	defer func() { _ = c.Close() }() // the answer or the failure is the news
	defer c.until(ctx)()
	if err := c.connected(); err != nil {
		return Answer{}, c.failure(err)
	}
	nonce, err := c.sendWord(askWord)
	if err != nil {
		return Answer{}, err
	}
	a, err := c.receive(nonce)
	if err == nil && c.tuple.Proto() != nat.UDP {
		var rest [64]byte
		_, _ = c.read(rest[:]) // the end of the stream, or of patience
	}
	return a, err
}

// SendLong is Send of a request of at least size bytes, which is answered as long: a datagram that does not fit into a
// packet, and an answer that does not either. More than MaxSize bytes are too many for a line.
func (c *Conn) SendLong(ctx context.Context, size int) (nonce string, err error) {
	if size > MaxSize {
		return "", fmt.Errorf("send %d bytes: want at most %d", size, MaxSize)
	}
	defer c.until(ctx)()
	nonce = longNonce(size)
	return nonce, c.request(holdWord, nonce)
}

// longNonce is a nonce of at least size bytes.
func longNonce(size int) string {
	nonce := rand.Text()
	return nonce + strings.Repeat("x", max(0, size-len(nonce)))
}

// MaxSize is how long a request may be, in bytes: a line less what an answer holds besides the nonce.
const MaxSize = maxLine - 600

func (c *Conn) sendWord(word string) (string, error) {
	nonce := rand.Text()
	return nonce, c.request(word, nonce)
}

func (c *Conn) request(word, nonce string) error {
	if err := c.write([]byte(word + " " + nonce + "\n")); err != nil {
		return c.failure(err)
	}
	return nil
}

func (c *Conn) receive(nonce string) (Answer, error) {
	if l, ok := c.early[nonce]; ok {
		delete(c.early, nonce)
		return c.answer(l), nil
	}
	for {
		raw, err := c.line()
		if err != nil {
			return Answer{}, c.failure(err)
		}
		var l line
		if err := json.Unmarshal(raw, &l); err != nil {
			f := c.failure(fmt.Errorf("answer %.40q: %w", raw, err))
			f.Kind = Garbled
			return Answer{}, f
		}
		if l.Nonce == nonce {
			return c.answer(l), nil
		}
		if c.early == nil {
			c.early = map[string]line{}
		}
		c.early[l.Nonce] = l
	}
}

func (c *Conn) answer(l line) Answer {
	return Answer{Server: l.Server, Endpoint: l.Local, PeerSeen: l.Peer, Local: c.Local(), From: c.name(unix.Getpeername)}
}

// line is the next datagram, or the next line of the stream.
func (c *Conn) line() ([]byte, error) {
	buf := make([]byte, maxLine)
	if c.tuple.Proto() == nat.UDP {
		n, err := c.read(buf)
		return buf[:n], err
	}
	for {
		if i := bytes.IndexByte(c.pending, '\n'); i >= 0 {
			l := c.pending[:i]
			c.pending = c.pending[i+1:]
			return l, nil
		}
		if len(c.pending) > maxLine {
			return c.pending, nil // no server of ours: the reader will report it
		}
		n, err := c.read(buf)
		if err == nil && n == 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
		c.pending = append(c.pending, buf[:n]...)
	}
}

// until lets the socket wait as long as ctx does; the func that it returns ends that.
func (c *Conn) until(ctx context.Context) (stop func()) {
	_ = c.file.SetDeadline(noDeadline) // a socket that cannot have deadlines shows itself in its first system call
	undo := context.AfterFunc(ctx, func() { _ = c.file.SetDeadline(longAgo) })
	return func() { undo() }
}
