package witness

import (
	"sync"

	"natlab/nat/proof"
)

// untold is what a member saw and no Drain has returned, in order. Observations are large, and what grows like a slice copies them again and again:
// they lie in blocks of one size, which all members of a session take from one heap.
type untold struct {
	from *blocks
	in   []*block // all but the last are full
	n    int
}

type block [64]proof.Observation

// blocks are those that no member uses.
type blocks struct {
	mu   sync.Mutex
	free []*block
}

// add puts a copy of an observation behind the others.
func (b *untold) add(o *proof.Observation) {
	at := b.n % len(block{})
	if at == 0 {
		b.in = append(b.in, b.from.get())
	}
	b.in[len(b.in)-1][at] = *o
	b.n++
}

// take puts all there is behind out, and leaves nothing.
func (b *untold) take(out []proof.Observation) []proof.Observation {
	for _, of := range b.in {
		n := min(b.n, len(of))
		out = append(out, of[:n]...)
		clear(of[:n]) // of packets and texts nothing is kept
		b.n -= n
	}
	b.from.put(b.in)
	clear(b.in)
	b.in = b.in[:0]
	return out
}

func (b *blocks) get() *block {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.free) == 0 {
		return new(block)
	}
	last := len(b.free) - 1
	out := b.free[last]
	b.free = b.free[:last]
	return out
}

func (b *blocks) put(all []*block) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free = append(b.free, all...)
}
