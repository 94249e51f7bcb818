package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"natlab/nat"
	"natlab/nat/portuse"
)

// Ports is the use of source ports by a node, as it is drawn.
type Ports struct {
	Node string `json:"node"` // or whose it is in other words
	portuse.Use
	Lost  uint64   `json:"lost"` // events that could not be delivered
	Notes []string `json:"notes,omitempty"`
}

// Destinations that are listed, of a pool.
const mostDestinations = 10

// What a picture and a text draw of a pool's time.
const (
	diagramParts = 60 // of Mermaid
	barParts     = 60 // of a text, where the terminal has room
)

// moment reports whether nothing is known but what there was at one time.
func (p *Ports) moment() bool { return !p.End.After(p.Begin) }

// heads are what stands above the picture.
func (p *Ports) heads() heads {
	h := heads{Title: "natlab: source ports of " + p.Node, Summary: p.when(), Notes: slices.Clone(p.Notes)}
	if p.Lost > 0 {
		h.Notes = append(h.Notes, fmt.Sprintf("%d events could not be delivered: what is told lacks them", p.Lost))
	}
	if n := p.silent(); n > 0 {
		h.Notes = append(h.Notes, fmt.Sprintf("no event told the end of %d: it was between two looks", n))
	}
	return h
}

// when is the time that is told of.
func (p *Ports) when() string {
	switch {
	case p.moment() && p.Begin.IsZero():
		return "at one moment"
	case p.moment():
		return "at " + clock(p.Begin)
	}
	return fmt.Sprintf("%s from %s", spell(p.End.Sub(p.Begin)), clock(p.Begin))
}

// clock is a time as it is told.
func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// spell is a time's length in words: "0.25 s", "10.1 s", "2h3m0s".
func spell(d time.Duration) string {
	if d < 10*time.Minute {
		return strconv.FormatFloat(d.Seconds(), 'g', 3, 64) + " s"
	}
	return d.Round(time.Second).String()
}

func (p *Ports) silent() (n int) {
	for _, pool := range p.Pools {
		for _, l := range pool.Leases {
			if l.Silent {
				n++
			}
		}
	}
	return n
}

// poolName is a pool in words: "tcp 10.244.239.128".
func poolName(p *portuse.Pool) string {
	name := p.Protocol.String() + " " + p.Address.String()
	if p.Zone != 0 {
		name += fmt.Sprintf(" zone %d", p.Zone)
	}
	return name
}

// figures are a pool's, in words.
func (p *Ports) figures(pool *portuse.Pool) string {
	own := 0
	for _, l := range pool.Leases {
		if l.Own {
			own++
		}
	}
	text := fmt.Sprintf("%s, at most %d at once, %d at the end", counted(pool.Connections, "connection"), pool.Peak, pool.AtEnd)
	if p.moment() {
		text = counted(pool.Connections, "connection")
	}
	text += "; " + counted(pool.Ports, portWord(pool)) + " in all"
	if own > 0 {
		text += fmt.Sprintf("; %d of the node's own, not translated", own)
	}
	return text
}

// portWord is what a pool's ports are called.
func portWord(p *portuse.Pool) string {
	if p.Protocol == nat.ICMP || p.Protocol == nat.ICMPv6 {
		return "identifier"
	}
	return "port"
}

