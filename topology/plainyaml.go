package topology

import (
	"bytes"
	"slices"
)

// plainYAML turns a document of plain YAML into JSON without the library, which takes ten times as long: what kubectl prints, and what people write
// by hand. ok is false for everything else: aliases, tags, several lines of one scalar that are no literal, what YAML takes for a date or a number of another
// kind, what stands twice, what is no YAML at all. The library reads that, or refuses it.
func plainYAML(text []byte) (out []byte, ok bool) {
	p := plainReader{rest: text, out: make([]byte, 0, len(text)+len(text)/2)} // with room for what is not quoted yet
	if slices.ContainsFunc(text, func(c byte) bool { return (c < ' ' || c > '~') && c != '\n' }) || !p.next() {
		return nil, false
	}
	if p.line[p.indent] == '{' {
		ok = p.indent == 0 && p.flowLine(p.line)
	} else {
		ok = p.mapping(p.indent, 0)
	}
	return p.out, ok && p.line == nil
}

// maxPlainDepth and maxPlainKeys are how deep plain YAML is nested and how many keys a mapping of it has.
const (
	maxPlainDepth = 64
	maxPlainKeys  = 64
)

// plainReader reads line by line.
type plainReader struct {
	rest   []byte
	line   []byte // the current one, with its indent; nil behind the last
	indent int
	out    []byte
}

// next goes to the next line that is neither empty nor a comment, and reports whether there is one.
func (p *plainReader) next() bool {
	for p.line = nil; len(p.rest) > 0; {
		line, rest, _ := bytes.Cut(p.rest, []byte("\n"))
		p.rest = rest
		p.indent = 0
		for p.indent < len(line) && line[p.indent] == ' ' {
			p.indent++
		}
		if p.indent == len(line) || line[p.indent] == '#' {
			continue
		}
		p.line = bytes.TrimRight(line, " ")
		return true
	}
	return false
}

// mapping reads the lines of an indent as keys with values.
func (p *plainReader) mapping(indent, depth int) bool {
	if depth > maxPlainDepth {
		return false
	}
	var keys [][]byte
	for p.out = append(p.out, '{'); p.line != nil && p.indent == indent && !p.isItem(); {
		key, value, ok := cutKey(p.line[indent:])
		if !ok || len(keys) == maxPlainKeys || slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, key) }) {
			return false
		}
		if len(keys) > 0 {
			p.out = append(p.out, ',')
		}
		keys = append(keys, key)
		p.quote(key)
		p.out = append(p.out, ':')
		if !p.value(value, indent, depth) {
			return false
		}
	}
	p.out = append(p.out, '}')
	return len(keys) > 0 && (p.line == nil || p.indent <= indent)
}

// sequence reads the lines of an indent as items.
func (p *plainReader) sequence(indent, depth int) bool {
	if depth > maxPlainDepth {
		return false
	}
	p.out = append(p.out, '[')
	for first := true; p.line != nil && p.indent == indent && p.isItem(); first = false {
		if !first {
			p.out = append(p.out, ',')
		}
		body := bytes.TrimLeft(p.line[indent+1:], " ")
		if len(body) == 0 || isItem(body) {
			return false
		}
		if _, _, ok := cutKey(body); ok { // a mapping begins behind the dash
			p.indent = len(p.line) - len(body)
			p.line = append(bytes.Repeat([]byte(" "), p.indent), body...)
			if !p.mapping(p.indent, depth+1) {
				return false
			}
			continue
		}
		if !p.value(body, indent, depth) {
			return false
		}
	}
	p.out = append(p.out, ']')
	return (p.line == nil || p.indent <= indent)
}

func (p *plainReader) isItem() bool { return isItem(p.line[p.indent:]) }

func isItem(b []byte) bool { return b[0] == '-' && (len(b) == 1 || b[1] == ' ') }

// cutKey cuts a key off a line.
func cutKey(b []byte) (key, value []byte, ok bool) {
	i := 0
	for i < len(b) && (letter(b[i]) || digit(b[i]) || b[i] == '_' || b[i] == '-' || b[i] == '.' || b[i] == '/') {
		i++
	}
	if i == 0 || i == len(b) || b[i] != ':' || i+1 < len(b) && b[i+1] != ' ' {
		return nil, nil, false
	}
	if key = b[:i]; !letter(key[0]) || reserved(key) {
		return nil, nil, false
	}
	return key, bytes.TrimLeft(b[i+1:], " "), true
}

// value reads what is behind a key or a dash of an indent, and goes to the line behind it.
func (p *plainReader) value(b []byte, indent, depth int) bool {
	switch {
	case len(b) == 0:
		if !p.next() || p.indent < indent || p.indent == indent && !p.isItem() {
			return false // null
		}
		if p.isItem() {
			return p.sequence(p.indent, depth+1)
		}
		return p.mapping(p.indent, depth+1)
	case b[0] == '|':
		return p.literal(string(b), indent)
	case b[0] == '{' || b[0] == '[':
		return p.flowLine(b) && (p.line == nil || p.indent <= indent)
	}
	rest, ok := p.scalar(b, false)
	if !ok || len(rest) > 0 {
		return false
	}
	p.next()
	return (p.line == nil || p.indent <= indent)
}

// literal reads the lines of a literal, which are deeper than an indent.
func (p *plainReader) literal(head string, indent int) bool {
	if head != "|" && head != "|-" {
		return false
	}
	var text []byte
	deep, empty := -1, 0
	for len(p.rest) > 0 {
		line, rest, ended := bytes.Cut(p.rest, []byte("\n"))
		n := 0
		for n < len(line) && line[n] == ' ' {
			n++
		}
		switch {
		case !ended:
			return false
		case n == len(line) && (deep < 0 || n > deep):
			return false
		case n == len(line):
			empty++
			p.rest = rest
			continue
		case deep < 0 && n <= indent:
			return false
		case deep < 0:
			deep = n
		}
		if n < deep {
			if n > indent || line[n] == '#' {
				return false
			}
			break
		}
		for ; empty > 0; empty-- {
			text = append(text, '\n')
		}
		text = append(append(text, line[deep:]...), '\n')
		p.rest = rest
	}
	if deep < 0 {
		return false
	}
	if head == "|-" {
		text = text[:len(text)-1]
	}
	p.quote(text)
	p.next()
	return true
}

// quote prints text as JSON has it.
func (p *plainReader) quote(text []byte) {
	p.out = append(p.out, '"')
	for _, c := range text {
		switch c {
		case '\n':
			p.out = append(p.out, '\\', 'n')
			continue
		case '"', '\\':
			p.out = append(p.out, '\\')
		}
		p.out = append(p.out, c)
	}
	p.out = append(p.out, '"')
}
