package labtest

import (
	"testing"

	"natlab/lab"
	"natlab/lab/verify"
	"natlab/nat/proof"
	"natlab/nat/report"
)

// Prove proves the flows of a lab that the Selector selects; its zero value selects all. Each flow that is disproved, or
// of which too little was seen, fails the test with its way drawn; so does a selection of no flow. The test goes on.
func Prove(tb testing.TB, l *lab.Lab, only proof.Selector) proof.Report {
	tb.Helper()
	return prove(tb, l, verify.Options{Selector: only})
}

// ProveFlows is Prove for flows of the caller's own choice, as proof.Flows lists them.
func ProveFlows(tb testing.TB, l *lab.Lab, flows ...proof.Flow) proof.Report {
	tb.Helper()
	return prove(tb, l, verify.Options{Flows: append([]proof.Flow{}, flows...)})
}

func prove(tb testing.TB, l *lab.Lab, o verify.Options) proof.Report {
	tb.Helper()
	found, err := verify.Lab(tb.Context(), l, o)
	if err != nil {
		tb.Fatalf("labtest: %v", err)
	}
	if len(found.Flows) == 0 {
		tb.Error("labtest: the lab has no such flow")
	}
	for _, c := range found.Flows {
		if c.Verdict != proof.Proved {
			tb.Errorf("labtest: %s", report.Way(c, report.Style{}))
		}
	}
	return found
}
