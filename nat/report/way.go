package report

import (
	"fmt"
	"slices"
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
	d := drawing{style: st, flow: c}
	d.title()
	d.journeys()
	d.conntrack()
	d.checks()
	d.wrong()
	return d.b.String()
}

// Journeys draws the request and the reply of a flow, and the connection tracking entries, without a verdict.
func Journeys(c proof.Certificate, st Style) string {
	d := drawing{style: st, flow: c}
	d.journeys()
	d.conntrack()
	return d.b.String()
}

func (d *drawing) journeys() {
	d.journey("request", nat.Original)
	d.requestEnd()
	if d.journey("reply", nat.Reply) {
		d.replyEnd()
	}
}

// The columns: labelWidth holds "out calia011d753862", ruleWidth "KUBE-EXT-K6NOPV6C6M2DHO7B:12", targetWidth
// "DNAT --to-destination 10.244.169.89:9090", and tupleWidth two addresses with ports, one of them marked.
const (
	labelWidth  = 20
	ruleWidth   = 29
	targetWidth = 40
	tupleWidth  = 46
)

type drawing struct {
	b     strings.Builder
	style Style
	flow  proof.Certificate
	last  nat.Hop // the hop drawn last in this journey
	mark  uint32  // the packet's mark as drawn last
	did   string  // the target that rewrote the packet since the last hop: "DNAT"
}

func (d *drawing) title() {
	c := d.flow
	mark := d.style.paint(verdictInk(c.Verdict), verdictMark(c.Verdict)+" "+c.Verdict.String())
	fmt.Fprintf(&d.b, "%s  %s\n", mark, d.style.paint(heading, title(c)))
}

// journey draws one packet's way; it reports whether there was anything to draw.
func (d *drawing) journey(name string, dir nat.Direction) bool {
	stops := slices.DeleteFunc(stopsOf(d.flow, dir), stop.uneventful)
	if len(stops) == 0 {
		return false
	}
	fmt.Fprintf(&d.b, "\n  %s\n", d.style.paint(heading, name))
	d.last, d.mark = nat.Hop{}, 0
	for i, s := range stops {
		if i > 0 {
			d.b.WriteString("  ▼\n")
		}
		d.stop(s, dir)
	}
	return true
}

func (d *drawing) stop(s stop, dir nat.Direction) {
	fmt.Fprintf(&d.b, "  ╭ %s%s\n", d.style.paint(station, s.node), d.style.paint(quiet, d.part(s.node, dir)))
	table := ""
	for i, e := range s.events {
		switch {
		case e.step != nil && uneventful(*e.step):
		case e.step != nil:
			d.rule(*e.step, table)
			table = e.step.Table
		case i+1 < len(s.events) && sameAgain(*e.hop, s.events[i+1]):
		case i == 0 || d.news(*e.hop):
			d.hop(*e.hop, dir)
			table = ""
		}
	}
}

// part is what the node that the proof is about does with the packet.
func (d *drawing) part(node string, dir nat.Direction) string {
	translates := slices.ContainsFunc(d.flow.Conntrack, func(c nat.Conn) bool { return c.Node == node && c.Status&(nat.SrcNAT|nat.DstNAT) != 0 })
	switch answered := d.flow.End == nat.EndAnswered; {
	case node != d.flow.Node, answered && !translates:
		return ""
	case answered && dir == nat.Original:
		return "  translates"
	case answered:
		return "  translates back"
	case dir == nat.Original:
		return "  decides"
	}
	return ""
}

// uneventful reports whether a stop has nothing to draw.
func (s stop) uneventful() bool {
	return !slices.ContainsFunc(s.events, func(e event) bool { return e.hop != nil || !uneventful(*e.step) })
}

// uneventful reports whether a step is the policy that lets everything pass that met no rule.
func uneventful(s nat.Step) bool { return s.Rule == 0 && s.Verdict == nat.Accept }

// news reports whether a hop inside a namespace shows anything that the one before it did not.
func (d *drawing) news(h nat.Hop) bool {
	return h.Tuple != d.last.Tuple || h.Outer != d.last.Outer || h.Mark != d.mark || h.Tap == nat.TapPost || h.Tap == nat.TapPreRaw
}

