package report_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/proof"
	"natlab/nat/report"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func TestText(t *testing.T) {
	for _, row := range []struct {
		file   string
		detail report.Detail
		style  report.Style
	}{
		{"all.txt", report.DrawAll, report.Style{}},
		{"unproved.txt", report.DrawUnproved, report.Style{}},
		{"brief.txt", report.Brief, report.Style{}},
		{"colour.txt", report.DrawAll, report.Style{Colour: true}},
	} {
		t.Run(row.file, func(t *testing.T) {
			var b bytes.Buffer
			require.NoError(t, report.Text(&b, whole(), row.detail, row.style))
			golden(t, row.file, b.String())
		})
	}
}

// Colour adds nothing but colour, and «» stand for the colour of what changed.
func TestPlainTextIsColouredTextWithoutColour(t *testing.T) {
	sgr := regexp.MustCompile("\x1b\\[[0-9;]*m")
	// The marks move the columns after them.
	coloured := strings.Fields(sgr.ReplaceAllString(report.Way(nodePort(), report.Style{Colour: true}), ""))
	plain := strings.Fields(strings.NewReplacer("«", "", "»", "").Replace(report.Way(nodePort(), report.Style{})))
	require.Empty(t, cmp.Diff(plain, coloured))
	require.NotContains(t, strings.Join(plain, " "), "\x1b")
}

// Every hop that shows something new, every rule, conntrack entry and check of a certificate is in its drawing.
func TestWayLeavesNothingOut(t *testing.T) {
	for _, c := range whole().Flows {
		way := strings.NewReplacer("«", "", "»", "").Replace(report.Way(c, report.Style{}))
		for _, h := range c.Hops {
			require.Contains(t, way, strings.TrimSuffix(h.Tuple.Src().String(), ":0"))
			require.Contains(t, way, strings.TrimSuffix(h.Tuple.Dst().String(), ":0"))
			require.Contains(t, way, "╭ "+h.Node)
		}
		for _, s := range c.Met { // but for the policies that let everything pass
			require.Equal(t, s.Rule != 0, strings.Contains(way, fmt.Sprintf("%s:%d", s.Chain, s.Rule)))
		}
		for _, e := range c.Conntrack {
			require.Contains(t, way, e.Original.String())
			require.Contains(t, way, e.Reply.String())
			require.Contains(t, way, e.Status.String())
		}
		for _, k := range c.Checks {
			require.Contains(t, way, k.Detail)
		}
		if w := c.Wrong; w != nil {
			for _, s := range append([]string{w.WantRule, w.LiveRule, w.Packet, w.Why}, w.Unmodeled...) {
				require.Contains(t, way, s)
			}
			want, got := w.Want, w.Got
			if w.WantStep != nil {
				want, got = w.WantStep.String(), w.GotStep.String()
			}
			require.Contains(t, way, want)
			require.Contains(t, way, got)
		}
	}
}

func TestWayOfEveryEnd(t *testing.T) {
	for end := nat.EndUnknown; end <= nat.EndLost; end++ {
		c := rejected()
		c.End, c.Expect = end, nat.EndAnswered
		way := report.Way(c, report.Style{})
		require.Equal(t, end != nat.EndAnswered, strings.Contains(way, "(expected: answered)"), way)
		require.Equal(t, end == nat.EndLost, strings.Contains(way, "does not get through to outside"), way)
	}
}

// A node is drawn as the one that translates where its entry tells so, and not where it carries the packet on as it came.
func TestWayNamesWhoTranslates(t *testing.T) {
	t.Parallel()
	c := nodePort()
	require.Contains(t, report.Journeys(c, report.Style{}), "vms100  translates\n")
	require.Contains(t, report.Journeys(c, report.Style{}), "vms100  translates back\n")
	c.Conntrack = slices.Clone(c.Conntrack)
	for i := range c.Conntrack {
		c.Conntrack[i].Status &^= nat.SrcNAT | nat.DstNAT
	}
	require.NotContains(t, report.Journeys(c, report.Style{}), "translates")
}

