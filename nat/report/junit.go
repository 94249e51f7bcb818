package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"natlab/nat/proof"
)

type (
	junitSuites struct {
		XMLName xml.Name     `xml:"testsuites"`
		Suites  []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Class   string        `xml:"classname,attr"`
		Name    string        `xml:"name,attr"`
		Failure *junitProblem `xml:"failure,omitempty"`
		Error   *junitProblem `xml:"error,omitempty"`
	}
	junitProblem struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// JUnit writes the report as one JUnit test suite with a case for each flow and endpoint: a disproved flow is a
// failure, an inconclusive one an error, each with its way drawn. A proof that ended before all was asked has one more error.
func JUnit(w io.Writer, r proof.Report) error {
	suite := junitSuite{
		Name:     "natlab " + r.Lab,
		Tests:    len(r.Flows),
		Failures: r.Count(proof.Disproved),
		Errors:   r.Count(proof.Inconclusive),
	}
	for _, c := range r.Flows {
		kase := junitCase{Class: service(c.Flow), Name: title(c)}
		if c.Verdict != proof.Proved {
			problem := &junitProblem{Message: "inconclusive", Text: Way(c, Style{})}
			if c.Wrong != nil {
				problem.Message = fmt.Sprintf("%s: want %s, got %s", c.Wrong.Check, c.Wrong.Want, c.Wrong.Got)
			}
			if c.Verdict == proof.Disproved {
				kase.Failure = problem
			} else {
				kase.Error = problem
			}
		}
		suite.Cases = append(suite.Cases, kase)
	}
	if r.Ended != "" {
		suite.Tests++
		suite.Errors++
		text := make([]string, len(r.NotAsked))
		for i, n := range r.NotAsked {
			text[i] = n.String() + ": " + n.Reason
		}
		suite.Cases = append(suite.Cases, junitCase{
			Class: "natlab", Name: "all is asked", Error: &junitProblem{Message: r.Ended, Text: strings.Join(text, "\n")},
		})
	}
	out, err := xml.MarshalIndent(junitSuites{Suites: []junitSuite{suite}}, "", "  ")
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, xml.Header+strings.TrimSuffix(string(out), "\n")+"\n")
	return err
}
