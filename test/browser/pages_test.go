//go:build browser

package browser_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// program is natlab, built once; lab is one that stands, which one at a time may watch, and recorded a run of its proofs.
var program, recorded, lab = "", "", "browser" + strconv.Itoa(os.Getpid())

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "natlab-browser-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 2
		}
		defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
		program, recorded = filepath.Join(dir, "natlab"), filepath.Join(dir, "run")
		out, err := exec.CommandContext(context.Background(), "go", "build", "-o", program, "natlab/cmd/natlab").CombinedOutput()
		if err == nil {
			out, err = exec.CommandContext(context.Background(), program, "up", "--name", lab, "--with", strconv.Itoa(os.Getpid())).CombinedOutput()
		}
		if err == nil {
			out, err = exec.CommandContext(context.Background(), program, "verify", "--name", lab, "--service", "velero/minio", "--from", "outside", "--record", recorded).CombinedOutput()
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "%v: %s\n", err, out)
			return 2
		}
		defer func() { _ = exec.CommandContext(context.Background(), program, "down", "--name", lab).Run() }() // it ends with this program anyway
		return m.Run()
	}())
}

// natlab is what a command prints; it may end with status 1.
func natlab(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	var out, wrong bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &wrong
	err := cmd.Run()
	if end, ok := errors.AsType[*exec.ExitError](err); ok && end.ExitCode() == 1 {
		err = nil
	}
	require.NoError(t, err, wrong.String())
	return out.String()
}

// A page of proofs is gone through by keyboard alone: past the table, into the ways, by what is looked for, and by a link of the table to its way.
func TestProofsByKeyboard(t *testing.T) {
	t.Parallel()
	b := chromium(t, 1280, 900)
	b.page(natlab(t, "replay", recorded, "--draw", "-o", "html"))
	require.Greater(t, value[int](b, `document.querySelectorAll(".flow").length`), 8)
	require.Zero(t, value[int](b, `document.querySelectorAll("details[open]").length`), "of many flows none lies open")
	b.look("proofs")

	b.press("Tab")
	require.Equal(t, "Skip to the flows", value[string](b, `document.activeElement.textContent`))
	b.press("Enter")
	b.until(`location.hash === "#flows"`)
	b.tabTo("details.flow > summary")
	b.press("Enter")
	b.until(`document.activeElement.parentElement.open`)
	require.Contains(t, value[string](b, `document.activeElement.parentElement.innerText`), "KUBE-MARK-MASQ")
	b.look("way")
	b.tabTo("details.flow details > summary")
	b.press(" ")
	b.until(`document.activeElement.parentElement.open`)
	require.Contains(t, value[string](b, `document.activeElement.parentElement.innerText`), "SNAT undone")
	b.press(" ")
	b.until(`!document.activeElement.parentElement.open`)

	b.call("Page.reload", nil, nil)
	<-b.loaded
	b.tabTo("#words")
	all := value[int](b, `document.querySelectorAll("#all tbody tr").length`)
	for _, letter := range "26.105" {
		b.press(string(letter))
	}
	shown := `[...document.querySelectorAll("#all tbody tr")].filter(r => r.checkVisibility())`
	found := value[int](b, shown+".length")
	require.Positive(t, found)
	require.Less(t, found, all)
	require.True(t, value[bool](b, shown+`.every(r => r.textContent.includes("26.105"))`))
	b.tabTo("#all tbody a")
	to := value[string](b, `document.activeElement.hash`)
	b.press("Enter")
	b.until(fmt.Sprintf(`document.querySelector(%q).closest("details").open`, to))
	b.until(fmt.Sprintf(`(r => r.top >= 0 && r.bottom <= innerHeight)(document.querySelector(%q).getBoundingClientRect())`, to))
	b.alone("file:")
}

