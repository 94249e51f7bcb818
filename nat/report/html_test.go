package report_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat/proof"
	"natlab/nat/report"
)

// element is an element of a page with what is below it.
type element struct {
	name  string
	attrs map[string]string
	text  strings.Builder // of itself and of all below it
	below []*element
}

// all are the elements of a name below this one, in the page's order.
func (e *element) all(name string) (out []*element) {
	for _, b := range e.below {
		if b.name == name {
			out = append(out, b)
		}
		out = append(out, b.all(name)...)
	}
	return out
}

// parsed reads a page, which has to be well formed: each element is closed, and each attribute has a value in quotes.
func parsed(t *testing.T, page string) *element {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(page))
	root := &element{}
	open := []*element{root}
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		switch x := token.(type) {
		case xml.StartElement:
			e := &element{name: x.Name.Local, attrs: map[string]string{}}
			for _, a := range x.Attr {
				e.attrs[a.Name.Local] = a.Value
			}
			up := open[len(open)-1]
			up.below = append(up.below, e)
			open = append(open, e)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			for _, e := range open {
				e.text.Write(x)
			}
		}
	}
	require.Len(t, open, 1)
	return root
}

func pageOf(t *testing.T, r proof.Report, d report.Detail) (*element, string) {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, report.HTML(&b, r, d))
	return parsed(t, b.String()), b.String()
}

// The page needs no network, can be gone through by keyboard and by a screen reader, and its links lead somewhere.
func TestHTMLStandsAlone(t *testing.T) {
	t.Parallel()
	page, text := pageOf(t, whole(), report.DrawAll)
	require.NotContains(t, text, "http")
	require.NotContains(t, text, "@import")
	require.NotContains(t, text, "ZgotmplZ") // what html/template puts for what it does not trust
	require.Equal(t, "en", page.all("html")[0].attrs["lang"])
	ids := map[string]bool{}
	var walk func(*element)
	walk = func(e *element) {
		if id := e.attrs["id"]; id != "" {
			require.False(t, ids[id], "id %s twice", id)
			ids[id] = true
		}
		require.Empty(t, e.attrs["src"])
		for _, b := range e.below {
			walk(b)
		}
	}
	walk(page)
	for _, a := range page.all("a") {
		require.True(t, strings.HasPrefix(a.attrs["href"], "#") && ids[a.attrs["href"][1:]], a.attrs["href"])
	}
	for _, s := range page.all("section") {
		require.True(t, ids[s.attrs["aria-labelledby"]], "a section has a heading")
	}
	for _, table := range page.all("table") {
		require.Len(t, table.all("caption"), 1)
		for _, th := range table.all("th") {
			require.Contains(t, []string{"col", "row"}, th.attrs["scope"])
		}
	}
	for _, d := range page.all("details") {
		require.Equal(t, "summary", d.below[0].name, "what opens it comes first")
	}
	require.Len(t, page.all("label"), len(page.all("input")))
	for _, media := range []string{"prefers-color-scheme: dark", "max-width"} {
		require.Contains(t, text, media)
	}
}

// Each flow has its story: what text tells is on the page, rewritten addresses marked, and colour tells nothing alone.
func TestHTMLTellsTheStory(t *testing.T) {
	t.Parallel()
	page, _ := pageOf(t, proof.Report{Lab: "reference", Flows: []proof.Certificate{nodePort()}}, report.DrawAll)
	flow := page.all("details")[1]
	text := flow.text.String()
	for _, has := range []string{
		"KUBE-SVC-K6NOPV6C6M2DHO7B:2", "→ KUBE-SEP-DB3JUIMGX6LERFY3", "--probability 0.50000000000", "mark 0x4000", "DNAT", "MASQUERADE",
		"route 10.244.38.128/26 via 192.168.26.103 dev tunl0 proto bird onlink", "cali0123456789a", "velero/minio-b6d98746c-lxt2c answers at 10.244.38.178:9090",
		"SNAT undone", "without it the answer ends here: 10.244.239.128:51234 is vms100 itself",
		"DNAT undone", "without it outside gets an answer from 10.244.38.178:9090, which it never asked, and drops it",
		"outside has its answer from 192.168.26.100:30450", "SEEN_REPLY|ASSURED", "inside ipip 192.168.26.100 > 192.168.26.103",
	} {
		require.Contains(t, text, has)
	}
	var marked []string
	for _, m := range flow.all("mark") {
		marked = append(marked, m.text.String())
	}
	once := []string{"10.244.38.178:9090", "10.244.239.128:51234", "192.168.26.1:40000", "192.168.26.100:30450"}
	require.Equal(t, once, marked[:4])
	require.Equal(t, len(marked), strings.Count(text, "(rewritten)"))
	path := flow.all("table")[0]
	var where []string
	for _, row := range path.all("tbody")[0].all("tr") {
		require.NotEmpty(t, strings.TrimSpace(row.all("td")[0].text.String()), "the request was there")
		require.NotEmpty(t, strings.TrimSpace(row.all("td")[1].text.String()), "and so was the reply")
		where = append(where, strings.Fields(row.all("th")[0].text.String())[0])
	}
	require.Equal(t, []string{"outside", "vms100", "vms103", "velero/minio-b6d98746c-lxt2c"}, where)
}

