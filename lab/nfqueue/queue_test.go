package nfqueue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"natlab/lab/netns"
)

const number = 7

// feed is a namespace whose datagrams to port 9 on lo go to the queue at OUTPUT.
func feed(t *testing.T, bypass bool) netns.Handle {
	t.Helper()
	require.Zero(t, os.Geteuid(), "network namespaces need root")
	name := fmt.Sprintf("natlab-nfqueue-%d-%s", os.Getpid(), strings.ReplaceAll(t.Name(), "/", "-"))
	h, err := netns.CreateLeased(name)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, h.Close())
		require.NoError(t, netns.Delete(name))
	})
	require.NoError(t, h.Do(func() error {
		if out, err := exec.CommandContext(t.Context(), "ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		native, err := Native()
		if err != nil {
			return err
		}
		c, err := nftables.New()
		if err != nil {
			return err
		}
		table := c.AddTable(&nftables.Table{Name: "t", Family: nftables.TableFamilyIPv4})
		chain := c.AddChain(&nftables.Chain{
			Name: "output", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityFilter,
		})
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0, 9}},
			Feed{Number: number, Bypass: bypass, Native: native}.Expr(),
		}})
		return c.Flush()
	}))
	return h
}

// open serves the queue with judge until the test ends.
func open(t *testing.T, h netns.Handle, judge func(*Queue, *Packet) error) *Queue {
	t.Helper()
	var q *Queue
	require.NoError(t, h.Do(func() (err error) { q, err = Open(Options{Number: number}); return err }))
	serveQueue(t, q, judge)
	return q
}

func serveQueue(t *testing.T, q *Queue, judge func(*Queue, *Packet) error) {
	t.Helper()
	var busy sync.WaitGroup
	var served error
	busy.Go(func() {
		served = q.Serve(func(packets []Packet) error {
			for i := range packets {
				if err := judge(q, &packets[i]); err != nil {
					return err
				}
			}
			return nil
		})
	})
	t.Cleanup(func() {
		require.NoError(t, q.Close())
		busy.Wait()
		require.NoError(t, served)
	})
}

// sockets are a receiver at port 9 and a sender to it.
func sockets(t *testing.T, h netns.Handle) (in net.PacketConn, out net.Conn) {
	t.Helper()
	require.NoError(t, h.Do(func() (err error) {
		if in, err = (&net.ListenConfig{}).ListenPacket(t.Context(), "udp4", "127.0.0.1:9"); err != nil {
			return err
		}
		out, err = (&net.Dialer{}).DialContext(t.Context(), "udp4", "127.0.0.1:9")
		return err
	}))
	t.Cleanup(func() { require.NoError(t, errors.Join(in.Close(), out.Close())) })
	require.NoError(t, in.SetReadDeadline(time.Now().Add(10*time.Second)))
	return in, out
}

// Packets come with what is known of them, in order, and go on, end or change as the verdict is.
func TestVerdicts(t *testing.T) {
	h := feed(t, false)
	seen := make(chan Packet, 8)
	q := open(t, h, func(q *Queue, p *Packet) error {
		seen <- Packet{Hook: p.Hook, Protocol: p.Protocol, In: p.In, Out: p.Out, Length: p.Length, Owned: p.Owned, UID: p.UID, Unsummed: p.Unsummed}
		switch at := len(p.Payload) - 1; p.Payload[at] {
		case 'd':
			return q.Drop(p)
		case 'r':
			other := bytes.Clone(p.Payload)
			other[at] = 'R'
			other[26], other[27] = 0, 0 // no checksum
			return q.Rewrite(p, 0, other)
		}
		return q.Accept(p, 5)
	})
	in, out := sockets(t, h)
	for _, word := range []string{"a", "d", "r", "z"} {
		_, err := out.Write([]byte(word))
		require.NoError(t, err)
	}
	b := make([]byte, 9)
	for _, word := range []string{"a", "R", "z"} {
		n, _, err := in.ReadFrom(b)
		require.NoError(t, err)
		require.Equal(t, word, string(b[:n]))
	}
	require.Equal(t, Packet{Hook: 3, Protocol: 0x0800, Out: 1, Length: 29, Owned: true, UID: uint32(os.Getuid()), Unsummed: true}, <-seen)
	require.Zero(t, q.Refused())
}

// Where nobody listens, packets are dropped, or pass where the rule has it so.
func TestNobodyListens(t *testing.T) {
	h := feed(t, false)
	in, out := sockets(t, h)
	_, err := out.Write([]byte("lost"))
	require.NoError(t, err)
	open(t, h, func(q *Queue, p *Packet) error { return q.Accept(p, p.Mark) })
	_, err = out.Write([]byte("later"))
	require.NoError(t, err)
	b := make([]byte, 9)
	n, _, err := in.ReadFrom(b)
	require.NoError(t, err)
	require.Equal(t, "later", string(b[:n]))
}