// sameAgain reports whether what a process sent is shown just as well by the event that follows: it goes out unchanged.
func sameAgain(sent nat.Hop, next event) bool {
	return tapRank(sent.Tap) >= tapRank(nat.TapOutRaw) && sent.Tap != nat.TapPost &&
		next.hop != nil && next.hop.Tuple == sent.Tuple && next.hop.Outer == sent.Outer && next.hop.Mark == sent.Mark
}

func (d *drawing) hop(h nat.Hop, dir nat.Direction) {
	srcInk, dstInk := plain, plain
	if before := d.last.Tuple; before.IsValid() && before.Proto() == h.Tuple.Proto() {
		if before.Src() != h.Tuple.Src() {
			srcInk = changed
		}
		if before.Dst() != h.Tuple.Dst() {
			dstInk = changed
		}
	}
	src, dst := ends(h.Tuple)
	text := d.style.paint(srcInk, src) + " > " + d.style.paint(dstInk, dst)
	if p := h.Tuple.Proto(); p != d.flow.Protocol {
		text = p.String() + " " + text
	}
	var notes []string
	if did := d.translation(srcInk == changed, dstInk == changed, dir); did != "" {
		notes = append(notes, d.style.paint(action, did))
	}
	if h.Mark != d.mark {
		notes = append(notes, d.style.paint(action, fmt.Sprintf("mark %#x", h.Mark)))
	}
	if h.Outer.IsValid() {
		notes = append(notes, d.style.paint(quiet, "inside "+tuple(h.Outer)))
	}
	if len(notes) > 0 {
		text = pad(text, tupleWidth) + "  " + strings.Join(notes, "  ")
	}
	fmt.Fprintf(&d.b, "  │ %s%s\n", pad(hopLabel(h), labelWidth), text)
	d.last, d.mark, d.did = h, h.Mark, ""
}

func hopLabel(h nat.Hop) string {
	switch h.Tap {
	case nat.TapPreRaw:
		return strings.TrimSpace("in " + h.Dev)
	case nat.TapPost:
		return strings.TrimSpace("out " + h.Dev)
	case nat.TapOutRaw:
		return "sent"
	case nat.TapPreNAT, nat.TapOutNAT:
	}
	return "then"
}

