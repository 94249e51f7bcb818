package report_test

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/portuse"
	"natlab/nat/report"
)

// portsOf is a record of ten seconds: a connection a second for two seconds each, to one of two endpoints, and one of the node's own.
func portsOf(connections int) report.Ports {
	at := func(s float64) time.Time { return time.Unix(1_764_201_600, int64(s*1e9)).UTC() }
	entry := func(i int) nat.Entry {
		client := netip.AddrPortFrom(netip.MustParseAddr("192.168.26.1"), uint16(40000+i))
		to := netip.AddrPortFrom(netip.MustParseAddr("10.244.239.128"), uint16(1024+1000*i))
		server := netip.MustParseAddrPort([]string{"10.244.38.178:9090", "10.244.169.89:9090"}[i%2])
		return nat.Entry{Conn: nat.Conn{Original: nat.TupleOf(nat.TCP, client, server), Reply: nat.TupleOf(nat.TCP, server, to)}}
	}
	var r portuse.Recorder
	own := netip.MustParseAddrPort("10.244.239.128:60000")
	r.Have(nat.Entry{Conn: nat.Conn{Original: nat.TupleOf(nat.TCP, own, netip.MustParseAddrPort("10.0.0.9:22")), Reply: nat.TupleOf(nat.TCP, netip.MustParseAddrPort("10.0.0.9:22"), own)}})
	for i := range connections {
		r.Event(at(float64(i)), nat.Event{Kind: nat.New, Entry: entry(i)})
		if i > 1 {
			r.Event(at(float64(i)), nat.Event{Kind: nat.Destroyed, Entry: entry(i - 2)})
		}
	}
	return report.Ports{Node: "vms100", Use: r.Use(at(0), at(10), portuse.Usual)}
}

func TestPortsText(t *testing.T) {
	t.Parallel()
	p := portsOf(5)
	p.Lost = 3
	var b strings.Builder
	require.NoError(t, p.Text(&b, report.Style{}))
	require.Equal(t, `source ports of vms100, 10 s from 2025-11-27 00:00:00 UTC
note: 3 events could not be delivered: what is told lacks them

tcp 10.244.239.128  6 connections, at most 3 at once, 3 at the end; 6 ports in all; 1 of the node's own, not translated
  ▆▆▆▆▆▆██████████████████████████████████████████████████████  0 to 3
  to                  at once, at most  of 64512 ports  at the end  in all
  10.0.0.9:22         1                 under 0.01 %    1           1
  10.244.38.178:9090  1                 under 0.01 %    1           3
  10.244.169.89:9090  1                 under 0.01 %    1           2
`, b.String())
	for _, columns := range []int{60, 80} {
		b.Reset()
		require.NoError(t, p.Text(&b, report.Style{Width: columns, ASCII: true}))
		for line := range strings.Lines(b.String()) {
			require.LessOrEqual(t, len(strings.TrimSuffix(line, "\n")), columns, line)
			for _, r := range line {
				require.Less(t, r, rune(128), line)
			}
		}
	}

	none := report.Ports{Node: "a record"}
	b.Reset()
	require.NoError(t, none.Text(&b, report.Style{}))
	require.Equal(t, "source ports of a record, at one moment\nNo source was translated.\n", b.String())

	p.Range = portuse.Range{Low: 7000, High: 7009} // ten ports
	for i := range p.Pools[0].Leases {
		p.Pools[0].Leases[i].Silent = true
	}
	p.Pools[0].Destinations = append(make([]portuse.Destination, 11), p.Pools[0].Destinations...)
	b.Reset()
	require.NoError(t, p.Text(&b, report.Style{}))
	require.Contains(t, b.String(), "note: no event told the end of 6: it was between two looks\n")
	require.Contains(t, b.String(), "  and 4 more\n")
	p.Pools[0].Destinations = p.Pools[0].Destinations[11:]
	b.Reset()
	require.NoError(t, p.Text(&b, report.Style{}))
	require.Contains(t, b.String(), "10.0.0.9:22         1                 10.00 %")
}

