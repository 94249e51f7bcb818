package conformance

import (
	_ "embed" // for the list of tests
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"
)

// Test is one upstream test.
type Test struct {
	File        string `json:"file"`        // of test/e2e/network at Kubernetes 1.37.2, with the line: "service.go:733"
	Name        string `json:"name"`        // as its It has it
	Conformance bool   `json:"conformance"` // every Kubernetes has to pass it

	script string
	alone  bool // it disturbs others
}

// String is the file and the name, which --focus is held against.
func (t Test) String() string { return t.File + " " + t.Name }

//go:embed tests.txt
var tests string

// List returns the tests in the order of their files.
var List = sync.OnceValues(func() ([]Test, error) { return parse(tests) })

// heading is a test's first line: "service.go:733 [C] name"; an "alone" stands before the name of one that disturbs others.
var heading = regexp.MustCompile(`^(\w+\.go:\d+) (C )?(alone: )?(.+)$`)

// parse reads a list: a heading at the beginning of a line, the script further in. "define NAME" is a script that others call by
// "use NAME KEY=VALUE...", where $KEY is the value.
func parse(text string) (all []Test, err error) {
	defined := map[string]string{}
	var name string
	var body []string
	end := func() {
		script := strings.Join(body, "\n")
		switch {
		case len(all) == 0 && name == "":
		case name != "":
			defined[name] = script
		default:
			all[len(all)-1].script = script
		}
		name, body = "", nil
	}
	for i, line := range strings.Split(text, "\n") {
		switch found := heading.FindStringSubmatch(line); {
		case strings.HasPrefix(line, "\t"):
			used, err := use(strings.TrimSpace(line), defined)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", i+1, err)
			}
			body = append(body, used)
		case strings.HasPrefix(line, "define "):
			end()
			name = strings.TrimPrefix(line, "define ")
		case found != nil:
			end()
			all = append(all, Test{File: found[1], Conformance: found[2] != "", alone: found[3] != "", Name: found[4]})
		case line != "" && !strings.HasPrefix(line, "#"):
			return nil, fmt.Errorf("line %d: %q: want FILE:LINE NAME, or a script's line behind a tab", i+1, line)
		}
	}
	end()
	for _, t := range all {
		if t.script == "" {
			return nil, fmt.Errorf("%s: no script", t)
		}
	}
	return all, nil
}

// use is a script's line, or the lines of a defined one with its words filled in.
func use(line string, defined map[string]string) (string, error) {
	words := strings.Fields(line)
	if len(words) < 2 || words[0] != "use" {
		return line, nil
	}
	script, ok := defined[words[1]]
	if !ok {
		return "", fmt.Errorf("%q: no script of that name is defined before", words[1])
	}
	for _, w := range words[2:] {
		key, value, ok := strings.Cut(w, "=")
		if !ok || !strings.Contains(script, "{"+key+"}") {
			return "", fmt.Errorf("%q: want KEY=VALUE, of a {KEY} of %q", w, words[1])
		}
		script = strings.ReplaceAll(script, "{"+key+"}", value)
	}
	if left := regexp.MustCompile(`\{\w+\}`).FindString(script); left != "" {
		return "", fmt.Errorf("%q has no value", left)
	}
	return script, nil
}

// castWord is whom a script may name.
var castWord = regexp.MustCompile(`^(?:(?:pod|node|host|ports)\d+|client|far)$`)

// needs are the members of the cast that a test names, each once.
func (t Test) needs() (out []string) {
	for w := range strings.FieldsFuncSeq(t.script, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		if castWord.MatchString(w) && !slices.Contains(out, w) {
			out = append(out, w)
		}
	}
	return out
}
