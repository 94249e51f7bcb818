package report

import (
	"fmt"
	"strings"

	"natlab/nat"
	"natlab/nat/proof"
)

// Way draws one flow: its request and its reply hop by hop, namespace under namespace, with the rules that each
// packet met, what they did to it, the connection tracking entries, and the checks with their evidence.
//
//	╭ vms100                                    a namespace
//	│ in ens32     192.168.26.1:40000 > ...     the packet at a tap; what NAT changed is marked
//	│ nat          KUBE-SERVICES:4  → ...       a rule that it met: chain, number, where it sent the packet
//	│ out tunl0    ...
//	▼                                           the wire
func Way(c proof.Certificate, st Style) string {
	d := drawing{style: st, teller: teller{flow: c}}
	d.title()
	d.journeys()
	d.conntrack()
	d.checks()
	for _, a := range d.flow.AllowedBy {
		d.evidence("allowed by", a.String())
	}
	d.wrong()
	return st.Letters(d.b.String())
}

// Journeys draws the request and the reply of a flow, and the connection tracking entries, without a verdict.
func Journeys(c proof.Certificate, st Style) string {
	d := drawing{style: st, teller: teller{flow: c}}
	d.journeys()
	d.conntrack()
	return st.Letters(d.b.String())
}

func (d *drawing) journeys() {
	d.journey("request", nat.Original)
	d.requestEnd()
	if d.journey("reply", nat.Reply) {
		d.replyEnd()
	}
}

// The columns: labelWidth holds "out calia011d753862", ruleWidth "KUBE-EXT-K6NOPV6C6M2DHO7B:12", targetWidth
// "DNAT --to-destination 10.244.169.89:9090", and tupleWidth two addresses with ports, one of them marked. A narrow drawing
// has labels of narrowLabel; what is longer stands in lines of its own.
const (
	labelWidth  = 20
	ruleWidth   = 29
	targetWidth = 40
	tupleWidth  = 46
	narrowLabel = 12
)

// label is how wide the labels are.
func (d *drawing) label() int {
	if d.style.narrow() {
		return narrowLabel
	}
	return labelWidth
}

type drawing struct {
	b     strings.Builder
	style Style
	teller
}

func (d *drawing) title() {
	c := d.flow
	mark := d.style.paint(verdictInk(c.Verdict), verdictMark(c.Verdict)+" "+c.Verdict.String())
	indent := strings.Repeat(" ", columns(mark)+2)
	fmt.Fprintf(&d.b, "%s  %s\n", mark, d.style.paint(heading, d.style.Fold(title(c), indent)))
}

// journey draws one packet's way; it reports whether there was anything to draw.
func (d *drawing) journey(name string, dir nat.Direction) bool {
	scenes := d.journeyOf(dir)
	if len(scenes) == 0 {
		return false
	}
	fmt.Fprintf(&d.b, "\n  %s\n", d.style.paint(heading, name))
	for i, s := range scenes {
		if i > 0 {
			d.b.WriteString("  ▼\n")
		}
		fmt.Fprintf(&d.b, "  ╭ %s%s\n", d.style.paint(station, s.node), d.style.paint(quiet, s.part))
		for _, l := range s.lines {
			d.line(l)
		}
	}
	return true
}

func (d *drawing) line(l line) {
	switch {
	case l.route != nil:
		d.cells(l.label, l.route.Route)
	case l.hop != nil:
		d.packet(l)
	default:
		d.rule(l)
	}
}

// put writes a line of a journey.
func (d *drawing) put(label, text string) {
	fmt.Fprintf(&d.b, "  │ %s%s\n", pad(label, labelWidth), text)
}

// cells writes a line of a journey whose cells stand beside each other as far as they fit, and else below each other.
func (d *drawing) cells(label string, cells ...string) {
	line, gap := pad(label, d.label()-1), " "
	indent := strings.Repeat(" ", d.label()+2)
	for i, cell := range cells {
		switch with := line + gap + cell; {
		case !d.style.exceeds("  │ " + with):
			line = with
		case i == 0 && columns(label) < d.label():
			line += gap + d.style.Fold(cell, "  │ "+indent)
		default:
			d.b.WriteString("  │ " + strings.TrimRight(line, " ") + "\n")
			line = indent + d.style.Fold(cell, "  │ "+indent)
		}
		gap = "  "
	}
	d.b.WriteString("  │ " + strings.TrimRight(line, " ") + "\n")
}

func (d *drawing) packet(l line) {
	inks := map[bool]ink{true: changed}
	text := l.proto + d.style.paint(inks[l.srcNew], l.src) + " > " + d.style.paint(inks[l.dstNew], l.dst)
	var notes []string
	for _, did := range l.did {
		notes = append(notes, d.style.paint(action, did))
	}
	if l.inside != "" {
		notes = append(notes, d.style.paint(quiet, "inside "+l.inside))
	}
	full := text
	if len(notes) > 0 {
		full = pad(text, tupleWidth) + "  " + strings.Join(notes, "  ")
	}
	if d.style.narrow() || d.style.exceeds("  │ "+pad(l.label, labelWidth)+full) {
		d.cells(l.label, append([]string{text}, notes...)...)
		return
	}
	d.put(l.label, full)
}

