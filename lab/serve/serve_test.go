package serve_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/lab/serve"
	"natlab/nat"
	"natlab/nat/live"
	"natlab/nat/proof"
)

// script is what a test's lab does: flows that pass, parts of a proof, and how the watch ends.
type script struct {
	flows chan live.Flow
	parts []proof.Report
	over  chan error
}

// source is the lab of a script.
func (s *script) source() serve.Source {
	return serve.Source{
		Title: "natlab: a<b",
		Watch: func(ctx context.Context, ready func(), tell func(live.Flow) error) error {
			ready()
			for {
				select {
				case f := <-s.flows:
					if err := tell(f); err != nil {
						return err
					}
				case err := <-s.over:
					return err
				case <-ctx.Done():
					return nil
				}
			}
		},
		Prove: func(_ context.Context, tell func(proof.Report) error) error {
			for _, part := range s.parts {
				if err := tell(part); err != nil {
					return err
				}
			}
			return errors.New("the time was over")
		},
	}
}

// running starts a server; its end is waited for.
func running(t *testing.T, host string) (s *script, address string, ended chan error) {
	t.Helper()
	s = &script{flows: make(chan live.Flow, 1000), over: make(chan error, 1)}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	ended = make(chan error, 1)
	done := make(chan struct{})
	go func() {
		ended <- serve.Run(ctx, l, host, s.source())
		close(done)
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
	return s, l.Addr().String(), ended
}

// ask sends a request, with lines "Name: value" in its header.
func ask(t *testing.T, method, url string, header ...string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	require.NoError(t, err)
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
		if name == "Host" {
			r.Host = value
		}
	}
	response, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	t.Cleanup(func() { _ = response.Body.Close() }) // read to its end, or left
	return response
}

// event is one of a stream.
type event struct{ id, kind, data string }

// stream reads a stream's events.
type stream struct {
	t    *testing.T
	body *bufio.Scanner
}

func open(t *testing.T, address string, header ...string) stream {
	t.Helper()
	response := ask(t, http.MethodGet, "http://"+address+"/events", header...)
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.Equal(t, "text/event-stream", response.Header.Get("Content-Type"))
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<24)
	return stream{t, lines}
}

// next is the next event.
func (s stream) next() (e event) {
	s.t.Helper()
	for s.body.Scan() {
		name, value, _ := strings.Cut(s.body.Text(), ": ")
		switch name {
		case "id":
			e.id = value
		case "event":
			e.kind = value
		case "data":
			e.data = value
		case "":
			return e
		}
	}
	require.NoError(s.t, s.body.Err())
	require.Fail(s.t, "the stream is at its end")
	return e
}

// until reads up to an event of a kind whose data have a text.
func (s stream) until(kind, text string) event {
	s.t.Helper()
	for {
		if e := s.next(); e.kind == kind && strings.Contains(e.data, text) {
			return e
		}
	}
}

func passing(number int, client string) live.Flow {
	return live.Flow{
		Number: number, State: live.Answered, Client: client, Protocol: nat.TCP, Service: "default/shop",
		Source: netip.MustParseAddrPort("192.0.2.1:40000"), Target: netip.MustParseAddrPort("192.0.2.9:30080"), Endpoint: netip.MustParseAddrPort("10.244.1.2:8080"),
	}
}

func proved(name string, o proof.Outcome) proof.Report {
	return proof.Report{Flows: []proof.Certificate{{
		Flow:    proof.Flow{Name: name, Service: "default/shop", Client: "outside", From: "outside", Target: netip.MustParseAddrPort("192.0.2.9:30080"), Protocol: nat.TCP},
		Verdict: o, End: nat.EndAnswered, Endpoint: netip.MustParseAddrPort("10.244.1.2:8080"),
	}}}
}

// The page stands alone, and lets nothing run but its own script.
func TestPage(t *testing.T) {
	t.Parallel()
	_, address, _ := running(t, "")
	response := ask(t, http.MethodGet, "http://"+address+"/")
	require.Equal(t, http.StatusOK, response.StatusCode)
	b, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	text := string(b)
	require.Contains(t, text, "<title>natlab: a&lt;b</title>")
	require.NotRegexp(t, `(?i)https?://|@import|\son[a-z]+=|style="|ZgotmplZ`, text)
	policy := response.Header.Get("Content-Security-Policy")
	nonce := regexp.MustCompile(`script-src 'nonce-(\w+)'`).FindStringSubmatch(policy)
	require.Len(t, nonce, 2, policy)
	require.Contains(t, policy, "default-src 'none'")
	require.Equal(t, strings.Count(text, "<script")+strings.Count(text, "<style"), strings.Count(text, `nonce="`+nonce[1]+`"`))
	again := ask(t, http.MethodGet, "http://"+address+"/")
	require.NotContains(t, again.Header.Get("Content-Security-Policy"), nonce[1], "a nonce is used once")
	require.Equal(t, http.StatusNotFound, ask(t, http.MethodGet, "http://"+address+"/x").StatusCode)
	require.Equal(t, http.StatusMethodNotAllowed, ask(t, http.MethodGet, "http://"+address+"/prove").StatusCode)
}