func TestBypass(t *testing.T) {
	in, out := sockets(t, feed(t, true))
	_, err := out.Write([]byte("x"))
	require.NoError(t, err)
	_, _, err = in.ReadFrom(make([]byte, 9))
	require.NoError(t, err)
}

func TestOneOwner(t *testing.T) {
	h := feed(t, false)
	open(t, h, func(q *Queue, p *Packet) error { return q.Accept(p, p.Mark) })
	err := h.Do(func() error { _, err := Open(Options{Number: number}); return err })
	require.True(t, errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EPERM), "%v", err)
}

// Of a long packet the begin comes alone, with the whole length. Another queue gets all of it, with the mark that was left there.
func TestBegin(t *testing.T) {
	h := feed(t, false)
	const begin, other = 64, number + 1
	var short, whole *Queue
	require.NoError(t, h.Do(func() (err error) {
		if short, err = Open(Options{Number: number, Begin: begin}); err != nil {
			return err
		}
		whole, err = Open(Options{Number: other})
		return err
	}))
	seen := make(chan Packet, 8)
	serveQueue(t, short, func(q *Queue, p *Packet) error {
		seen <- Packet{Length: p.Length, Payload: bytes.Clone(p.Payload)}
		return q.Requeue(p, other, 77)
	})
	serveQueue(t, whole, func(q *Queue, p *Packet) error {
		seen <- Packet{Mark: p.Mark, Length: p.Length, Payload: bytes.Clone(p.Payload)}
		return q.Accept(p, 0)
	})
	in, out := sockets(t, h)
	_, err := out.Write(bytes.Repeat([]byte("x"), 1000))
	require.NoError(t, err)
	n, _, err := in.ReadFrom(make([]byte, 2000))
	require.NoError(t, err)
	require.Equal(t, 1000, n)
	first, second := <-seen, <-seen
	require.True(t, first.Cut())
	require.Equal(t, second.Payload[:begin], first.Payload)
	require.Equal(t, second.Length, first.Length)
	require.Equal(t, uint32(77), second.Mark)
	require.False(t, second.Cut())
}

// What has the same verdict is told in one message, and what has another in its own, in the packets' order.
func TestRuns(t *testing.T) {
	q := &Queue{number: number}
	for i, drop := range []bool{false, false, false, true, false} {
		p := &Packet{ID: uint32(i + 1)}
		if drop {
			require.NoError(t, q.Drop(p))
		} else {
			require.NoError(t, q.Accept(p, 5))
		}
	}
	q.endRun()
	var kinds []uint16
	var last []byte
	for rest := q.out; len(rest) > 0; {
		kind, body, more, err := next(rest)
		require.NoError(t, err)
		_, value, _, ok := attribute(body[genHeader:])
		require.True(t, ok)
		kinds, last, rest = append(kinds, kind), append(last, value[3], value[7]), more
	}
	require.Equal(t, []uint16{messageVerdictBatch, messageVerdict, messageVerdict}, kinds)
	require.Equal(t, []byte{verdictAccept, 3, verdictDrop, 4, verdictAccept, 5}, last)
}

// A verdict about a packet that nobody waits for is refused, and counted, and the queue goes on.
func TestRefused(t *testing.T) {
	h := feed(t, false)
	q := open(t, h, func(q *Queue, p *Packet) error {
		return errors.Join(q.Drop(&Packet{ID: p.ID + 1000}), q.Accept(p, p.Mark))
	})
	in, out := sockets(t, h)
	for range 2 { // the first refusal is read with the second packet at the latest
		_, err := out.Write([]byte("x"))
		require.NoError(t, err)
		_, _, err = in.ReadFrom(make([]byte, 9))
		require.NoError(t, err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	for q.Refused() == 0 && ctx.Err() == nil {
		_, _ = out.Write([]byte("x"))
	}
	require.NotZero(t, q.Refused())
}

// Whatever a message holds, reading it ends, and what it does not have is zero.
func FuzzParse(f *testing.F) {
	whole := appendAttribute([]byte{2, 0, 0, 7}, attrPacketHeader, []byte{0, 0, 0, 1, 8, 0, 3})
	whole = appendUint32(whole, attrInfo, infoUnsummed)
	f.Add(appendAttribute(whole, attrPayload, []byte("packet")))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, body []byte) {
		var p Packet
		if !p.parse(body) {
			require.Zero(t, p.ID)
		}
		require.GreaterOrEqual(t, p.Length, len(p.Payload))
	})
}

// A queue that was closed is free, although its socket is still open elsewhere, as in a process that is just being forked.
func TestClosedIsFree(t *testing.T) {
	t.Parallel()
	require.NoError(t, feed(t, false).Do(func() error {
		q, err := Open(Options{Number: number})
		if err != nil {
			return err
		}
		held, err := unix.Dup(q.fd)
		require.NoError(t, err)
		require.NoError(t, q.Close())
		again, err := Open(Options{Number: number})
		require.NoError(t, err)
		return errors.Join(again.Close(), unix.Close(held))
	}))
}
