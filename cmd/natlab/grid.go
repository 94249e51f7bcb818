package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"natlab/nat/report"
	"natlab/scenarios"
)

func (p *program) scenarioGrid() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "grid FILE... [-o text|html]",
		Short: "Put the results of scenario run on several kernels into one grid",
		Long: `Put results of natlab scenario run, of one machine or of many, into one grid: a row for each variant of a scenario, a column for each
kernel and backend. A FILE is what -o junit or -o json printed, or several JUnit reports in one; - is standard input. Exit status 1: a run failed, or
its end is not known.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage(cmd, errors.New("no results given: want what natlab scenario run -o junit or -o json printed"))
			}
			return nil
		},
	}
	format := output(cmd, "text", "html")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		var runs []report.GridRun
		for _, file := range args {
			more, err := p.runsIn(file)
			if err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
			runs = append(runs, more...)
		}
		g := report.GridOf(runs)
		var err error
		if format.value == "html" {
			err = g.HTML(p.out)
		} else {
			err = g.Text(p.out, p.style())
		}
		if err == nil && !g.Good() {
			return errDiffers
		}
		return err
	}
	return cmd
}

// errNoRuns is a file without results of scenarios.
var errNoRuns = errors.New("no results of natlab scenario run in it")

// runsIn are the runs that a file has.
func (p *program) runsIn(file string) ([]report.GridRun, error) {
	var text []byte
	var err error
	if file == "-" {
		text, err = io.ReadAll(p.in)
	} else {
		text, err = os.ReadFile(file) // #nosec G304 -- it was named
	}
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		runs, err := report.ReadRuns(bytes.NewReader(text))
		if err == nil && len(runs) == 0 {
			err = errNoRuns
		}
		return runs, err
	}
	var document struct {
		Kind  string             `json:"kind"`
		Items []scenarios.Result `json:"items"`
	}
	if err := json.Unmarshal(text, &document); err != nil {
		return nil, err
	}
	if document.Kind != kindScenarioResults || len(document.Items) == 0 {
		return nil, errNoRuns
	}
	return runsOf(document.Items), nil
}

// runsOf are results of scenarios as runs of a grid.
func runsOf(results []scenarios.Result) (runs []report.GridRun) {
	for _, r := range results {
		c := ended(report.Case{}, r.Outcome, r.Log, r.Why)
		runs = append(runs, report.GridRun{
			Place: report.Place{Kernel: r.Kernel, Backend: placeOf(r)}, Scenario: r.Scenario, Variant: string(r.Variant), End: c.End, Why: c.Message,
		})
	}
	return runs
}

// scenes draws what scenarios did.
func (p *program) scenes(form string, results []scenarios.Result) error {
	var played []report.Played
	var notes []string
	for _, r := range results {
		if len(r.Exchanges) == 0 && r.Outcome != scenarios.Skipped {
			notes = append(notes, fmt.Sprintf("%s %s %s: nothing is drawn of it: its script watches no exchange", r.Scenario, r.Variant, placeOf(r)))
		}
		for i, e := range r.Exchanges {
			played = append(played, report.Played{
				Scenario: r.Scenario, Variant: string(r.Variant), Backend: placeOf(r), Number: i + 1, Flow: e.Flow, Wrong: e.Wrong, Unknown: e.Unknown,
			})
		}
	}
	return report.Scenes(p.out, form, report.GridOf(runsOf(results)), played, notes)
}
