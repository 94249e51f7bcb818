package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"natlab/nat/gateway"
	"natlab/nat/proof"
)

// Detail says which flows a text draws.
type Detail uint8

// The details. The zero value draws every flow's way.
const (
	DrawAll      Detail = iota // each flow's way, then the table
	DrawUnproved               // the table, and the way of each flow that is not proved
)

// Text writes the report for people: the ways of the flows drawn, a table of them all, and the outcome last, where a
// terminal shows it.
func Text(w io.Writer, r proof.Report, d Detail, st Style) error {
	var b strings.Builder
	for _, c := range r.Flows {
		if d == DrawAll || c.Verdict != proof.Proved {
			b.WriteString(Way(c, st))
			b.WriteByte('\n')
		}
	}
	writeTable(&b, r.Flows, st)
	writeCoverage(&b, r.Coverage, d, st)
	for _, note := range r.Notes {
		fmt.Fprintf(&b, "note: %s\n", note)
	}
	if r.Lost > 0 {
		fmt.Fprintf(&b, "%s: the kernel could not deliver %d events to the witnesses\n", st.paint(unsure, "lost"), r.Lost)
	}
	b.WriteString(summary(r, st))
	_, err := io.WriteString(w, b.String())
	return err
}

// Summary is the outcome in one line: "lab reference: 120 of 120 flows proved (ipip, iptables-legacy)".
func summary(r proof.Report, st Style) string {
	var setting []string
	for _, s := range []string{r.Overlay, r.Backend} {
		if s != "" {
			setting = append(setting, s)
		}
	}
	s := fmt.Sprintf("lab %s", r.Lab)
	if len(setting) > 0 {
		s += " (" + strings.Join(setting, ", ") + ")"
	}
	counts := st.paint(good, fmt.Sprintf("%d of %d flows proved", r.Count(proof.Proved), len(r.Flows)))
	if n := r.Count(proof.Disproved); n > 0 {
		counts += ", " + st.paint(bad, fmt.Sprintf("%d disproved", n))
	}
	if n := r.Count(proof.Inconclusive); n > 0 {
		counts += ", " + st.paint(unsure, fmt.Sprintf("%d inconclusive", n))
	}
	return s + ": " + counts + "\n"
}

// row is a line of the table, a cell a column.
type row [5]string

var headings = row{"client", "asks", "answered by", "masquerade", "verdict"}

func writeTable(b *strings.Builder, flows []proof.Certificate, st Style) {
	widths := [len(headings)]int{}
	widen(&widths, headings)
	for _, c := range flows {
		widen(&widths, cells(c))
	}
	last := ""
	for _, c := range flows {
		if group := service(c.Flow) + "  " + c.Type.String(); group != last {
			fmt.Fprintf(b, "%s\n", st.paint(heading, group))
			writeRow(b, widths, headings, func(int) ink { return quiet }, st)
			last = group
		}
		inks := func(column int) ink {
			if column == len(headings)-1 {
				return verdictInk(c.Verdict)
			}
			return plain
		}
		writeRow(b, widths, cells(c), inks, st)
	}
	if len(flows) > 0 {
		b.WriteByte('\n')
	}
}

func widen(widths *[len(headings)]int, r row) {
	for i, cell := range r {
		widths[i] = max(widths[i], utf8.RuneCountInString(cell))
	}
}

func writeRow(b *strings.Builder, widths [len(headings)]int, r row, inks func(column int) ink, st Style) {
	for i, cell := range r {
		if i < len(r)-1 {
			cell = pad(cell, widths[i]+2)
		}
		if i == 0 {
			b.WriteString("  ")
		}
		b.WriteString(st.paint(inks(i), cell))
	}
	b.WriteByte('\n')
}

func cells(c proof.Certificate) row {
	by, masquerade := c.End.String(), ""
	if c.End == gateway.EndAnswered {
		by, masquerade = c.Endpoint.String(), "no"
	}
	if c.Masqueraded {
		masquerade = "yes"
	}
	if c.End != gateway.EndAnswered && c.Node != "" {
		by += " in " + c.Node
	}
	verdict := verdictMark(c.Verdict) + " " + c.Verdict.String()
	if c.Verdict != proof.Proved && c.Wrong != nil {
		verdict += ": " + c.Wrong.Check
	}
	return row{c.Client, c.Protocol.String() + " " + c.Target.String(), by, masquerade, verdict}
}

func writeCoverage(b *strings.Builder, c proof.Coverage, d Detail, st Style) {
	if c.Rules == 0 {
		return
	}
	fmt.Fprintf(b, "rules: a packet met %d of the %d in all nodes", c.Met, c.Rules)
	switch {
	case len(c.Unmet) == 0:
		b.WriteString("\n")
		return
	case d != DrawAll:
		fmt.Fprintf(b, "; %d are not covered (verify without --brief lists them)\n", len(c.Unmet))
		return
	}
	b.WriteString("; not covered:\n")
	type key struct{ table, text string }
	nodes := map[key][]string{}
	var order []key
	for _, r := range c.Unmet {
		k := key{r.Table, r.Text}
		if nodes[k] == nil {
			order = append(order, k)
		}
		nodes[k] = append(nodes[k], r.Node)
	}
	for _, k := range order {
		where := slices.Compact(nodes[k])
		fmt.Fprintf(b, "  %s %s  %s\n", pad(k.table, 6), k.text, st.paint(quiet, strings.Join(where, " ")))
	}
	b.WriteByte('\n')
}

// service is the flow's Service port, or what it has instead.
func service(f proof.Flow) string {
	if f.Service == "" {
		return "(no Service)"
	}
	return f.Service
}

// title names a certificate: its flow, and by way of which endpoint.
func title(c proof.Certificate) string {
	if c.Endpoint.IsValid() {
		return c.Name + " by " + c.Endpoint.String()
	}
	return c.Name
}

func verdictInk(o proof.Outcome) ink {
	switch o {
	case proof.Proved:
		return good
	case proof.Disproved:
		return bad
	case proof.Inconclusive:
	}
	return unsure
}

func verdictMark(o proof.Outcome) string {
	switch o {
	case proof.Proved:
		return "✔"
	case proof.Disproved:
		return "✘"
	case proof.Inconclusive:
	}
	return "?"
}