func counted(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// share is how much of the range a destination had in use at most.
func (p *Ports) share(d portuse.Destination) string {
	part := 100 * float64(d.Peak) / float64(p.Range.Size())
	if part < 0.01 {
		return "under 0.01 %"
	}
	return strconv.FormatFloat(part, 'f', 2, 64) + " %"
}

// poolHeadings are those of a pool's table of destinations.
func (p *Ports) poolHeadings() []string {
	return []string{"to", "at once, at most", fmt.Sprintf("of %d ports", p.Range.Size()), "at the end", "in all"}
}

// rows are a pool's table of destinations, the fullest of them; more is how many are left out.
func (p *Ports) rows(pool *portuse.Pool) (rows [][]string, more int) {
	for i, d := range pool.Destinations {
		if i == mostDestinations {
			return rows, len(pool.Destinations) - i
		}
		rows = append(rows, []string{nat.EndText(d.Endpoint), strconv.Itoa(d.Peak), p.share(d), strconv.Itoa(d.AtEnd), strconv.Itoa(d.Connections)})
	}
	return rows, 0
}

// noPools is what is told where nothing was translated.
const noPools = "No source was translated."

// Text writes the use of ports for people: a pool with its levels over time as a row of bars, and the destinations that it is full for first.
func (p *Ports) Text(w io.Writer, st Style) error {
	var b strings.Builder
	h := p.heads()
	b.WriteString(st.Fold("source ports of "+p.Node+", "+h.Summary, "  ") + "\n")
	for _, note := range h.Notes {
		b.WriteString(st.Fold("note: "+note, "  ") + "\n")
	}
	if len(p.Pools) == 0 {
		b.WriteString(noPools + "\n")
	}
	for i := range p.Pools {
		pool := &p.Pools[i]
		b.WriteString("\n" + st.Fold(st.paint(heading, poolName(pool))+"  "+p.figures(pool), "  ") + "\n")
		if !p.moment() {
			room := barParts
			if st.Width > 0 {
				room = min(room, max(minFold, st.Width-2-len(fmt.Sprintf("  0 to %d", pool.Peak))))
			}
			fmt.Fprintf(&b, "  %s  0 to %d\n", st.paint(action, st.bars(p.Levels(pool, room), pool.Peak)), pool.Peak)
		}
		t := table{headings: p.poolHeadings()}
		rows, more := p.rows(pool)
		for _, row := range rows {
			t.add(plain, row...)
		}
		t.write(&b, t.widen(nil), st)
		if more > 0 {
			fmt.Fprintf(&b, "  and %d more\n", more)
		}
	}
	_, err := io.WriteString(w, st.Letters(b.String()))
	return err
}

// bars is a row of bars, one for each level; 0 has none.
func (st Style) bars(levels []int, most int) string {
	high := []rune(" ▁▂▃▄▅▆▇█")
	if st.ASCII {
		high = []rune(" .:-=+*#@")
	}
	var b strings.Builder
	for _, n := range levels {
		b.WriteRune(high[(n*(len(high)-1)+most-1)/max(most, 1)])
	}
	return b.String()
}

// Mermaid writes the use of ports as one chart: a line for each pool, and its level in each of the parts of the time.
func (p *Ports) Mermaid(w io.Writer) error {
	var b strings.Builder
	most := 1
	for _, pool := range p.Pools {
		most = max(most, pool.Peak)
	}
	fmt.Fprintf(&b, "xychart-beta\n  title \"%s\"\n", strings.ReplaceAll(mermaidText("source ports of "+p.Node), `"`, "'"))
	fmt.Fprintf(&b, "  x-axis \"seconds\" 0 --> %s\n", strconv.FormatFloat(max(p.End.Sub(p.Begin).Seconds(), 0.001), 'f', 3, 64))
	fmt.Fprintf(&b, "  y-axis \"connections at once\" 0 --> %d\n", most)
	for i := range p.Pools {
		var points []string
		for _, n := range p.Levels(&p.Pools[i], diagramParts) {
			points = append(points, strconv.Itoa(n))
		}
		fmt.Fprintf(&b, "  line \"%s\" [%s]\n", mermaidText(poolName(&p.Pools[i])), strings.Join(points, ", "))
	}
	if len(p.Pools) == 0 {
		b.WriteString("  line \"no source was translated\" [0, 0]\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Write writes the use of ports as a picture, by the form's word.
func (p *Ports) Write(w io.Writer, form string) error {
	switch form {
	case "html":
		return p.HTML(w)
	case "mermaid":
		return p.Mermaid(w)
	case "svg":
		return p.SVG(w)
	}
	return fmt.Errorf("no form %q", cmp.Or(form, "of a picture"))
}
