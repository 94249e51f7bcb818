package report_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat/proof"
	"natlab/nat/report"
)

func runs() []report.GridRun {
	at := func(kernel string) report.Place { return report.Place{Kernel: kernel, Backend: "iptables-nft"} }
	return []report.GridRun{
		{Place: at("6.12.9"), Scenario: "b", Variant: "fixed", End: report.CasePassed},
		{Place: at("6.12.9"), Scenario: "b", Variant: "fixed", End: report.CaseFailed, Why: "a<b"},
		{Place: at("6.1.0-56"), Scenario: "b", Variant: "fixed", End: report.CasePassed},
		{Place: at("6.1.0-56"), Scenario: "a", Variant: "buggy", End: report.CaseSkipped, Why: "no sctp"},
		{Place: at("5.10.0"), Scenario: "a", Variant: "buggy", End: report.CaseError},
		{Place: at(""), Scenario: "a", Variant: "buggy", End: report.CasePassed},
	}
}

// The kernels stand in the order of their versions, the scenarios in that of their names; the worst of several runs is shown, and why.
func TestGrid(t *testing.T) {
	t.Parallel()
	g := report.GridOf(runs())
	var b strings.Builder
	require.NoError(t, g.Text(&b, report.Style{}))
	require.Equal(t, `  scenario  variant  kernel not told iptables-nft  5.10.0 iptables-nft  6.1.0-56 iptables-nft  6.12.9 iptables-nft
  a         buggy    ✔ passed                      ? not told           - skipped              not run
  b         fixed    not run                       not run              ✔ passed               ✘ failed 1 of 2

a buggy on 5.10.0 iptables-nft not told: no reason is told
a buggy on 6.1.0-56 iptables-nft skipped: no sctp
b fixed on 6.12.9 iptables-nft failed: a<b
3 passed, 1 failed, 1 skipped, 1 not told
`, b.String())
	require.False(t, g.Good())
	require.True(t, report.GridOf(runs()[2:4]).Good(), "what is skipped is no failure")
	for _, columns := range []int{60, 80} {
		b.Reset()
		require.NoError(t, g.Text(&b, report.Style{Width: columns}))
		for line := range strings.Lines(b.String()) {
			require.LessOrEqual(t, len([]rune(strings.TrimRight(line, "\n"))), columns, line)
		}
	}
}

// The page has the same in a table, each cell that did not pass with a link to why.
func TestGridPage(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	require.NoError(t, report.GridOf(runs()).HTML(&b))
	page := parsed(t, b.String())
	require.NotContains(t, b.String(), "http")
	heads := page.all("thead")[0].all("th")
	require.Len(t, heads, 6)
	require.Equal(t, "6.12.9 iptables-nft", heads[5].text.String())
	ids := map[string]string{}
	for i, dt := range page.all("dt") {
		ids["#"+dt.attrs["id"]] = page.all("dd")[i].text.String()
	}
	cell := page.all("tbody")[0].all("tr")[1].all("td")[4]
	require.Equal(t, "failed", cell.attrs["class"])
	require.Equal(t, "✘ failed 1 of 2", cell.text.String())
	require.Equal(t, "a<b", ids[cell.all("a")[0].attrs["href"]])
}

// What is read of a JUnit report is what was written of the runs; of a command that could not run there is its error.
func TestReadRuns(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	s := report.Suite{Name: "natlab scenarios", Package: report.ScenarioSuite, Kernel: "6.1.0-56", Cases: []report.Case{
		{Class: "a", Name: "buggy iptables-legacy 1", End: report.CasePassed},
		{Class: "a", Name: "fixed iptables-legacy kube-proxy v1.33.0 2", End: report.CaseSkipped, Message: "no sctp"},
		{Class: report.ScenarioSuite, Name: "runs", Message: "no kernel"},
	}}
	require.NoError(t, s.Write(&b))
	valid(t, b.String())
	got, err := report.ReadRuns(strings.NewReader(b.String()))
	require.NoError(t, err)
	at := func(backend string) report.Place { return report.Place{Kernel: "6.1.0-56", Backend: backend} }
	require.Equal(t, []report.GridRun{
		{Place: at("iptables-legacy"), Scenario: "a", Variant: "buggy", End: report.CasePassed},
		{Place: at("iptables-legacy kube-proxy v1.33.0"), Scenario: "a", Variant: "fixed", End: report.CaseSkipped, Why: "no sctp"},
		{Place: at("nothing ran"), Scenario: report.ScenarioSuite, Variant: "runs", Why: "no kernel"},
	}, got)
	_, err = report.ReadRuns(strings.NewReader("> FAIL"))
	require.Error(t, err)
	b.Reset()
	require.NoError(t, report.JUnit(&b, proof.Report{Lab: "x"}, report.Run{Kernel: "6.1"}))
	got, err = report.ReadRuns(strings.NewReader(b.String()))
	require.NoError(t, err)
	require.Empty(t, got, "flows are no scenarios")
}

// An exchange of a script that ended otherwise than it has to tells so, and what is not known of it.
func TestScenes(t *testing.T) {
	t.Parallel()
	played := []report.Played{
		{Scenario: "a", Variant: "buggy", Backend: "nft", Number: 1, Flow: nodePort()},
		{Scenario: "a", Variant: "buggy", Backend: "nft", Number: 2, Flow: nodePort(), Wrong: "want end=lost", Unknown: "the answer"},
	}
	for _, form := range []string{"html", "mermaid", "svg"} {
		var b strings.Builder
		require.NoError(t, report.Scenes(&b, form, report.GridOf(runs()), played, []string{"c: nothing"}))
		for _, has := range []string{"a buggy nft, 1: outside asks tcp 192.168.26.100:30450", "a buggy nft, 2: outside asks", "✔ passed", "✘ failed", "KUBE-MARK-MASQ"} {
			if form == "svg" { // a word is an element
				for word := range strings.FieldsSeq(has) {
					require.Contains(t, b.String(), ">"+strings.TrimSuffix(word, ":1"), form)
				}
				continue
			}
			require.Contains(t, b.String(), has, form)
		}
		if form == "html" {
			page := parsed(t, b.String())
			require.Len(t, page.all("h3"), 3, "what did not pass, and two exchanges")
			require.Contains(t, page.text.String(), "c: nothing")
			require.Contains(t, b.String(), "<dt>the script</dt><dd><code>want end=lost</code></dd><dt>not known</dt><dd><code>the answer</code></dd>")
		}
	}
	require.Error(t, report.Scenes(&strings.Builder{}, "gif", report.Grid{}, nil, nil))
}
