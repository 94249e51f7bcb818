package dataplane

import (
	"slices"
	"sync"
)

// room is the memory in which tables are read: that of as many namespaces at a time as there are processors, since a node's may be
// megabytes, and the same again for the next ones. The zero value is ready.
type room struct {
	once  sync.Once
	slots slots

	mu   sync.Mutex
	free [][]byte // under mu
}

// taken is what one namespace has of a room.
type taken struct {
	*room
	used  [][]byte
	close func()
}

// enter waits until there is room for one more namespace. Who entered leaves, and keeps nothing of what it took.
func (r *room) enter() *taken {
	r.once.Do(func() { r.slots = newSlots() })
	return &taken{room: r, close: r.slots.take()}
}

// take is room of n bytes, of any content: the smallest that is free, and so large.
func (t *taken) take(n int) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	best := -1
	for i, b := range t.free {
		if cap(b) >= n && (best < 0 || cap(b) < cap(t.free[best])) {
			best = i
		}
	}
	b := make([]byte, 0)
	if best >= 0 {
		b = t.free[best]
		t.free = slices.Delete(t.free, best, best+1)
	}
	b = slices.Grow(b[:0], n)[:n]
	t.used = append(t.used, b)
	return b
}

func (t *taken) leave() {
	t.mu.Lock()
	t.free = append(t.free, t.used...)
	t.mu.Unlock()
	t.close()
}
