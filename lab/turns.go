package lab

import (
	"io"
	"sync"
)

// turns puts what several members print in the members' order: what is of the member whose turn it is goes out as it comes, and what others print
// meanwhile is kept until it is theirs. A turn ends when its member has ended.
type turns struct {
	mu    sync.Mutex
	at    int // whose turn it is
	kept  [][]printed
	ended []bool
	err   error // the first of a write that was kept
}

// printed is what a member wrote to one of its streams before its turn.
type printed struct {
	to   io.Writer
	text []byte
}

func newTurns(members int) *turns {
	return &turns{kept: make([][]printed, members), ended: make([]bool, members)}
}

// write writes a member's text, now or later. Nobody's is thrown away.
func (t *turns) write(member int, to io.Writer, text []byte) error {
	if to == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if member == t.at {
		_, err := to.Write(text)
		return err
	}
	t.kept[member] = append(t.kept[member], printed{to, text})
	return nil
}

// end ends a member's turn, or makes it a short one.
func (t *turns) end(member int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended[member] = true
	for t.at < len(t.ended) && t.ended[t.at] {
		if t.at++; t.at == len(t.kept) {
			break
		}
		for _, p := range t.kept[t.at] {
			if _, err := p.to.Write(p.text); err != nil && t.err == nil {
				t.err = err
			}
		}
		t.kept[t.at] = nil
	}
	return t.err
}
