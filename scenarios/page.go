package scenarios

import (
	"fmt"
	"io"
	"strings"

	"github.com/rogpeppe/go-internal/txtar"

	"natlab/nat/report"
)

// pageWidth is how wide a page's text is set where there is room for it.
const pageWidth = 100

// Page writes a scenario's page for a terminal of so many columns, 0 for one that has no width: what happens, why, the tell-tale and the fix,
// then the script.
func Page(w io.Writer, s Scenario, columns int) error {
	var b strings.Builder
	b.WriteString(report.Style{Width: columns}.Fold(s.Name+": "+s.Title, "  ") + "\n")
	if columns <= 0 || columns > pageWidth {
		columns = pageWidth
	}
	if s.Issue != "" {
		fmt.Fprintf(&b, "%s\n", s.Issue)
	}
	for _, part := range [][2]string{{"What happens", s.What}, {"Why", s.Why}, {"The tell-tale", s.TellTale}, {"The fix", s.Fix}} {
		if part[1] != "" {
			fmt.Fprintf(&b, "\n%s\n%s", part[0], wrapped(part[1], columns))
		}
	}
	fmt.Fprintf(&b, "\nThe script, on %s\n", strings.Join(s.Backends, " and "))
	archive := txtar.Parse(s.Text)
	page := true
	for line := range strings.Lines(string(archive.Comment)) {
		if page = page && strings.HasPrefix(line, "#"); !page {
			b.WriteString("  " + line)
		}
	}
	for _, f := range archive.Files {
		fmt.Fprintf(&b, "  -- %s --\n  %s\n", f.Name, strings.ReplaceAll(strings.TrimSpace(string(f.Data)), "\n", "\n  "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// wrapped sets a text in lines of so many columns.
func wrapped(text string, columns int) string {
	var b strings.Builder
	line := "  "
	for word := range strings.FieldsSeq(text) {
		if len(line)+len(word) > columns {
			b.WriteString(strings.TrimRight(line, " ") + "\n")
			line = "  "
		}
		line += word + " "
	}
	return b.String() + strings.TrimRight(line, " ") + "\n"
}
