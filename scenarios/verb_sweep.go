package scenarios

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"natlab/lab/traffic"
	"natlab/nat"
)

// sweep is what a sweep of sizes is to show.
type sweep struct {
	first, last, step int  // bytes of a datagram
	whole             bool // not to be split on the way
	mtu               int  // the path's MTU, as it has to come out; 0 for any
	options           bool // each packet has IP options
	headers           int  // bytes of the IP and UDP headers, and of the options
}

// doSweep: sweep MEMBER ADDRESS:PORT [sizes=1..2000] [step=N] [df=yes] [mtu=N] [options=yes] sends a datagram of each size in bytes from one socket. Each has to be
// answered; the kernel and the routers may split them. With df=yes none may be split: each is answered, or the client is told that it is too
// long, and then all longer ones are; none is lost in silence. mtu= is the path's MTU, up to which they are answered. options=yes: each has what traffic.OpenWithOptions puts in front of it.
func doSweep(s *stage, ts *testscript.TestScript, not bool, args []string) error {
	const how = "sweep MEMBER ADDRESS:PORT [sizes=FIRST..LAST] [step=N] [df=yes] [mtu=N] [options=yes]"
	if not || len(args) < 2 {
		return usagef(how)
	}
	o, err := options(args[2:], "sizes", "step", "df", "mtu", "options")
	if err != nil {
		return err
	}
	w, err := sweepOf(o)
	if err != nil {
		return err
	}
	h, tuple, err := s.caller(args[0], "udp", args[1])
	if err != nil {
		return err
	}
	c, err := opener(w.options)(s.ctx, h, tuple)
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // what was answered is the news
	if w.whole {
		if err := c.DontFragment(); err != nil {
			return err
		}
	}
	w.headers = 28
	if tuple.Dst().Addr().Is6() {
		w.headers = 48
	}
	if w.options {
		w.headers += traffic.OptionBytes(tuple)
	}
	longest, err := w.run(s.ctx, c)
	if err != nil {
		return err
	}
	ts.Logf("%s: datagrams of %d to %d bytes; the longest that was answered has %d", tuple, w.first, w.last, longest)
	if w.mtu > 0 && longest != min(w.last, w.mtu-w.headers) {
		return fmt.Errorf("want datagrams of up to %d bytes to be answered, whose packets have %d, and the longest has %d", w.mtu-w.headers, w.mtu, longest)
	}
	return nil
}

// sweepOf reads the verb's words.
func sweepOf(o map[string]string) (w sweep, err error) {
	w = sweep{first: 1, last: 2000, step: 1, whole: o["df"] == "yes", options: o["options"] == "yes"}
	if sizes := o["sizes"]; sizes != "" {
		from, to, _ := strings.Cut(sizes, "..")
		first, err1 := strconv.Atoi(from)
		last, err2 := strconv.Atoi(to)
		if err1 != nil || err2 != nil || first < 1 || last < first || last > traffic.MaxProbe {
			return w, usagef("sizes=%s: want FIRST..LAST, of 1 to %d bytes", sizes, traffic.MaxProbe)
		}
		w.first, w.last = first, last
	}
	for key, to := range map[string]*int{"step": &w.step, "mtu": &w.mtu} {
		if o[key] == "" {
			continue
		}
		if *to, err = strconv.Atoi(o[key]); err != nil || *to < 1 {
			return w, usagef("%s=%s: want a number above 0", key, o[key])
		}
	}
	if w.mtu > 0 && !w.whole {
		return w, usagef("mtu= needs df=yes: what may be split is answered at any size")
	}
	return w, yesOrNothing(o, "df", "options")
}

// yesOrNothing refuses what else stands at keys that are set or not.
func yesOrNothing(o map[string]string, keys ...string) error {
	for _, key := range keys {
		if o[key] != "" && o[key] != "yes" {
			return usagef("%s=%s: want yes, or nothing", key, o[key])
		}
	}
	return nil
}

// opener opens a client's socket, whose packets have IP options or not.
func opener(options bool) func(context.Context, traffic.Namespace, nat.Tuple) (*traffic.Conn, error) {
	if options {
		return traffic.OpenWithOptions
	}
	return traffic.Open
}

// run sends one size after the other, the last one too, and tells the longest that was answered.
func (w sweep) run(ctx context.Context, c *traffic.Conn) (longest int, err error) {
	tooLong := 0
	for size := w.first; ; size = min(size+w.step, w.last) {
		err := w.probe(ctx, c, size)
		switch {
		case errors.Is(err, traffic.ErrTooLong) && w.whole:
			if tooLong == 0 {
				tooLong = size
			}
		case err != nil:
			return longest, fmt.Errorf("a datagram of %d bytes: %w", size, err)
		case tooLong > 0:
			return longest, fmt.Errorf("a datagram of %d bytes was answered, and one of %d was too long", size, tooLong)
		default:
			longest = size
		}
		if size == w.last {
			return longest, nil
		}
	}
}

// resend is after how long a datagram is sent again: one that was too long for a link is lost once, and its sender splits it from then on.
const resend = 300 * time.Millisecond

// probe sends one until it is answered or, where it must not be split, until it is told to be too long.
func (w sweep) probe(ctx context.Context, c *traffic.Conn, size int) error {
	over, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		one, cancel := context.WithTimeout(over, resend)
		_, err := c.Probe(one, size)
		cancel()
		again := traffic.KindOf(err) == traffic.Timeout || errors.Is(err, traffic.ErrTooLong) && !w.whole
		if err == nil || !again || over.Err() != nil {
			return err
		}
	}
}
