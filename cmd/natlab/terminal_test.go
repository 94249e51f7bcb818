package main

import (
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"natlab/nat/report"
)

// How a text looks: --color before NO_COLOR before FORCE_COLOR and CLICOLOR_FORCE before the terminal; $COLUMNS before what was measured; the
// locale's characters.
func TestStyle(t *testing.T) {
	t.Parallel()
	const tty, pipe = true, false
	for _, row := range []struct {
		env, color string
		terminal   bool
		want       report.Style
	}{
		// Colours.
		{"", colorAuto, pipe, report.Style{}},
		{"", colorAuto, tty, report.Style{Colour: true, Width: 97}},
		{"TERM=dumb", colorAuto, tty, report.Style{Width: 97}},
		{"CLICOLOR=0", colorAuto, tty, report.Style{Width: 97}},
		{"FORCE_COLOR=0", colorAuto, tty, report.Style{Width: 97}},
		{"NO_COLOR=1", colorAuto, tty, report.Style{Width: 97}},
		{"NO_COLOR=1 FORCE_COLOR=1", colorAuto, tty, report.Style{Width: 97}},
		{"FORCE_COLOR=1", colorAuto, pipe, report.Style{Colour: true}},
		{"FORCE_COLOR=1 TERM=dumb", colorAuto, pipe, report.Style{Colour: true}},
		{"CLICOLOR_FORCE=1", colorAuto, pipe, report.Style{Colour: true}},
		{"CLICOLOR_FORCE=0", colorAuto, pipe, report.Style{}},
		{"NO_COLOR=1", colorAlways, pipe, report.Style{Colour: true}},
		{"FORCE_COLOR=1", colorNever, tty, report.Style{Width: 97}},
		// Columns.
		{"COLUMNS=60", colorNever, tty, report.Style{Width: 60}},
		{"COLUMNS=60", colorNever, pipe, report.Style{Width: 60}},
		{"COLUMNS=0", colorNever, tty, report.Style{Width: 97}},
		{"COLUMNS=many", colorNever, pipe, report.Style{}},
		// Characters.
		{"LANG=C", colorNever, pipe, report.Style{ASCII: true}},
		{"LANG=en_US.UTF-8 LC_ALL=POSIX", colorNever, pipe, report.Style{ASCII: true}},
		{"LANG=C LC_CTYPE=C.UTF-8", colorNever, pipe, report.Style{}},
		{"LANG=C LC_ALL=de_DE.utf8", colorNever, pipe, report.Style{}},
		{"LANG=de_DE.ISO-8859-1", colorNever, pipe, report.Style{ASCII: true}},
	} {
		env := map[string]string{}
		for word := range strings.FieldsSeq(row.env) {
			name, value, _ := strings.Cut(word, "=")
			env[name] = value
		}
		s := surroundings{color: row.color, terminal: row.terminal, getenv: func(name string) string { return env[name] }}
		if row.terminal {
			s.columns = 97
		}
		require.Equal(t, row.want, s.style(), "%+v", row)
	}
}

// On a narrow terminal the help of every command fits, and has all its words; an example goes on behind a backslash.
func TestHelpFits(t *testing.T) {
	widths := []string{"60", "80", "130"}
	help := func(args ...string) string {
		var out strings.Builder
		p := program{in: strings.NewReader(""), out: &out, err: io.Discard}
		require.Zero(t, p.run(t.Context(), append(args, "--help")))
		return out.String()
	}
	for path := range examples {
		args := strings.Fields(path)[1:]
		t.Setenv("COLUMNS", "")
		whole := help(args...)
		for i, columns := range widths {
			t.Setenv("COLUMNS", columns)
			text := help(args...)
			require.Equal(t, strings.Fields(whole), strings.Fields(strings.ReplaceAll(text, " \\\n", "\n")), path)
			for line := range strings.SplitSeq(text, "\n") {
				require.LessOrEqual(t, utf8.RuneCountInString(line), []int{60, 80, 130}[i], "%s: %s", path, line)
			}
		}
	}
}
