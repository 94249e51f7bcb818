package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"natlab/lab/dataplane"
	"natlab/nat/report"
	"natlab/scenarios"
)

// junitRun is when and where this command runs.
func (p *program) junitRun() report.Run {
	host, _ := os.Hostname()         // without one it is localhost
	kernel, _ := dataplane.Release() // without one it is not told
	return report.Run{Host: host, Kernel: kernel, At: p.began, Took: time.Since(p.began)}
}

// nothingRan gives err back. With -o junit it writes a suite first whose one case is the error, so that CI does not miss the command.
func (p *program) nothingRan(format *choice, of string, err error) error {
	if format.value != "junit" {
		return err
	}
	run := p.junitRun()
	message, _, _ := strings.Cut(err.Error(), "\n")
	s := report.Suite{Name: "natlab", Package: of, Host: run.Host, Kernel: run.Kernel, At: run.At, Took: run.Took, Cases: []report.Case{
		{Class: of, Name: "runs", Took: run.Took, End: report.CaseError, Message: message, Text: err.Error()},
	}}
	return errors.Join(err, s.Write(p.out))
}

// scenarioSuite is the results of scenarios as a JUnit suite.
func (p *program) scenarioSuite(results []scenarios.Result) report.Suite {
	run := p.junitRun()
	s := report.Suite{Name: "natlab scenarios", Package: report.ScenarioSuite, Host: run.Host, Kernel: run.Kernel, At: run.At, Took: run.Took}
	for _, r := range results {
		c := report.Case{Class: r.Scenario, Name: fmt.Sprintf("%s %s %d", r.Variant, placeOf(r), r.Run), Took: r.Took}
		s.Cases = append(s.Cases, ended(c, r.Outcome, r.Log, r.Why))
	}
	return s
}

// placeOf is a run's backend, with the real kube-proxy that it had.
func placeOf(r scenarios.Result) string {
	if r.Program != "" {
		return r.Backend + " kube-proxy " + r.Program
	}
	return r.Backend
}

// ended is a case of a script with how that ended: with its log, or why it was skipped.
func ended(c report.Case, how scenarios.Outcome, log, why string) report.Case {
	switch how {
	case scenarios.Failed:
		c.End, c.Text = report.CaseFailed, log
		c.Message = cmp.Or(failingLine(log), "the script did not end as it expects")
	case scenarios.Skipped:
		c.End, c.Message = report.CaseSkipped, why
	case scenarios.Passed:
		c.End = report.CasePassed
	}
	return c
}

// failingLine is the line of a script's log that tells where it failed, and why.
func failingLine(log string) (line string) {
	for l := range strings.Lines(log) {
		if text, ok := strings.CutPrefix(strings.TrimSpace(l), "FAIL: "); ok {
			line = text
		}
	}
	return line
}

// shardOf reads I/N: the Ith of N parts.
func shardOf(text string) (shard, shards int, err error) {
	rest := ""
	if n, _ := fmt.Sscanf(text+" ", "%d/%d%s", &shard, &shards, &rest); n != 2 || shard < 1 || shard > shards {
		return 0, 0, fmt.Errorf("--shard %s: want I/N, the Ith of N parts", text)
	}
	return shard, shards, nil
}