// tuple is a tuple in words.
func tuple(t nat.Tuple) string {
	src, dst := ends(t)
	return t.Proto().String() + " " + src + " > " + dst
}

// ends are a tuple's two addresses, with their ports where its protocol has some.
func ends(t nat.Tuple) (src, dst string) {
	if t.Src().Port() == 0 && t.Dst().Port() == 0 {
		return t.Src().Addr().String(), t.Dst().Addr().String()
	}
	return nat.EndText(t.Src()), nat.EndText(t.Dst())
}

func (d *drawing) rule(l line) {
	var parts []string
	if l.match != "" {
		parts = append(parts, d.style.paint(quiet, l.match))
	}
	if d.style.Lines && l.step.Line > 0 {
		parts = append(parts, d.style.paint(quiet, fmt.Sprintf("line %d", l.step.Line)))
	}
	if l.step.Maybe {
		parts = append(parts, d.style.paint(quiet, "maybe"))
	}
	for _, did := range l.did {
		parts = append(parts, d.style.paint(action, did))
	}
	text := strings.Join(append([]string{pad(l.place, ruleWidth) + " " + pad(l.target, targetWidth)}, parts...), "  ")
	if d.style.narrow() || d.style.exceeds("  │ "+pad(l.label, labelWidth)+text) {
		d.narrowRule(l, parts)
		return
	}
	d.put(d.style.paint(quiet, pad(l.label, labelWidth)), strings.TrimRight(text, " "))
}

// narrowRule has in a line of its own what a rule asks and what it did beside.
func (d *drawing) narrowRule(l line, parts []string) {
	d.cells(d.style.paint(quiet, pad(l.label, d.label()-1)), pad(l.place, ruleWidth), l.target)
	if len(parts) > 0 {
		indent := "  │ " + strings.Repeat(" ", d.label()+2)
		d.b.WriteString(indent + d.style.Fold(strings.Join(parts, "  "), indent) + "\n")
	}
}

// rewrites reports whether a target changes a packet's addresses.
func rewrites(target string) bool {
	switch target {
	case "DNAT", "SNAT", "MASQUERADE", "REDIRECT", "NETMAP":
		return true
	}
	return false
}

func (d *drawing) requestEnd() {
	what, unexpected := d.endOfRequest()
	d.b.WriteString("  ● " + d.style.Fold(what+d.style.paint(bad, unexpected), "    ") + "\n")
}

func (d *drawing) replyEnd() {
	if peer := d.flow.ClientPeer; d.flow.End == nat.EndAnswered && peer.IsValid() && d.last.Tuple.Src() != peer && d.atClient() {
		undone := d.last // at INPUT, behind the last tap
		undone.Tap, undone.Tuple = nat.TapPreNAT, d.last.Tuple.WithSrc(peer)
		d.packet(d.packetLine(undone, nat.Reply))
	}
	d.b.WriteString("  ● " + d.style.Fold(d.endOfReply(), "    ") + "\n")
}

func (d *drawing) conntrack() {
	if len(d.flow.Conntrack) == 0 {
		return
	}
	fmt.Fprintf(&d.b, "\n  %s\n", d.style.paint(heading, "conntrack"))
	for _, c := range d.flow.Conntrack {
		indent := "  " + strings.Repeat(" ", d.label()+2)
		fmt.Fprintf(&d.b, "  %s %s\n", d.style.paint(station, pad(c.Node, d.label()+1)), d.style.Fold(tuple(c.Original), indent+"  "))
		fmt.Fprintf(&d.b, "%s%s\n", indent, d.style.Fold(tuple(c.Reply), indent+"  "))
		status := c.Status.String()
		if c.Mark != 0 {
			status += fmt.Sprintf(" mark %#x", c.Mark)
		}
		fmt.Fprintf(&d.b, "%s%s\n", indent, d.style.paint(quiet, d.style.Fold(status, indent)))
	}
}

func (d *drawing) checks() {
	if len(d.flow.Checks) == 0 {
		return
	}
	fmt.Fprintf(&d.b, "\n  %s\n", d.style.paint(heading, "checks"))
	for _, c := range d.flow.Checks {
		i, sign := good, "✔"
		if !c.OK {
			i, sign = bad, "✘"
		}
		if c.Missing {
			i, sign = unsure, "?"
		}
		fmt.Fprintf(&d.b, "  %s %s%s\n", d.style.paint(i, sign), pad(c.Name, d.label()), d.style.Fold(c.Detail, strings.Repeat(" ", d.label()+4)))
	}
}
