package iptables

import (
	"fmt"
	"strings"
)

// SyntaxError is a place in a rule set's text that does not parse.
type SyntaxError struct {
	Line, Column int // 1 for the first; a column counts bytes
	Reason       string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Reason)
}

// word is a word of a line, unquoted, with the place it was written at.
type word struct {
	text       string
	start, end int // byte offsets in the line
	quoted     bool
}

// split cuts a line into words as iptables-restore does (add_param_to_argv): double and single quotes group, a
// backslash inside quotes takes the next byte as it is. They are appended to words.
func split(words []word, line string, number int) ([]word, error) {
	for i := 0; i < len(line); {
		if blank(line[i]) {
			i++
			continue
		}
		w, ok := scanWord(line, i)
		if !ok {
			return nil, &SyntaxError{number, i + 1, "a quote is not closed"}
		}
		words = append(words, w)
		i = w.end
	}
	return words, nil
}

func blank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' }

// scanWord takes the word that begins at start. A plain one is a part of the line; ok is false for an open quote.
func scanWord(line string, start int) (w word, ok bool) {
	for i := start; ; i++ {
		switch {
		case i == len(line) || blank(line[i]):
			return word{text: line[start:i], start: start, end: i}, true
		case line[i] == '"' || line[i] == '\'':
			return scanQuoted(line, start)
		}
	}
}

// scanQuoted takes a word with quotes in it, which need not be around the whole of it.
func scanQuoted(line string, start int) (w word, ok bool) {
	text := make([]byte, 0, 64)
	var quote byte
	i := start
	for ; i < len(line); i++ {
		c := line[i]
		switch {
		case quote != 0 && c == '\\' && i+1 < len(line):
			i++
			text = append(text, line[i])
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote == 0 && blank(c):
			return word{string(text), start, i, true}, true
		default:
			text = append(text, c)
		}
	}
	return word{string(text), start, i, true}, quote == 0
}

// cursor walks the words of one rule.
type cursor struct {
	line   string
	number int
	words  []word
	at     int
}

func (c *cursor) done() bool { return c.at >= len(c.words) }

// peek is the next word's text, "" at the end.
func (c *cursor) peek() string {
	if c.done() {
		return ""
	}
	return c.words[c.at].text
}

// peekOption is the next option, past a "!" before it.
func (c *cursor) peekOption() string {
	if c.peek() == "!" && c.at+1 < len(c.words) {
		return c.words[c.at+1].text
	}
	return c.peek()
}

// option takes the next option with its "!", if it has one.
func (c *cursor) option() (name string, not bool) {
	if c.peek() == "!" && c.at+1 < len(c.words) {
		c.at++
		not = true
	}
	name = c.words[c.at].text
	c.at++
	return name, not
}

// value takes an option's value, which has to be a plain word: one that prints as it is.
func (c *cursor) value(option string) (string, error) {
	text, err := c.text(option)
	if err == nil && (text == "" || text == "!" || strings.ContainsAny(text, " \t\r\n\"'\\")) {
		return "", c.errorf("%s %q: want a word without blanks and quotes", option, text)
	}
	return text, err
}

// text takes an option's value, whatever it is.
func (c *cursor) text(option string) (string, error) {
	if c.done() {
		return "", c.errorf("%s wants a value", option)
	}
	c.at++
	return c.words[c.at-1].text, nil
}

// errorf is a SyntaxError at the word taken last.
func (c *cursor) errorf(format string, args ...any) error {
	column := len(c.line) + 1
	if at := c.at - 1; at >= 0 && at < len(c.words) {
		column = c.words[at].start + 1
	}
	return &SyntaxError{c.number, column, fmt.Sprintf(format, args...)}
}

// verbatim is the line's text from word i up to the one taken last.
func (c *cursor) verbatim(i int) string {
	if i >= c.at {
		return ""
	}
	return c.line[c.words[i].start:c.words[c.at-1].end]
}
