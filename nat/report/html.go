package report

import (
	_ "embed" // the page's template
	"fmt"
	"html/template"
	"io"
	"slices"
	"strconv"
	"strings"

	"natlab/nat"
	"natlab/nat/proof"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// HTML writes flows as one page that needs nothing else, neither a network nor a script to be read: for each Service its tree of chains
// with the flows that met each rule, for each flow the mind map of the request and of the way back, the path over the nodes with both
// directions side by side, and the checks. Of a report of many flows it has those that detail asks for.
func HTML(w io.Writer, r proof.Report, detail Detail) error {
	return writePage(w, headsOf(r), toldOf(r, detail))
}

// headsOf are a report's.
func headsOf(r proof.Report) heads {
	h := heads{Title: "natlab: " + r.Lab, Summary: strings.TrimSpace(summary(r, Style{})), Notes: slices.Clone(r.Notes)}
	for _, n := range r.NotAsked {
		h.Notes = append(h.Notes, "not asked: "+n.String()+": "+n.Reason)
	}
	return h
}

func writePage(w io.Writer, about heads, all []told) error {
	return page{heads: about}.write(w, all)
}

func (p page) write(w io.Writer, all []told) error {
	for _, t := range all {
		id := ""
		if t.drawn {
			id = p.flow(t)
		}
		p.Index = append(p.Index, rowOf(t, id))
		p.certs = append(p.certs, t.Certificate)
	}
	for i := range p.Flows {
		p.Flows[i].draw()
	}
	p.Few = len(p.Flows) <= fewFlows
	p.Services = serviceTrees(p.certs)
	return pageTemplate.Execute(w, p)
}

// rowOf is a flow's row; id is that of its story.
func rowOf(t told, id string) indexRow {
	return indexRow{
		Service: service(t.Flow), Type: t.Type.String(), Client: t.Client, Asks: t.Protocol.String() + " " + t.Target.String(),
		Ending: ending(t.Certificate), Verdict: t.verdict, Flow: id,
	}
}

// fewFlows is of how many flows the ways lie open at first.
const fewFlows = 8

// page is what the template shows.
type page struct {
	heads
	Few      bool // the ways lie open
	Grid     *gridPage
	Index    []indexRow
	Services []serviceTree
	Flows    []flowStory
	certs    []proof.Certificate
}

// indexRow is a flow by one endpoint in the table of all.
type indexRow struct {
	Service, Type, Client, Asks, Ending string
	Verdict                             verdict
	Flow                                string // the id of its story; "" where it has none
}

type verdict struct{ Word, Mark string }

func verdictOf(o proof.Outcome) verdict { return verdict{o.String(), verdictMark(o)} }

// flowStory is a flow with the certificates of all its endpoints.
type flowStory struct {
	ID, Name string
	Request  *branch
	Reply    *branch
	Ways     []wayStory
	all      []told
}

// wayStory is a flow by one endpoint.
type wayStory struct {
	Title   string
	Verdict verdict
	Wrong   []evidenceRow
	Path    []pathRow
	Checks  []checkRow
	Entries []nat.Conn
}

type evidenceRow struct{ Label, Text string }

type checkRow struct{ Name, Mark, Word, Detail string }

// flow adds a certificate to its flow's story, and returns the story's id.
func (p *page) flow(t told) string {
	at := 0
	p.Flows, at = withFlow(p.Flows, t)
	return p.Flows[at].ID
}

// withFlow are flows' stories with one more certificate, and the index of its flow's.
func withFlow(all []flowStory, t told) ([]flowStory, int) {
	at := slices.IndexFunc(all, func(f flowStory) bool { return f.Name == t.Name })
	if at < 0 {
		at = len(all)
		all = append(all, flowStory{ID: "flow-" + strconv.Itoa(at+1), Name: t.Name})
	}
	all[at].all = append(all[at].all, t)
	return all, at
}

// draw tells the flow's story.
func (f *flowStory) draw() {
	f.Request, f.Reply = &branch{}, &branch{}
	for _, one := range f.all {
		c := one.Certificate
		t := teller{flow: c}
		request := t.journeyOf(nat.Original)
		what, unexpected := t.endOfRequest()
		f.Request.add(append(items(request, c, nat.Original), item{Kind: "end", Text: what + unexpected}))
		reply := t.journeyOf(nat.Reply)
		if len(reply) > 0 {
			f.Reply.add(append(items(reply, c, nat.Reply), item{Kind: "end", Text: t.endOfReply()}))
		}
		f.Ways = append(f.Ways, wayStory{
			Title: one.title, Verdict: one.verdict, Wrong: one.evidence, Path: path(request, reply), Checks: checkRows(c), Entries: c.Conntrack,
		})
	}
	f.Request.fold()
	f.Reply.fold()
}

func checkRows(c proof.Certificate) (out []checkRow) {
	for _, k := range c.Checks {
		row := checkRow{k.Name, "✔", "holds", k.Detail}
		switch {
		case k.Missing:
			row.Mark, row.Word = "?", "not seen"
		case !k.OK:
			row.Mark, row.Word = "✘", "fails"
		}
		out = append(out, row)
	}
	return out
}

// wrongRows are what text prints below "failed", a row each.
func wrongRows(c proof.Certificate) (out []evidenceRow) {
	if c.Wrong == nil {
		return nil
	}
	d := drawing{teller: teller{flow: c}}
	d.wrong()
	for text := range strings.Lines(d.b.String()) {
		label, rest := strings.TrimSpace(text), ""
		if strings.HasPrefix(text, "    ") && len(text) > labelWidth+4 {
			label, rest = strings.TrimSpace(text[4:labelWidth+4]), strings.TrimSpace(text[labelWidth+4:])
		}
		if label != "" {
			out = append(out, evidenceRow{label, rest})
		}
	}
	return out
}

// pathRow is a namespace on the path: what went through it in either direction.
type pathRow struct {
	Node           string
	Part           string
	Request, Reply []packetCell
}

// packetCell is a packet at a point of the path.
type packetCell struct {
	Label, Proto, Src, Dst string
	SrcNew, DstNew         bool
	Inside                 string
	Did                    []string
}

func cellsOf(s scene) (out []packetCell) {
	for _, l := range s.lines {
		if l.hop != nil {
			out = append(out, packetCell{l.label, l.proto, l.src, l.dst, l.srcNew, l.dstNew, l.inside, l.did})
		}
	}
	return out
}

// path puts the two directions side by side: the namespaces in the order of the request, and those that the reply alone came to where it did.
func path(request, reply []scene) (out []pathRow) {
	for _, s := range request {
		out = append(out, pathRow{Node: s.node, Part: strings.TrimSpace(s.part), Request: cellsOf(s)})
	}
	at := len(out)
	for _, s := range reply { // it goes up where the request went down
		found := -1
		for i := at - 1; i >= 0 && found < 0; i-- {
			if out[i].Node == s.node {
				found = i
			}
		}
		if found < 0 {
			out = slices.Insert(out, at, pathRow{Node: s.node})
			found = at
		}
		out[found].Reply = append(out[found].Reply, cellsOf(s)...)
		at = max(found, 1)
		if found == 0 {
			at = 0
		}
	}
	return out
}

// undone is what the client would see if a translation of the answer were not undone.
func undone(c proof.Certificate, node string, l line) string {
	switch {
	case l.srcNew && l.dstNew:
		return fmt.Sprintf("without it %s keeps an answer from %s that is for itself", node, l.before.Src())
	case l.dstNew:
		return fmt.Sprintf("without it the answer ends here: %s is %s itself", nat.EndText(l.before.Dst()), node)
	case l.srcNew:
		return fmt.Sprintf("without it %s gets an answer from %s, which it never asked, and drops it", c.Client, l.before.Src())
	}
	return ""
}
