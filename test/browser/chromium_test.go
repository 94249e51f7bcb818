//go:build browser

package browser_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience is how long a browser may take for anything.
const patience = time.Minute

// browser is a Chromium that is told what to do by its DevTools protocol, over a pair of pipes.
type browser struct {
	t   *testing.T
	out *os.File

	mu      sync.Mutex
	last    int
	answers map[int]chan answer
	session string   // of the one page
	wrong   []string // what the page has logged as an error, or threw
	asked   []string // the addresses that it asked
	loaded  chan struct{}
}

type answer struct {
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// message is what comes out of the browser: an answer or an event.
type message struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	answer
}

// chromium starts a browser with one empty page of a size. It ends with the test, which fails if a page has logged an error.
func chromium(t *testing.T, width, height int) *browser {
	t.Helper()
	program, err := exec.LookPath("chromium")
	require.NoError(t, err, "make test-browser installs it")
	toRead, toWrite, err := os.Pipe()
	require.NoError(t, err)
	fromRead, fromWrite, err := os.Pipe()
	require.NoError(t, err)
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--hide-scrollbars",
		"--disable-component-update", "--disable-dev-shm-usage", "--remote-debugging-pipe", "--user-data-dir="+t.TempDir(), fmt.Sprintf("--window-size=%d,%d", width, height))
	cmd.ExtraFiles = []*os.File{toRead, fromWrite} // it reads 3 and writes 4
	require.NoError(t, cmd.Start())
	require.NoError(t, errors.Join(toRead.Close(), fromWrite.Close()))
	b := &browser{t: t, out: toWrite, answers: map[int]chan answer{}, loaded: make(chan struct{}, 10)}
	var reading sync.WaitGroup
	reading.Go(func() { b.read(fromRead) })
	t.Cleanup(func() {
		b.call("Browser.close", nil, nil)
		_ = cmd.Wait()
		reading.Wait()
		_ = errors.Join(toWrite.Close(), fromRead.Close())
		require.Empty(t, b.wrong, "a page logs no error")
	})
	var target struct {
		TargetID string `json:"targetId"`
	}
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct {
		SessionID string `json:"sessionId"`
	}
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	for _, part := range []string{"Page", "Runtime", "Log", "Network"} {
		b.call(part+".enable", nil, nil)
	}
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}, nil)
	return b
}

// read takes what the browser tells until it has ended.
func (b *browser) read(from *os.File) {
	lines := bufio.NewReader(from)
	for {
		text, err := lines.ReadBytes(0)
		if err != nil {
			return
		}
		var m message
		if json.Unmarshal(text[:len(text)-1], &m) != nil {
			continue
		}
		b.mu.Lock()
		to := b.answers[m.ID]
		delete(b.answers, m.ID)
		switch m.Method {
		case "Page.loadEventFired":
			b.loaded <- struct{}{}
		case "Runtime.exceptionThrown":
			b.wrong = append(b.wrong, string(m.Params))
		case "Network.requestWillBeSent":
			var p struct {
				Request struct {
					URL string `json:"url"`
				} `json:"request"`
			}
			_ = json.Unmarshal(m.Params, &p) // without it, it is an empty address, which no test has
			b.asked = append(b.asked, p.Request.URL)
		case "Log.entryAdded", "Runtime.consoleAPICalled":
			if text := string(m.Params); strings.Contains(text, `"level":"error"`) || strings.Contains(text, `"type":"error"`) {
				b.wrong = append(b.wrong, text)
			}
		}
		b.mu.Unlock()
		if to != nil {
			to <- m.answer
		}
	}
}

