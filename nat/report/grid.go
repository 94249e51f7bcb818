package report

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Place is where scenarios ran: on which kernel, and on which backend of it.
type Place struct {
	Kernel  string // as uname -r prints it; "" where that is not known
	Backend string // "iptables-legacy"
}

// String is the place in words.
func (p Place) String() string { return cmp.Or(p.Kernel, "kernel not told") + " " + p.Backend }

// GridRun is how a run of a scenario ended.
type GridRun struct {
	Place
	Scenario, Variant string
	End               CaseEnd
	Why               string // unless it passed
}

// Grid is runs of scenarios, of one machine or of many: a row for each scenario and variant, a column for each place.
type Grid struct {
	Places []Place
	Rows   []GridRow
}

// GridRow is a variant of a scenario. It has a cell for each place.
type GridRow struct {
	Scenario, Variant string
	Cells             []GridCell
}

// GridCell is the runs of a row in a place; where there were none, it was not run there.
type GridCell struct{ Runs []GridRun }

// GridOf puts runs in order: rows by their names, places by their kernels' versions.
func GridOf(runs []GridRun) Grid {
	var g Grid
	for _, r := range runs {
		if !slices.Contains(g.Places, r.Place) {
			g.Places = append(g.Places, r.Place)
		}
	}
	slices.SortFunc(g.Places, func(a, b Place) int {
		return cmp.Or(versionOrder(a.Kernel, b.Kernel), cmp.Compare(a.Backend, b.Backend))
	})
	for _, r := range runs {
		at := slices.IndexFunc(g.Rows, func(row GridRow) bool { return row.Scenario == r.Scenario && row.Variant == r.Variant })
		if at < 0 {
			at = len(g.Rows)
			g.Rows = append(g.Rows, GridRow{r.Scenario, r.Variant, make([]GridCell, len(g.Places))})
		}
		cell := &g.Rows[at].Cells[slices.Index(g.Places, r.Place)]
		cell.Runs = append(cell.Runs, r)
	}
	slices.SortFunc(g.Rows, func(a, b GridRow) int {
		return cmp.Or(cmp.Compare(a.Scenario, b.Scenario), cmp.Compare(a.Variant, b.Variant))
	})
	return g
}

// versionOrder compares versions number by number, and what is no number by its letters.
func versionOrder(a, b string) int {
	digits := func(r rune) bool { return r < '0' || r > '9' }
	x, y := strings.FieldsFunc(a, digits), strings.FieldsFunc(b, digits)
	for i := range min(len(x), len(y)) {
		x, y := strings.TrimLeft(x[i], "0"), strings.TrimLeft(y[i], "0")
		if c := cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y)); c != 0 {
			return c
		}
	}
	return cmp.Compare(a, b)
}

// End is the worst of the cell's runs: what failed before what could not be told, and that before what passed; what was skipped counts where
// nothing else was.
func (c GridCell) End() CaseEnd {
	for _, end := range []CaseEnd{CaseFailed, CaseError, CasePassed} {
		if slices.ContainsFunc(c.Runs, func(r GridRun) bool { return r.End == end }) {
			return end
		}
	}
	return CaseSkipped
}

// words are a cell in words, behind its sign: "failed", and how many of several runs.
func (c GridCell) words() (mark, word string) {
	if len(c.Runs) == 0 {
		return "", "not run"
	}
	end := c.End()
	mark = map[CaseEnd]string{CaseFailed: "✘", CaseError: "?", CasePassed: "✔", CaseSkipped: "-"}[end]
	word = map[CaseEnd]string{CaseFailed: "failed", CaseError: "not told", CasePassed: "passed", CaseSkipped: "skipped"}[end]
	if n := c.count(end); n < len(c.Runs) {
		word += fmt.Sprintf(" %d of %d", n, len(c.Runs))
	}
	return mark, word
}

func (c GridCell) count(end CaseEnd) (n int) {
	for _, r := range c.Runs {
		if r.End == end {
			n++
		}
	}
	return n
}

