package scenarios

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"natlab/lab/traffic"
	"natlab/nat"
)

// caller is a member that asks, and what it asks, from any address and port.
func (s *stage) caller(member, protocol, address string) (traffic.Namespace, nat.Tuple, error) {
	tuple, err := clientTuple(protocol, address, nil)
	if err != nil {
		return nil, nat.Tuple{}, err
	}
	h, err := s.lab.Handle(member)
	return h, tuple, err
}

// doStream: stream MEMBER ADDRESS:PORT size=N[K|M|G] [by=ENDPOINT] [seen=ADDRESS] [options=yes] sends so many bytes over one TCP connection while its server sends
// them back: all have to come back as they were, by their SHA-256. A K is 1024 bytes, an M 1024 K. options=yes as for sweep.
func doStream(s *stage, ts *testscript.TestScript, not bool, args []string) error {
	if not || len(args) < 3 {
		return usagef("stream MEMBER ADDRESS:PORT size=N[K|M|G] [by=ENDPOINT] [seen=ADDRESS] [options=yes]")
	}
	o, err := options(args[2:], "size", "by", "seen", "options")
	if err != nil {
		return err
	}
	if err := yesOrNothing(o, "options"); err != nil {
		return err
	}
	size, err := byteSize(o["size"])
	if err != nil {
		return err
	}
	h, tuple, err := s.caller(args[0], "tcp", args[1])
	if err != nil {
		return err
	}
	if err := s.drain(); err != nil {
		return err
	}
	a := asked{from: args[0], tuple: tuple, since: len(s.seen)}
	ctx, cancel := context.WithTimeout(s.ctx, patience+time.Duration(size/slowest)*time.Second)
	defer cancel()
	c, err := opener(o["options"] == "yes")(ctx, h, tuple)
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // what was streamed is the news
	a.tuple = a.tuple.WithSrc(c.Local())
	start := time.Now()
	streamed, err := c.Stream(ctx, size)
	a.answer, a.err = streamed.Answer, err
	s.last = a
	if err != nil {
		return fmt.Errorf("stream of %s bytes: %s: %w", o["size"], a.end(), err)
	}
	ts.Logf("%s\n%d bytes and back in %.1f s, sha256 %x", a, size, time.Since(start).Seconds(), streamed.Got)
	if !streamed.Whole() {
		return fmt.Errorf("stream of %s bytes: sent sha256 %x, and got %x", o["size"], streamed.Sent, streamed.Got)
	}
	delete(o, "size")
	delete(o, "options")
	return s.check(a, o)
}

// slowest is how many bytes a second a stream has to come through at least; a tunnel served by a program on a busy machine is slow.
const slowest = 1 << 20

// byteSize reads 100, 64K, 100M or 1G.
func byteSize(text string) (int64, error) {
	number := strings.TrimRight(text, "KMG")
	n, err := strconv.ParseInt(number, 10, 64)
	shift, known := map[string]uint{"": 0, "K": 10, "M": 20, "G": 30}[text[len(number):]]
	if err != nil || n < 1 || !known || n > 1<<40>>shift {
		return 0, usagef("size=%s: want a number of bytes, with K, M or G behind it or without", text)
	}
	return n << shift, nil
}
