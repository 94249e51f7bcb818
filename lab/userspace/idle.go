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

// waiting reports whether a packet waits for its verdict in a queue of the namespace (seq_show of nfnetlink_queue.c).
func (g *Gateway) waiting() (some bool, err error) {
	err = g.ns.Do(func() error {
		b, err := os.ReadFile("/proc/thread-self/net/netfilter/nfnetlink_queue")
		if err != nil {
			return err
		}
		for line := range bytes.Lines(b) {
			const total = 2 // behind the queue's number and its socket
			words := bytes.Fields(line)
			if len(words) <= total {
				return fmt.Errorf("list of queues: %q", line)
			}
			n, err := strconv.Atoi(string(words[total]))
			if err != nil {
				return fmt.Errorf("list of queues: %q: %w", line, err)
			}
			some = some || n > 0
		}
		return nil
	})
	return some, err
}
