package report

import (
	"fmt"
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/proof"
)

// scene is a packet's stay in one namespace as it is told, whatever the form: text and HTML have the same lines.
type scene struct {
	node  string
	part  string // what the node that the proof is about does with the packet, behind two blanks
	lines []line
}

// line is one thing that is told: a packet at a tap, a rule that it met, or the route that it takes.
type line struct {
	label string // "in ens32", the rule's table, "route"

	hop            *nat.Hop
	before         nat.Tuple // of the packet when it was told of last; zero at first
	proto          string    // of an ICMP error: "icmp "
	src, dst       string
	srcNew, dstNew bool
	inside         string // the outer packet

	step                 *nat.Step
	place, target, match string

	route *proof.Route

	did []string // what was done to the packet: "DNAT", "mark 0x4000"
}

// teller tells the story of a flow.
type teller struct {
	flow proof.Certificate
	last nat.Hop // the hop told last in this journey
	mark uint32  // the packet's mark as told last
	did  string  // the target that rewrote the packet since the last hop: "DNAT"
}

// journeyOf tells one packet's way.
func (d *teller) journeyOf(dir nat.Direction) (out []scene) {
	stops := slices.DeleteFunc(stopsOf(d.flow, dir), stop.uneventful)
	if len(stops) == 0 {
		return nil
	}
	d.last, d.mark = nat.Hop{}, 0
	for _, s := range stops {
		out = append(out, d.scene(s, dir))
	}
	return out
}

func (d *teller) scene(s stop, dir nat.Direction) scene {
	out := scene{node: s.node, part: d.part(s.node, dir)}
	table := ""
	for i, e := range s.events {
		switch {
		case e.route != nil:
			out.lines = append(out.lines, line{label: "route", route: e.route})
			table = ""
		case e.step != nil && uneventful(*e.step):
		case e.step != nil:
			out.lines = append(out.lines, d.ruleLine(*e.step, table))
			table = e.step.Table
		case i+1 < len(s.events) && sameAgain(*e.hop, s.events[i+1]):
		case i == 0 || d.news(*e.hop):
			out.lines = append(out.lines, d.packetLine(*e.hop, dir))
			table = ""
		}
	}
	return out
}

// part is what the node that the proof is about does with the packet.
func (d *teller) part(node string, dir nat.Direction) string {
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
	return !slices.ContainsFunc(s.events, func(e event) bool { return e.hop != nil || e.step != nil && !uneventful(*e.step) })
}

// uneventful reports whether a step is the policy that lets everything pass that met no rule.
func uneventful(s nat.Step) bool { return s.Rule == 0 && s.Verdict == nat.Accept }

// news reports whether a hop inside a namespace shows anything that the one before it did not.
func (d *teller) news(h nat.Hop) bool {
	return h.Tuple != d.last.Tuple || h.Outer != d.last.Outer || h.Mark != d.mark || h.Tap == nat.TapPost || h.Tap == nat.TapPreRaw
}

// sameAgain reports whether what a process sent is shown just as well by the event that follows: it goes out unchanged.
func sameAgain(sent nat.Hop, next event) bool {
	return tapRank(sent.Tap) >= tapRank(nat.TapOutRaw) && sent.Tap != nat.TapPost &&
		next.hop != nil && next.hop.Tuple == sent.Tuple && next.hop.Outer == sent.Outer && next.hop.Mark == sent.Mark
}

// packetLine tells of a packet at a tap.
func (d *teller) packetLine(h nat.Hop, dir nat.Direction) line {
	l := line{label: hopLabel(h), hop: &h, before: d.last.Tuple}
	if before := d.last.Tuple; before.IsValid() && before.Proto() == h.Tuple.Proto() {
		l.srcNew, l.dstNew = before.Src() != h.Tuple.Src(), before.Dst() != h.Tuple.Dst()
	}
	l.src, l.dst = ends(h.Tuple)
	if p := h.Tuple.Proto(); p != d.flow.Protocol {
		l.proto = p.String() + " "
	}
	if did := d.translation(l.srcNew, l.dstNew, dir); did != "" {
		l.did = append(l.did, did)
	}
	if h.Mark != d.mark {
		l.did = append(l.did, fmt.Sprintf("mark %#x", h.Mark))
	}
	if h.Outer.IsValid() {
		l.inside = tuple(h.Outer)
	}
	d.last, d.mark, d.did = h, h.Mark, ""
	return l
}

// ruleLine tells of a rule that the packet met; table is that of the line before.
func (d *teller) ruleLine(s nat.Step, table string) line {
	l := line{label: s.Table, step: &s, place: fmt.Sprintf("%s:%d", s.Chain, s.Rule)}
	if s.Table == table {
		l.label = ""
	}
	if s.Rule == 0 {
		l.place = s.Chain
	}
	l.target, l.match = brief(s)
	if word, _, _ := strings.Cut(l.target, " "); rewrites(word) {
		d.did = word
	}
	if s.Mark != d.mark {
		l.did = append(l.did, fmt.Sprintf("mark %#x", s.Mark))
		d.mark = s.Mark
	}
	return l
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
func (d *teller) translation(src, dst bool, dir nat.Direction) string {
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

// endOfRequest is what became of the request, in words, and that it is not as expected.
func (d *teller) endOfRequest() (what, unexpected string) {
	c := d.flow
	what = "nothing is known of its end"
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
		unexpected = fmt.Sprintf(" (expected: %s)", c.Expect)
	}
	return what, unexpected
}

// endOfReply is what became of the answer, in words: d.last is where it was seen last.
func (d *teller) endOfReply() string {
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
func (d *teller) atClient() bool {
	drawn := slices.ContainsFunc(d.flow.Hops, func(h proof.Hop) bool { return h.Node == d.flow.From })
	return d.last.Tap != nat.TapPost && (d.last.Node == d.flow.From || !drawn)
}
