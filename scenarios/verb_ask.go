package scenarios

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"natlab/lab/traffic"
	"natlab/nat"
)

// asked is one exchange, as the client has it.
type asked struct {
	from   string
	tuple  nat.Tuple // as it was asked for; the source port is the socket's own where the client got so far
	answer traffic.Answer
	err    error
	since  int // the first observation in stage.seen that may be of it
}

func (a asked) probe() nat.Probe { return nat.Probe{From: a.from, Tuple: a.tuple} }

// request is one that was sent on an open connection.
type request struct {
	nonce string
	since int
}

// end is how the exchange ended, in the words that end= takes.
func (a asked) end() string {
	if a.err == nil {
		return "answered"
	}
	if errors.Is(a.err, io.ErrUnexpectedEOF) {
		return "closed"
	}
	switch traffic.KindOf(a.err) {
	case traffic.Refused:
		return "refused"
	case traffic.Unreachable:
		return "rejected"
	case traffic.Reset:
		return "reset"
	case traffic.Timeout:
		return "lost"
	case traffic.Garbled:
		return "garbled"
	case traffic.Broken:
	}
	return "broken"
}

// expectations of an exchange.
var askKeys = []string{"sport", "src", "count", "end", "by", "seen", "from"}

// doAsk: ask MEMBER PROTO ADDRESS:PORT [sport=N] [src=ADDRESS] [count=N] [end=END] [by=ENDPOINT] [seen=ADDRESS] [from=ADDRESS:PORT]
//
// A client in the member asks once, and the exchange has to end as end has it: answered (the default), refused
// (a RST), rejected (an ICMP error), reset, closed (by the server), or lost; by the endpoint, seen by its server as the address, answered from
// the address. count asks so often, with each to end so.
func doAsk(s *stage, ts *testscript.TestScript, not bool, args []string) error {
	if not || len(args) < 3 {
		return usagef("ask MEMBER tcp|udp ADDRESS:PORT [%s=...]", strings.Join(askKeys, "=...] ["))
	}
	o, err := options(args[3:], askKeys...)
	if err != nil {
		return err
	}
	tuple, err := clientTuple(args[1], args[2], o)
	if err != nil {
		return err
	}
	n := 1
	if o["count"] != "" {
		if n, err = strconv.Atoi(o["count"]); err != nil {
			return usagef("count=%s: want a number", o["count"])
		}
	}
	for range n {
		if err := s.ask(ts, args[0], tuple, o); err != nil {
			return err
		}
	}
	return nil
}

func clientTuple(proto, to string, o map[string]string) (nat.Tuple, error) {
	p, err := nat.ParseProto(proto)
	if err != nil {
		return nat.Tuple{}, err
	}
	dst, err := netip.ParseAddrPort(to)
	if err != nil {
		return nat.Tuple{}, usagef("%q: want ADDRESS:PORT", to)
	}
	src := netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	if dst.Addr().Is6() {
		src = netip.AddrPortFrom(netip.IPv6Unspecified(), 0)
	}
	if a := o["src"]; a != "" {
		addr, err := netip.ParseAddr(a)
		if err != nil {
			return nat.Tuple{}, usagef("src=%s: want an address", a)
		}
		src = netip.AddrPortFrom(addr, 0)
	}
	if v := o["sport"]; v != "" {
		port, err := strconv.ParseUint(v, 10, 16)
		if err != nil {
			return nat.Tuple{}, usagef("sport=%s: want a port", v)
		}
		src = netip.AddrPortFrom(src.Addr(), uint16(port))
	}
	return nat.TupleOf(p, src, dst), nil
}

func (s *stage) ask(ts *testscript.TestScript, from string, tuple nat.Tuple, o map[string]string) error {
	h, err := s.lab.Handle(from)
	if err != nil {
		return err
	}
	if err := s.refreshRules(); err != nil {
		return err
	}
	if err := s.drain(); err != nil {
		return err
	}
	a := asked{from: from, tuple: tuple, since: len(s.seen)}
	ctx, done := s.waiting(o, a)
	a.answer, a.err = traffic.Ask(ctx, h, tuple)
	done()
	if local := a.local(); local.IsValid() {
		a.tuple = a.tuple.WithSrc(local)
	}
	s.last = a
	ts.Logf("%s", a)
	if a.end() == "broken" && o["end"] != "broken" {
		return a.err
	}
	return s.check(a, o)
}

// local is the client's own address, as far as the exchange got.
func (a asked) local() netip.AddrPort {
	if a.err == nil {
		return a.answer.Local
	}
	if f, ok := errors.AsType[*traffic.Failure](a.err); ok {
		return f.Local
	}
	return netip.AddrPort{}
}

// String is an exchange as the log has it.
func (a asked) String() string {
	if a.err != nil {
		return fmt.Sprintf("%s %s: %s", a.from, a.tuple, a.end())
	}
	return fmt.Sprintf("%s %s: answered from %s by %s (%s), which saw %s", a.from, a.tuple, a.answer.From, a.answer.Server, a.answer.Endpoint, a.answer.PeerSeen)
}

// check holds an exchange against what is wanted, and keeps it where its picture is wanted.
func (s *stage) check(a asked, o map[string]string) error {
	err := s.asWanted(a, o)
	s.keep(a, err)
	return err
}

