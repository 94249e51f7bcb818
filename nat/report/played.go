package report

import (
	_ "embed" // the page's template
	"fmt"
	"html/template"
	"io"
	"slices"
	"strconv"

	"natlab/nat/proof"
)

//go:embed grid.html
var gridText string

var gridTemplate = template.Must(template.Must(pageTemplate.Clone()).New("gridPage").Parse(gridText))

// HTML writes the grid as one page that needs nothing else.
func (g Grid) HTML(w io.Writer) error {
	return gridTemplate.Execute(w, struct {
		heads
		Grid *gridPage
	}{heads{Title: "natlab: scenarios", Summary: g.Sum()}, g.page()})
}

// gridPage is a grid as the template shows it.
type gridPage struct {
	Places []Place
	Rows   []gridPageRow
	Whys   []gridWhy
}

type gridPageRow struct {
	Scenario, Variant string
	Cells             []gridPageCell
}

// gridPageCell is a cell; Why is the id of the first reason why it did not pass.
type gridPageCell struct{ Class, Mark, Word, Why string }

type gridWhy struct{ ID, Label, Text string }

func (g Grid) page() *gridPage {
	p := &gridPage{Places: g.Places}
	for _, row := range g.Rows {
		out := gridPageRow{Scenario: row.Scenario, Variant: row.Variant}
		for _, c := range row.Cells {
			cell := gridPageCell{}
			cell.Mark, cell.Word = c.words()
			if len(c.Runs) > 0 {
				cell.Class = map[CaseEnd]string{CaseFailed: "failed", CaseError: "told", CasePassed: "passed", CaseSkipped: "skipped"}[c.End()]
			}
			for _, why := range (Grid{g.Places, []GridRow{{row.Scenario, row.Variant, []GridCell{c}}}}).whys() {
				id := "why-" + strconv.Itoa(len(p.Whys)+1)
				p.Whys = append(p.Whys, gridWhy{id, why.Label, why.Text})
				if cell.Why == "" {
					cell.Why = id
				}
			}
			out.Cells = append(out.Cells, cell)
		}
		p.Rows = append(p.Rows, out)
	}
	return p
}

// Played is an exchange of a scenario, as the taps saw it.
type Played struct {
	Scenario, Variant, Backend string
	Number                     int               // of the exchange in its run, from 1
	Flow                       proof.Certificate // its hops, rules and entries; its verdict and checks are not asked for
	Wrong                      string            // in what it did not end as its script expects; "" where it did
	Unknown                    string            // what could not be told of it; "" where nothing
}

// told is the exchange as pictures tell it. Its verdict is its script's.
func (p Played) told() told {
	run := fmt.Sprintf("%s %s %s", p.Scenario, p.Variant, p.Backend)
	c := p.Flow
	c.Checks, c.Wrong, c.Service = nil, nil, run
	c.Name = fmt.Sprintf("%s, %d: %s asks %s %s", run, p.Number, c.Client, c.Protocol, c.Target)
	out := told{Certificate: c, title: c.Name, verdict: verdict{"passed", "✔"}, drawn: true}
	if p.Wrong != "" {
		out.verdict = verdict{"failed", "✘"}
		out.evidence = append(out.evidence, evidenceRow{"the script", p.Wrong})
	}
	if p.Unknown != "" {
		out.evidence = append(out.evidence, evidenceRow{"not known", p.Unknown})
	}
	return out
}

// Scenes draws what scenarios did as HTML, Mermaid and SVG draw flows that were proved, by the form's word; the page begins with the grid.
func Scenes(w io.Writer, form string, g Grid, played []Played, notes []string) error {
	all := make([]told, len(played))
	for i, p := range played {
		all[i] = p.told()
	}
	about := heads{Title: "natlab: scenarios", Summary: g.Sum(), Notes: slices.Clone(notes)}
	switch form {
	case "html":
		return page{heads: about, Grid: g.page()}.write(w, all)
	case "mermaid":
		return writeDiagram(w, "", all)
	case "svg":
		return writePicture(w, about, all)
	}
	return fmt.Errorf("no form %q", form)
}
