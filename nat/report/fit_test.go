package report_test

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/proof"
	"natlab/nat/report"
)

// drawn are the texts that this room makes, in a style.
func drawn(t *testing.T, st report.Style) map[string]string {
	t.Helper()
	var all, brief, planes bytes.Buffer
	require.NoError(t, report.Text(&all, whole(), report.DrawAll, st))
	require.NoError(t, report.Text(&brief, whole(), report.Brief, st))
	require.NoError(t, report.Planes(&planes, proof.Compare([]proof.Flow{whole().Flows[0].Flow}, []proof.Plane{
		{Name: "iptables-legacy", Report: whole()},
		{Name: "userspace", Report: proof.Report{Flows: whole().Flows[1:2], Ended: "interrupted"}},
	}), st))
	probe := nat.Probe{From: "outside", Tuple: tuple(asked)}
	ways := report.Ways(probe, nat.Prediction{{Probability: 1, End: nat.EndLost, Where: "vms100", Why: strings.Repeat("it is not known, ", 20)}}, st)
	return map[string]string{"all": all.String(), "brief": brief.String(), "planes": planes.String(), "ways": ways}
}

var sgr = regexp.MustCompile("\x1b\\[[0-9;]*m")

// A text for a terminal has no line that is longer than it is wide, but for one word that nothing breaks, and all words of the text for a pipe.
func TestTextFitsTheTerminal(t *testing.T) {
	t.Parallel()
	whole := drawn(t, report.Style{})
	for _, width := range []int{60, 72, 80, 100, 119, 120, 140, 400} {
		for _, colour := range []bool{false, true} {
			for name, text := range drawn(t, report.Style{Width: width, Colour: colour}) {
				t.Run(fmt.Sprintf("%s at %d, colour %v", name, width, colour), func(t *testing.T) {
					t.Parallel()
					text := sgr.ReplaceAllString(text, "")
					for line := range strings.SplitSeq(text, "\n") {
						words := strings.Fields(strings.Trim(line, "│ "))
						require.True(t, utf8.RuneCountInString(line) <= width || len(words) == 1, "%d columns: %s", utf8.RuneCountInString(line), line)
					}
					require.Equal(t, letters(whole[name]), letters(text))
				})
			}
		}
	}
}

// letters are a text's characters in an order of their own, without blanks and what frames or marks them: lines may be broken, and a table's
// headings and cells stand in another order then.
func letters(text string) string {
	all := []rune(strings.NewReplacer(" ", "", "\n", "", "│", "", "«", "", "»", "").Replace(text))
	slices.Sort(all)
	return string(all)
}

// Under 120 columns what a rule asks stands in a line of its own below the rule, and what NAT did below the packet.
func TestConditionsHaveALineOfTheirOwn(t *testing.T) {
	t.Parallel()
	const rule, asks = "KUBE-NODEPORTS:2", "-p tcp --dport 30450"
	for width, beside := range map[int]bool{0: true, 80: false, 119: false, 120: true, 160: true} {
		lines := strings.Split(report.Way(nodePort(), report.Style{Width: width}), "\n")
		at := slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, rule) })
		require.GreaterOrEqual(t, at, 0)
		require.Equal(t, beside, strings.Contains(lines[at], asks), "at %d columns", width)
		if !beside {
			require.Equal(t, asks, strings.TrimSpace(strings.TrimPrefix(lines[at+1], "  │")), "at %d columns", width)
		}
	}
}

// Where a terminal has ASCII alone a text has nothing else, and its columns stay where they are.
func TestASCII(t *testing.T) {
	t.Parallel()
	for _, width := range []int{0, 80} {
		other := drawn(t, report.Style{Width: width})
		for name, text := range drawn(t, report.Style{ASCII: true, Width: width}) {
			for i := range len(text) {
				require.Less(t, text[i], byte(utf8.RuneSelf), "%s: %q", name, text[max(0, i-20):i+1])
			}
			want := strings.Split(other[name], "\n")
			for i, line := range strings.Split(text, "\n") {
				require.Len(t, line, utf8.RuneCountInString(want[i]), name)
			}
		}
	}
}

func TestFold(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		width              int
		text, indent, want string
	}{
		{0, "as long as it is", "  ", "as long as it is"},
		{20, "it fits", "  ", "it fits"},
		{20, "a line that is too long for it", "  ", "a line that is too\n  long for it"},
		{20, "columns  stay  apart, and break", "  ", "columns  stay \n  apart, and break"},
		{20, "SEEN_REPLY|ASSURED|CONFIRMED", "  ", "SEEN_REPLY|\n  ASSURED|CONFIRMED"},
		{20, "an-unbreakable-word-of-a-name it", "  ", "an-unbreakable-word-of-a-name\n  it"},
		{20, "\x1b[1mbold words\x1b[0m take none", "  ", "\x1b[1mbold words\x1b[0m take\n  none"},
		{4, "never less than sixteen columns", "  ", "never less than\n  sixteen columns"},
	} {
		require.Equal(t, row.want, report.Style{Width: row.width}.Fold(row.text, row.indent), row.text)
	}
}

// A table of others stays as it is where it fits, and has its columns told apart where not: those whose first cell is short, too, and with blanks inside.
func TestFoldTable(t *testing.T) {
	t.Parallel()
	const text = "NAME    NOMINATED NODE   IP          AGE\nminio   <none>           10.0.0.1    1\na       b c              10.0.0.11   \n"
	require.Equal(t, text, report.Style{}.FoldTable(text))
	require.Equal(t, text, report.Style{Width: 41}.FoldTable(text))
	require.Equal(t, "  NAME   NOMINATED NODE\n      IP         AGE\n  minio  <none>\n      10.0.0.1   1\n  a      b c\n      10.0.0.11  \n", report.Style{Width: 26}.FoldTable(text))
	require.Empty(t, report.Style{Width: 26}.FoldTable(""))
	// Two blanks are within a cell, rows may end before their last columns, and a column may begin where a row has ended.
	require.Equal(t, "  N     NODE\n      AGE\n  a  b  <none>\n      1\n  c     \n      \n", report.Style{Width: 17}.FoldTable("N      NODE     AGE\na  b   <none>   1\nc\n"))
}