// The pictures have each pool with its name, its figures and a line for each connection; the page and the drawing are well-formed, and escape.
func TestPortsPictures(t *testing.T) {
	t.Parallel()
	p := portsOf(9)
	p.Node = `a<b>&"c"`
	draw := func(form string) string {
		var b strings.Builder
		require.NoError(t, p.Write(&b, form))
		return b.String()
	}
	for _, form := range []string{"html", "svg"} {
		text := draw(form)
		d := xml.NewDecoder(strings.NewReader(text))
		d.Strict = form == "svg"
		d.Entity = xml.HTMLEntity
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else {
				require.NoError(t, err, form)
			}
		}
		require.Contains(t, text, "a&lt;b&gt;&amp;", form)
		for class, lines := range map[string]int{"lease": 9, "own": 1} {
			_, rest, found := strings.Cut(text, `<path class="`+class+`" d="`)
			require.True(t, found, form)
			path, _, _ := strings.Cut(rest, `"`)
			require.Equal(t, lines, strings.Count(path, "M"), "%s: %s", form, path)
		}
	}
	page := draw("html")
	require.Contains(t, page, "10 connections, at most 3 at once, 3 at the end; 10 ports in all; 1 of the node&#39;s own, not translated")
	require.Contains(t, page, `<th scope="row" class="mono">10.244.38.178:9090</th><td>1</td><td>under 0.01 %</td><td>1</td><td>5</td>`)
	require.NotContains(t, page, "http://", "it needs no network")
	chart := draw("mermaid")
	require.True(t, strings.HasPrefix(chart, "xychart-beta\n  title \"source ports of a#lt;b#gt;&'c'\"\n  x-axis \"seconds\" 0 --> 10.000\n  y-axis \"connections at once\" 0 --> 3\n  line \"tcp 10.244.239.128\" [2, 2,"), chart)
	require.Error(t, p.Write(&strings.Builder{}, "gif"))
}

// A lease is drawn where its time and its port are: the chart of which ports begins at 0 below and ends at 65535 above.
// What a chart shows stands above it: the line begins as high as the chart is where all connections were there from the beginning.
func TestPortsPicturesHaveRoom(t *testing.T) {
	t.Parallel()
	p := portsOf(5)
	for name, write := range map[string]func(io.Writer) error{"SVG": p.SVG, "HTML": p.HTML} {
		var b strings.Builder
		require.NoError(t, write(&b), name)
		number := func(pattern string) (n int) {
			m := regexp.MustCompile(pattern).FindStringSubmatch(b.String())
			require.NotNil(t, m, "%s: %s", name, pattern)
			n, err := strconv.Atoi(m[1])
			require.NoError(t, err)
			return n
		}
		top, words := number(`<path class="line" d="M\d+ (-?\d+)V`), number(`<text x="\d+" y="(-?\d+)"[^>]*>connections at once`)
		require.Less(t, words, top, name)
		if name == "HTML" {
			require.LessOrEqual(t, number(`class="plot"[^>]*viewBox="0 (-\d+) `), words-12, name)
			continue
		}
		require.GreaterOrEqual(t, words, number(`<text x="\d+" y="(\d+)"[^>]*>end;`)+12, name)
	}
}

func TestPortsPlace(t *testing.T) {
	t.Parallel()
	p := portsOf(9)
	var b strings.Builder
	require.NoError(t, p.HTML(&b))
	_, rest, _ := strings.Cut(b.String(), `<path class="lease" d="`)
	path, _, _ := strings.Cut(rest, `"`)
	high := func(port int) int { return 110 + 26 + 190 - port*190/65535 }
	require.True(t, strings.HasPrefix(path, fmt.Sprintf("M70 %dH%dM%d %dH%dM", high(1024), 70+2*64, 70+64, high(2024), 70+3*64)), path)
	require.True(t, strings.HasSuffix(path, fmt.Sprintf("M%d %dH%d", 70+8*64, high(9024), 70+640)), path)
}