// translation names what happened to a packet between two taps of one namespace: the target that did it, or what
// connection tracking does to every later packet of the connection.
func (d *drawing) translation(src, dst bool, dir nat.Direction) string {
	names := [2][2]string{nat.Original: {"SNAT", "DNAT"}, nat.Reply: {"DNAT undone", "SNAT undone"}}[dir]
	switch {
	case (src || dst) && d.did != "":
		return d.did
	case src && dst:
		return names[1] + ", " + names[0]
	case src:
		return names[0]
	case dst:
		return names[1]
	}
	return ""
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

func (d *drawing) rule(s nat.Step, table string) {
	label := s.Table
	if label == table {
		label = ""
	}
	place := fmt.Sprintf("%s:%d", s.Chain, s.Rule)
	if s.Rule == 0 {
		place = s.Chain
	}
	target, match := brief(s)
	if word, _, _ := strings.Cut(target, " "); rewrites(word) {
		d.did = word
	}
	line := pad(place, ruleWidth) + " " + pad(target, targetWidth)
	if match != "" {
		line += "  " + d.style.paint(quiet, match)
	}
	if d.style.Lines && s.Line > 0 {
		line += "  " + d.style.paint(quiet, fmt.Sprintf("line %d", s.Line))
	}
	if s.Maybe {
		line += "  " + d.style.paint(quiet, "maybe")
	}
	if s.Mark != d.mark {
		line += "  " + d.style.paint(action, fmt.Sprintf("mark %#x", s.Mark))
		d.mark = s.Mark
	}
	fmt.Fprintf(&d.b, "  │ %s%s\n", d.style.paint(quiet, pad(label, labelWidth)), strings.TrimRight(line, " "))
}

// rewrites reports whether a target changes a packet's addresses.
func rewrites(target string) bool {
	switch target {
	case "DNAT", "SNAT", "MASQUERADE", "REDIRECT", "NETMAP":
		return true
	}
	return false
}

func (d *drawing) requestEnd() { fmt.Fprintf(&d.b, "  ● %s\n", d.endOfRequest()) }

// endOfRequest is what became of the request, in words.
func (d *drawing) endOfRequest() string {
	c := d.flow
	what := "nothing is known of its end"
	switch c.End {
	case nat.EndAnswered:
		what = fmt.Sprintf("%s answers at %s", c.Server, nat.EndText(c.Endpoint))
	case nat.EndRefused:
		what = "refused: nobody listens there"
	case nat.EndUnreachable:
		what = "unreachable: an ICMP error tells the client"
	case nat.EndRejected:
		what = "rejected by a rule"
	case nat.EndLost:
		what = "lost: no answer to the client"
	case nat.EndUnknown:
	}
	if c.End != nat.EndAnswered && c.Node != "" {
		what += ", in " + c.Node
	}
	if c.End != c.Expect {
		what += d.style.paint(bad, fmt.Sprintf(" (expected: %s)", c.Expect))
	}
	return what
}

func (d *drawing) replyEnd() {
	if peer := d.flow.ClientPeer; d.flow.End == nat.EndAnswered && peer.IsValid() && d.last.Tuple.Src() != peer && d.atClient() {
		undone := d.last // at INPUT, behind the last tap
		undone.Tap, undone.Tuple = nat.TapPreNAT, d.last.Tuple.WithSrc(peer)
		d.hop(undone, nat.Reply)
	}
	fmt.Fprintf(&d.b, "  ● %s\n", d.endOfReply())
}

// endOfReply is what became of the answer, in words: d.last is where it was seen last.
func (d *drawing) endOfReply() string {
	c := d.flow
	from := d.last.Tuple.Src()
	switch {
	case c.End == nat.EndAnswered && c.ClientPeer.IsValid():
		return fmt.Sprintf("%s has its answer from %s", c.Client, c.ClientPeer)
	case c.End == nat.EndAnswered:
		return fmt.Sprintf("%s has its answer from %s", c.Client, from)
	case c.End == nat.EndRefused || c.End == nat.EndRejected:
		return fmt.Sprintf("%s is %s", c.Client, c.End)
	case c.End == nat.EndUnreachable:
		return fmt.Sprintf("%s hears that %s is unreachable", c.Client, c.Target)
	case d.last.Node == c.From && d.last.Tuple.Proto() == c.Protocol && from != c.Target:
		return fmt.Sprintf("%s asked %s and drops the answer from %s: wrong source", c.Client, c.Target, from)
	case c.End == nat.EndLost:
		return fmt.Sprintf("the answer does not get through to %s", c.Client)
	}
	return fmt.Sprintf("how it ends for %s is not known", c.Client)
}

// atClient reports whether the hop drawn last came in where the client is: in its namespace, or where nothing is drawn of that one
// in the node itself.
func (d *drawing) atClient() bool {
	drawn := slices.ContainsFunc(d.flow.Hops, func(h proof.Hop) bool { return h.Node == d.flow.From })
	return d.last.Tap != nat.TapPost && (d.last.Node == d.flow.From || !drawn)
}

func (d *drawing) conntrack() {
	if len(d.flow.Conntrack) == 0 {
		return
	}
	fmt.Fprintf(&d.b, "\n  %s\n", d.style.paint(heading, "conntrack"))
	for _, c := range d.flow.Conntrack {
		fmt.Fprintf(&d.b, "  %s %s\n", d.style.paint(station, pad(c.Node, labelWidth+1)), tuple(c.Original))
		fmt.Fprintf(&d.b, "  %s %s\n", strings.Repeat(" ", labelWidth+1), tuple(c.Reply))
		status := c.Status.String()
		if c.Mark != 0 {
			status += fmt.Sprintf(" mark %#x", c.Mark)
		}
		fmt.Fprintf(&d.b, "  %s %s\n", strings.Repeat(" ", labelWidth+1), d.style.paint(quiet, status))
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
		fmt.Fprintf(&d.b, "  %s %s%s\n", d.style.paint(i, sign), pad(c.Name, labelWidth), c.Detail)
	}
}