// Flows come as they pass, and a proof part by part; who comes later is told the same, and no name is markup.
func TestStream(t *testing.T) {
	t.Parallel()
	s, address, ended := running(t, "")
	first := open(t, address)
	require.Equal(t, "begin", first.next().kind)
	first.until("state", "watching")
	const name = `<img src=x onerror=alert(1)>`
	s.flows <- passing(1, name)
	e := first.until("live", "live1")
	var piece struct {
		ID, Row, Way string
		Rows         []string
	}
	require.NoError(t, json.Unmarshal([]byte(e.data), &piece))
	require.NotContains(t, piece.Row+piece.Way, "<img")
	require.Contains(t, piece.Row, "&lt;img src=x")
	require.Contains(t, piece.Row, "10.244.1.2:8080")
	require.Contains(t, piece.Way, `<details class="flow">`)

	s.parts = []proof.Report{proved("a "+name, proof.Proved), proved("b", proof.Disproved)}
	require.Equal(t, http.StatusAccepted, ask(t, http.MethodPost, "http://"+address+"/prove", "Origin: http://"+address).StatusCode)
	first.until("anew", "")
	e = first.until("proof", `"proof0"`)
	require.NoError(t, json.Unmarshal([]byte(e.data), &piece))
	require.Len(t, piece.Rows, 1)
	require.NotContains(t, piece.Rows[0]+piece.Way, "<img")
	first.until("proof", `"proof1"`)
	first.until("sum", "1 of 2 flows proved, 1 disproved; the proof ended: the time was over")
	first.until("state", "watching")

	second := open(t, address) // later
	second.until("live", "live1")
	second.until("proof", `"proof1"`)
	last := second.until("state", "watching")
	third := open(t, address, "Last-Event-ID: "+last.id) // it was there before
	s.flows <- passing(2, "outside")
	require.Equal(t, "live", third.next().kind)
	other := open(t, address, "Last-Event-ID: another."+fmt.Sprint(1))
	require.Equal(t, "begin", other.next().kind)

	s.over <- fmt.Errorf("%w: down", serve.ErrOver)
	first.until("state", `"over":true`)
	require.ErrorIs(t, <-ended, serve.ErrOver)
}

// Of many flows the last ones are kept; where a watch fails it is tried again.
func TestWatchGoesOn(t *testing.T) {
	t.Parallel()
	s, address, _ := running(t, "")
	first := open(t, address)
	for n := range 300 {
		s.flows <- passing(n+1, "outside")
	}
	first.until("live", `"live300"`)
	s.over <- errors.New("somebody else watches")
	first.until("state", `"watching"`)
	count := 0
	for later := open(t, address); ; {
		e := later.next()
		if e.kind == "live" {
			count++
		}
		if strings.Contains(e.data, `"live300"`) {
			break
		}
	}
	require.Equal(t, 200, count)
}

// Neither a name that was led here nor a page of somebody else gets anything, or starts a proof.
func TestGuard(t *testing.T) {
	t.Parallel()
	_, address, _ := running(t, "lab.example")
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	for _, row := range []struct {
		name, method, path string
		header             []string
		want               int
	}{
		{"its address", "GET", "/", nil, 200},
		{"localhost", "GET", "/", []string{"Host: localhost:" + port}, 200},
		{"IPv6", "GET", "/", []string{"Host: [::1]:" + port}, 200},
		{"the name it listens by", "GET", "/", []string{"Host: lab.example:" + port}, 200},
		{"a name that was led here", "GET", "/", []string{"Host: evil.example:" + port}, 421},
		{"one that ends alike", "GET", "/events", []string{"Host: localhost.evil.example"}, 421},
		{"no port", "GET", "/", []string{"Host: evil.example"}, 421},
		{"a proof by a led name", "POST", "/prove", []string{"Host: evil.example:" + port, "Origin: http://evil.example:" + port}, 421},
		{"a proof by another page", "POST", "/prove", []string{"Origin: http://evil.example"}, 403},
		{"a proof by a page without a name", "POST", "/prove", []string{"Origin: null"}, 403},
		{"a proof by another port", "POST", "/prove", []string{"Origin: http://127.0.0.1:1"}, 403},
		{"a proof by a form without Origin", "POST", "/prove", []string{"Sec-Fetch-Site: cross-site"}, 403},
		{"a stream for another site", "GET", "/events", []string{"Sec-Fetch-Site: same-site"}, 403},
		{"a link from elsewhere", "GET", "/", []string{"Sec-Fetch-Site: cross-site"}, 200},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			response := ask(t, row.method, "http://"+address+row.path, row.header...)
			require.Equal(t, row.want, response.StatusCode)
			require.Equal(t, "nosniff", response.Header.Get("X-Content-Type-Options"))
			require.Empty(t, response.Header.Get("Access-Control-Allow-Origin"))
		})
	}
}

// A second proof waits for the first, and the end of the server's context ends its streams and is no error.
func TestOneProofAndTheEnd(t *testing.T) {
	t.Parallel()
	at := make(chan struct{})
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- serve.Run(ctx, l, "", serve.Source{
			Watch: func(ctx context.Context, ready func(), _ func(live.Flow) error) error {
				ready()
				<-ctx.Done()
				return nil
			},
			Prove: func(ctx context.Context, _ func(proof.Report) error) error {
				close(at)
				<-ctx.Done()
				return ctx.Err()
			},
		})
	}()
	url := "http://" + l.Addr().String()
	stream := open(t, l.Addr().String())
	stream.until("state", "watching")
	require.Equal(t, http.StatusAccepted, ask(t, http.MethodPost, url+"/prove").StatusCode)
	<-at
	require.Equal(t, http.StatusConflict, ask(t, http.MethodPost, url+"/prove").StatusCode)
	stop()
	select {
	case err := <-ended:
		require.NoError(t, err)
	case <-time.After(time.Minute):
		require.Fail(t, "the server does not end")
	}
}
