package xt

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"natlab/nat"
	"natlab/nat/rules"
)

// NFQueue is -j NFQUEUE: a program decides (xt_NFQUEUE.c). Where none listens on the queue the packet is dropped, or with
// Bypass goes on behind the table (nf_queue.c).
type NFQueue struct {
	First  uint16 // queue
	Queues uint16 // how many there are from First on, over which flows are spread
	Bypass bool
	Fanout bool // spread by processor, not by flow
}

var nfqueueRow = Extension{
	Name: "NFQUEUE", Kind: TargetKind,
	Options: []Option{
		{Name: "--queue-num", Values: 1},
		{Name: "--queue-balance", Values: 1},
		{Name: "--queue-bypass"},
		{Name: "--queue-cpu-fanout"},
	},
	Examples: []string{
		"--queue-num 0", "--queue-num 65535 --queue-bypass", "--queue-balance 0:3", "--queue-balance 1:65535 --queue-bypass --queue-cpu-fanout",
	},
	Parse: parseNFQueue,
	// struct xt_NFQ_info_v3 { __u16 queuenum, queues_total, flags; } and its shorter forebears: revision 2 knows one flag,
	// 1 none, 0 has one queue.
	Layouts: layouts(nfqueueLayout(3, 6, 3), nfqueueLayout(2, 6, 1), nfqueueLayout(1, 4, 0), nfqueueLayout(0, 2, 0)),
	Listed:  listedNFQueue,
}

func parseNFQueue(a *Args) Value {
	t := NFQueue{Queues: 1}
	a.Once()
	a.Exclusive("--queue-num", "--queue-balance")
	for g := range a.Options {
		switch g.Name() {
		case "--queue-num":
			t.First = uint16(g.Uint(16))
		case "--queue-balance":
			first, last := g.Span(":", 16)
			if !strings.Contains(g.Text(), ":") || first == last || last-first == math.MaxUint16 {
				g.bad(0, "FIRST:LAST, FIRST below LAST, of at most 65535 queues")
			}
			t.First, t.Queues = uint16(first), uint16(last-first+1)
		case "--queue-bypass":
			t.Bypass = true
		case "--queue-cpu-fanout":
			if t.Fanout = true; !a.Has("--queue-balance") {
				g.Fail("needs --queue-balance")
			}
		}
	}
	return t
}

// Bits of xt_NFQ_info_v3.flags: NFQ_FLAG_*.
const (
	nfqBypass = 1 << iota
	nfqFanout
)

func nfqueueLayout(revision uint8, size int, flags uint16) Layout {
	return layout(revision, size,
		func(d []byte, _ *Env) (NFQueue, bool) {
			t, f := NFQueue{First: order.Uint16(d), Queues: 1}, uint16(0)
			if size >= 4 {
				t.Queues = order.Uint16(d[2:])
			}
			if size >= 6 {
				f = order.Uint16(d[4:])
			}
			t.Bypass, t.Fanout = f&nfqBypass != 0, f&nfqFanout != 0
			return t, t.Queues != 0 && f&^flags == 0
		},
		func(t NFQueue, d []byte, _ *Env) error {
			f := uint16(flagByte(t.Bypass))*nfqBypass | uint16(flagByte(t.Fanout))*nfqFanout
			if f&^flags != 0 || size < 4 && t.Queues != 1 {
				return errors.New("NFQUEUE: this needs a later revision")
			}
			order.PutUint16(d, t.First)
			if size >= 4 {
				order.PutUint16(d[2:], t.Queues)
			}
			if size >= 6 {
				order.PutUint16(d[4:], f)
			}
			return nil
		})
}

// Name is "NFQUEUE".
func (NFQueue) Name() string { return "NFQUEUE" }

// Save prints the queue or the queues, and the flags.
func (t NFQueue) Save(p *Printer) {
	t.print(p, "--queue-num", "--queue-balance")
	p.Flag(t.Bypass, "--queue-bypass")
	p.Flag(t.Fanout, "--queue-cpu-fanout")
}

// List prints the same as iptables -L does.
func (t NFQueue) List(p *Printer) {
	t.print(p, "NFQUEUE num", "NFQUEUE balance")
	p.Flag(t.Bypass, "bypass")
	p.Flag(t.Fanout, "cpu-fanout")
}

func (t NFQueue) print(p *Printer, one, several string) {
	if t.Queues > 1 {
		p.Textf(" %s %d:%d", several, t.First, int(t.First)+int(t.Queues)-1)
		return
	}
	p.Number(one, uint64(t.First))
}

func listedNFQueue(l *Listing) bool {
	switch {
	case l.Take("NFQUEUE num "):
		l.Give("--queue-num", false, l.Word())
	case l.Take("NFQUEUE balance "):
		l.Give("--queue-balance", false, l.Word())
	default:
		return false
	}
	l.Flag("bypass", "--queue-bypass")
	l.Flag("cpu-fanout", "--queue-cpu-fanout")
	return true
}

// Act leaves the packet to the program that listens, if one does.
func (t NFQueue) Act(v *rules.Visit) rules.Action {
	w, ok := v.World.(rules.QueueHolder)
	nobody := ok && w.QueueListens(t.First, t.First+t.Queues-1) == rules.No
	switch {
	case nobody && t.Bypass:
		return rules.Action{Verdict: nat.Accept, Effect: &rules.Queued{}}
	case nobody:
		return rules.Action{Verdict: nat.Queue}
	}
	who := "a program listens and"
	if t.Bypass {
		who = "no program listens, or it"
	}
	return rules.Action{
		Verdict: nat.Accept, Effect: &rules.Queued{}, Else: nat.Queue, Open: fmt.Sprintf("-j NFQUEUE %s: %s accepts the packet", Options(t, nat.IPv4), who),
	}
}

// Queue is -j QUEUE: NFQUEUE with queue 0 (NF_QUEUE). iptables-nft has no such verdict.
type Queue struct{}

// Name is "QUEUE".
func (Queue) Name() string { return "QUEUE" }

// Save prints no option.
func (Queue) Save(*Printer) {}

// Act is that of NFQUEUE with queue 0.
func (Queue) Act(v *rules.Visit) rules.Action { return NFQueue{Queues: 1}.Act(v) }
