package serve

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// event is one that the page is told of.
type event struct {
	number int
	kind   string // "live", "proof", "anew", "sum", "state"
	key    string // a later one of the same kind and key takes its place; "" for none
	data   string // JSON, in one line
}

// kept is how many flows that pass are kept for a page that is opened later.
const kept = 200

// hub keeps what a page has to be told of, and wakes those that wait for more.
type hub struct {
	mu     sync.Mutex
	events []event
	last   int
	run    string        // of this hub alone: numbers of another mean nothing here
	more   chan struct{} // closed when there is more, and made anew
}

func newHub() *hub { return &hub{run: rand.Text(), more: make(chan struct{})} }

// tell adds an event. "anew" takes away what was told of the proof before.
func (h *hub) tell(kind, key string, data any) error {
	text, err := json.Marshal(data)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	live, oldest := 0, -1
	h.events = slices.DeleteFunc(h.events, func(e event) bool {
		return e.kind == kind && e.key == key && key != "" || kind == "anew" && (e.kind == "proof" || e.kind == "sum" || e.kind == "anew")
	})
	for i, e := range h.events {
		if e.kind == "live" {
			live++
			if oldest < 0 {
				oldest = i
			}
		}
	}
	if kind == "live" && live >= kept {
		h.events = slices.Delete(h.events, oldest, oldest+1)
	}
	h.last++
	h.events = append(h.events, event{h.last, kind, key, string(text)})
	close(h.more)
	h.more = make(chan struct{})
	return nil
}

// after are the events behind a number, and what is closed when there are more.
func (h *hub) after(number int) ([]event, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	at, _ := slices.BinarySearchFunc(h.events, number+1, func(e event, n int) int { return e.number - n })
	return slices.Clone(h.events[at:]), h.more
}

// stream is GET /events: what was told and is kept, and then what comes, until the page or the server goes away. A page that is slow misses
// nothing but what a later event took the place of; one that comes again goes on where it was, or is told to begin anew.
func (h *hub) stream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	number, err := strconv.Atoi(strings.TrimPrefix(r.Header.Get("Last-Event-ID"), h.run+"."))
	if err != nil {
		number = 0
		if _, err := io.WriteString(w, "event: begin\ndata: null\n\n"); err != nil {
			return
		}
	}
	for over := false; ; {
		events, more := h.after(number)
		for _, e := range events {
			number = e.number
			if _, err := fmt.Fprintf(w, "id: %s.%d\nevent: %s\ndata: %s\n\n", h.run, e.number, e.kind, e.data); err != nil {
				return
			}
		}
		if err := out.Flush(); err != nil {
			return
		}
		if over {
			return
		}
		select {
		case <-more:
		case <-r.Context().Done():
			over = true // what was told before is sent
		}
	}
}