// On a phone no page is wider than the screen, and in the dark it is dark, with letters that stand out: 4.5 to 1, as WCAG 2.2 has it.
func TestPhoneAndDark(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"proof":    natlab(t, "replay", recorded, "--to", "192.168.26.101:30450", "--draw", "-o", "html"),
		"explain":  natlab(t, "explain", "--from", "outside", "--packet", "tcp 192.168.26.1 > 192.168.26.101:30450", "-o", "html"),
		"scenario": scenario(t, "html"),
		"grid":     grid(t),
		"ports":    natlab(t, "ports", "--events", "../testdata/pages/conntrack.log", "-o", "html"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := chromium(t, 360, 740)
			papers := map[string]bool{}
			for _, scheme := range []string{"light", "dark"} {
				b.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
				b.page(text)
				value[int](b, `document.querySelectorAll("details").forEach(d => { d.open = true; }), 0`)
				require.LessOrEqual(t, value[int](b, `document.scrollingElement.scrollWidth`), 360, "%v", value[[]string](b, tooWide))
				papers[value[string](b, `getComputedStyle(document.body).backgroundColor`)] = true
				require.Empty(t, value[[]string](b, tooFaint), "%s letters that do not stand out", scheme)
				b.look("phone-" + name + "-" + scheme)
			}
			require.Len(t, papers, 2)
			b.alone("file:")
		})
	}
}

// scenario is what one did, in a form.
func scenario(t *testing.T, form string) string {
	t.Helper()
	return natlab(t, "scenario", "run", "kubernetes-32415", "--variant", "buggy", "--backend", "iptables-legacy", "-o", form)
}

// grid is a page of results: of this kernel, and as of another one where they failed.
func grid(t *testing.T) string {
	t.Helper()
	passed := scenario(t, "junit")
	failed := regexp.MustCompile(`(?s)(<testcase [^>]*)(/>|></testcase>)`).ReplaceAllString(passed, `$1><failure type="failure" message="line 7: ask: it ended refused">a log</failure></testcase>`)
	require.NotEqual(t, passed, failed)
	failed = regexp.MustCompile(`name="kernel" value="[^"]*"`).ReplaceAllString(failed, `name="kernel" value="5.10.0"`)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "here.xml"), []byte(passed), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "there.xml"), []byte(failed), 0o600))
	return natlab(t, "scenario", "grid", filepath.Join(dir, "here.xml"), filepath.Join(dir, "there.xml"), "-o", "html")
}

// The grid is gone through by keyboard: from what failed to why it did.
func TestGridByKeyboard(t *testing.T) {
	t.Parallel()
	b := chromium(t, 1280, 900)
	b.page(grid(t))
	require.Equal(t, 2, value[int](b, `document.querySelectorAll("#runs thead th").length - 2`), "two kernels")
	b.tabTo("#runs td.failed a")
	to := value[string](b, `document.activeElement.hash`)
	b.press("Enter")
	b.until(fmt.Sprintf(`location.hash === %q`, to))
	require.Contains(t, value[string](b, fmt.Sprintf(`document.querySelector(%q).nextElementSibling.textContent`, to)), "line 7: ask: it ended refused")
	b.look("grid")
	b.alone("file:")
}

// What a scenario did is gone through by keyboard: the grid, and the way of an exchange.
func TestScenarioByKeyboard(t *testing.T) {
	t.Parallel()
	b := chromium(t, 1280, 900)
	b.page(scenario(t, "html"))
	require.Contains(t, value[string](b, `document.querySelector("#runs").textContent`), "kubernetes-32415")
	b.tabTo("details.flow details > summary")
	b.press("Enter")
	b.until(`document.activeElement.parentElement.open`)
	require.Contains(t, value[string](b, `document.activeElement.parentElement.innerText`), "192.168.0.1:30080")
	require.Contains(t, value[string](b, `document.querySelector("details.flow").innerText`), "KUBE-NODEPORTS")
	b.look("scenario")
	b.alone("file:")
}

