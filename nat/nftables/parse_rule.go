package nftables

import (
	"slices"
	"strconv"
	"strings"

	"natlab/nat"
)

// readRule reads one rule, to the end of its line. What natlab does not know it keeps as it is written, up to the next statement that it
// does know.
func (p *parser) readRule() Rule {
	r := Rule{Line: p.line()}
	for !p.over() && !p.is(newline) && !p.is("}") {
		switch {
		case p.take(handleMark):
			r.Handle = p.number(64)
		case p.is("comment") && p.peek(1).quoted:
			p.at++
			r.Comment = p.next().text
		default:
			r.Statements = append(r.Statements, p.statement())
		}
	}
	return r
}

// statement reads one statement.
func (p *parser) statement() Statement {
	from, err := p.at, p.err
	if st, ok := p.known(); ok && p.err == nil {
		return st
	}
	p.at, p.err = from, err
	if (p.is("jump") || p.is("goto")) && p.peek(1).text == "{" {
		return p.inline()
	}
	return p.opaque()
}

// known reads a statement that natlab knows; false for another, and no matter then what was read of it.
func (p *parser) known() (Statement, bool) {
	if v := p.verdict(); v != nil {
		return v, true
	}
	if row := statementOf(p.peek(0)); row != nil {
		p.at++
		return row.read(p)
	}
	left, ok := p.expr()
	if !ok {
		return nil, false
	}
	switch {
	case p.take("vmap"):
		return VMap{left, p.in(typesOf(left), nil)}, p.err == nil
	case p.is("set"):
		to, is := left.(Selector)
		if !is {
			return nil, false
		}
		p.at++
		value, ok := p.value(typesOf(to))
		return Assign{to, value}, ok
	}
	return p.match(left)
}

// opaque takes tokens as they are up to the next statement that natlab knows, or the end of the rule.
func (p *parser) opaque() Statement {
	from, depth := p.at, 0
	for !p.over() && !p.is(newline) {
		t := p.peek(0)
		if depth == 0 && p.at > from && (t.text == "}" || t.text == handleMark || t.text == "comment" || p.begins()) {
			break
		}
		switch t.text {
		case "{", "(":
			depth++
		case "}", ")":
			depth--
		}
		p.at++
	}
	if p.at == from {
		p.at++
	}
	return Opaque{p.textFrom(from)}
}

// begins reports whether what is next begins a statement.
func (p *parser) begins() bool {
	t := p.peek(0)
	return !t.quoted && (verdictKind(t.text) != nat.Continue || statementOf(t) != nil)
}

func verdictKind(word string) nat.Verdict {
	switch word {
	case "accept":
		return nat.Accept
	case "drop":
		return nat.Drop
	case "return":
		return nat.Return
	case "jump":
		return nat.Jump
	case "goto":
		return nat.Goto
	}
	return nat.Continue
}

// verdict reads a verdict; nil where there is none.
func (p *parser) verdict() *Verdict {
	if p.peek(0).quoted {
		return nil
	}
	if p.take("continue") {
		return &Verdict{Kind: nat.Continue}
	}
	kind := verdictKind(p.peek(0).text)
	if kind == nat.Continue {
		return nil
	}
	p.at++
	v := &Verdict{Kind: kind}
	if kind == nat.Jump || kind == nat.Goto {
		v.Chain = p.name("chain")
	}
	return v
}

var comparisons = map[string]string{
	"==": "==", "!=": "!=", "<": "<", ">": ">", "<=": "<=", ">=": ">=", "!": "!",
	"eq": "==", "ne": "!=", "lt": "<", "gt": ">", "le": "<=", "ge": ">=",
}

// match reads what a value is compared with.
func (p *parser) match(left Expr) (Statement, bool) {
	m := Match{Left: left}
	if op, ok := comparisons[p.peek(0).text]; ok && !p.peek(0).quoted {
		m.Op = op
		p.at++
	}
	types := typesOf(left)
	switch {
	case p.is("{"), strings.HasPrefix(p.peek(0).text, "@") && !p.peek(0).quoted:
		m.Right = p.in(types, nil)
		return m, p.err == nil
	case p.is(newline), p.is("}"):
		return nil, false
	}
	right, ok := p.plain(types)
	if !ok {
		return nil, false
	}
	if c, is := right.(Constant); is && p.bars(&c) {
		if right = c; m.Op == "" {
			m.Op = "==" // what nft lists of one with all of these bits, and no other
		}
	}
	if p.take("/") {
		mask, ok := p.plain(types)
		if !ok {
			return nil, false
		}
		m.Left = Operation{left, "&", mask}
		if m.Op == "" {
			m.Op = "=="
		}
	}
	m.Right = right
	return m, true
}

// plain reads a constant, a sum of bits, or constants with dots.
func (p *parser) plain(types []Type) (Expr, bool) {
	var parts Concat
	for i := 0; ; i++ {
		t := Integer
		if i < len(types) {
			t = types[i]
		}
		c, ok := p.sum(t)
		if !ok {
			return nil, false
		}
		parts = append(parts, c)
		if !p.take(".") {
			break
		}
	}
	if len(parts) == 1 {
		return parts[0], true
	}
	return parts, true
}

