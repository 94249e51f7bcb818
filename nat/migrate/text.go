package migrate

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"natlab/nat/proof"
)

// Text writes the page for who has to decide about the move: the count, then each class with what changes, for whom and what to do, and the
// flows of it, those that are alike together; in so many columns, 0 where there is no terminal.
func (r Report) Text(w io.Writer, columns int) error {
	b := sheet{columns: pageWidth, whole: columns <= 0}
	if columns > 0 {
		b.columns = min(columns, pageWidth)
	}
	b.line(fmt.Sprintf("cluster %s, kube-proxy %s: from %s to %s mode", r.Cluster, r.Release, r.From, r.To))
	if len(r.Differences) == 0 {
		b.line(fmt.Sprintf("%d flows asked: all end alike", r.Asked))
	} else {
		b.line(fmt.Sprintf("%d flows asked: %d end otherwise; %d of them are not documented, %d worked and no longer do", r.Asked, len(r.Differences), r.Undocumented(), r.Broken()))
	}
	for i, f := range r.Classes {
		r.finding(&b, i+1, f)
	}
	r.shown(&b)
	if len(r.Notes) > 0 {
		b.WriteString("\nBesides:\n")
		for _, n := range r.Notes {
			b.wrapped("- ", n)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// shown writes what packets showed, where some were asked.
func (r Report) shown(b *sheet) {
	differ, alike := 0, 0
	for i, list := range [][]Difference{r.Differences, r.Sample} {
		for _, d := range list {
			if len(d.Seen) > 0 {
				*[]*int{&differ, &alike}[i]++
			}
		}
	}
	if differ+alike == 0 {
		return
	}
	b.WriteByte('\n')
	b.line(fmt.Sprintf("Asked of the kernel in a lab of each mode: %d of the %d flows that differ, %d of those that end alike; %d ended otherwise than predicted",
		differ, len(r.Differences), alike, r.Otherwise()))
	for _, d := range r.Askable() {
		if d.otherwise() {
			b.wrapped("   * ", d.String())
			b.wrapped("     predicted: ", told(d.From)+"; then: "+told(d.To))
			b.wrapped("     seen:      ", d.Seen[0].String()+"; then: "+d.Seen[1].String())
		}
	}
}

// finding writes a class.
func (r Report) finding(b *sheet, number int, f Finding) {
	name := f.Class
	if name == "" {
		name = "NOT DOCUMENTED"
	}
	count := fmt.Sprintf("%d flows", f.Flows)
	switch {
	case f.Breaks == f.Flows:
		count += " that worked and no longer do"
	case f.Breaks > 0:
		count += fmt.Sprintf(", %d of which worked and no longer do", f.Breaks)
	}
	b.WriteByte('\n')
	b.wrapped(fmt.Sprintf("%d. ", number), name+": "+count)
	b.wrapped("   changes:  ", f.Changes)
	b.wrapped("   for whom: ", f.Whom)
	b.wrapped("   to do:    ", f.Do)
	for _, g := range r.groups(f.Class) {
		g.write(b)
	}
}

// group is differences of a class that are of one Service, kind of address and kind of ending.
type group struct {
	first       Difference
	flows       int
	at, clients []string
}

// groups are those of a class, in the order of their first flows.
func (r Report) groups(class string) (out []*group) {
	type alike struct {
		service string
		access  proof.Access
		aspect  Aspect
		proto   string
		ends    string
	}
	at := map[alike]*group{}
	for _, d := range r.Differences {
		if d.Class != class {
			continue
		}
		k := alike{d.Service, d.Type, d.Aspect, d.Protocol.String(), ends(d.From) + ">" + ends(d.To)}
		g := at[k]
		if g == nil {
			g = &group{first: d}
			at[k] = g
			out = append(out, g)
		}
		g.flows++
		g.at, g.clients = insert(g.at, d.asked()), insert(g.clients, d.Client)
	}
	return out
}

// ends are the kinds of a list of endings.
func ends(all []Ending) string {
	var words []string
	for _, e := range all {
		words = append(words, e.End.String())
	}
	return strings.Join(slices.Compact(words), " or ")
}

// asked is what is asked, without the protocol.
func (q Question) asked() string {
	if q.Aspect == Ping {
		return q.Target.Addr().String()
	}
	return q.Target.String()
}

func (g *group) write(b *sheet) {
	d := g.first
	what := fmt.Sprintf("%s %s", d.Type, d.Protocol)
	if d.Aspect != AtPort {
		what += ", " + d.Aspect.String()
	}
	b.wrapped("   * ", cmp.Or(d.Service, "no Service")+": "+what)
	b.wrapped("     asked:  ", few(g.at))
	b.wrapped("     by:     ", few(g.clients))
	label := "     before: "
	if g.flows > 1 {
		b.wrapped("     such as ", fmt.Sprintf("%s -> %s", d.Client, d.asked()))
	}
	b.wrapped(label, told(d.From))
	b.wrapped("     after:  ", told(d.To))
}

// told are endings in words; what chance decides stands with its share.
func told(all []Ending) string {
	words := make([]string, len(all))
	for i, e := range all {
		words[i] = e.String()
		if e.Where == "" && e.Why != "" {
			continue
		}
		if len(all) > 1 {
			words[i] = fmt.Sprintf("%.0f%% %s", 100*e.Share, e)
		}
	}
	return strings.Join(words, "; ")
}

// few are the first of a list, and how many more there are.
func few(list []string) string {
	const most = 6
	if len(list) <= most+1 {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
}

// pageWidth is how wide a text is set where there is room for it.
const pageWidth = 110

// sheet is a text of so many columns.
type sheet struct {
	strings.Builder
	columns int
	whole   bool // there is no terminal: a line that has no label stays as long as it is
}

// line writes a text without a label.
func (b *sheet) line(text string) {
	if b.whole {
		b.WriteString(text + "\n")
		return
	}
	b.wrapped("", text)
}

// wrapped writes a text in lines of the page's width, the first behind a label and the others below where it ends.
func (b *sheet) wrapped(label, text string) {
	line := label
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
			line += word
		case len(line)+1+len(word) > b.columns:
			b.WriteString(line + "\n")
			line = strings.Repeat(" ", len(label)) + word
		default:
			line += " " + word
		}
	}
	b.WriteString(line + "\n")
}