// Flows by several endpoints are one map, which parts where chance decides; a Service's tree counts them.
func TestHTMLPartsWhereChanceDecides(t *testing.T) {
	t.Parallel()
	other := nodePort()
	other.Met = slices.Clone(other.Met)
	for i := range other.Met {
		s := &other.Met[i]
		switch s.Chain {
		case "KUBE-SVC-K6NOPV6C6M2DHO7B":
			s.Rule, s.Target, s.Brief = 3, "KUBE-SEP-OTHER", ""
		case "KUBE-SEP-DB3JUIMGX6LERFY3":
			s.Chain = "KUBE-SEP-OTHER"
		}
	}
	page, _ := pageOf(t, proof.Report{Lab: "reference", Flows: []proof.Certificate{nodePort(), other}}, report.DrawAll)
	fork := page.all("main")[0].all("ul")[len(trees(page))]
	require.Equal(t, "fork", fork.attrs["class"])
	require.Len(t, fork.below, 2)
	require.Contains(t, fork.below[0].text.String(), "KUBE-SVC-K6NOPV6C6M2DHO7B:2")
	require.Contains(t, fork.below[1].text.String(), "KUBE-SVC-K6NOPV6C6M2DHO7B:3")
	require.Equal(t, 1, strings.Count(page.all("h3")[0].text.String(), "outside -> NodePort"))
	tree := trees(page)[0]
	counts := map[string]string{}
	for _, li := range tree.all("li") {
		counts[li.below[0].text.String()+" "+li.below[1].text.String()] = li.all("span")[0].text.String()
	}
	require.Equal(t, "2 flows", counts["PREROUTING → KUBE-SERVICES"])
	require.Equal(t, "2 flows", counts["KUBE-MARK-MASQ MARK --set-xmark 0x4000/0x4000"])
	require.Equal(t, "1 flows", counts["KUBE-SVC-K6NOPV6C6M2DHO7B → KUBE-SEP-OTHER"])
	require.Equal(t, "1 flows", counts["KUBE-SEP-OTHER DNAT --to-destination 10.244.38.178:9090"])
}

func trees(page *element) []*element {
	return slices.DeleteFunc(page.all("ul"), func(e *element) bool { return e.attrs["class"] != "tree" })
}

// A flow that is not proved tells why; what is proved is left out where that is not asked for, and names are no markup.
func TestHTMLOfWhatIsWrong(t *testing.T) {
	t.Parallel()
	c := unmasked()
	c.Name = `<script>alert("x")</script>`
	page, text := pageOf(t, proof.Report{Lab: "a&b", Flows: []proof.Certificate{nodePort(), c}, Notes: []string{"<b>"}}, report.DrawUnproved)
	require.NotContains(t, text, "<script>alert")
	require.NotContains(t, text, "<b>")
	require.Equal(t, "natlab: a&b", page.all("title")[0].text.String())
	require.Len(t, page.all("h3"), 1)
	require.Equal(t, c.Name, page.all("h3")[0].text.String())
	wrong := page.all("dl")[0].text.String()
	require.Contains(t, wrong, c.Wrong.WantRule)
	require.Contains(t, wrong, c.Wrong.Why)
	rows := page.all("tbody")[0].all("tr")
	require.Len(t, rows, 2)
	require.Empty(t, rows[0].all("a"), "its way is not on the page")
	page, _ = pageOf(t, proof.Report{Lab: "x", Flows: []proof.Certificate{nodePort()}}, report.DrawUnproved)
	require.Contains(t, page.text.String(), "Every flow is proved")
}
