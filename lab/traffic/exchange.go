package traffic

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"natlab/nat"
)

// Stage is how far an Exchange has come.
type Stage uint8

// The stages. A datagram's goes from Connecting to Asking.
const (
	Connecting Stage = iota // TCP: the connection is not made
	Asking                  // the request is sent, and its answer has not come
	Ending                  // TCP: the answer is there, and the server's FIN is not
	Closing                 // TCP: the client's FIN is sent, and not acknowledged
	Closed                  // TCP: both have closed, and know it of each other
)

var stageNames = [...]string{"connecting", "asking", "ending", "closing", "closed"}

func (s Stage) String() string {
	if int(s) < len(stageNames) {
		return stageNames[s]
	}
	return fmt.Sprintf("stage(%d)", uint8(s))
}

// Exchange asks by a Conn that Start made, as a real client does: with a request of at least size bytes, which is answered as
// long, and for TCP with an orderly end. The server closes, then the client, and its FIN is acknowledged. Where only the end
// failed there is an Answer, and a Failure of Stage Ending or Closing. Exchange closes the Conn.
func (c *Conn) Exchange(ctx context.Context, size int) (Answer, error) {
	defer func() { _ = c.Close() }() // the answer or the failure is the news
	defer c.until(ctx)()
	if err := c.connected(); err != nil {
		return Answer{}, c.failure(err)
	}
	delayAcks(c.file)
	c.enter(Asking)
	nonce := longNonce(size)
	if err := c.request(askWord, nonce); err != nil {
		return Answer{}, err
	}
	a, err := c.receive(nonce)
	for again := 0; again < maxTooLong && tooLong(err); again++ {
		if err = c.request(askWord, nonce); err == nil {
			a, err = c.receive(nonce)
		}
	}
	if err != nil || c.tuple.Proto() == nat.UDP {
		return a, err
	}
	c.enter(Ending)
	if err := c.end(); err != nil {
		return a, c.failure(err)
	}
	c.enter(Closed)
	return a, nil
}

// maxTooLong is how many links of the way may be narrower than the one before.
const maxTooLong = 3

// tooLong reports whether a router told that a datagram is too long for its next link and must not be split there (RFC 1191, RFC 8201).
// The kernel has noted by then how long it may be, and splits what is sent again by itself.
func tooLong(err error) bool {
	f, ok := errors.AsType[*Failure](err)
	if !ok || f.Kind != Unreachable || f.Tuple.Proto() != nat.UDP {
		return false
	}
	if f.Tuple.Dst().Addr().Is6() {
		return f.ICMPType == 2
	}
	return f.ICMPType == 3 && f.ICMPCode == 4
}

// end waits for the server's FIN, sends the client's and waits for its acknowledgement.
func (c *Conn) end() error {
	var rest [64]byte
	switch n, err := c.read(rest[:]); {
	case err != nil:
		return err
	case n > 0:
		return fmt.Errorf("%d bytes more than the answer", n)
	}
	c.enter(Closing)
	if c.tuple.Proto() == nat.SCTP { // there is no half of an association: the server's shutdown is the end of both
		return nil
	}
	var failed error
	err := c.raw.Control(func(fd uintptr) { failed = os.NewSyscallError("shutdown", unix.Shutdown(int(fd), unix.SHUT_WR)) })
	if err := errors.Join(err, failed); err != nil {
		return err
	}
	return c.raw.Read(func(fd uintptr) bool {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.SOL_TCP, unix.TCP_INFO)
		failed = err
		return err != nil || info.State == tcpClose
	})
}

// tcpClose is TCP_CLOSE (net/tcp_states.h): of a socket that was in LAST_ACK, its FIN is acknowledged.
const tcpClose = 7

func (c *Conn) enter(s Stage) { c.stage.Store(uint32(s)) }

// Stage is how far the Exchange has come; any goroutine may ask.
func (c *Conn) Stage() Stage { return Stage(c.stage.Load()) }

// Resent is how often the kernel has sent again what is not acknowledged, since the last acknowledgement (icsk_retransmits); 0 where
// nothing waits for one. Any goroutine may ask.
func (c *Conn) Resent() int {
	n := 0
	_ = c.raw.Control(func(fd uintptr) { // of a socket that is closed nothing is known
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.SOL_TCP, unix.TCP_INFO); err == nil {
			n = int(info.Retransmits)
		}
	})
	return n
}

// Ends are the two addresses of a TCP socket.
type Ends struct{ Local, Peer netip.AddrPort }

// Resent lists the TCP sockets of a namespace that wait for an acknowledgement and have sent again, with how often; those that
// no process has any more are among them (/proc/net/tcp and tcp6, get_tcp4_sock and get_tcp6_sock).
func Resent(ns Namespace) (map[Ends]int, error) {
	out := map[Ends]int{}
	err := ns.Do(func() error {
		for _, table := range []string{"tcp", "tcp6"} {
			f, err := os.Open("/proc/thread-self/net/" + table)
			if errors.Is(err, fs.ErrNotExist) && table == "tcp6" { // a kernel without IPv6
				return nil
			}
			if err != nil {
				return err
			}
			if err := errors.Join(readResent(f, out), f.Close()); err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

func readResent(r io.Reader, into map[Ends]int) error {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		const local, peer, retransmits = 1, 2, 6
		f := strings.Fields(lines.Text())
		if len(f) <= retransmits {
			continue
		}
		n, err := strconv.ParseUint(f[retransmits], 16, 32)
		if err != nil || n == 0 { // a heading, or nothing to tell
			continue
		}
		var e Ends
		if e.Local, err = hexAddr(f[local]); err == nil {
			e.Peer, err = hexAddr(f[peer])
		}
		if err != nil {
			return fmt.Errorf("line %q: %w", lines.Text(), err)
		}
		into[e] = int(n)
	}
	return lines.Err()
}

// hexAddr reads "0100007F:1F90": the address as the machine's own 32 bit number, of IPv6 as four of them, the port as a number.
func hexAddr(text string) (netip.AddrPort, error) {
	words, port, _ := strings.Cut(text, ":")
	b, err := hex.DecodeString(words)
	if err != nil || len(b) != 4 && len(b) != 16 {
		return netip.AddrPort{}, fmt.Errorf("address %q: want 8 or 32 hexadecimal digits", words)
	}
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("port %q: %w", port, err)
	}
	for word := range slices.Chunk(b, 4) {
		binary.NativeEndian.PutUint32(word, binary.BigEndian.Uint32(word))
	}
	addr, _ := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(addr.Unmap(), uint16(n)), nil
}
