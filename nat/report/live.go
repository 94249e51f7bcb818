package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"natlab/nat"
	"natlab/nat/live"
	"natlab/nat/proof"
)

// Live writes a flow of a running lab for people: who asks whom and what became of it, then a node after the other with the chains that the
// request met there, what was translated, and its connection tracking entry. With DrawAll both ways are drawn hop by hop instead. Of a flow
// that was told of before it is one line.
func Live(w io.Writer, f live.Flow, d Detail, st Style) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", f.Began.Add(f.Took).Format("15:04:05.000"), st.paint(heading, fmt.Sprintf("#%d", f.Number)))
	if f.Again {
		fmt.Fprintf(&b, "  %s\n", became(f, st))
		_, err := io.WriteString(w, b.String())
		return err
	}
	fmt.Fprintf(&b, "  %s -> %s %s", strings.TrimSpace(f.Client+" "+nat.EndText(f.Source)), nat.EndText(f.Target), f.Protocol)
	if f.Service != "" {
		fmt.Fprintf(&b, " (%s)", f.Service)
	}
	fmt.Fprintf(&b, "  %s\n", became(f, st))
	if d == DrawAll {
		b.WriteString(Journeys(f.Certificate(), st) + "\n")
	} else {
		for _, node := range f.Nodes() {
			liveNode(&b, f, node, st)
		}
	}
	for _, note := range f.Notes {
		fmt.Fprintf(&b, "    note: %s\n", note)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// coarse is what a flow must have taken for it to be told: packets are read in batches.
const coarse = 100 * time.Millisecond

// became is what became of a flow, in words.
func became(f live.Flow, st Style) string {
	what, in := f.State.String(), good
	switch f.State {
	case live.Open, live.Closed, live.Answered, live.Reset:
		if f.Server != "" {
			what = strings.TrimPrefix(what+", answered by "+f.Server, "answered, ")
		}
		if f.Endpoint != f.Target || f.Server == "" {
			what += " at " + f.Endpoint.String()
		}
	case live.Refused, live.Rejected, live.Unreachable, live.Dropped:
		in = bad
	case live.Unanswered, live.Unknown:
		in = unsure
	}
	out := st.paint(in, what)
	if f.Why != "" {
		out += ": " + f.Why
	}
	switch f.State {
	case live.Closed, live.Reset, live.Answered:
		if f.Took >= coarse {
			out += st.paint(quiet, " after "+f.Took.Round(coarse/2).String())
		}
	case live.Open, live.Refused, live.Rejected, live.Unreachable, live.Dropped, live.Unanswered, live.Unknown:
	}
	return out
}

// liveNode tells what a node did with a flow.
func liveNode(b *strings.Builder, f live.Flow, node string, st Style) {
	line := func(label, text string) {
		fmt.Fprintf(b, "    %s %s\n", st.paint(station, pad(label, labelWidth)), text)
	}
	label := node
	for dir, steps := range [2]nat.Trace{nat.Original: f.Request.Steps, nat.Reply: f.Reply.Steps} {
		chains := proof.Passed(steps, node, nat.Direction(dir))
		if len(chains) == 0 {
			continue
		}
		if nat.Direction(dir) == nat.Reply {
			chains = append([]string{"reply:"}, chains...)
		}
		line(label, strings.Replace(strings.Join(chains, " → "), ": → ", ": ", 1))
		label = ""
	}
	for _, c := range f.Conns {
		if c.Node != node {
			continue
		}
		text := "entry " + tuple(c.Original) + ", reply " + tuple(c.Reply)
		if c.Reply != c.Original.Reply() {
			text += "  " + st.paint(action, nat.Entry{Conn: c}.Decoded())
		}
		line(label, text+"  "+st.paint(quiet, c.Status.String()))
		label = ""
	}
	if label != "" && slices.ContainsFunc(f.Request.Hops, func(h nat.Hop) bool { return h.Node == node }) {
		line(label, "passed, no rule, no entry")
	}
}

// LiveJSON writes a flow as one line, a JSON document.
func LiveJSON(w io.Writer, f live.Flow) error { return Line(w, KindFlow, f) }

// Line writes a value as Document does, in one line.
func Line(w io.Writer, kind string, v any) error {
	line, err := document(kind, v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(line, '\n'))
	return err
}
