package report

import (
	"strings"

	"natlab/nat"
)

// brief is a rule in few words: what it did with the packet, and what it asked of it. Comments are left out, and the
// -m words, which only load what the options after them name anyway.
func brief(s nat.Step) (target, match string) {
	var matches, action []string
	words := fields(s.Text)
	for i := 0; i < len(words); i++ {
		switch w := words[i]; w {
		case "-A", "-m", "--comment":
			i++
		case "-j", "-g":
			action = words[i+1:]
			i = len(words)
		default:
			matches = append(matches, w)
		}
	}
	switch {
	case s.Rule == 0 && len(action) == 0:
		return "policy " + s.Verdict.String(), ""
	case len(action) == 0:
		return s.Verdict.String(), strings.Join(matches, " ")
	case s.Verdict == nat.Jump || s.Verdict == nat.Goto:
		return "→ " + action[0], strings.Join(matches, " ")
	}
	return strings.Join(action, " "), strings.Join(matches, " ")
}

// fields splits a rule's text as a shell would: a quoted part is one field.
func fields(text string) []string {
	var out []string
	var word strings.Builder
	inWord, quoted, escaped := false, false, false
	for _, r := range text {
		switch {
		case escaped:
			word.WriteRune(r)
			escaped = false
		case quoted && r == '\\':
			escaped = true
		case r == '"':
			quoted, inWord = !quoted, true
		case r == ' ' && !quoted:
			if inWord {
				out = append(out, word.String())
				word.Reset()
				inWord = false
			}
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if inWord {
		out = append(out, word.String())
	}
	return out
}
