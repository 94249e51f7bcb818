package outcome

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"natlab/lab"
	"natlab/lab/netns"
	"natlab/lab/traffic"
	"natlab/nat"
)

// Seen is how one flow ended.
type Seen struct {
	End      nat.End        // EndRefused for any error that says so: a client cannot tell a rule's from a host's
	Endpoint netip.AddrPort // that answered, as its socket has it; invalid where none did
	As       netip.Addr     // the client, as that socket saw it
	Barred   bool           // the client's own system did not let the packet out (EPERM): a rule in OUTPUT
	Err      error          // for every end but EndAnswered
}

// together is how many flows one member asks at once.
const together = 64

// members is how many ask at a time.
const members = 8

// Ask asks each probe once, from its member and source address, by a port of the kernel's choice, and waits for the answer of the i-th for
// wait(i), sending datagrams again. The protocols are TCP and UDP. An error is a member that the lab does not have, or the context's.
func Ask(ctx context.Context, l *lab.Lab, probes []nat.Probe, wait func(i int) time.Duration) ([]Seen, error) {
	type kind struct {
		member string
		wait   time.Duration
	}
	out := make([]Seen, len(probes))
	of := map[kind][]int{}
	var order []kind
	for i, p := range probes {
		k := kind{p.From, wait(i)}
		if of[k] == nil {
			order = append(order, k)
		}
		of[k] = append(of[k], i)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(members)
	for _, k := range order {
		h, err := l.Handle(k.member)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("ask from %s: %w", k.member, err), group.Wait())
		}
		group.Go(func() error {
			for some := range slices.Chunk(of[k], together) {
				if err := ctx.Err(); err != nil {
					return err
				}
				ask(ctx, h, probes, some, out, k.wait)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return out, nil
}

// ask asks some of the probes, all of one member, at once.
func ask(ctx context.Context, h netns.Handle, probes []nat.Probe, some []int, out []Seen, wait time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	var streams, datagrams []int
	for _, i := range some {
		if probes[i].Tuple.Proto() == nat.UDP {
			datagrams = append(datagrams, i)
		} else {
			streams = append(streams, i)
		}
	}
	var group sync.WaitGroup
	group.Go(func() { once(ctx, h, probes, streams, out) })
	for len(datagrams) > 0 && ctx.Err() == nil {
		round, end := context.WithTimeout(ctx, again)
		once(round, h, probes, datagrams, out)
		end()
		datagrams = slices.DeleteFunc(datagrams, func(i int) bool { return out[i].End != nat.EndLost })
	}
	group.Wait()
}

// again is when a datagram that nobody answered is sent again, as TCP does of itself: the kernel sends no more than a thousand ICMP errors
// a second, and fifty at once, for all of a namespace (net.ipv4.icmp_msgs_per_sec).
const again = time.Second

// once asks some of the probes until the context ends.
func once(ctx context.Context, h netns.Handle, probes []nat.Probe, some []int, out []Seen) {
	tuples := make([]nat.Tuple, len(some))
	for k, i := range some {
		t := probes[i].Tuple
		tuples[k] = nat.TupleOf(t.Proto(), netip.AddrPortFrom(t.Src().Addr(), 0), t.Dst())
	}
	for k, r := range traffic.AskAll(ctx, h, tuples) {
		out[some[k]] = seen(r)
	}
}

func seen(r traffic.Result) Seen {
	if r.Err == nil {
		return Seen{End: nat.EndAnswered, Endpoint: r.Answer.Endpoint, As: r.Answer.PeerSeen.Addr()}
	}
	return Seen{End: traffic.EndOf(r.Err), Barred: errors.Is(r.Err, unix.EPERM), Err: r.Err}
}
