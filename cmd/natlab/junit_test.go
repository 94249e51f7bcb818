package main

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/nat/report"
	"natlab/scenarios"
)

// A scenario is a case: with its time, and of one that failed with the line of the script where it did.
func TestScenarioSuite(t *testing.T) {
	t.Parallel()
	p := program{in: strings.NewReader(""), out: io.Discard, err: io.Discard, began: time.Now()}
	s := p.scenarioSuite([]scenarios.Result{
		{Scenario: "a", Variant: "buggy", Backend: "nft", Run: 1, Outcome: scenarios.Passed, Took: time.Second},
		{Scenario: "a", Variant: "fixed", Backend: "nft", Run: 1, Outcome: scenarios.Failed, Log: "> ask cl\nFAIL: a.txtar:7: ask: it ended refused\n"},
		{Scenario: "a", Variant: "fixed", Backend: "nft", Run: 2, Outcome: scenarios.Failed, Log: "panic"},
		{Scenario: "b", Variant: "buggy", Backend: "nft", Run: 1, Outcome: scenarios.Skipped, Why: "no sctp"},
	})
	require.Equal(t, []report.Case{
		{Class: "a", Name: "buggy nft 1", Took: time.Second, End: report.CasePassed},
		{Class: "a", Name: "fixed nft 1", End: report.CaseFailed, Message: "a.txtar:7: ask: it ended refused", Text: "> ask cl\nFAIL: a.txtar:7: ask: it ended refused\n"},
		{Class: "a", Name: "fixed nft 2", End: report.CaseFailed, Message: "the script did not end as it expects", Text: "panic"},
		{Class: "b", Name: "buggy nft 1", End: report.CaseSkipped, Message: "no sctp"},
	}, s.Cases)
}

// Where nothing could run there is a suite with an error, and the command ends with 2 all the same.
func TestNothingRan(t *testing.T) {
	t.Parallel()
	for _, args := range []string{
		"verify --name no-such-lab -o junit", "verify -f ../../topology/reference/cluster.yaml --name no-such-lab-of-too-long-a-name-at-all -o junit",
		"replay no-such-folder -o junit", "ask outside tcp 192.168.26.101:30450 --name no-such-lab -o junit", "scenario run no-such-scenario -o junit",
		"scenario run kubernetes-32415 --kube-proxy /no-such-program -o junit", "conformance --name no-such-lab -o junit",
	} {
		var out, errs strings.Builder
		p := program{in: strings.NewReader(""), out: &out, err: &errs}
		require.Equal(t, exitError, p.run(t.Context(), strings.Fields(args)), args)
		require.Contains(t, out.String(), `tests="1" failures="0" errors="1"`)
		require.Contains(t, out.String(), `<error type="error" message="`)
		require.NotEmpty(t, errs.String())
	}
}

func TestShardOf(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][2]int{
		"1/1": {1, 1}, "2/4": {2, 4}, "0/4": {}, "5/4": {}, "-1/4": {}, "1": {}, "": {}, "1/4x": {}, "a/b": {}, "1/0": {},
	} {
		i, n, err := shardOf(text)
		require.Equal(t, want, [2]int{i, n}, text)
		require.Equal(t, want == [2]int{}, err != nil, text)
	}
}
