package iptables

import (
	"fmt"
	"slices"
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
	joined     bool // to the option before it: --dport=80
}

// split cuts a line into words as iptables-restore does (add_param_to_argv of iptables 1.8.9): double quotes group, a
// backslash inside them takes the next byte as it is, and the closing quote ends the word. Single quotes are bytes like any
// other. The words are appended to words.
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
		case line[i] == '"':
			return scanQuoted(line, start, i)
		}
	}
}

// scanQuoted takes a word whose quote opens at open, which need not be its first byte.
func scanQuoted(line string, start, open int) (w word, ok bool) {
	text := append(make([]byte, 0, 64), line[start:open]...)
	for i := open + 1; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\' && i+1 < len(line):
			i++
			text = append(text, line[i])
		case c == '"':
			return word{text: string(text), start: start, end: i + 1, quoted: true}, true
		default:
			text = append(text, c)
		}
	}
	return word{}, false
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

// peekOption is the next option, past a "!" before it. A value that is joined to it ("--dport=80") becomes a word of its own.
func (c *cursor) peekOption() string {
	at := c.at
	if c.peek() == "!" && at+1 < len(c.words) {
		at++
	}
	if at >= len(c.words) {
		return ""
	}
	if w := c.words[at].text; len(w) > 2 && w[0] == '-' {
		if w[1] != '-' {
			if strings.IndexByte(joining, w[1]) >= 0 {
				c.part(at, 2, 2)
			}
		} else if end := strings.IndexByte(w, '='); end > 2 {
			c.part(at, end, end+1)
		}
	}
	return c.words[at].text
}

// joining are the letters of the options whose value may be joined to them: iptables 1.8.9 asks getopt for the value of
// these, and takes the word before the next one for that of the others.
const joining = "ACDEFILNPRSXZcgm"

// part makes two words of one: its text up to end, and from begin.
func (c *cursor) part(at, end, begin int) {
	w := c.words[at]
	first, second := w, w
	first.text, second.text, second.joined = w.text[:end], w.text[begin:], true
	if !w.quoted { // then the text is the line's own
		first.end, second.start = w.start+end, w.start+begin
	}
	c.words[at] = first
	c.words = slices.Insert(c.words, at+1, second)
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

// ownWord refuses a value that is joined to its option: iptables 1.8.9 takes the wrong word for some.
func (c *cursor) ownWord() error {
	if c.done() || !c.words[c.at].joined {
		return nil
	}
	return c.errorf("%s: want its value as the next word, not behind =", c.words[c.at-1].text)
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
