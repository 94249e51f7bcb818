package report

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/proof"
)

// Planes writes a comparison of data planes as text: a row for each flow and a column for each plane, what differs first.
func Planes(w io.Writer, c proof.Comparison, st Style) error {
	var b strings.Builder
	t := table{headings: slices.Concat([]string{"flow"}, c.Planes)}
	differ, proved := 0, 0
	var whys []string
	for _, f := range c.Flows {
		i := good
		switch {
		case len(f.Differ) > 0:
			i = bad
			differ++
		case !f.Proved():
			i = unsure
		}
		if f.Proved() {
			proved++
		}
		cells := []string{f.Name}
		for n, r := range f.Results {
			cells = append(cells, cell(f, n))
			if r.Why != "" {
				whys = append(whys, fmt.Sprintf("%s: %s: %s: %s", st.paint(verdictInk(r.Verdict), r.Verdict.String()), f.Name, r.Plane, r.Why))
			}
		}
		t.add(i, cells...)
	}
	t.write(&b, t.widen(nil), st)
	b.WriteByte('\n')
	for _, why := range whys {
		b.WriteString(st.Fold(why, "  ") + "\n")
	}
	writeNotAsked(&b, c.NotAsked, st)
	sum := fmt.Sprintf("%s: %d of %d flows differ, %d proved on every plane", strings.Join(c.Planes, ", "), differ, len(c.Flows), proved)
	if n := len(c.NotAsked); n > 0 {
		sum += fmt.Sprintf(", %s not asked", addresses(n))
	}
	if c.Ended != "" {
		sum += "; " + c.Ended
	}
	b.WriteString(st.Fold(sum, "  ") + "\n")
	_, err := io.WriteString(w, st.Letters(b.String()))
	return err
}

// cell is what plane n made of a flow, or "same" where that is what the first plane did.
func cell(f proof.Compared, n int) string {
	r := f.Results[n]
	mark := verdictMark(r.Verdict) + " "
	if n > 0 && len(r.Endings) > 0 && slices.Equal(r.Endings, f.Results[0].Endings) {
		return mark + "same"
	}
	if len(r.Endings) == 0 {
		return mark + "not asked"
	}
	some := slices.ContainsFunc(r.Endings, func(e proof.Ending) bool { return e.Masqueraded })
	all := some && !slices.ContainsFunc(r.Endings, func(e proof.Ending) bool { return !e.Masqueraded })
	var parts []string
	for _, e := range r.Endings {
		text := e.End.String()
		if e.End == nat.EndAnswered {
			text = e.Endpoint.String()
			if e.ClientPeer.IsValid() && e.ClientPeer != f.Target {
				text += " seen as " + e.ClientPeer.String()
			}
		}
		switch {
		case all || !some:
		case e.Masqueraded:
			text += " masqueraded"
		default:
			text += " not masqueraded"
		}
		parts = append(parts, text)
	}
	text := mark + strings.Join(parts, ", ")
	if all {
		text += " masqueraded"
	}
	return text
}
