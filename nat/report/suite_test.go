package report_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/nat/report"
)

// suite has a case of each end, and texts that XML has to escape.
func suite() report.Suite {
	return report.Suite{Name: "natlab <scenarios>", Package: "natlab.scenarios", At: time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("east", 7200)), Took: 90061*time.Second + 5*time.Millisecond, Cases: []report.Case{
		{Class: "a", Name: "passed", Took: 1500 * time.Millisecond, End: report.CasePassed},
		{Class: "a", Name: "failed & \"quoted\"", End: report.CaseFailed, Message: "line 3: <ask>", Text: "log\n\x1b[1m\x00 ]]>"},
		{Class: "b", Name: "skipped", End: report.CaseSkipped, Message: "no sctp"},
		{Class: "b", Name: "error", Message: "no lab is up"},
	}}
}

// What the schemas of Ant and of Jenkins demand of an element: the attributes that have to be there, with their forms, those that may be, and the
// elements inside, in Ant's order.
var schema = map[string]struct {
	attributes, elements string
}{
	"testsuites": {"", "testsuite"},
	"testsuite":  {"id=int name=word package=word tests=int failures=int errors=int skipped=int time=decimal timestamp=time hostname=word", "properties testcase system-out system-err"},
	"properties": {"", "property"},
	"property":   {"name=word value=word", ""},
	"testcase":   {"classname=word name=word time=decimal", "skipped error failure"},
	"skipped":    {"message=any", ""},
	"error":      {"type=word message=any", ""},
	"failure":    {"type=word message=any", ""},
	"system-out": {"", ""},
	"system-err": {"", ""},
}

var forms = map[string]*regexp.Regexp{
	"int": regexp.MustCompile(`^\d+$`), "word": regexp.MustCompile(`^\S(.*\S)?$`), "any": regexp.MustCompile(``),
	// Ant's decimal, which in Jenkins' form of it has no sign and no exponent; Ant's time has no zone.
	"decimal": regexp.MustCompile(`^\d+(\.\d+)?$`), "time": regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d$`),
}

// valid checks a document against schema.
func valid(t *testing.T, text string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(text))
	var open []string
	at := map[int]int{} // by depth: which of the elements inside came last
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
		switch e := token.(type) {
		case xml.StartElement:
			name := e.Name.Local
			rule, known := schema[name]
			require.True(t, known, name)
			if len(open) > 0 {
				inside := strings.Fields(schema[open[len(open)-1]].elements)
				n := -1
				for i, one := range inside {
					if one == name {
						n = i
					}
				}
				require.GreaterOrEqual(t, n, at[len(open)], "%s in %s: want %v, in this order", name, open[len(open)-1], inside)
				at[len(open)] = n
			}
			open = append(open, name)
			at[len(open)] = 0
			got := map[string]string{}
			for _, a := range e.Attr {
				got[a.Name.Local] = a.Value
			}
			for want := range strings.FieldsSeq(rule.attributes) {
				attribute, form, _ := strings.Cut(want, "=")
				value, is := got[attribute]
				require.True(t, is, "%s has no %s", name, attribute)
				require.Regexp(t, forms[form], value, "%s %s", name, attribute)
				delete(got, attribute)
			}
			require.Empty(t, got, "attributes of %s that no schema has", name)
		case xml.EndElement:
			open = open[:len(open)-1]
		}
	}
}

// What is written has what the schemas of Ant and Jenkins demand.
func TestJUnitIsValid(t *testing.T) {
	t.Parallel()
	for _, text := range documents(t) {
		valid(t, text)
	}
}

// documents are suites as they are written.
func documents(t *testing.T) []string {
	t.Helper()
	var one, other, none bytes.Buffer
	require.NoError(t, suite().Write(&one))
	require.NoError(t, report.JUnit(&other, whole(), report.Run{Host: "host-1", At: time.Unix(1, 0), Took: time.Minute}))
	require.NoError(t, report.Suite{Name: "nothing"}.Write(&none))
	return []string{one.String(), other.String()}
}

// A suite counts its cases by their ends, and has the times and the messages.
func TestSuite(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	require.NoError(t, suite().Write(&b))
	for _, part := range []string{
		`tests="4" failures="1" errors="1" skipped="1" time="90061.005" timestamp="2026-01-02T01:04:05" hostname="localhost"`,
		`<testcase classname="a" name="passed" time="1.500"></testcase>`,
		`<failure type="failure" message="line 3: &lt;ask&gt;">log`,
		`<skipped message="no sctp"></skipped>`,
		`<error type="error" message="no lab is up"></error>`,
	} {
		require.Contains(t, b.String(), part)
	}
}
