package report

import (
	"fmt"
	"io"

	"natlab/nat"
	"natlab/nat/proof"
)

// told is a flow as pictures tell it: one that was proved, or a way that was predicted.
type told struct {
	proof.Certificate
	title    string
	verdict  verdict
	evidence []evidenceRow // of what is wrong, or of what a prediction depends on
	drawn    bool          // its way is asked for
}

// toldOf are a report's flows.
func toldOf(r proof.Report, detail Detail) (all []told) {
	for _, c := range r.Flows {
		all = append(all, told{
			Certificate: c, title: title(c), verdict: verdictOf(c.Verdict), evidence: wrongRows(c),
			drawn: detail == DrawAll || c.Verdict != proof.Proved,
		})
	}
	return all
}

// Foretold is a packet with the ways that it can go.
type Foretold struct {
	Probe nat.Probe
	Ways  nat.Prediction
}

// predicted is in place of a verdict where nothing was seen.
var predicted = verdict{"predicted", "→"}

// told are the ways of a packet, one after the other.
func (f Foretold) told() (all []told) {
	for i, o := range f.Ways {
		c := certificate(f.Probe, o)
		c.Name = fmt.Sprintf("%s from %s", f.Probe.Tuple, f.Probe.From)
		one := told{Certificate: c, title: fmt.Sprintf("%s, way %d of %d", c.Name, i+1, len(f.Ways)), verdict: predicted, drawn: true}
		if o.Probability < 1 || len(o.Assumed) == 0 { // what is assumed has none
			one.title += fmt.Sprintf(", probability %.4g", o.Probability)
		}
		one.title += ": " + o.End.String()
		for _, row := range []evidenceRow{{"at", o.Where}, {"why", o.Why}} {
			if row.Text != "" {
				one.evidence = append(one.evidence, row)
			}
		}
		for _, a := range o.Assumed {
			one.evidence = append(one.evidence, evidenceRow{"depends on", assumption(a)})
		}
		for _, what := range o.Unknown {
			one.evidence = append(one.evidence, evidenceRow{"not known", what + ": it makes no difference"})
		}
		all = append(all, one)
	}
	return all
}

// assumption is what a way depends on, in words.
func assumption(a nat.Assumption) string {
	return fmt.Sprintf("%s, which is not known: on this way it %s", a.What, map[bool]string{true: "holds", false: "does not hold"}[a.Holds])
}

// Predicted draws predictions as HTML, Mermaid and SVG draw flows that were seen, by the form's word.
func Predicted(w io.Writer, form string, packets []Foretold) error {
	var all []told
	for _, f := range packets {
		all = append(all, f.told()...)
	}
	about := heads{Title: "natlab explain", Summary: fmt.Sprintf("packets: %d, ways predicted: %d; nothing was sent", len(packets), len(all))}
	switch form {
	case "html":
		return writePage(w, about, all)
	case "mermaid":
		return writeDiagram(w, "", all)
	case "svg":
		return writePicture(w, about, all)
	}
	return fmt.Errorf("no form %q", form)
}

// heads are what stands above a picture.
type heads struct {
	Title, Summary string
	Notes          []string
}
