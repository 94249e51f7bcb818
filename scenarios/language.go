package scenarios

import (
	_ "embed" // for the package's comment
	"strings"
)

// comment is this package's file doc.go, which is the manual of the script language.
//
//go:embed doc.go
var comment string

// Language is the manual of the script language: what scenarios are, their verbs and conditions.
func Language() string {
	var b strings.Builder
	for line := range strings.Lines(comment) {
		line, is := strings.CutPrefix(line, "//")
		if !is {
			break
		}
		line = strings.TrimPrefix(line, " ")
		if text, code := strings.CutPrefix(line, "\t"); code {
			line = "    " + text
		}
		b.WriteString(line)
	}
	return b.String()
}
