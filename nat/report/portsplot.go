package report

import (
	_ "embed" // the page's template
	"fmt"
	"html/template"
	"io"
	"strconv"
	"strings"
	"time"

	"natlab/nat/portuse"
)

//go:embed ports.html
var portsText string

var portsTemplate = template.Must(template.Must(pageTemplate.Clone()).New("portsPage").Parse(portsText))

// The measures of a pool's two charts, one above the other, which have the time in common.
const (
	plotWidth   = 640
	plotLeft    = 70  // of the numbers
	levelHigh   = 110 // of the chart of how many
	portHigh    = 190 // of the chart of which
	plotBetween = 26
	plotHigh    = levelHigh + plotBetween + portHigh + 2*lineHeight
	highest     = 65535
)

// HTML writes the use of ports as one page that needs nothing else: of each pool how many of its ports were in use over the time, which,
// and its destinations.
func (p *Ports) HTML(w io.Writer) error {
	type pool struct {
		Name, Figures string
		Plot          template.HTML
		Rows          [][]string
		More          int
	}
	page := struct {
		heads
		Headings []string
		Pools    []pool
		Over     bool // some time, not one moment
		None     string
	}{heads: p.heads(), Headings: p.poolHeadings(), Over: !p.moment(), None: noPools}
	for i := range p.Pools {
		one := &p.Pools[i]
		out := pool{Name: poolName(one), Figures: p.figures(one)}
		out.Rows, out.More = p.rows(one)
		var drawn picture
		p.plot(&drawn, one, 0, 0)
		out.Plot = template.HTML(drawn.lines.String() + drawn.b.String()) // #nosec G203 -- all text in it went through inXML
		page.Pools = append(page.Pools, out)
	}
	return portsTemplate.Execute(w, struct {
		Width, Height int
		Ports         any
		Title         string
	}{plotLeft + plotWidth + margin, plotHigh, page, page.Title})
}

// SVG writes the use of ports as one picture that needs nothing else.
func (p *Ports) SVG(w io.Writer) error {
	about := p.heads()
	return writeSVG(w, about, func(drawn *picture) {
		if len(p.Pools) == 0 {
			drawn.put("", noPools)
		}
		for i := range p.Pools {
			pool := &p.Pools[i]
			drawn.down += lineHeight
			drawn.put("name", poolName(pool))
			drawn.put("soft", p.figures(pool))
			p.plot(drawn, pool, margin, drawn.down+lineHeight)
			drawn.down += plotHigh + lineHeight
			p.list(drawn, pool)
		}
	})
}

// list writes a pool's destinations.
func (p *Ports) list(drawn *picture, pool *portuse.Pool) {
	headings := p.poolHeadings()
	rows, more := p.rows(pool)
	for _, row := range rows {
		cells := []string{row[0]}
		for i := 1; i < len(row); i++ {
			cells = append(cells, headings[i]+": "+row[i])
		}
		drawn.put("", strings.Join(cells, "; "))
	}
	if more > 0 {
		drawn.put("soft", fmt.Sprintf("and %d more", more))
	}
}

// plot draws a pool's two charts: how many connections there were at once, and each as a line at its port for as long as it was there.
func (p *Ports) plot(drawn *picture, pool *portuse.Pool, x, y int) {
	left := x + plotLeft
	p.frame(drawn, pool, left, y)
	var levels strings.Builder
	fmt.Fprintf(&levels, "M%d %d", left, y+levelHigh)
	for i, n := range p.Levels(pool, plotWidth) {
		fmt.Fprintf(&levels, "V%dH%d", y+levelHigh-n*levelHigh/max(pool.Peak, 1), left+i+1)
	}
	fmt.Fprintf(&drawn.lines, `<path class="level" d="%s"/>`+"\n", levels.String())
	ports, top := map[[3]int]bool{}, y+levelHigh+plotBetween
	var each, own strings.Builder
	for i := range pool.Leases {
		l := &pool.Leases[i]
		at := [3]int{p.across(l.From, p.Begin), p.across(l.Until, p.End), int(l.Port) * portHigh / highest}
		if at[1] <= at[0] {
			at[1] = at[0] + 1 // it is seen, however short it was
		}
		into := &each
		if l.Own {
			into = &own
		}
		if !ports[at] {
			ports[at] = true
			fmt.Fprintf(into, "M%d %dH%d", left+at[0], top+portHigh-at[2], left+at[1])
		}
	}
	fmt.Fprintf(&drawn.lines, `<path class="lease" d="%s"/>`+"\n", each.String())
	if own.Len() > 0 {
		fmt.Fprintf(&drawn.lines, `<path class="own" d="%s"/>`+"\n", own.String())
	}
}

// across is how far to the right a time is, and where a lease has none that of the other.
func (p *Ports) across(at, otherwise time.Time) int {
	if at.IsZero() {
		at = otherwise
	}
	whole := p.End.Sub(p.Begin)
	if whole <= 0 {
		if otherwise.Equal(p.End) {
			return plotWidth // a moment is as wide as the picture
		}
		return 0
	}
	return int(float64(plotWidth) * min(1, max(0, float64(at.Sub(p.Begin))/float64(whole))))
}

// frame draws the charts' axes with their numbers.
func (p *Ports) frame(drawn *picture, pool *portuse.Pool, left, y int) {
	below := y + levelHigh + plotBetween
	number := func(y int, text string) {
		n := columns(text)
		drawn.word(left-(n+1)*charWidth, y, "soft", text, n)
	}
	for _, chart := range []struct {
		top, high int
		most      string
		low       string
	}{{y, levelHigh, strconv.Itoa(pool.Peak), "0"}, {below, portHigh, strconv.Itoa(highest), "0"}} {
		fmt.Fprintf(&drawn.lines, `<path class="line" d="M%d %dV%dH%d"/>`+"\n", left, chart.top, chart.top+chart.high, left+plotWidth)
		number(chart.top-6, chart.most)
		number(chart.top+chart.high-12, chart.low)
	}
	drawn.word(left+charWidth, y-18, "soft", "connections at once", len("connections at once"))
	what := portWord(pool) + "s in use"
	drawn.word(left+charWidth, below-18, "soft", what, len(what))
	if end := spell(p.End.Sub(p.Begin)); !p.moment() {
		drawn.word(left, below+portHigh+2, "soft", "0 s", 3)
		drawn.word(left+plotWidth-columns(end)*charWidth, below+portHigh+2, "soft", end, columns(end))
	}
}
