package report

import (
	"fmt"
	"strings"

	"natlab/nat/proof"
)

// wrong prints what a flow that is not proved got wrong first, and whose fault it is.
func (d *drawing) wrong() {
	w := d.flow.Wrong
	if w == nil {
		return
	}
	sign := d.style.paint(verdictInk(d.flow.Verdict), verdictMark(d.flow.Verdict)+" "+w.Check)
	where := ""
	if w.Node != "" {
		where = " in " + w.Node
	}
	way := "request"
	if w.Direction != 0 {
		way = "reply"
	}
	what := "failed"
	if d.flow.Verdict == proof.Inconclusive {
		what = "inconclusive"
	}
	fmt.Fprintf(&d.b, "\n  %s %s%s (%s)\n", sign, what, where, way)
	want, got := w.Want, w.Got
	if w.WantStep != nil {
		want = w.WantStep.String()
	}
	if w.GotStep != nil {
		got = w.GotStep.String()
	}
	d.evidence("expected", want)
	d.evidence("got", got)
	if w.WantRule != "" || w.LiveRule != "" {
		d.evidence("expected rule", orNone(w.WantRule))
		d.evidence("actual rule", orNone(w.LiveRule))
	}
	d.evidence("packet", w.Packet)
	d.evidence("why", w.Why)
	switch w.Fault {
	case proof.FaultRules:
		d.evidence("at fault", "the node's rules: the packet went as they call for, and they are not what the Services call for")
	case proof.FaultModel:
		d.evidence("at fault", "natlab's model or the kernel: the packet did not go as the node's own rules call for")
	case proof.FaultServer:
		d.evidence("at fault", "the server: the rules chose its address as they have to, and it does not listen there")
	case proof.FaultNode:
		d.evidence("at fault", "the node: the rules are as they have to be, and what is named above is not as the lab made it")
	case proof.NoFault:
	}
	for _, rule := range w.Unmodeled {
		d.evidence("not modelled", rule)
	}
}

func (d *drawing) evidence(label, text string) {
	if text != "" {
		width := max(d.label(), columns(label)+2)
		fmt.Fprintf(&d.b, "    %s%s\n", pad(label, width), d.style.Fold(text, strings.Repeat(" ", width+4)))
	}
}

func orNone(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}

// maxCulprits is how many culprits a text names.
const maxCulprits = 10

// writeCulprits prints in a few lines what all the flows that are not proved have in common.
func writeCulprits(b *strings.Builder, all []proof.Culprit, st Style) {
	if len(all) == 0 {
		return
	}
	b.WriteString("what is wrong:\n")
	for i, c := range all {
		if i == maxCulprits {
			fmt.Fprintf(b, "  and %d more\n", len(all)-i)
			break
		}
		flows := "1 flow: " + c.First
		if c.Flows > 1 {
			flows = fmt.Sprintf("%d flows; the first: %s", c.Flows, c.First)
		}
		where := ""
		if c.Node != "" {
			where = c.Node + ": "
		}
		b.WriteString("  " + st.Fold(where+st.paint(bad, c.Why)+"  "+st.paint(quiet, flows), "    ") + "\n")
		if c.WantRule != "" || c.LiveRule != "" {
			indent := strings.Repeat(" ", 19)
			fmt.Fprintf(b, "    expected rule  %s\n    actual rule    %s\n", st.Fold(orNone(c.WantRule), indent), st.Fold(orNone(c.LiveRule), indent))
		}
	}
	b.WriteByte('\n')
}
