package topology

import (
	"errors"
	"fmt"
	"strings"
)

// ErrInput is what every error of Load and NewPlan is: the input is wrong, and nothing was made of it.
var ErrInput = errors.New("the input is not usable")

// Error is one thing that is wrong with the input, with the place where it stands.
type Error struct {
	File     string // Source.Name; "" for what no single file is to blame for
	Document int    // 1 for the first YAML document or JSON value of the file; 0 for none
	Item     int    // 1 for the first item of a List; 0 outside of one
	Object   string // "Service velero/minio"; "" where the document could not be read that far
	Field    string // "spec.ports[0].port" or `port "api"`; "" for the object as a whole
	Problem  string // the cause and the remedy
}

// Error is the place and the problem on one line.
func (e *Error) Error() string {
	var b strings.Builder
	place := func(s string) {
		if s != "" {
			b.WriteString(s)
			b.WriteString(": ")
		}
	}
	place(clean(e.File))
	if e.Document > 0 {
		d := fmt.Sprintf("document %d", e.Document)
		if e.Item > 0 {
			d += fmt.Sprintf(", item %d", e.Item)
		}
		place(d)
	}
	place(clean(e.Object))
	place(clean(e.Field))
	b.WriteString(clean(e.Problem))
	return b.String()
}

// Unwrap makes errors.Is(err, ErrInput) hold.
func (e *Error) Unwrap() error { return ErrInput }

// clean keeps a hostile name from breaking out of its line.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}

// Errors is everything that is wrong with the input, in the order in which it was found. A single fault is
// returned as an *Error and not as a list of one.
type Errors []*Error

// maxShown is how many errors one text shows.
const maxShown = 20

// Error is one line for each error, the first twenty of them.
func (e Errors) Error() string {
	lines := make([]string, 0, min(len(e), maxShown)+1)
	for i, one := range e {
		if i == maxShown {
			lines = append(lines, fmt.Sprintf("and %d more", len(e)-i))
			break
		}
		lines = append(lines, one.Error())
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives the errors one by one to errors.Is and errors.As.
func (e Errors) Unwrap() []error {
	out := make([]error, len(e))
	for i, one := range e {
		out[i] = one
	}
	return out
}

// err is the list as an error: nil for none, the *Error itself for one.
func (e Errors) err() error {
	switch len(e) {
	case 0:
		return nil
	case 1:
		return e[0]
	default:
		return e
	}
}

// Warning is something natlab passes over that the user may want to know of. It never makes the input wrong.
type Warning struct {
	File     string `json:"file,omitzero"`
	Document int    `json:"document,omitzero"`
	Text     string `json:"text"`
}

// String is the place and the text on one line.
func (w Warning) String() string {
	s := clean(w.Text)
	if w.Document > 0 {
		s = fmt.Sprintf("document %d: %s", w.Document, s)
	}
	if w.File != "" {
		s = clean(w.File) + ": " + s
	}
	return s
}

// origin is where an object stands in the input.
type origin struct {
	file      string
	doc, item int
	seq       int // counts the objects of all files
	object    string
}

// problems collects what is wrong and what is passed over.
type problems struct {
	errs  Errors
	warns []Warning
	seen  int // objects
}

func (p *problems) fail(o origin, field, format string, args ...any) {
	p.errs = append(p.errs, &Error{File: o.file, Document: o.doc, Item: o.item, Object: o.object, Field: field, Problem: fmt.Sprintf(format, args...)})
}

func (p *problems) warn(o origin, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if o.object != "" {
		text = o.object + ": " + text
	}
	p.warns = append(p.warns, Warning{File: o.file, Document: o.doc, Text: text})
}
