package main

import (
	_ "embed" // for the page
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"natlab/nat/report"
	"natlab/scenarios"
)

// page is the manual, of which help topics are parts.
//
//go:embed README.md
var page string

// topics are the commands that are nothing but a text: natlab help json.
func (p *program) topics() (out []*cobra.Command) {
	for _, topic := range []struct{ name, short, heading string }{
		{"lab-document", "What the Lab document may have: the underlay, clients, load balancers", "The Lab document"},
		{"packets", "How a packet is written, for --packet and --packets", "Packets"},
		{"json", "The fields of every -o json", "JSON"},
		{"rootless", "Labs without root: what --rootless does, and what it takes", "Without root"},
		{"environment", "The environment variables that natlab reads", "Environment"},
	} {
		out = append(out, p.topic(topic.name, topic.short, sectionOf(page, topic.heading)))
	}
	out = append(out, p.schemaTopic())
	return append(out, p.topic("scenario-verbs", "The script language of scenarios", "# Scenarios\n\n"+scenarios.Language()))
}

// topic is a help topic whose text is markdown.
func (p *program) topic(name, short, text string) *cobra.Command {
	cmd := &cobra.Command{Use: name, Short: short, Long: text}
	cmd.SetHelpFunc(func(*cobra.Command, []string) {
		_, _ = io.WriteString(p.out, plainText(text, p.style())) // help has no way to fail
	})
	return cmd
}

// schemaTopic prints the schema as it is: it is for programs.
func (p *program) schemaTopic() *cobra.Command {
	cmd := &cobra.Command{Use: "schema", Short: "The JSON Schema of every -o json, for programs"}
	cmd.SetHelpFunc(func(*cobra.Command, []string) {
		_, _ = io.WriteString(p.out, schema) // help has no way to fail
	})
	return cmd
}

// sectionOf is a section of a page by its heading of two signs, with the heading.
func sectionOf(page, heading string) string {
	_, after, ok := strings.Cut(page, "\n## "+heading+"\n")
	if !ok {
		return ""
	}
	body, _, _ := strings.Cut(after, "\n## ")
	return "# " + heading + "\n" + strings.TrimRight(body, "\n") + "\n"
}

// plainText sets a page of markdown for a terminal: tables in columns, code further in, links by their texts.
func plainText(text string, st report.Style) string {
	var b strings.Builder
	var rows [][]string
	var paragraph, listing []string
	flush := func() {
		b.WriteString(fitListing(listing, st))
		if len(paragraph) > 0 {
			b.WriteString(st.Fold(unmarked(strings.Join(paragraph, " ")), hanging(paragraph[0])) + "\n")
		}
		writeRows(&b, rows, st)
		rows, paragraph, listing = nil, nil, nil
	}
	code := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "```"):
			flush()
			code = !code
		case code:
			flush()
			b.WriteString("    " + line + "\n")
		case strings.HasPrefix(line, "    "):
			listing = append(listing, line)
		case strings.HasPrefix(line, "| "):
			if cells := cellsOf(line); strings.Join(cells, "") != "" && !strings.HasPrefix(cells[0], "---") {
				rows = append(rows, cells)
			}
		case strings.HasPrefix(line, "|--"):
			rows = nil // the headings
		case strings.HasPrefix(line, "#"):
			flush()
			b.WriteString(unmarked(strings.TrimLeft(line, "# ")) + "\n")
		case line == "":
			flush()
			b.WriteString("\n")
		case strings.HasPrefix(line, "- "):
			flush()
			paragraph = append(paragraph, line)
		default:
			paragraph = append(paragraph, strings.TrimSpace(line))
		}
	}
	flush()
	return b.String()
}

// listed is a line of a listing: a term, two blanks or more, and what it is.
var listed = regexp.MustCompile(`^    (\S.*?)(?:  +(\S.*))?$`)

// fitListing are terms beside what they are, or above it where the lines would be too long; a line further in goes on with the one before.
func fitListing(lines []string, st report.Style) string {
	wide := func(line string) bool { return st.Width > 0 && utf8.RuneCountInString(line) > st.Width }
	if len(lines) == 0 || !slices.ContainsFunc(lines, wide) {
		return strings.Join(append(lines, ""), "\n")
	}
	var b strings.Builder
	what := ""
	flush := func() {
		if what != "" {
			b.WriteString("          " + st.Fold(what, "          ") + "\n")
		}
	}
	for _, line := range lines {
		m := listed.FindStringSubmatch(line)
		if m == nil {
			what += " " + strings.TrimSpace(line)
			continue
		}
		flush()
		b.WriteString("    " + st.Fold(m[1], "      ") + "\n")
		what = m[2]
	}
	flush()
	return b.String()
}

// hanging is how far the lines of a paragraph stand in that follow its first.
func hanging(first string) string {
	if strings.HasPrefix(first, "- ") {
		return "  "
	}
	return ""
}

// cellsOf are the cells of a table's row.
func cellsOf(line string) (cells []string) {
	const bar = "\x00" // for \|
	line = strings.Trim(strings.ReplaceAll(line, `\|`, bar), "| ")
	for cell := range strings.SplitSeq(line, " | ") {
		cells = append(cells, unmarked(strings.ReplaceAll(strings.TrimSpace(cell), bar, "|")))
	}
	return cells
}

// maxFirst is how wide the first column of a table may be; a longer cell has a line of its own.
const maxFirst = 36

func writeRows(b *strings.Builder, rows [][]string, st report.Style) {
	width := 0
	for _, cells := range rows {
		if n := len([]rune(cells[0])); n <= maxFirst {
			width = max(width, n)
		}
	}
	indent := strings.Repeat(" ", width+4)
	if st.Width > 0 && width > st.Width/2 {
		width, indent = 0, "      "
	}
	for _, cells := range rows {
		rest := strings.Join(cells[1:], "; ")
		if len([]rune(cells[0])) > width {
			b.WriteString("  " + st.Fold(cells[0], "    ") + "\n" + indent + st.Fold(rest, indent) + "\n")
			continue
		}
		fmt.Fprintf(b, "  %-*s  %s\n", width, cells[0], st.Fold(rest, indent))
	}
}

// unmarked is a text without markdown's marks: `code`, **bold** and [links](to).
func unmarked(text string) string {
	for {
		before, rest, ok := strings.Cut(text, "[")
		label, after, is := strings.Cut(rest, "](")
		_, end, closed := strings.Cut(after, ")")
		if !ok || !is || !closed || strings.ContainsAny(label, "[]") {
			return strings.NewReplacer("`", "", "**", "").Replace(text)
		}
		text = before + label + end
	}
}
