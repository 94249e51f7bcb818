package report

import (
	"encoding/xml"
	"io"
	"strconv"
	"time"
)

// Suite is a JUnit test suite, for CI. What is written of it is valid by the schema of Ant's JUnit task and by that of Jenkins.
type Suite struct {
	Name, Package string
	Host          string    // where it ran; "" stands for localhost
	Kernel        string    // on which kernel; "" where that is not told
	At            time.Time // when it began
	Took          time.Duration
	Cases         []Case
}

// Case is a test of a Suite.
type Case struct {
	Class, Name string
	Took        time.Duration
	End         CaseEnd
	Message     string // unless it passed: what went wrong, in a line
	Text        string // and all that is known of it
}

// CaseEnd is how a Case ended. The zero value is that nothing could be told.
type CaseEnd uint8

// The ends of a Case.
const (
	CaseError CaseEnd = iota // it could not run, or its end is not known
	CaseFailed
	CaseSkipped
	CasePassed
)

// The elements, with their attributes in the schemas' words. Ant's has properties and both outputs be there, in this order.
type (
	junitSuites struct {
		XMLName xml.Name     `xml:"testsuites"`
		Suites  []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		ID         int             `xml:"id,attr"`
		Name       string          `xml:"name,attr"`
		Package    string          `xml:"package,attr"`
		Tests      int             `xml:"tests,attr"`
		Failures   int             `xml:"failures,attr"`
		Errors     int             `xml:"errors,attr"`
		Skipped    int             `xml:"skipped,attr"`
		Time       string          `xml:"time,attr"`
		Timestamp  string          `xml:"timestamp,attr"`
		Hostname   string          `xml:"hostname,attr"`
		Properties junitProperties `xml:"properties"`
		Cases      []junitCase     `xml:"testcase"`
		Out        string          `xml:"system-out"`
		Err        string          `xml:"system-err"`
	}
	junitProperties struct {
		All []junitProperty `xml:"property"`
	}
	junitProperty struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	junitCase struct {
		Class   string        `xml:"classname,attr"`
		Name    string        `xml:"name,attr"`
		Time    string        `xml:"time,attr"`
		Skipped *junitProblem `xml:"skipped,omitempty"`
		Error   *junitProblem `xml:"error,omitempty"`
		Failure *junitProblem `xml:"failure,omitempty"`
	}
	junitProblem struct {
		Type    string `xml:"type,attr,omitempty"` // Ant's skipped has none
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// ScenarioSuite is the package of a suite of scenarios.
const ScenarioSuite = "natlab.scenarios"

// kernelProperty is the property of a suite that has its kernel.
const kernelProperty = "kernel"

// Write writes the suite as an XML document.
func (s Suite) Write(w io.Writer) error {
	out := junitSuite{
		Name: s.Name, Package: s.Package, Tests: len(s.Cases), Time: seconds(s.Took),
		Timestamp: s.At.UTC().Format("2006-01-02T15:04:05"), Hostname: s.Host,
	}
	if out.Hostname == "" {
		out.Hostname = "localhost"
	}
	if s.Kernel != "" {
		out.Properties.All = []junitProperty{{kernelProperty, s.Kernel}}
	}
	for _, c := range s.Cases {
		one := junitCase{Class: c.Class, Name: c.Name, Time: seconds(c.Took)}
		problem := &junitProblem{Message: c.Message, Text: c.Text}
		switch c.End {
		case CaseFailed:
			out.Failures++
			problem.Type, one.Failure = "failure", problem
		case CaseError:
			out.Errors++
			problem.Type, one.Error = "error", problem
		case CaseSkipped:
			out.Skipped++
			one.Skipped = problem
		case CasePassed:
		}
		out.Cases = append(out.Cases, one)
	}
	text, err := xml.MarshalIndent(junitSuites{Suites: []junitSuite{out}}, "", "  ")
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, xml.Header+string(text)+"\n")
	return err
}

// seconds are those of a duration, to the millisecond, without an exponent.
func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 3, 64) }
