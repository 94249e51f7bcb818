package report_test

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/proof"
	"natlab/nat/report"
)

// pictureOf is a picture's text by its words, and its elements.
func pictureOf(t *testing.T, r proof.Report, d report.Detail) (*element, string) {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, report.SVG(&b, r, d))
	root := parsed(t, b.String())
	return root, wordsOf(root)
}

// wordsOf are the words that a picture shows, in its order.
func wordsOf(root *element) string {
	var words []string
	for _, e := range root.all("text") {
		words = append(words, e.text.String())
	}
	return strings.Join(words, " ")
}

// requireWhole holds a picture to its frame: nothing reaches over it, and no two words lie on each other.
func requireWhole(t *testing.T, root *element) {
	t.Helper()
	number := func(e *element, name string) int {
		n, err := strconv.Atoi(e.attrs[name])
		require.NoError(t, err, "%s of %v", name, e.attrs)
		return n
	}
	svg := root.all("svg")[0]
	width, height := number(svg, "width"), number(svg, "height")
	type place struct{ from, to int }
	lines := map[int][]place{}
	for _, e := range svg.all("text") {
		x, y, n := number(e, "x"), number(e, "y"), number(e, "textLength")
		require.Equal(t, 7*len([]rune(e.text.String())), n)
		require.GreaterOrEqual(t, x, 0)
		require.LessOrEqual(t, x+n, width, e.text.String())
		require.LessOrEqual(t, y, height)
		lines[y] = append(lines[y], place{x, x + n})
	}
	for y, words := range lines {
		slices.SortFunc(words, func(a, b place) int { return a.from - b.from })
		for i := 1; i < len(words); i++ {
			require.LessOrEqual(t, words[i-1].to, words[i].from, "line at %d", y)
		}
	}
	for _, e := range svg.all("rect") {
		if e.attrs["x"] != "" {
			require.LessOrEqual(t, number(e, "x")+number(e, "width"), width)
		}
	}
}

// The picture has the story that HTML has, whole, and needs nothing else.
func TestSVGTellsTheStory(t *testing.T) {
	t.Parallel()
	root, text := pictureOf(t, proof.Report{Lab: "reference", Flows: []proof.Certificate{nodePort()}, Notes: []string{"a <note> & more"}}, report.DrawAll)
	requireWhole(t, root)
	for _, has := range []string{
		"natlab: reference", "a <note> & more", "The request", "KUBE-SVC-K6NOPV6C6M2DHO7B:2", "→ KUBE-SEP-DB3JUIMGX6LERFY3", "--probability 0.50000000000", "mark 0x4000",
		"DNAT", "MASQUERADE", "route 10.244.38.128/26 via 192.168.26.103 dev tunl0 proto bird onlink", "cali0123456789a",
		"velero/minio-b6d98746c-lxt2c answers at 10.244.38.178:9090", "The way back", "SNAT undone", "DNAT undone",
		"without it outside gets an answer from 10.244.38.178:9090, which it never asked, and drops it",
		"outside has its answer from 192.168.26.100:30450", "inside ipip 192.168.26.100 > 192.168.26.103", "✔ proved", "✔ masquerade",
	} {
		require.Contains(t, text, has)
	}
	var b bytes.Buffer
	require.NoError(t, report.SVG(&b, whole(), report.DrawAll))
	for _, no := range []string{"href", "@import", "url(", "<script", "ZgotmplZ"} {
		require.NotContains(t, b.String(), no)
	}
	require.Contains(t, b.String(), "prefers-color-scheme: dark")
	requireWhole(t, parsed(t, b.String()))
	var changed []string
	for _, e := range root.all("text") {
		if e.attrs["class"] == "new" {
			changed = append(changed, e.text.String())
		}
	}
	require.Equal(t, []string{"10.244.38.178:9090", "10.244.239.128:51234", "192.168.26.1:40000", "192.168.26.100:30450"}, changed[:4])
}

// Ways that part lie side by side, what is wrong is told, and no name is markup or runs over the edge.
func TestSVGOfWhatPartsAndOfWhatIsWrong(t *testing.T) {
	t.Parallel()
	other, bad := nodePort(), unmasked()
	other.Met = slices.Clone(other.Met)
	for i := range other.Met {
		if s := &other.Met[i]; s.Chain == "KUBE-SVC-K6NOPV6C6M2DHO7B" {
			s.Rule, s.Target, s.Brief = 3, "KUBE-SEP-OTHER", ""
		}
	}
	bad.Name = `</text><script>alert(1)</script>` + strings.Repeat("x", 300) + "\x00"
	root, text := pictureOf(t, proof.Report{Lab: "a", Flows: []proof.Certificate{nodePort(), other, bad}}, report.DrawAll)
	requireWhole(t, root)
	require.Empty(t, root.all("script"))
	require.Contains(t, text, "</text><script>alert(1)</script>xxx")
	require.Contains(t, text, "expected rule -A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000")
	at := map[string]string{}
	for _, e := range root.all("text") {
		at[e.text.String()] = e.attrs["x"]
	}
	require.NotEqual(t, at["KUBE-SVC-K6NOPV6C6M2DHO7B:2"], at["KUBE-SVC-K6NOPV6C6M2DHO7B:3"], "side by side")
	_, text = pictureOf(t, proof.Report{Lab: "a", Flows: []proof.Certificate{nodePort()}}, report.DrawUnproved)
	require.Contains(t, text, "Every flow is proved")
}

// A prediction is drawn in the same forms, and nowhere as proved.
func TestPredictedIsDrawn(t *testing.T) {
	t.Parallel()
	c := nodePort()
	way := nat.Outcome{Probability: 0.5, End: nat.EndAnswered, Server: c.Server, Endpoint: c.Endpoint, ClientPeer: c.Target, Where: "vms100", Why: "its rules"}
	for _, h := range c.Hops {
		j := map[nat.Direction]*nat.Journey{nat.Original: &way.Request, nat.Reply: &way.Reply}[h.Direction]
		j.Hops = append(j.Hops, h.Hop)
	}
	for _, s := range c.Met {
		way.Request.Steps = append(way.Request.Steps, s.Step)
	}
	unsure := way
	unsure.Probability, unsure.Assumed, unsure.Unknown = 1, []nat.Assumption{{What: "-m u32 <x>", Holds: true}}, []string{"-m y"}
	all := []report.Foretold{{Probe: nat.Probe{From: "outside", Tuple: tuple(asked)}, Ways: nat.Prediction{way, unsure}}}
	text := map[string]string{}
	for _, form := range []string{"html", "mermaid", "svg"} {
		var b bytes.Buffer
		require.NoError(t, report.Predicted(&b, form, all))
		require.NotContains(t, strings.ReplaceAll(b.String(), ".proved {", ""), "proved\"")
		text[form] = b.String()
	}
	root := parsed(t, text["svg"])
	requireWhole(t, root)
	text["svg"], text["html"] = wordsOf(root), parsed(t, text["html"]).text.String()
	for form, got := range text {
		for _, has := range []string{"predicted", "way 1 of 2, probability 0.5: answered", "way 2 of 2: answered", "KUBE-SVC-K6NOPV6C6M2DHO7B:2"} {
			require.Contains(t, got, has, form)
		}
		if form != "mermaid" {
			require.Contains(t, got, "-m u32 <x>, which is not known: on this way it holds", form)
			require.Contains(t, got, "-m y: it makes no difference", form)
		}
	}
	require.Error(t, report.Predicted(&bytes.Buffer{}, "text", all))
}