// call has the browser do something, and reads what comes of it into result, unless that is nil.
func (b *browser) call(method string, params, result any) {
	b.t.Helper()
	b.mu.Lock()
	b.last++
	id := b.last
	to := make(chan answer, 1)
	b.answers[id] = to
	b.mu.Unlock()
	m := map[string]any{"id": id, "method": method}
	if params != nil {
		m["params"] = params
	}
	if b.session != "" && !strings.HasPrefix(method, "Browser.") {
		m["sessionId"] = b.session
	}
	text, err := json.Marshal(m)
	require.NoError(b.t, err)
	_, err = b.out.Write(append(text, 0))
	require.NoError(b.t, err)
	select {
	case a := <-to:
		require.Nil(b.t, a.Error, method)
		if result != nil {
			require.NoError(b.t, json.Unmarshal(a.Result, result))
		}
	case <-time.After(patience):
		require.Fail(b.t, "the browser does not answer", method)
	}
}

// open opens an address, and waits for the page.
func (b *browser) open(url string) {
	b.t.Helper()
	b.call("Page.navigate", map[string]any{"url": url}, nil)
	select {
	case <-b.loaded:
	case <-time.After(patience):
		require.Fail(b.t, "the page does not come", url)
	}
}

// page opens a page that a command has printed.
func (b *browser) page(text string) {
	b.t.Helper()
	file := filepath.Join(b.t.TempDir(), "page.html")
	require.NoError(b.t, os.WriteFile(file, []byte(text), 0o600))
	b.open("file://" + file)
}

// value is what an expression of JavaScript is on the page.
func value[T any](b *browser, expression string) (v T) {
	b.t.Helper()
	var r struct {
		Result struct {
			Value json.RawMessage `json:"value"`
		} `json:"result"`
		Thrown json.RawMessage `json:"exceptionDetails"`
	}
	b.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true}, &r)
	require.Empty(b.t, string(r.Thrown), expression)
	require.NoError(b.t, json.Unmarshal(r.Result.Value, &v), expression)
	return v
}

// until waits for an expression to be true on the page.
func (b *browser) until(expression string) {
	b.t.Helper()
	ctx := time.Now().Add(patience)
	for !value[bool](b, "!!("+expression+")") {
		require.True(b.t, time.Now().Before(ctx), "it does not come: %s", expression)
		b.call("Runtime.evaluate", map[string]any{"expression": "new Promise(requestAnimationFrame)", "awaitPromise": true}, nil)
	}
}

// The keys that tests press, with the text that they write.
var keys = map[string]string{"Tab": "", "Enter": "\r", " ": " "}

// press presses a key, as a hand does.
func (b *browser) press(key string) {
	b.t.Helper()
	text, named := keys[key]
	if !named {
		text = key
	}
	code := map[string]int{"Tab": 9, "Enter": 13, " ": 32}[key]
	event := map[string]any{"type": "keyDown", "key": key, "text": text, "windowsVirtualKeyCode": code}
	b.call("Input.dispatchKeyEvent", event, nil)
	b.call("Input.dispatchKeyEvent", map[string]any{"type": "keyUp", "key": key, "windowsVirtualKeyCode": code}, nil)
}

// tabTo presses Tab until the element that a selector names has the focus.
func (b *browser) tabTo(selector string) {
	b.t.Helper()
	for range 2000 {
		b.press("Tab")
		if value[bool](b, fmt.Sprintf("document.activeElement.matches(%q)", selector)) {
			return
		}
	}
	require.Fail(b.t, "no key leads there", selector)
}

// alone requires that the page asked for nothing but what lies at one of the addresses, or in itself.
func (b *browser) alone(prefixes ...string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, url := range b.asked {
		require.True(b.t, slices.ContainsFunc(append(prefixes, "data:", "about:"), func(p string) bool { return strings.HasPrefix(url, p) }), url)
	}
}

// look keeps a picture of the page where somebody wants to look at it: in the folder that NATLAB_PICTURES names.
func (b *browser) look(name string) {
	b.t.Helper()
	dir := os.Getenv("NATLAB_PICTURES")
	if dir == "" {
		return
	}
	var shot struct {
		Data string `json:"data"`
	}
	b.call("Page.captureScreenshot", map[string]any{"format": "png"}, &shot)
	png, err := base64.StdEncoding.DecodeString(shot.Data)
	require.NoError(b.t, err)
	require.NoError(b.t, os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600))
}