// The answer that was not translated back is what the masquerade is there to prevent.
func TestWayOfAnAnswerFromAStranger(t *testing.T) {
	c := unmasked()
	c.Hops = append(c.Hops,
		hop(nat.Reply, "vms103", nat.TapPost, "ens32", unsnat, 0, ""),
		hop(nat.Reply, "outside", nat.TapPreRaw, "eth0", unsnat, 0, ""),
	)
	require.Contains(t, report.Way(c, report.Style{}),
		"outside asked 192.168.26.100:30450 and drops the answer from 10.244.38.178:9090: wrong source")
}

// A diagram has the ways of the flows that text draws too; what would end one of its lines does not.
func TestMermaid(t *testing.T) {
	t.Parallel()
	for name, detail := range map[string]report.Detail{"report.mmd": report.DrawAll, "unproved.mmd": report.DrawUnproved} {
		var b bytes.Buffer
		require.NoError(t, report.Mermaid(&b, whole(), detail))
		golden(t, name, b.String())
	}
	c := nodePort()
	c.Name = "a;b#c<d>\nend"
	var b bytes.Buffer
	require.NoError(t, report.Mermaid(&b, proof.Report{Lab: "x", Flows: []proof.Certificate{c}}, report.DrawAll))
	require.Contains(t, b.String(), "a#59;b#35;c#lt;d#gt; end")
	b.Reset()
	require.NoError(t, report.Mermaid(&b, proof.Report{Lab: "x"}, report.DrawAll))
	require.Contains(t, b.String(), "every flow is proved")
}

func TestJSON(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, report.JSON(&b, whole()))
	golden(t, "report.json", b.String())
	require.NotContains(t, b.String(), "null")
	require.NotContains(t, b.String(), `\u003e`)

	var got struct {
		Lab   string
		Flows []map[string]json.RawMessage
	}
	require.NoError(t, json.Unmarshal(b.Bytes(), &got))
	require.Len(t, got.Flows, 4)
	for _, field := range []string{
		"service", "type", "client", "target", "protocol", "endpoint", "masqueraded", "verdict", "request", "reply", "checks", "hops", "conntrack",
	} {
		require.Contains(t, got.Flows[0], field)
	}
	require.JSONEq(t, `"tcp"`, string(got.Flows[0]["protocol"]))

	b.Reset()
	require.NoError(t, report.JSON(&b, proof.Report{Lab: "empty"}))
	require.Contains(t, b.String(), `"flows": []`)
}

func TestJUnit(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, report.JUnit(&b, whole(), report.Run{Host: "host-1", At: time.Unix(1767323045, 0), Took: 10 * time.Second}))
	golden(t, "junit.xml", b.String())
	var got struct {
		Suites []struct {
			Tests    int `xml:"tests,attr"`
			Failures int `xml:"failures,attr"`
			Errors   int `xml:"errors,attr"`
			Cases    []struct {
				Name    string  `xml:"name,attr"`
				Failure *string `xml:"failure"`
				Error   *string `xml:"error"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	require.NoError(t, xml.Unmarshal(b.Bytes(), &got))
	require.Len(t, got.Suites, 1)
	s := got.Suites[0]
	require.Equal(t, [3]int{4, 1, 1}, [3]int{s.Tests, s.Failures, s.Errors})
	require.Nil(t, s.Cases[0].Failure)
	require.Contains(t, *s.Cases[1].Failure, "KUBE-MARK-MASQ")
	require.Contains(t, *s.Cases[3].Error, "nothing was seen")
}

// A proof that ended before all was asked is not green, in any form.
func TestAProofThatEndedEarly(t *testing.T) {
	r := proof.Report{Lab: "reference", Flows: []proof.Certificate{nodePort()}, Ended: "interrupted", NotAsked: []proof.NotAsked{
		{Service: "velero/minio:api", Type: proof.ByClusterIP, Target: "10.98.180.238:9000", Protocol: "TCP", Reason: "interrupted, from 14 clients"},
	}}
	var text, junit bytes.Buffer
	require.NoError(t, report.Text(&text, r, report.Brief, report.Style{}))
	require.Contains(t, text.String(), "not asked: velero/minio:api ClusterIP 10.98.180.238:9000 TCP: interrupted, from 14 clients\n")
	require.Contains(t, text.String(), ", 1 address not asked; interrupted\n")
	require.NoError(t, report.JUnit(&junit, r, report.Run{}))
	require.Contains(t, junit.String(), `tests="2" failures="0" errors="1"`)
	require.Contains(t, junit.String(), `<error type="error" message="interrupted">velero/minio:api`)
}
