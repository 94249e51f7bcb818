package topology

import (
	"bytes"
	"slices"
)

// flowLine reads a line that is one mapping or sequence in brackets, and goes to the next line.
func (p *plainReader) flowLine(b []byte) bool {
	rest, ok := p.flow(b, 0)
	if !ok || len(rest) > 0 {
		return false
	}
	p.next()
	return true
}

// flow reads a value inside brackets, or one with brackets, and returns what is behind it.
func (p *plainReader) flow(b []byte, depth int) (rest []byte, ok bool) {
	if len(b) == 0 || depth > maxPlainDepth {
		return nil, false
	}
	switch b[0] {
	case '{':
		return p.flowItems(b, '}', depth)
	case '[':
		return p.flowItems(b, ']', depth)
	}
	return p.scalar(b, true)
}

func (p *plainReader) flowItems(b []byte, end byte, depth int) (rest []byte, ok bool) {
	p.out = append(p.out, b[0])
	var keys [][]byte
	b = bytes.TrimLeft(b[1:], " ")
	for first := true; len(b) > 0 && b[0] != end; first = false {
		if !first {
			p.out = append(p.out, ',')
		}
		if end == '}' {
			var key []byte
			if key, b, ok = cutKey(b); !ok || len(keys) == maxPlainKeys || slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, key) }) {
				return nil, false
			}
			keys = append(keys, key)
			p.quote(key)
			p.out = append(p.out, ':')
		}
		if b, ok = p.flow(b, depth+1); !ok {
			return nil, false
		}
		b = bytes.TrimLeft(b, " ")
		if len(b) > 0 && b[0] == ',' {
			if b = bytes.TrimLeft(b[1:], " "); len(b) > 0 && b[0] == end {
				return nil, false
			}
		} else if len(b) > 0 && b[0] != end {
			return nil, false
		}
	}
	if len(b) == 0 {
		return nil, false
	}
	p.out = append(p.out, end)
	return b[1:], true
}

// scalar reads one value, and returns what is behind it: nothing, or inside brackets what ends the value there.
func (p *plainReader) scalar(b []byte, flow bool) (rest []byte, ok bool) {
	if b[0] == '"' || b[0] == '\'' {
		end := bytes.IndexByte(b[1:], b[0])
		if end < 0 {
			return nil, false
		}
		text, rest := b[1:1+end], b[2+end:]
		if b[0] == '"' && bytes.IndexByte(text, '\\') >= 0 || len(rest) > 0 && (!flow || rest[0] != ',' && rest[0] != ']' && rest[0] != '}') {
			return nil, false
		}
		p.quote(text)
		return rest, true
	}
	i := 0
	for i < len(b) && (letter(b[i]) || digit(b[i]) || bytes.IndexByte([]byte("._-/+="), b[i]) >= 0 || !flow && (b[i] == ':' && i+1 < len(b) && b[i+1] != ' ' || b[i] == ',')) {
		i++
	}
	if rest = b[i:]; i == 0 || len(rest) > 0 && (!flow || rest[0] != ',' && rest[0] != ']' && rest[0] != '}') {
		return nil, false
	}
	switch word := b[:i]; {
	case string(word) == "true", string(word) == "false", whole(word):
		p.out = append(p.out, word...)
	case letter(word[0]) && !reserved(word), address(word):
		p.quote(word)
	default:
		return nil, false
	}
	return rest, true
}

func letter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
func digit(c byte) bool  { return c >= '0' && c <= '9' }

// whole reports whether a word is a whole number as JSON has it, and as YAML does.
func whole(b []byte) bool {
	return len(b) <= 15 && !slices.ContainsFunc(b, func(c byte) bool { return !digit(c) }) && (len(b) == 1 || b[0] != '0')
}

// address reports whether a word that begins with a digit is an IPv4 address or a network, which is no number of any kind.
func address(b []byte) bool {
	return digit(b[0]) && bytes.Count(b, []byte(".")) == 3 && !slices.ContainsFunc(b, func(c byte) bool { return !digit(c) && c != '.' && c != '/' })
}

// reserved reports whether a word may be something else than text for YAML 1.1, in any way of writing it.
func reserved(b []byte) bool {
	if len(b) > len("false") {
		return false
	}
	switch string(bytes.ToLower(b)) {
	case "y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf":
		return true
	}
	return false
}
