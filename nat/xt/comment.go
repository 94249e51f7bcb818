package xt

import (
	"strings"

	"natlab/nat/rules"
)

// Comment is -m comment: it always holds.
type Comment struct{ Text string }

var commentRow = Extension{
	Name:     "comment",
	Options:  []Option{{Name: "--comment", Values: 1}},
	Examples: []string{"--comment plain_word", `--comment "with blanks, and a \" quote"`},
	Parse: func(a *Args) Value {
		var m Comment
		a.Need("--comment")
		for g := range a.Options {
			m.Text = g.TextUpTo(commentSize - 1)
		}
		return m
	},
	Listed: listedComment,
	// struct xt_comment_info { char comment[256]; }
	Layouts: layouts(layout(0, commentSize,
		func(d []byte, _ *Env) (Comment, bool) { return Comment{cString(d)}, true },
		func(m Comment, d []byte, _ *Env) error { return putString(d, m.Text) })),
}

const commentSize = 256 // XT_MAX_COMMENT_LEN

// Name is "comment".
func (Comment) Name() string { return "comment" }

// Save prints the comment, quoted where it has to be.
func (m Comment) Save(p *Printer) {
	p.Text(" --comment")
	p.Quoted(m.Text)
}

// List prints the comment as iptables -L does.
func (m Comment) List(p *Printer) { p.Text(" /* ", m.Text, " */") }

// listedComment takes all up to the last end in front of another comment, if there is one.
func listedComment(l *Listing) bool {
	text, ok := strings.CutPrefix(l.rest, "/* ")
	if !ok {
		return false
	}
	own, _, _ := strings.Cut(text, " /* ")
	for end := len(own); end > 0; {
		if end = strings.LastIndex(own[:end], " */"); end < 0 {
			return false
		}
		if behind := text[end+len(" */"):]; behind == "" || behind[0] == ' ' {
			l.Give("--comment", false, text[:end])
			l.rest = strings.TrimLeft(behind, " ")
			return true
		}
	}
	return false
}

// Holds is always Yes.
func (Comment) Holds(*rules.Visit) rules.Answer { return rules.Yes }

// Actual is empty: a comment never fails.
func (Comment) Actual(*rules.Visit) string { return "" }