// The use of ports of a record: its chart is scrolled by keyboard, has a name for who does not see it, and its table the figures.
func TestPortsByKeyboard(t *testing.T) {
	t.Parallel()
	b := chromium(t, 1280, 900)
	b.page(natlab(t, "ports", "--events", "../testdata/pages/conntrack.log", "-o", "html"))
	b.tabTo("div.scroll:has(svg)")
	require.Equal(t, "Use of ports of tcp 192.168.1.11 over time", value[string](b, `document.querySelector("svg").getAttribute("aria-label")`))
	require.Contains(t, value[string](b, `document.getElementById(document.querySelector("svg").getAttribute("aria-describedby")).textContent`), "4 connections, at most 3 at once")
	box := value[[]float64](b, `(r => [r.width, r.height])(document.querySelector("path.lease").getBoundingClientRect())`)
	require.Greater(t, box[0], 400.0, "it is drawn")
	require.Contains(t, value[string](b, `document.querySelector("table").innerText`), "10.244.1.2:8080")
	b.look("ports")
	b.alone("file:")
}

// tooWide lists the elements that end beyond the screen, but for those that scroll by themselves.
const tooWide = `[...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > innerWidth && !e.closest(".scroll")).map(e => e.outerHTML.slice(0, 90))`

// tooFaint lists the texts of a page whose letters do not stand out from what is behind them.
const tooFaint = `(() => {
  const rgb = c => c.match(/[\d.]+/g).map(Number);
  const light = c => { const [r, g, b] = rgb(c).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; const p = rgb(c); if (p.length < 4 || p[3] > 0) { return c; } } return "rgb(255, 255, 255)"; };
  const out = new Set();
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n = walk.nextNode(); n; n = walk.nextNode()) {
    const e = n.parentElement;
    if (!n.textContent.trim() || !e.checkVisibility() || e.closest("script, style, button:disabled")) { continue; }
    const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) { out.add(e.tagName + "." + e.className + ": " + n.textContent.trim().slice(0, 40)); }
  }
  return [...out];
})()`

var servedAt = regexp.MustCompile(`at (http://\S+)`)

// natlab serve shows what passes as it does, and proves by a button that a key presses.
func TestServeByKeyboard(t *testing.T) {
	t.Parallel()
	serve := exec.CommandContext(t.Context(), program, "serve", "--name", lab, "--listen", "127.0.0.1:0")
	serve.Cancel = func() error { return serve.Process.Signal(syscall.SIGINT) }
	told, err := serve.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, serve.Start())
	t.Cleanup(func() {
		_ = serve.Process.Signal(syscall.SIGINT)
		_ = serve.Wait()
	})
	line := make([]byte, 200)
	n, err := told.Read(line)
	require.NoError(t, err)
	at := servedAt.FindSubmatch(line[:n])
	require.NotNil(t, at, "%s", line[:n])

	b := chromium(t, 1280, 900)
	b.open(string(at[1]))
	b.until(`document.getElementById("state").textContent === "watching"`)
	natlab(t, "exec", "outside", "--name", lab, "--", "bash", "-c", ": </dev/tcp/192.168.26.101/30450")
	b.until(`document.getElementById("live-rows").textContent.includes("192.168.26.101:30450")`)
	b.tabTo("#prove")
	b.press("Enter")
	b.until(`document.getElementById("state").textContent === "proving"`)
	b.until(`document.querySelectorAll("#proof-rows tr").length > 100`)
	b.until(`document.getElementById("state").textContent === "watching"`)
	require.Contains(t, value[string](b, `document.getElementById("sum").textContent`), "337 of 337 flows proved")
	b.look("serve")
	b.tabTo("#proof-rows a")
	to := value[string](b, `document.activeElement.hash`)
	b.press("Enter")
	b.until(fmt.Sprintf(`document.querySelector(%q).closest("details").open`, to))
	require.Empty(t, value[[]string](b, tooFaint))
	b.alone(string(at[1]))
}