// sum reads a constant; of a sum of bits those that stand with commas, or in brackets with bars, between them.
func (p *parser) sum(t Type) (Constant, bool) {
	bracket, sep := p.take("("), ","
	if bracket {
		sep = "|"
	}
	if p.is(newline) || p.is("{") || p.is("}") {
		return Constant{}, false
	}
	c := p.constant(t)
	for p.is(sep) {
		p.at++
		more := p.constant(t)
		if c.Raw != "" || more.Raw != "" {
			c = Constant{Type: t, Raw: c.String() + "," + more.String()}
			continue
		}
		c.Low = c.Low.or(more.Low)
		c.High = c.Low
	}
	return c, !bracket || p.take(")")
}

// bars adds what stands behind bars to a sum of bits; false where nothing does.
func (p *parser) bars(c *Constant) bool {
	if !c.Type.row().mask || !p.is("|") {
		return false
	}
	for p.take("|") {
		if more := p.constant(c.Type); c.Raw != "" || more.Raw != "" {
			c.Raw = c.String() + " | " + more.String()
		} else {
			c.Low = c.Low.or(more.Low)
			c.High = c.Low
		}
	}
	return true
}

// in reads a set or a map that is used in a rule.
func (p *parser) in(key, data []Type) *In {
	if name, is := strings.CutPrefix(p.peek(0).text, "@"); is && !p.peek(0).quoted {
		p.at++
		return Ref(name)
	}
	return &In{Elements: p.elements(key, data)}
}

// value reads what a selector is set to, or a packet is translated to: an expression, or a constant of the types.
func (p *parser) value(types []Type) (Expr, bool) {
	from := p.at
	if e, ok := p.expr(); ok {
		if p.take("map") {
			return MapOf{e, p.in(typesOf(e), types)}, p.err == nil
		}
		return e, true
	}
	p.at = from
	return p.plain(types)
}

// expr reads an expression that begins with a selector; false where there is none.
func (p *parser) expr() (Expr, bool) {
	var parts Concat
	for {
		e, ok := p.primary()
		if !ok {
			return nil, false
		}
		for op := p.operator(); op != ""; op = p.operator() {
			p.at++
			o := Operation{Left: e, Op: op}
			if o.Right, ok = p.operand(e, o.Op); !ok {
				return nil, false
			}
			e = o
		}
		parts = append(parts, e)
		if !p.take(".") {
			break
		}
	}
	if len(parts) == 1 {
		return parts[0], true
	}
	return parts, true
}

// operator is the sign of an operation that comes next, "" for none. nft takes words in their place, too, and prints those of what iptables-nft
// wrote: "meta mark set mark or 0x4000".
func (p *parser) operator() string {
	word := p.peek(0)
	if i := slices.Index([]string{"and", "or", "xor", "lshift", "rshift"}, word.text); i >= 0 && !word.quoted {
		return operators[i]
	}
	if slices.Contains(operators, word.text) {
		return word.text
	}
	return ""
}

var operators = []string{"&", "|", "^", "<<", ">>"}

// operand reads the right side of an operation.
func (p *parser) operand(left Expr, op string) (Expr, bool) {
	if e, ok := p.selector(); ok {
		return e, true
	}
	t := typesOf(left)[0]
	if op == "<<" || op == ">>" {
		t = Integer
	}
	return p.sum(t)
}

func (p *parser) primary() (Expr, bool) {
	switch {
	case p.take("fib"):
		return p.fib()
	case p.is("numgen") && (p.peek(1).text == "random" || p.peek(1).text == "inc"):
		n := NumGen{Inc: p.peek(1).text == "inc"}
		p.at += 2
		p.want("mod")
		n.Mod = uint32(p.number(32))
		n.Offset = p.offset()
		return n, p.err == nil
	case p.is("jhash"), p.is("symhash"):
		return p.hash()
	}
	if raw, ok := p.raw(); ok {
		return raw, true
	}
	return p.selector()
}

// raw reads "@th,16,8".
func (p *parser) raw() (Raw, bool) {
	base, is := strings.CutPrefix(p.peek(0).text, "@")
	if !is || p.peek(0).quoted || !slices.Contains([]string{"ll", "nh", "th", "ih"}, base) || p.peek(1).text != "," || p.peek(3).text != "," {
		return Raw{}, false
	}
	at, err := strconv.Atoi(p.peek(2).text)
	bits, err2 := strconv.Atoi(p.peek(4).text)
	if err != nil || err2 != nil {
		return Raw{}, false
	}
	p.at += 5
	return Raw{base, at, bits}, true
}

func (p *parser) offset() uint32 {
	if p.take("offset") {
		return uint32(p.number(32))
	}
	return 0
}

func (p *parser) hash() (Expr, bool) {
	var h Hash
	if p.next().text == "jhash" {
		var ok bool
		if h.Of, ok = p.expr(); !ok {
			return nil, false
		}
	}
	p.want("mod")
	h.Mod = uint32(p.number(32))
	if p.take("seed") {
		h.Seed = p.next().text
	}
	h.Offset = p.offset()
	return h, p.err == nil
}

// fib reads "daddr . iif type".
func (p *parser) fib() (Expr, bool) {
	var f Fib
	for {
		f.Keys = append(f.Keys, p.next().text)
		if !p.take(".") {
			break
		}
	}
	f.Result = p.next().text
	return f, slices.Contains([]string{"type", "oif", "oifname"}, f.Result)
}

// selector reads the longest selector that the next words are.
func (p *parser) selector() (Expr, bool) {
	var words []string
	found, name := 0, ""
	for i := range 4 {
		t := p.peek(i)
		if t.quoted || t.text == newline {
			break
		}
		words = append(words, t.text)
		if row, ok := selectorRow(strings.Join(words, " ")); ok {
			found, name = i+1, row.name
		}
	}
	p.at += found
	return Selector(name), found > 0
}
