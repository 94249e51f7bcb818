package report

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"natlab/nat"
	"natlab/nat/proof"
)

// table is rows of cells under headings; the last cell of a row is its verdict, in that ink.
type table struct {
	headings []string
	rows     [][]string
	inks     []ink
}

func (t *table) add(i ink, cells ...string) {
	t.rows = append(t.rows, cells)
	t.inks = append(t.inks, i)
}

// widen makes widths, a number a column, hold every cell.
func (t *table) widen(widths []int) []int {
	for _, row := range slices.Concat([][]string{t.headings}, t.rows) {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	return widths
}

// belowIndent is how far the cells of a row stand in that found no place in its first line.
const belowIndent = 6

// write prints the table. Where a row is too long for the text's width, its last cells stand in lines below, each below the same heading.
func (t *table) write(b *strings.Builder, widths []int, st Style) {
	starts := st.lineStarts(widths)
	for n, row := range slices.Concat([][]string{t.headings}, t.rows) {
		b.WriteString("  ")
		for i, cell := range row {
			paint := plain
			switch {
			case n == 0:
				paint = quiet
			case i == len(row)-1:
				paint = t.inks[n-1]
			}
			if starts[i] {
				b.WriteString("\n" + strings.Repeat(" ", belowIndent))
			}
			if i < len(row)-1 && !starts[i+1] {
				cell = pad(cell, widths[i]+2)
			} else {
				cell = st.Fold(cell, strings.Repeat(" ", belowIndent))
			}
			b.WriteString(st.paint(paint, cell))
		}
		b.WriteByte('\n')
	}
}

// lineStarts are the columns of a table that begin a new line.
func (st Style) lineStarts(widths []int) []bool {
	starts := make([]bool, len(widths))
	at := 2
	for i, w := range widths {
		if st.Width > 0 && i > 0 && at+w > st.Width {
			starts[i], at = true, belowIndent
		}
		at += w + 2
	}
	return starts
}

// FoldTable is a table of others, with three blanks or more between its columns, as it is where it fits, and else with the last cells of each row in
// lines below.
func (st Style) FoldTable(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if !slices.ContainsFunc(lines, st.exceeds) {
		return text
	}
	var t table
	starts := columnStarts(lines)
	for n, line := range lines {
		runes := []rune(line)
		var cells []string
		for i, at := range starts {
			end := len(runes)
			if i+1 < len(starts) {
				end = min(end, starts[i+1])
			}
			cells = append(cells, strings.TrimRight(string(runes[min(at, end):end]), " "))
		}
		if n == 0 {
			t.headings = cells
		} else {
			t.add(plain, cells...)
		}
	}
	var b strings.Builder
	t.write(&b, t.widen(nil), Style{Width: st.Width})
	return b.String()
}

// columnStarts are where the columns of a table begin: where in some line a cell stands behind three columns that are blank in all.
func columnStarts(lines []string) (starts []int) {
	blanks := 3
	for at := 0; ; at++ {
		blank, ended := true, true
		for _, line := range lines {
			runes := []rune(line)
			ended = ended && at >= len(runes)
			blank = blank && (at >= len(runes) || runes[at] == ' ')
		}
		switch {
		case ended:
			return starts
		case blank:
			blanks++
			continue
		case blanks >= 3:
			starts = append(starts, at)
		}
		blanks = 0
	}
}

// writeFlows prints a line for each flow and endpoint, in groups of one Service port and kind of address.
func writeFlows(b *strings.Builder, flows []proof.Certificate, st Style) {
	var titles []string
	var tables []*table
	var widths []int
	for _, c := range flows {
		if title := service(c.Flow) + "  " + accessOf(c.Flow); len(titles) == 0 || titles[len(titles)-1] != title {
			titles = append(titles, title)
			tables = append(tables, &table{headings: []string{"client", "asks", "answered by", "masquerade", "verdict"}})
		}
		addFlow(tables[len(tables)-1], c)
	}
	for _, t := range tables {
		widths = t.widen(widths)
	}
	for i, t := range tables {
		fmt.Fprintf(b, "%s\n", st.paint(heading, titles[i]))
		t.write(b, widths, st)
		b.WriteByte('\n')
	}
}

// accessOf is the kind of address that a flow asks, with its family where that is not IPv4.
func accessOf(f proof.Flow) string {
	if f.Target.Addr().Is6() {
		return f.Type.String() + " IPv6"
	}
	return f.Type.String()
}

func addFlow(t *table, c proof.Certificate) {
	masquerade := ""
	switch {
	case c.Masqueraded:
		masquerade = "yes"
	case c.End == nat.EndAnswered:
		masquerade = "no"
	}
	verdict := verdictMark(c.Verdict) + " " + c.Verdict.String()
	if c.Verdict != proof.Proved && c.Wrong != nil {
		verdict += ": " + c.Wrong.Check
	}
	if len(c.AllowedBy) > 0 {
		verdict += ", allowed by " + c.AllowedBy[0].Owner
	}
	t.add(verdictInk(c.Verdict), c.Client, c.Protocol.String()+" "+c.Target.String(), ending(c), masquerade, verdict)
}

// ending is the endpoint that answered, or what became of the request instead.
func ending(c proof.Certificate) string {
	switch {
	case c.End == nat.EndAnswered:
		return c.Endpoint.String()
	case c.Node != "":
		return c.End.String() + " in " + c.Node
	}
	return c.End.String()
}

// kind is all flows of one Service port and kind of address.
type kind struct {
	service, access    string
	flows, masqueraded int
	endings            []string
	verdicts           [3]int // by proof.Outcome
}

// writeKinds prints a line for each kind of flow.
func writeKinds(b *strings.Builder, flows []proof.Certificate, st Style) {
	if len(flows) == 0 {
		return
	}
	t := table{headings: []string{"service", "asked by", "flows", "answered by", "masqueraded", "verdict"}}
	for _, k := range kinds(flows) {
		var verdicts []string
		worst := proof.Proved
		for _, o := range []proof.Outcome{proof.Disproved, proof.Inconclusive, proof.Proved} {
			if n := k.verdicts[o]; n > 0 {
				verdicts = append(verdicts, fmt.Sprintf("%s %d %s", verdictMark(o), n, o))
				if worst == proof.Proved {
					worst = o
				}
			}
		}
		t.add(verdictInk(worst), k.service, k.access, strconv.Itoa(k.flows), strings.Join(k.endings, " "), strconv.Itoa(k.masqueraded), strings.Join(verdicts, ", "))
	}
	t.write(b, t.widen(nil), st)
	b.WriteByte('\n')
}

func kinds(flows []proof.Certificate) []kind {
	var out []kind
	for _, c := range flows {
		s, a := service(c.Flow), accessOf(c.Flow)
		if n := len(out); n == 0 || out[n-1].service != s || out[n-1].access != a {
			out = append(out, kind{service: s, access: a})
		}
		k := &out[len(out)-1]
		k.flows++
		k.verdicts[c.Verdict]++
		if c.Masqueraded {
			k.masqueraded++
		}
		ending := c.End.String()
		if c.End == nat.EndAnswered {
			ending = c.Endpoint.String()
		}
		if at, found := slices.BinarySearchFunc(k.endings, ending, cmp.Compare[string]); !found {
			k.endings = slices.Insert(k.endings, at, ending)
		}
	}
	return out
}
