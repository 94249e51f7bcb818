package scenarios

import (
	"fmt"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"

	"natlab/lab/traffic"
	"natlab/nat"
	"natlab/nat/packet"
)

// doSegment: segment NAME MEMBER seq=N sends, from the member that serves an open connection, a TCP segment of one byte
// to the client as that server sees it: N behind the sequence number that the client waits for, with the acknowledgement
// that is right. An answer has to have come on the connection, so that both ends are known.
func doSegment(s *stage, ts *testscript.TestScript, not bool, args []string) error {
	if not || len(args) != 3 {
		return usagef("segment NAME MEMBER seq=N")
	}
	o, err := options(args[2:], "seq")
	if err != nil {
		return err
	}
	offset, err := strconv.ParseInt(o["seq"], 10, 32)
	if err != nil {
		return usagef("seq=%s: want a number of 32 bits, with its sign", o["seq"])
	}
	c, err := s.conn(args[0])
	if err != nil {
		return err
	}
	answer, ok := s.answers[args[0]]
	if !ok {
		return usagef("no answer has come on %q yet", args[0])
	}
	from, err := s.lab.Handle(args[1])
	if err != nil {
		return err
	}
	next, expected, err := c.Sequence()
	if err != nil {
		return err
	}
	p := packet.Build(nat.TupleOf(nat.TCP, answer.Endpoint, answer.PeerSeen), packet.Fields{
		TCP:     packet.TCP{Seq: expected + uint32(offset), Ack: next, Flags: tcpPSH | tcpACK, Window: 0xffff},
		Payload: []byte("?"),
	})
	ts.Logf("%s: %s", args[1], p)
	s.loose = true
	if err := traffic.Inject(from, answer.PeerSeen.Addr(), p.Bytes()); err != nil {
		return fmt.Errorf("from %s: %w", args[1], err)
	}
	return nil
}

// The bits of TCP's flag byte.
const (
	tcpPSH = 8
	tcpACK = 16
)
