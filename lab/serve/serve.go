// Package serve shows a running lab in a browser: the flows that pass as they pass, and its proofs, flow by flow as they are proved. It is one
// page, one stream of events, and a button. What a lab does it is told by functions; it knows no lab itself.
package serve

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"natlab/nat/live"
	"natlab/nat/proof"
	"natlab/nat/report"
)

// Source is the lab that is shown.
type Source struct {
	Title string
	// Watch tells the flows that pass until ctx ends; ready is called when nothing is missed any more. ErrOver ends the server, and after any
	// other error it is called again.
	Watch func(ctx context.Context, ready func(), tell func(live.Flow) error) error
	// Prove proves all flows, and tells a part of them after the other.
	Prove func(ctx context.Context, tell func(proof.Report) error) error
}

// ErrOver is the class of what ends the server: there is no lab any more.
var ErrOver = errors.New("the lab is gone")

// again is how long it waits before it watches again, where somebody else does or something went wrong.
const again = time.Second

// Server is one that runs.
type Server struct {
	source Source
	hub    *hub
	host   string // of the address that was asked for
	asked  chan struct{}

	mu     sync.Mutex
	busy   bool               // a proof is at work, or asked for
	unwait context.CancelFunc // ends the watch; nil where none is at work
}

// Run serves on a listener until ctx ends, which is no error, or the lab does. host is that of the address which somebody asked to listen on.
func Run(ctx context.Context, l net.Listener, host string, source Source) error {
	s := &Server{source: source, hub: newHub(), host: host, asked: make(chan struct{}, 1)}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	server := &http.Server{
		Handler: s.guarded(s.routes()), ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 1 << 14,
		BaseContext: func(net.Listener) context.Context { return ctx }, // a stream ends with it
	}
	served := make(chan error, 1)
	go func() {
		served <- server.Serve(l)
		stop()
	}()
	err := s.follow(ctx)
	stop()
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), again)
	defer cancel()
	if server.Shutdown(ending) != nil {
		_ = server.Close() // whoever does not go is left
	}
	if ended := <-served; !errors.Is(ended, http.ErrServerClosed) {
		return errors.Join(err, fmt.Errorf("serve: %w", ended))
	}
	return err
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.page)
	mux.HandleFunc("GET /events", s.hub.stream)
	mux.HandleFunc("POST /prove", s.prove)
	return mux
}

func (s *Server) page(w http.ResponseWriter, _ *http.Request) {
	nonce := rand.Text()
	var b bytes.Buffer
	if err := report.LivePage(&b, s.source.Title, nonce); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; connect-src 'self'; img-src data:; style-src 'nonce-"+nonce+"'; script-src 'nonce-"+nonce+"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	_, _ = w.Write(b.Bytes()) // a browser that went away sees nothing
}

// prove is POST /prove: it asks for a proof, unless one is at work.
func (s *Server) prove(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy {
		http.Error(w, "a proof is at work", http.StatusConflict)
		return
	}
	s.busy = true
	s.asked <- struct{}{}
	if s.unwait != nil {
		s.unwait()
	}
	w.WriteHeader(http.StatusAccepted)
}

// state is what the page shows in words.
type state struct {
	Text string `json:"text"`
	Busy bool   `json:"busy,omitempty"` // no proof can be asked for
	Over bool   `json:"over,omitempty"` // nothing comes any more
}

// follow watches the lab, and proves it in between where that is asked for: the lab has one witness at a time.
func (s *Server) follow(ctx context.Context) error {
	for ctx.Err() == nil {
		err := s.watch(ctx)
		if errors.Is(err, ErrOver) {
			return errors.Join(err, s.hub.tell("state", "state", state{err.Error(), true, true}))
		}
		if err != nil && ctx.Err() == nil {
			if err := s.hub.tell("state", "state", state{Text: "not watching: " + err.Error()}); err != nil {
				return err
			}
		}
		if err := s.next(ctx, err != nil); err != nil {
			return err
		}
	}
	return nil
}

// watch watches until ctx ends or a proof is asked for.
func (s *Server) watch(ctx context.Context) error {
	s.mu.Lock()
	if s.busy { // it was asked for in between
		s.mu.Unlock()
		return nil
	}
	watching, unwait := context.WithCancel(ctx)
	s.unwait = unwait
	s.mu.Unlock()
	err := s.source.Watch(watching, func() {
		_ = s.hub.tell("state", "state", state{Text: "watching"}) // a state is always JSON
	}, func(f live.Flow) error {
		piece, err := report.LivePiece(f)
		if err != nil {
			return err
		}
		return s.hub.tell("live", piece.ID, piece)
	})
	s.mu.Lock()
	s.unwait = nil
	s.mu.Unlock()
	unwait()
	return err
}

// next proves, where that was asked for; after an error it waits for a while first, for that or to watch again.
func (s *Server) next(ctx context.Context, failed bool) error {
	wait := time.NewTimer(0)
	if failed {
		wait.Reset(again)
	}
	defer wait.Stop()
	select {
	case <-ctx.Done():
		return nil
	case <-s.asked:
	case <-wait.C:
		select {
		case <-s.asked:
		default:
			return nil
		}
	}
	err := s.proveAll(ctx)
	s.mu.Lock()
	s.busy = false
	s.mu.Unlock()
	return err
}

// proveAll proves, and tells of the flows as they are proved.
func (s *Server) proveAll(ctx context.Context) error {
	err := errors.Join(s.hub.tell("anew", "", nil), s.hub.tell("state", "state", state{Text: "proving", Busy: true}))
	if err != nil {
		return err
	}
	told := 0
	var sum proof.Report
	failed := s.source.Prove(ctx, func(part proof.Report) error {
		pieces, err := report.ProofPieces(part, "proof", told)
		if err != nil {
			return err
		}
		told += len(pieces)
		for _, piece := range pieces {
			if err := s.hub.tell("proof", piece.ID, piece); err != nil {
				return err
			}
		}
		sum.Flows = append(sum.Flows, part.Flows...)
		return s.hub.tell("sum", "sum", sumOf(sum))
	})
	switch {
	case errors.Is(failed, ErrOver):
		return errors.Join(failed, s.hub.tell("state", "state", state{failed.Error(), true, true}))
	case failed != nil && ctx.Err() == nil:
		return s.hub.tell("sum", "sum", sumOf(sum)+"; the proof ended: "+failed.Error())
	}
	return nil
}

// sumOf is how many flows are proved, in words.
func sumOf(r proof.Report) string {
	parts := []string{fmt.Sprintf("%d of %d flows proved", r.Count(proof.Proved), len(r.Flows))}
	for _, o := range []proof.Outcome{proof.Disproved, proof.Inconclusive} {
		if n := r.Count(o); n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, o))
		}
	}
	return strings.Join(parts, ", ")
}