func (s *stage) asWanted(a asked, o map[string]string) error {
	wanted := o["end"]
	if wanted == "" {
		wanted = "answered"
	}
	for _, c := range []struct{ what, want, got string }{
		{"end", wanted, a.end()},
		{"by", o["by"], a.answer.Endpoint.String()},
		{"seen", o["seen"], a.answer.PeerSeen.Addr().String()},
		{"from", o["from"], a.answer.From.String()},
	} {
		if c.want != "" && !oneOf(c.want, c.got) {
			return fmt.Errorf("want %s=%s, got %s\n%s\n%s", c.what, c.want, c.got, a, s.drawn(a))
		}
	}
	return nil
}

// oneOf reports whether got is one of the words that want joins by "|".
func oneOf(want, got string) bool {
	for w := range strings.SplitSeq(want, "|") {
		if w == got {
			return true
		}
	}
	return false
}

// doOpen: open NAME MEMBER PROTO ADDRESS:PORT [sport=N] [src=ADDRESS] [end=END] opens a client's socket that stays, for
// send, receive and close; for TCP with the connection.
func doOpen(s *stage, ts *testscript.TestScript, not bool, args []string) error {
	if not || len(args) < 4 {
		return usagef("open NAME MEMBER tcp|udp ADDRESS:PORT [sport=N] [src=ADDRESS] [end=END]")
	}
	o, err := options(args[4:], "sport", "src", "end")
	if err != nil {
		return err
	}
	tuple, err := clientTuple(args[2], args[3], o)
	if err != nil {
		return err
	}
	h, err := s.lab.Handle(args[1])
	if err != nil {
		return err
	}
	if err := s.drain(); err != nil {
		return err
	}
	a := asked{from: args[1], tuple: tuple, since: len(s.seen)}
	ctx, done := s.waiting(o, a)
	c, err := traffic.Open(ctx, h, tuple)
	done()
	a.err = err
	ts.Logf("%s", a)
	if err == nil {
		a.tuple = a.tuple.WithSrc(c.Local())
		s.conns[args[0]], s.opened[args[0]] = c, a
	}
	s.last = a
	return s.check(a, o)
}

func (s *stage) conn(name string) (*traffic.Conn, error) {
	if c := s.conns[name]; c != nil {
		return c, nil
	}
	return nil, usagef("no connection %q is open", name)
}

// doSend: send NAME [count=N] [size=BYTES] sends requests and waits for nothing. One of a size, up to traffic.MaxSize, is answered as
// long: a datagram of more than a packet takes goes and comes in fragments.
func doSend(s *stage, _ *testscript.TestScript, not bool, args []string) error {
	if not || len(args) == 0 {
		return usagef("send NAME [count=N] [size=BYTES]")
	}
	o, err := options(args[1:], "count", "size")
	if err != nil {
		return err
	}
	size := 0
	if o["size"] != "" {
		if size, err = strconv.Atoi(o["size"]); err != nil {
			return usagef("size=%s: want a number", o["size"])
		}
	}
	c, err := s.conn(args[0])
	if err != nil {
		return err
	}
	n := 1
	if o["count"] != "" {
		if n, err = strconv.Atoi(o["count"]); err != nil {
			return usagef("count=%s: want a number", o["count"])
		}
	}
	if err := s.refreshRules(); err != nil {
		return err
	}
	if err := s.drain(); err != nil {
		return err
	}
	s.last = s.opened[args[0]]
	if s.last.tuple.Proto() != nat.TCP { // there the first packet is the one that made the connection
		s.last.since = len(s.seen)
	}
	for range n {
		nonce, err := c.SendLong(s.ctx, size)
		if err != nil {
			return err
		}
		s.sent[args[0]] = append(s.sent[args[0]], request{nonce, s.last.since})
	}
	return nil
}

// doReceive: receive NAME [end=END] [by=ENDPOINT] [seen=ADDRESS] waits for the answer to the oldest request that was sent.
func doReceive(s *stage, ts *testscript.TestScript, not bool, args []string) error {
	if not || len(args) == 0 {
		return usagef("receive NAME [end=END] [by=ENDPOINT] [seen=ADDRESS]")
	}
	o, err := options(args[1:], "end", "by", "seen")
	if err != nil {
		return err
	}
	c, err := s.conn(args[0])
	if err != nil {
		return err
	}
	waiting := s.sent[args[0]]
	if len(waiting) == 0 {
		return usagef("nothing was sent on %q that is not received", args[0])
	}
	s.sent[args[0]] = waiting[1:]
	a := s.opened[args[0]]
	a.since = waiting[0].since
	ctx, done := s.waiting(o, a)
	a.answer, a.err = c.Receive(ctx, waiting[0].nonce)
	done()
	if a.err == nil {
		s.answers[args[0]] = a.answer
	}
	s.last = a
	ts.Logf("%s", a)
	return s.check(a, o)
}

// doClose: close NAME.
func doClose(s *stage, _ *testscript.TestScript, not bool, args []string) error {
	if not || len(args) != 1 {
		return usagef("close NAME")
	}
	c, err := s.conn(args[0])
	if err != nil {
		return err
	}
	delete(s.conns, args[0])
	return c.Close()
}
