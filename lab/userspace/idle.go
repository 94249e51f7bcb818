package userspace

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"natlab/lab/nfqueue"
)

// Idle reports whether no packet is on its way through the gateway's queues: what was given to its namespace before has left it, or is in a backlog of the kernel's.
func (g *Gateway) Idle() (idle bool, err error) {
	var queues []*nfqueue.Queue
	for _, q := range g.queues {
		queues = append(queues, q.Queue)
	}
	idle = nfqueue.Idle(queues, func() bool {
		var waiting bool
		waiting, err = g.waiting()
		return err == nil && !waiting
	})
	return idle, err
}

// waiting reports whether a packet waits for its verdict in a queue of the namespace.
func (g *Gateway) waiting() (bool, error) {
	waiting, _, err := g.Queued()
	return waiting > 0, err
}

// Queued counts the packets that wait in the queues of the namespace for a verdict, and those that found no room there: a gateway that is slow, or stands
// still, loses them, or lets them pass where it fails open (seq_show of nfnetlink_queue.c).
func (g *Gateway) Queued() (waiting, missed uint64, err error) {
	err = g.ns.Do(func() error {
		b, err := os.ReadFile("/proc/thread-self/net/netfilter/nfnetlink_queue")
		if err != nil {
			return err
		}
		for line := range bytes.Lines(b) {
			const total, full, unread = 2, 5, 6 // behind the queue's number and its socket; the rooms are the queue's and the socket's
			words := bytes.Fields(line)
			if len(words) <= unread {
				return fmt.Errorf("list of queues: %q", line)
			}
			for at, into := range map[int]*uint64{total: &waiting, full: &missed, unread: &missed} {
				n, err := strconv.ParseUint(string(words[at]), 10, 64)
				if err != nil {
					return fmt.Errorf("list of queues: %q: %w", line, err)
				}
				*into += n
			}
		}
		return nil
	})
	return waiting, missed, err
}
