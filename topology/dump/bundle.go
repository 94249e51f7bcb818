package dump

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// The marks of a bundle. A line of a section's text that begins like one, behind any number of backslashes, has one backslash more.
const (
	mark      = "=== "
	first     = mark + "natlab bundle "
	version   = "1"
	last      = mark + "end"
	errorMark = mark + "! "
	exitMark  = mark + "exit "
)

// MaxBytes and MaxSections bound what is read of a bundle. A node of 5,000 Services has about 30 MB.
const (
	MaxBytes    = 512 << 20
	MaxSections = 4096
)

// Bundle is the sections of a bundle in their order. The zero one is empty.
type Bundle struct {
	Sections []Section
	// Whole: its last line is there. Else it was cut off, and sections that are missing may have been on the node.
	Whole bool
}

// Section is what one program printed.
type Section struct {
	Name   string   // the command line, or a word for what several programs can tell: "conntrack", "sysctl", "sockets"
	Line   int      // of the text's first line in the bundle, from 1
	Text   string   // what it printed to standard output, its last newline included
	Errors []string // the last lines that it printed to standard error
	Exit   int      // its exit status: 127 where the node has no such program; -1 where the bundle ends before it is told
}

// OK reports whether the program did what it was asked for, so that what it did not print is not there.
func (s Section) OK() bool { return s.Exit == 0 }

// Failure is how the program failed, "" where it did not.
func (s Section) Failure() string {
	switch {
	case s.Exit == 0:
		return ""
	case s.Exit < 0:
		return "the bundle ends in it"
	case s.Exit == 127:
		return "the node has no such program"
	case len(s.Errors) > 0:
		return s.Errors[len(s.Errors)-1]
	}
	return "exit status " + strconv.Itoa(s.Exit)
}

// AtLine is the text behind as many empty lines as stand before it in the bundle: who reads it and names a line names the bundle's.
func (s Section) AtLine() string { return strings.Repeat("\n", max(s.Line-1, 0)) + s.Text }

// Section is the first section of a name; ok is false where there is none.
func (b Bundle) Section(name string) (s Section, ok bool) {
	for _, s := range b.Sections {
		if s.Name == name {
			return s, true
		}
	}
	return Section{}, false
}

// Is reports whether a text begins as a bundle does, behind empty lines.
func Is(text string) bool { return strings.HasPrefix(strings.TrimLeft(text, "\ufeff \t\r\n"), first) }

// Read takes a bundle apart. Lines may end in CRLF. An error names the line and, where it is of one, the section: there is no bundle in the text,
// it is of another version, it is too large, or a mark is where none can be. What Unwrap takes is taken, too.
func Read(r io.Reader) (Bundle, error) {
	text, err := Unwrap(r)
	if err != nil {
		return Bundle{}, err
	}
	return read(text, MaxBytes)
}

func read(r io.Reader, most int64) (Bundle, error) {
	limited := &io.LimitedReader{R: r, N: most + 1}
	p := parser{in: bufio.NewReader(limited)}
	if err := p.run(); err != nil {
		return Bundle{}, err
	}
	if limited.N <= 0 {
		return Bundle{}, fmt.Errorf("larger than %d bytes: no node's bundle is", most)
	}
	if !p.begun {
		return Bundle{}, errors.New("not a bundle: want what the script of natlab collect prints, which begins with " + strconv.Quote(first+version))
	}
	p.end()
	return p.bundle, nil
}

type parser struct {
	in     *bufio.Reader
	bundle Bundle
	begun  bool
	open   bool // the last section has not ended
	closed bool // its text has: its errors or its exit status stand there
	text   strings.Builder
	line   int
}

func (p *parser) run() error {
	for {
		line, err := p.in.ReadString('\n')
		if line != "" {
			p.line++
			if err := p.take(line); err != nil {
				return fmt.Errorf("line %d%s: %w", p.line, p.where(), err)
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

func (p *parser) where() string {
	if n := len(p.bundle.Sections); p.open && n > 0 {
		return fmt.Sprintf(", section %q", p.bundle.Sections[n-1].Name)
	}
	return ""
}

// take reads one line.
func (p *parser) take(line string) error {
	plain := strings.TrimRight(line, "\r\n")
	switch {
	case !p.begun:
		return p.begin(strings.TrimPrefix(plain, "\ufeff"))
	case p.bundle.Whole:
		return nil // a prompt that was copied along
	case strings.HasPrefix(plain, first):
		return errors.New("a second bundle begins: give each in a file of its own")
	case plain == last:
		p.end()
		p.bundle.Whole = true
	case strings.HasPrefix(plain, errorMark), strings.HasPrefix(plain, exitMark):
		return p.result(plain)
	case strings.HasPrefix(plain, mark):
		return p.section(strings.TrimPrefix(plain, mark))
	case !p.open:
		if strings.TrimSpace(plain) != "" {
			return fmt.Errorf("%q stands between two sections", short(plain))
		}
	case p.closed:
		return fmt.Errorf("%q stands behind the end of the section's text", short(plain))
	default:
		if unmarked := strings.TrimLeft(line, `\`); unmarked != line && strings.HasPrefix(unmarked, mark) {
			line = line[1:]
		}
		p.text.WriteString(strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"))
		p.text.WriteByte('\n')
	}
	return nil
}

// begin looks for a bundle's first line. What a terminal shows in front of it is passed over, a hundred lines of it.
func (p *parser) begin(line string) error {
	v, ok := strings.CutPrefix(line, first)
	switch {
	case !ok && p.line > 100:
		return errors.New("not a bundle: want what the script of natlab collect prints, which begins with " + strconv.Quote(first+version))
	case ok && v != version:
		return fmt.Errorf("a bundle of version %q: this natlab reads version %s", short(v), version)
	}
	p.begun = ok
	return nil
}

func (p *parser) section(name string) error {
	p.end()
	if len(p.bundle.Sections) == MaxSections {
		return fmt.Errorf("more than %d sections", MaxSections)
	}
	p.bundle.Sections = append(p.bundle.Sections, Section{Name: name, Line: p.line + 1, Exit: -1})
	p.open, p.closed = true, false
	return nil
}

// result reads what stands behind a section's text. In front of it the script puts one newline, so that a text without one at its end has it.
func (p *parser) result(line string) error {
	if !p.open {
		return fmt.Errorf("%q is of no section", short(line))
	}
	s := &p.bundle.Sections[len(p.bundle.Sections)-1]
	if !p.closed {
		s.Text, p.closed = strings.TrimSuffix(p.text.String(), "\n"), true
		p.text.Reset()
	}
	if what, ok := strings.CutPrefix(line, errorMark); ok {
		s.Errors = append(s.Errors, what)
		return nil
	}
	status, err := strconv.ParseUint(strings.TrimPrefix(line, exitMark), 10, 8)
	if err != nil {
		return fmt.Errorf("%q: want an exit status, 0 to 255", short(line))
	}
	s.Exit = int(status)
	p.open = false
	return nil
}

// end ends the last section, which has no exit status where the text was cut off.
func (p *parser) end() {
	if n := len(p.bundle.Sections); p.open && !p.closed {
		p.bundle.Sections[n-1].Text = p.text.String()
		p.text.Reset()
	}
	p.open = false
}

// short is as much of a line as an error quotes.
func short(line string) string {
	if len(line) > 60 {
		return line[:60] + "..."
	}
	return line
}
