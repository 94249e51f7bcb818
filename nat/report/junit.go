package report

import (
	"fmt"
	"io"
	"strings"
	"time"

	"natlab/nat/proof"
)

// Run is when and where a proof was made, and how long it took.
type Run struct {
	Host   string
	Kernel string // as uname -r prints it; "" where that is not told
	At     time.Time
	Took   time.Duration
}

// JUnit writes the report as one JUnit test suite with a case for each flow and endpoint: a disproved flow is a
// failure, an inconclusive one an error, each with its way drawn. A proof that ended before all was asked has one more error. The flows
// are driven beside each other, so that each case has its share of the time.
func JUnit(w io.Writer, r proof.Report, run Run) error {
	s := Suite{Name: "natlab " + r.Lab, Package: "natlab.verify", Host: run.Host, Kernel: run.Kernel, At: run.At, Took: run.Took}
	share := run.Took / time.Duration(max(len(r.Flows), 1))
	for _, c := range r.Flows {
		one := Case{Class: service(c.Flow), Name: title(c), Took: share, End: CasePassed}
		if c.Verdict != proof.Proved {
			one.End, one.Message, one.Text = CaseError, "inconclusive", Way(c, Style{})
			if c.Wrong != nil {
				one.Message = fmt.Sprintf("%s: want %s, got %s", c.Wrong.Check, c.Wrong.Want, c.Wrong.Got)
			}
			if c.Verdict == proof.Disproved {
				one.End = CaseFailed
			}
		}
		s.Cases = append(s.Cases, one)
	}
	if r.Ended != "" {
		text := make([]string, len(r.NotAsked))
		for i, n := range r.NotAsked {
			text[i] = n.String() + ": " + n.Reason
		}
		s.Cases = append(s.Cases, Case{Class: "natlab", Name: "all is asked", Message: r.Ended, Text: strings.Join(text, "\n")})
	}
	return s.Write(w)
}
