package report

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"natlab/nat/proof"
)

// Detail is how much of a report a text shows.
type Detail uint8

// The details. The zero value shows everything.
const (
	DrawAll      Detail = iota // each flow's way, then a table of all flows
	DrawUnproved               // the ways of the flows that are not proved, then the table
	Brief                      // the first few of those ways, then a line for each kind of flow
)

// briefWays is how many ways Brief draws.
const briefWays = 3

// Text writes the report for people: ways drawn, a table, and the outcome last, where a terminal shows it.
func Text(w io.Writer, r proof.Report, d Detail, st Style) error {
	var b strings.Builder
	writeWays(&b, r.Flows, d, st)
	if d == Brief {
		writeKinds(&b, r.Flows, st)
	} else {
		writeFlows(&b, r.Flows, st)
	}
	writeCoverage(&b, r.Coverage, d, st)
	writeNotAsked(&b, r.NotAsked, st)
	for _, note := range r.Notes {
		b.WriteString(st.Fold("note: "+note, "  ") + "\n")
	}
	if r.Lost > 0 {
		b.WriteString(st.Fold(fmt.Sprintf("%s: the kernel could not deliver %d events to the witnesses", st.paint(unsure, "lost"), r.Lost), "  ") + "\n")
	}
	writeAllowed(&b, r.Flows, st)
	writeCulprits(&b, r.Culprits(), st)
	b.WriteString(st.Fold(summary(r, st), "  ") + "\n")
	_, err := io.WriteString(w, st.Letters(b.String()))
	return err
}

func writeWays(b *strings.Builder, flows []proof.Certificate, d Detail, st Style) {
	drawn, left := 0, 0
	for _, c := range flows {
		switch {
		case d != DrawAll && c.Verdict == proof.Proved:
		case d == Brief && drawn == briefWays:
			left++
		default:
			b.WriteString(Way(c, st))
			b.WriteByte('\n')
			drawn++
		}
	}
	if left > 0 {
		b.WriteString(st.Fold(fmt.Sprintf("%d more flows are not proved; without --brief they are drawn too", left), "  ") + "\n\n")
	}
}

// summary is the outcome in one line: "lab reference: 120 of 120 flows proved (ipip, iptables-legacy)".
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
	if n := len(r.NotAsked); n > 0 {
		counts += ", " + st.paint(unsure, addresses(n)+" not asked")
	}
	if r.Ended != "" {
		counts += "; " + st.paint(unsure, r.Ended)
	}
	return s + ": " + counts
}

// writeNotAsked names what was not asked, with the reason.
func writeNotAsked(b *strings.Builder, all []proof.NotAsked, st Style) {
	for _, n := range all {
		b.WriteString(st.Fold(fmt.Sprintf("%s: %s: %s", st.paint(unsure, "not asked"), n, n.Reason), "  ") + "\n")
	}
}

func writeCoverage(b *strings.Builder, c proof.Coverage, d Detail, st Style) {
	if c.Rules == 0 {
		return
	}
	sum := fmt.Sprintf("rules: a packet met %d of the %d in all nodes", c.Met, c.Rules)
	switch n := len(c.Unmet); {
	case n == 0:
	case d == Brief:
		sum += fmt.Sprintf("; %d are not covered", n)
	default:
		sum += "; not covered:"
	}
	b.WriteString(st.Fold(sum, "  ") + "\n")
	if len(c.Unmet) == 0 || d == Brief {
		return
	}
	type key struct{ table, text string }
	nodes := map[key][]string{}
	var order []key
	for _, r := range c.Unmet {
		k := key{r.In(), r.Text}
		if nodes[k] == nil {
			order = append(order, k)
		}
		nodes[k] = append(nodes[k], r.Node)
	}
	for _, k := range order {
		where := slices.Compact(nodes[k])
		b.WriteString("  " + st.Fold(fmt.Sprintf("%s %s  %s", pad(k.table, 6), k.text, st.paint(quiet, strings.Join(where, " "))), "         ") + "\n")
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

func addresses(n int) string {
	if n == 1 {
		return "1 address"
	}
	return fmt.Sprintf("%d addresses", n)
}
