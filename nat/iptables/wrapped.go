package iptables

import (
	"slices"
	"strings"
)

// unwrap puts rules together that a terminal or a mail broke at a word: the line behind begins with what only stands inside of a rule, or the line ends inside of
// a quote. What was broken inside of another word stays as it is, and is refused where it makes no rule. The numbers of the lines stay.
func unwrap(lines []string) (wrapped []int) {
	first := -1 // the rule's first line
	for i, line := range lines {
		if first < 0 || i == 0 || !goesOn(lines[first], line) {
			first = -1
			if isRule(line) {
				first = i
			}
			continue
		}
		lines[first], lines[i] = strings.TrimRight(lines[first], " ")+" "+strings.TrimLeft(line, " "), ""
		if !slices.Contains(wrapped, first+1) {
			wrapped = append(wrapped, first+1)
		}
	}
	return wrapped
}

// isRule reports whether a line is a rule, or a command that makes one.
func isRule(line string) bool {
	if strings.HasPrefix(line, "[") { // counters
		_, line, _ = strings.Cut(line, "] ")
	}
	return strings.HasPrefix(line, "-A ") || strings.HasPrefix(line, "-I ")
}

// inside are options that begin no line of their own.
var inside = []string{"-j", "-g", "-m", "-p", "-s", "-d", "-i", "-o", "-f", "!"}

// goesOn reports whether a line is the rest of the rule in front of it.
func goesOn(rule, line string) bool {
	word, _, _ := strings.Cut(strings.TrimLeft(line, " "), " ")
	switch {
	case word == "":
		return false
	case openQuote(rule):
		return !isRule(line) && word != "COMMIT"
	case strings.HasPrefix(word, "--") && len(word) > 2:
		return true
	}
	return slices.Contains(inside, word)
}

// openQuote reports whether a line ends inside of a quote.
func openQuote(line string) bool {
	open := false
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case '\\':
			i++
		case '"':
			open = !open
		}
	}
	return open
}
