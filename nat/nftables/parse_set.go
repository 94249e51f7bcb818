package nftables

import (
	"regexp"
	"strings"
)

// readSet reads a set or a map behind its word.
func (p *parser) readSet(isMap bool) {
	s := Set{Name: p.name("set"), Map: isMap}
	p.block(func() { p.setLine(&s) })
	p.table.Sets = append(p.table.Sets, s)
}

// setLine reads one line of a set's block.
func (p *parser) setLine(s *Set) {
	switch word := p.next().text; word {
	case "type":
		s.Key = p.types()
		if p.take(":") {
			p.data(s)
		}
	case "typeof":
		from := p.at
		s.Key = p.typesOf()
		s.Typeof = p.textFrom(from)
		if p.take(":") {
			from = p.at
			if p.data(s); len(s.Data) == 0 && s.Object == "" {
				p.at = from
				s.Data = p.typesOf()
			}
			s.DataTypeof = p.textFrom(from)
		}
	case "flags":
		s.Flags = p.words()
	case "timeout":
		s.Timeout = p.duration()
	case "gc-interval":
		s.GCInterval = p.duration()
	case "size":
		s.Size = int(p.number(31))
	case "policy":
		s.Memory = p.next().text == "memory"
	case "auto-merge":
		s.AutoMerge = true
	case "comment":
		s.Comment = p.next().text
	case "elements":
		p.want("=")
		s.Elements = p.elements(s.Key, s.Data)
	default:
		p.at--
		for st := p.stateful(); st != nil; st = p.stateful() {
			s.Statements = append(s.Statements, st)
		}
		if len(s.Statements) > 0 {
			return
		}
		p.failf("set %s: unexpected %q", s.Name, word)
	}
}

// textFrom is what was read since, as it is written.
func (p *parser) textFrom(at int) string {
	words := make([]string, 0, p.at-at)
	for _, t := range p.tokens[at:p.at] {
		words = append(words, written(t))
	}
	return bitsOf.ReplaceAllString(unspace(strings.Join(words, " ")), "$1,$2,$3")
}

// bitsOf are bits of a header: "@th,16,8".
var bitsOf = regexp.MustCompile(`(@(?:ll|nh|th|ih)), (\d+), (\d+)`)

// types reads "ipv4_addr . inet_service".
func (p *parser) types() (out []Type) {
	for {
		t := Type(p.name("type"))
		if !t.Known() {
			p.failf("type %q is not one that natlab knows", t)
		}
		out = append(out, t)
		if !p.take(".") {
			return out
		}
	}
}

// typesOf reads an expression for its types, part by part; one that natlab does not know is Untold, and its values stay as they are written.
func (p *parser) typesOf() (out []Type) {
	ends := func() bool { return p.over() || p.is(newline) || p.is(":") || p.is(".") }
	for {
		from, err := p.at, p.err
		e, ok := p.primary()
		if ok && ends() && p.err == nil {
			out = append(out, typesOf(e)...)
		} else {
			for p.at, p.err = from, err; !ends(); {
				p.at++
			}
			out = append(out, Untold)
		}
		if p.at == from {
			p.failf("typeof without an expression")
		}
		if p.err != nil || !p.take(".") {
			return out
		}
	}
}

// data reads what a map leads to; nothing where that is no type's name.
func (p *parser) data(s *Set) {
	s.DataInterval = p.take("interval")
	switch word := p.peek(0).text; {
	case word == "counter" || word == "quota" || word == "limit" || word == "synproxy" || word == "secmark":
		p.at++
		s.Object = word
	case word == "ct" && (p.peek(1).text == "helper" || p.peek(1).text == "timeout" || p.peek(1).text == "expectation"):
		p.at += 2
		s.Object = "ct " + p.tokens[p.at-1].text
	case Type(word).Known():
		s.Data = p.types()
	}
}

// elements reads "{ KEY [timeout ...] [comment ...] [: DATA], ... }" for keys and data of these types.
func (p *parser) elements(key, data []Type) (out []Element) {
	p.want("{")
	for p.ends(); !p.take("}"); p.ends() {
		if p.over() {
			p.failf("a set is not closed")
			return nil
		}
		out = append(out, p.element(key, data))
		p.ends()
		if !p.is("}") {
			p.want(",")
		}
	}
	return out
}

func (p *parser) element(key, data []Type) Element {
	e := Element{Key: p.constants(key)}
	for {
		switch {
		case p.take("timeout"):
			e.Timeout = p.duration()
		case p.take("expires"):
			e.Expires = p.duration()
		case p.take("comment"):
			e.Comment = p.next().text
		case p.take(":"):
			e.Verdict = p.verdict()
			switch {
			case e.Verdict != nil:
			case len(data) == 0 && p.peek(0).quoted:
				e.Object = p.next().text
			default:
				e.Data = p.constants(dataTypes(data))
			}
			return e
		default:
			st := p.stateful()
			if st == nil {
				return e
			}
			e.Statements = append(e.Statements, st)
		}
	}
}

func dataTypes(data []Type) []Type {
	if len(data) == 0 {
		return []Type{Integer}
	}
	return data
}

// constants reads the parts of a concatenation.
func (p *parser) constants(types []Type) (out []Constant) {
	for i := 0; ; i++ {
		t := Integer
		if i < len(types) {
			t = types[i]
		}
		c := p.constant(t)
		p.bars(&c)
		out = append(out, c)
		if !p.take(".") {
			return out
		}
	}
}

// constant reads a value of a type, which is one word.
func (p *parser) constant(t Type) Constant {
	tok := p.next()
	if tok.text == newline || !tok.quoted && strings.Contains("{},()", tok.text) {
		p.at--
		p.failf("want a value of type %s, got %s", t, shown(tok.text))
		return Constant{Type: t}
	}
	switch named := t == IfName || t == IfIndex || t == Text; {
	case named && tok.quoted, t == IfName || t == IfIndex && tok.text != "missing" && tok.text != "exists" && tok.text != "0":
		if tok.text != "*" || tok.quoted {
			return Name(t, tok.text)
		}
	case tok.quoted, t == Untold || t.row().form == quoted && tok.text != "*":
		return p.asWritten(t, tok)
	}
	return parseConstant(t, tok.text)
}

// asWritten is a text of a type that has its values in quotes, as it is written: "10:00"-"11:00" is two with a dash.
func (p *parser) asWritten(t Type, tok token) Constant {
	text := written(tok)
	if next := p.peek(0); next.text == "-" && !next.quoted && p.peek(1).quoted {
		text += "-" + written(p.peek(1))
		p.at += 2
	}
	return Constant{Type: t, Raw: text}
}
