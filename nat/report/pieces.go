package report

import (
	_ "embed" // the page's template
	"fmt"
	"html/template"
	"io"
	"strings"

	"natlab/nat"
	"natlab/nat/live"
	"natlab/nat/proof"
)

//go:embed live.html
var livePageText string

var livePage = template.Must(template.Must(pageTemplate.Clone()).New("live").Parse(livePageText))

// LivePage writes the page that shows a lab as it runs: it opens the stream "events" beside it and puts in what comes. nonce is on its style and
// on its script.
func LivePage(w io.Writer, title, nonce string) error {
	return livePage.Execute(w, struct{ Title, Nonce string }{title, nonce})
}

// Piece is a flow on the live page: its rows and its way, as HTML in which every name is escaped.
type Piece struct {
	ID   string   `json:"id"`
	Row  string   `json:"row,omitempty"`  // of a flow that passes
	Rows []string `json:"rows,omitempty"` // of a flow that was proved: one for each endpoint that served
	Way  string   `json:"way"`
}

// ProofPieces are the flows of a report. Their ids begin with a word, and are numbered from a number on.
func ProofPieces(r proof.Report, word string, from int) (out []Piece, err error) {
	p := page{}
	all := toldOf(r, DrawAll)
	for _, t := range all {
		p.flow(t)
	}
	for i := range p.Flows {
		f := &p.Flows[i]
		f.ID = fmt.Sprintf("%s%d", word, from+i)
		one := Piece{ID: f.ID}
		for _, t := range f.all {
			row, err := rendered("row", rowOf(t, f.ID))
			if err != nil {
				return nil, err
			}
			one.Rows = append(one.Rows, row)
		}
		if one.Way, err = f.rendered(); err != nil {
			return nil, err
		}
		out = append(out, one)
	}
	return out, nil
}

// LivePiece is a flow that passes; one that is told again has the same id.
func LivePiece(f live.Flow) (out Piece, err error) {
	c := f.Certificate()
	c.Service = f.Service
	c.Name = strings.TrimSpace(fmt.Sprintf("#%d %s %s", f.Number, f.Client, tuple(nat.TupleOf(f.Protocol, f.Source, f.Target))))
	t := told{Certificate: c, title: c.Name, verdict: stateOf(f.State), drawn: true}
	if f.Why != "" {
		t.evidence = append(t.evidence, evidenceRow{"why", f.Why})
	}
	for _, note := range f.Notes {
		t.evidence = append(t.evidence, evidenceRow{"note", note})
	}
	story := flowStory{ID: fmt.Sprintf("live%d", f.Number), Name: c.Name, all: []told{t}}
	out.ID = story.ID
	row := rowOf(t, story.ID)
	row.Type, row.Client = "", strings.TrimSpace(f.Client+" "+nat.EndText(f.Source))
	if !f.Endpoint.IsValid() {
		row.Ending = f.State.String()
	}
	if out.Row, err = rendered("row", row); err != nil {
		return Piece{}, err
	}
	out.Way, err = story.rendered()
	return out, err
}

// stateOf is a flow's state as a verdict is shown.
func stateOf(s live.State) verdict {
	switch s {
	case live.Open, live.Closed, live.Answered, live.Reset:
		return verdict{s.String(), "→"}
	case live.Refused, live.Rejected, live.Unreachable, live.Dropped:
		return verdict{s.String(), "✘"}
	case live.Unanswered, live.Unknown:
	}
	return verdict{s.String(), "?"}
}

// rendered is the flow's story as HTML.
func (f *flowStory) rendered() (string, error) {
	f.draw()
	text, err := rendered("flow", f)
	return `<details class="flow">` + text + "</details>", err
}

func rendered(name string, data any) (string, error) {
	var b strings.Builder
	err := pageTemplate.ExecuteTemplate(&b, name, data)
	return b.String(), err
}
