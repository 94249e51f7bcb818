package report

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/proof"
)

// Mermaid writes flows as one Mermaid sequence diagram: each namespace is a participant, each wire an arrow with the packet on it, dashed on
// the way back, and a note has the rules that the packet met in a namespace. Of a report of many flows it draws those that detail asks for.
func Mermaid(w io.Writer, r proof.Report, detail Detail) error {
	return writeDiagram(w, r.Lab, toldOf(r, detail))
}

func writeDiagram(w io.Writer, lab string, all []told) error {
	d := diagram{ids: map[string]string{}}
	for _, t := range all {
		if t.drawn {
			d.flow(t)
		}
	}
	var head strings.Builder
	head.WriteString("sequenceDiagram\n")
	for _, name := range d.names {
		fmt.Fprintf(&head, "  participant %s as %s\n", d.ids[name], mermaidText(name))
	}
	if len(d.names) == 0 {
		fmt.Fprintf(&head, "  participant lab as %s\n  Note over lab: %s\n", mermaidText(lab), "every flow is proved")
	}
	_, err := io.WriteString(w, head.String()+d.b.String())
	return err
}

// diagram is a sequence diagram that is being written.
type diagram struct {
	b     strings.Builder
	names []string // of the namespaces, in the order in which packets came to them
	ids   map[string]string
}

// id is a namespace's name in the diagram.
func (d *diagram) id(name string) string {
	if d.ids[name] == "" {
		d.ids[name] = fmt.Sprintf("n%d", len(d.names))
		d.names = append(d.names, name)
	}
	return d.ids[name]
}

func (d *diagram) flow(t told) {
	c := t.Certificate
	inside := teller{flow: c}
	request := slices.DeleteFunc(stopsOf(c, nat.Original), stop.uneventful)
	reply := slices.DeleteFunc(stopsOf(c, nat.Reply), stop.uneventful)
	if len(request) == 0 {
		request = []stop{{node: c.From}}
	}
	d.note([]string{request[0].node}, t.verdict.Mark+" "+t.verdict.Word+"  "+t.title)
	d.journey(request, "->>")
	what, unexpected := inside.endOfRequest()
	d.note([]string{request[len(request)-1].node}, what+unexpected)
	if len(reply) == 0 {
		return
	}
	for _, h := range c.Hops {
		if h.Direction == nat.Reply {
			inside.last = h.Hop
		}
	}
	d.journey(reply, "-->>")
	d.note([]string{reply[len(reply)-1].node}, inside.endOfReply())
}

func (d *diagram) journey(stops []stop, arrow string) {
	for i, s := range stops {
		var lines []string
		var at *nat.Hop
		for _, e := range s.events {
			switch {
			case e.hop != nil && at != nil && at.Tuple != e.hop.Tuple:
				lines = append(lines, "= "+tuple(e.hop.Tuple))
				at = e.hop
			case e.hop != nil:
				at = e.hop
			case e.route != nil:
				lines = append(lines, "route "+e.route.Route)
			case !uneventful(*e.step):
				lines = append(lines, met(*e.step))
			}
		}
		if len(lines) > 0 {
			d.note([]string{s.node}, lines...)
		}
		if i+1 < len(stops) && at != nil {
			text := tuple(at.Tuple)
			if at.Outer.IsValid() {
				text += " inside " + tuple(at.Outer)
			}
			fmt.Fprintf(&d.b, "  %s%s%s: %s\n", d.id(s.node), arrow, d.id(stops[i+1].node), mermaidText(text))
		}
	}
}

// met is a rule that a packet met: where it stands, and what it did.
func met(s nat.Step) string {
	target, _ := brief(s)
	if s.Rule == 0 {
		return fmt.Sprintf("%s %s %s", s.Table, s.Chain, target)
	}
	return fmt.Sprintf("%s %s:%d %s", s.Table, s.Chain, s.Rule, target)
}

func (d *diagram) note(over []string, lines ...string) {
	for i := range over {
		over[i] = d.id(over[i])
	}
	for i := range lines {
		lines[i] = mermaidText(lines[i])
	}
	fmt.Fprintf(&d.b, "  Note over %s: %s\n", strings.Join(over, ","), strings.Join(lines, "<br/>"))
}

// mermaidEscapes are what ends a line of a diagram, or begins markup in it, by their entities.
var mermaidEscapes = strings.NewReplacer("#", "#35;", ";", "#59;", "<", "#lt;", ">", "#gt;", "\n", " ", "\r", " ", "%%", "#37;#37;")

// mermaidText is a text as it may stand in a diagram.
func mermaidText(s string) string { return mermaidEscapes.Replace(s) }