// Sum is how many runs ended how.
func (g Grid) Sum() string {
	n := map[CaseEnd]int{}
	for _, row := range g.Rows {
		for _, c := range row.Cells {
			for _, r := range c.Runs {
				n[r.End]++
			}
		}
	}
	sum := fmt.Sprintf("%d passed, %d failed, %d skipped", n[CasePassed], n[CaseFailed], n[CaseSkipped])
	if n[CaseError] > 0 {
		sum += fmt.Sprintf(", %d not told", n[CaseError])
	}
	return sum
}

// Good reports whether nothing failed, and the end of everything is known.
func (g Grid) Good() bool {
	return !slices.ContainsFunc(g.Rows, func(row GridRow) bool {
		return slices.ContainsFunc(row.Cells, func(c GridCell) bool { return c.count(CaseFailed)+c.count(CaseError) > 0 })
	})
}

// Text writes the grid for people: the table, then why of what did not pass.
func (g Grid) Text(w io.Writer, st Style) error {
	var b strings.Builder
	t := table{headings: []string{"scenario", "variant"}}
	for _, p := range g.Places {
		t.headings = append(t.headings, p.String())
	}
	for _, row := range g.Rows {
		cells, in := []string{row.Scenario, row.Variant}, good
		for _, c := range row.Cells {
			mark, word := c.words()
			cells = append(cells, strings.TrimSpace(mark+" "+word))
			if len(c.Runs) > 0 && c.End() < CaseSkipped {
				in = bad
			}
		}
		t.add(in, cells...)
	}
	t.write(&b, t.widen(nil), st)
	b.WriteByte('\n')
	for _, why := range g.whys() {
		b.WriteString(st.Fold(why.Label+": "+why.Text, "  ") + "\n")
	}
	b.WriteString(g.Sum() + "\n")
	_, err := io.WriteString(w, st.Letters(b.String()))
	return err
}

// whys are the reasons of what did not pass, each once, with where it was.
func (g Grid) whys() (out []evidenceRow) {
	for _, row := range g.Rows {
		for _, c := range row.Cells {
			for _, r := range c.Runs {
				if r.End != CasePassed {
					_, word := GridCell{[]GridRun{r}}.words()
					one := evidenceRow{fmt.Sprintf("%s %s on %s %s", row.Scenario, row.Variant, r.Place, word), cmp.Or(r.Why, "no reason is told")}
					if !slices.Contains(out, one) {
						out = append(out, one)
					}
				}
			}
		}
	}
	return out
}

// ReadRuns reads the runs of scenarios out of a JUnit report: of natlab scenario run, or of several put together. Other suites are passed over.
func ReadRuns(r io.Reader) ([]GridRun, error) {
	var all struct {
		XMLName xml.Name `xml:"testsuites"`
		Suites  []struct {
			Package    string          `xml:"package,attr"`
			Properties []junitProperty `xml:"properties>property"`
			Cases      []junitCase     `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.NewDecoder(r).Decode(&all); err != nil {
		return nil, fmt.Errorf("no JUnit report: %w", err)
	}
	var out []GridRun
	for _, s := range all.Suites {
		if s.Package != ScenarioSuite {
			continue
		}
		kernel := ""
		for _, p := range s.Properties {
			if p.Name == kernelProperty {
				kernel = p.Value
			}
		}
		for _, c := range s.Cases {
			run := GridRun{Place: Place{Kernel: kernel}, Scenario: c.Class, End: CasePassed}
			words := strings.Fields(c.Name) // variant, backend, and the run's number
			if len(words) > 2 {
				run.Variant, run.Backend = words[0], strings.Join(words[1:len(words)-1], " ")
			} else {
				run.Variant, run.Backend = c.Name, "nothing ran"
			}
			for end, problem := range map[CaseEnd]*junitProblem{CaseSkipped: c.Skipped, CaseError: c.Error, CaseFailed: c.Failure} {
				if problem != nil {
					run.End, run.Why = end, problem.Message
				}
			}
			out = append(out, run)
		}
	}
	return out, nil
}
