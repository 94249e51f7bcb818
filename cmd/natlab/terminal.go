package main

import (
	"cmp"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/term"

	"natlab/lab"
	"natlab/nat/report"
)

// The words of --color.
const (
	colorAuto   = "auto"
	colorAlways = "always"
	colorNever  = "never"
)

// surroundings are what the look of a text depends on.
type surroundings struct {
	color    string              // of --color
	terminal bool                // standard output is one
	columns  int                 // of the terminal; 0 where that is not known
	getenv   func(string) string // os.Getenv
}

// style is how a report is to look on standard output.
func (p *program) style() report.Style {
	s := surroundings{color: p.color.value, getenv: os.Getenv}
	if f, ok := p.out.(*os.File); ok && terminal(p.out) {
		s.terminal = true
		s.columns, _, _ = term.GetSize(int(f.Fd())) // 0 where it has no size
	}
	return s.style()
}

func (s surroundings) style() report.Style {
	return report.Style{Colour: s.colour(), ASCII: s.ascii(), Width: s.width()}
}

// colour decides in this order: --color, NO_COLOR (no-color.org), FORCE_COLOR and CLICOLOR_FORCE (bixense.com/clicolors), and then whether a
// terminal shows colours.
func (s surroundings) colour() bool {
	forced := func(name string) bool { v := s.getenv(name); return v != "" && v != "0" }
	switch {
	case s.color == colorAlways:
		return true
	case s.color == colorNever, s.getenv("NO_COLOR") != "":
		return false
	case forced("FORCE_COLOR"), forced("CLICOLOR_FORCE"):
		return true
	}
	return s.terminal && s.getenv("TERM") != "dumb" && s.getenv("CLICOLOR") != "0" && s.getenv("FORCE_COLOR") != "0"
}

// width is $COLUMNS where that is a number, or else what was measured; a pipe has none.
func (s surroundings) width() int {
	if n, err := strconv.Atoi(s.getenv("COLUMNS")); err == nil && n > 0 {
		return n
	}
	return s.columns
}

// ascii reports whether the locale's characters are ASCII's alone, as those of C and POSIX are. Where no locale is set, as under sudo and
// in containers, terminals take UTF-8 all the same.
func (s surroundings) ascii() bool {
	locale := cmp.Or(s.getenv("LC_ALL"), s.getenv("LC_CTYPE"), s.getenv("LANG"))
	if locale == "" {
		return false
	}
	name := strings.ToLower(strings.ReplaceAll(locale, "-", ""))
	return !strings.Contains(name, "utf8")
}

// progress is drawn on standard error where that is a terminal.
func (p *program) progress() lab.Progress {
	if p.style().ASCII {
		return lab.ShowProgress(p.err, lab.Signs)
	}
	return lab.ShowProgress(p.err, lab.Blocks)
}

// fit is a text whose lines are broken at the terminal's width, two blanks further in than they begin.
func (p *program) fit(text string) string {
	st := p.style()
	var b strings.Builder
	for line := range strings.Lines(text) {
		line, ended := strings.CutSuffix(line, "\n")
		bare := strings.TrimLeft(line, " ")
		indent := line[:len(line)-len(bare)]
		b.WriteString(indent + st.Fold(bare, indent+"  "))
		if ended {
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// terminal reports whether a stream is one that a person looks at.
func terminal(stream io.Writer) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
