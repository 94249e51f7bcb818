package nftables

import (
	"slices"
	"strings"

	"natlab/nat/rules"
)

// statementRow is how a statement that begins with a word of its own is read, behind that word; false: it is another one.
type statementRow struct {
	word string
	read func(p *parser) (Statement, bool)
}

// statementRows is the list of them. It is a function because a row's reader may read statements.
func statementRows() []statementRow {
	return []statementRow{
		{"counter", readCounter},
		{"limit", readLimit},
		{"quota", readQuota},
		{"log", readLog},
		{"reject", readReject},
		{"dnat", func(p *parser) (Statement, bool) { return readNAT(p, rules.DNAT) }},
		{"snat", func(p *parser) (Statement, bool) { return readNAT(p, rules.SNAT) }},
		{"masquerade", func(p *parser) (Statement, bool) { return readNAT(p, rules.Masquerade) }},
		{"redirect", func(p *parser) (Statement, bool) { return readNAT(p, rules.Redirect) }},
		{"add", func(p *parser) (Statement, bool) { return readUpdate(p, "add") }},
		{"update", func(p *parser) (Statement, bool) { return readUpdate(p, "update") }},
		{"delete", func(p *parser) (Statement, bool) { return readUpdate(p, "delete") }},
		{"notrack", func(*parser) (Statement, bool) { return NoTrack{}, true }},
		{"queue", readQueue},
		{"xt", readCompat},
	}
}

func statementOf(t token) *statementRow {
	if t.quoted {
		return nil
	}
	rows := statementRows()
	if i := slices.IndexFunc(rows, func(r statementRow) bool { return r.word == t.text }); i >= 0 {
		return &rows[i]
	}
	return nil
}

// stateful reads a statement that elements of sets can have; nil where there is none.
func (p *parser) stateful() Statement {
	switch p.peek(0).text {
	case "counter", "limit", "quota":
		return p.statement()
	case "ct":
		if p.peek(1).text == "count" {
			return p.opaque()
		}
	case "last":
		return p.opaque()
	}
	return nil
}

// named reads `name "x"` behind the kind of an object.
func (p *parser) named(kind string) (Statement, bool) {
	if !p.is("name") {
		return nil, false
	}
	p.at++
	return ObjectRef{kind, p.next().text}, p.tokens[p.at-1].quoted
}

func readCounter(p *parser) (Statement, bool) {
	if p.is("name") {
		return p.named("counter")
	}
	var c Counter
	if p.take("packets") {
		c.Packets = p.number(64)
		p.want("bytes")
		c.Bytes = p.number(64)
	}
	return c, p.err == nil
}

// readLimit reads "rate [over] 10/second [burst 5 packets]", "rate 10 kbytes/second".
func readLimit(p *parser) (Statement, bool) {
	if p.is("name") {
		return p.named("limit")
	}
	p.want("rate")
	l := Limit{Over: p.take("over")}
	word := p.next().text
	if !strings.Contains(word, "/") {
		word += " " + p.next().text
	}
	amount, per, ok := strings.Cut(word, "/")
	l.Per = per
	if !ok {
		return nil, false
	}
	if l.Rate, l.Bytes, ok = parseAmount(amount); !ok {
		return nil, false
	}
	if p.take("burst") {
		if l.Burst, _, ok = parseAmount(p.next().text + " " + p.next().text); !ok {
			return nil, false
		}
	}
	return l, true
}

// parseAmount reads "10", "10 packets" or "10 kbytes".
func parseAmount(text string) (n uint64, bytes, ok bool) {
	count, unit, _ := strings.Cut(text, " ")
	value, ok := parseInteger(count)
	n = value.Low
	i := slices.Index(sizeUnits, unit)
	for range max(i, 0) {
		n *= 1024
	}
	return n, i >= 0, ok && (i >= 0 || unit == "" || unit == "packets")
}

func readQuota(p *parser) (Statement, bool) {
	if p.is("name") {
		return p.named("quota")
	}
	q := Quota{Over: p.take("over")}
	if !q.Over {
		p.take("until")
	}
	ok, ok2 := false, true
	q.Bytes, _, ok = parseAmount(p.next().text + " " + p.next().text)
	if p.take("used") {
		q.Used, _, ok2 = parseAmount(p.next().text + " " + p.next().text)
	}
	return q, ok && ok2
}

// readLog takes the options, each with its value.
func readLog(p *parser) (Statement, bool) {
	from := p.at
	for slices.Contains([]string{"prefix", "level", "group", "snaplen", "queue-threshold", "flags"}, p.peek(0).text) {
		if p.next().text != "flags" {
			p.next()
			continue
		}
		switch p.next().text {
		case "tcp", "ip":
			for p.next(); p.take(","); {
				p.next()
			}
		}
	}
	return Log{p.textFrom(from)}, true
}

func readReject(p *parser) (Statement, bool) {
	if !p.take("with") {
		return Reject{}, true
	}
	kind := p.next().text
	p.take("type") // of older versions
	return Reject{kind + " " + p.next().text}, slices.Contains([]string{"icmp", "icmpv6", "icmpx", "tcp"}, kind)
}

func readUpdate(p *parser, op string) (Statement, bool) {
	name, is := strings.CutPrefix(p.next().text, "@")
	if !is {
		return nil, false
	}
	u := Update{Op: op, Set: name}
	p.want("{")
	var ok bool
	if u.Key, ok = p.expr(); !ok {
		return nil, false
	}
	for !p.take("}") {
		switch {
		case p.over() || p.is(newline):
			return nil, false
		case p.take("timeout"):
			u.Timeout = p.duration()
		case p.take(":"):
			if u.Data, ok = p.value(p.dataOf(name)); !ok {
				return nil, false
			}
		default:
			u.Statements = append(u.Statements, p.statement())
		}
	}
	return u, p.err == nil
}

// dataOf are the types of a map's data.
func (p *parser) dataOf(set string) []Type {
	if s, ok := p.table.Set(set); ok {
		return s.Data
	}
	return nil
}

// readQueue reads "queue [flags bypass,fanout] to 0-3", and "num 0-3 bypass" of older versions.
func readQueue(p *parser) (Statement, bool) {
	var q Queue
	flag := func(word string) {
		q.Bypass, q.Fanout = q.Bypass || word == "bypass", q.Fanout || word == "fanout"
	}
	for {
		switch {
		case p.take("flags"):
			for _, word := range p.words() {
				flag(word)
			}
		case p.is("bypass"), p.is("fanout"):
			flag(p.next().text)
			p.take(",")
		case p.take("to"), p.take("num"):
			c := parseConstant(InetService, p.next().text)
			if c.Raw != "" {
				return nil, false
			}
			q.First, q.Last = uint16(c.Low.Low), uint16(c.High.Low)
		default:
			return q, true
		}
	}
}

// readCompat reads `match "comment"`.
func readCompat(p *parser) (Statement, bool) {
	c := Compat{Kind: p.next().text, Name: p.next().text}
	return c, p.tokens[p.at-1].quoted
}

// readNAT reads "[ip|ip6] [prefix|addr . port] [to TARGET] [FLAGS]".
func readNAT(p *parser, kind rules.TranslationKind) (Statement, bool) {
	n := NAT{Kind: kind}
	if (p.is("ip") || p.is("ip6")) && slices.Contains([]string{"to", "prefix", "addr"}, p.peek(1).text) {
		n.Family = Family(p.next().text)
	}
	n.Prefix = p.take("prefix")
	if p.is("addr") && p.peek(1).text == "." && p.peek(2).text == "port" {
		n.Concat = true
		p.at += 3
	}
	if p.take("interval") {
		return nil, false
	}
	if p.take("to") {
		if !p.natTarget(&n) {
			return nil, false
		}
	}
	for slices.Contains([]string{"random", "fully-random", "persistent"}, p.peek(0).text) {
		n.Flags = append(n.Flags, p.next().text)
		p.take(",")
	}
	return n, p.err == nil
}

// natTarget reads where a packet is translated to.
func (p *parser) natTarget(n *NAT) bool {
	address, data := []Type{p.natFamily(n)}, []Type{p.natFamily(n), InetService}
	from := p.at
	if n.ToPort = p.colon(); n.ToPort {
		data = data[1:]
	}
	if e, ok := p.expr(); ok {
		return p.natValue(n, e, data)
	}
	p.at = from
	if n.Addr = p.addressOfPorts(address[0]); n.Addr != (Constant{}) { // "10.0.0.5:tcp dport map { 8080 : 80 }"
		n.ToPort = true
		e, ok := p.expr()
		return ok && p.natValue(n, e, []Type{InetService})
	}
	word := p.next().text
	addr, port, ok := splitTarget(word)
	if !ok {
		return false
	}
	if addr != "" {
		if strings.Contains(addr, ":") {
			address[0] = IPv6Addr
		}
		if n.Addr = parseConstant(address[0], addr); n.Addr.Raw != "" {
			return false
		}
	}
	if port != "" {
		n.Port = parseConstant(InetService, port)
		return n.Port.Raw == ""
	}
	return true
}

// natValue takes an expression, which was read, for where a packet is translated to, with the map that it is a key of and a port behind that.
func (p *parser) natValue(n *NAT, e Expr, data []Type) bool {
	n.To = e
	if p.take("map") {
		if set, port, is := strings.Cut(p.peek(0).text, ":"); is && strings.HasPrefix(set, "@") { // "map @web:80"
			t := p.peek(0)
			t.text = ":" + port
			p.tokens = slices.Insert(slices.Clone(p.tokens), p.at+1, t)
			p.tokens[p.at].text = set
		}
		in := p.in(typesOf(e), data)
		if s, ok := p.table.Set(in.Name); ok {
			n.Concat = n.Concat || len(s.Data) > 1
		}
		for i := range in.Elements {
			n.Concat = n.Concat || len(in.Elements[i].Data) > 1
		}
		n.To = MapOf{e, in}
	}
	port, is := strings.CutPrefix(p.peek(0).text, ":")
	if !is || p.err != nil {
		return p.err == nil
	}
	p.at++
	n.Port = parseConstant(InetService, port)
	return !n.ToPort && !n.Concat && n.Port.Raw == ""
}

// addressOfPorts takes the address, with its colon, in front of an expression of ports; the zero Constant where there is none.
func (p *parser) addressOfPorts(of Type) Constant {
	word := p.peek(0).text
	i := strings.LastIndexByte(word, ':')
	if i < 1 || i == len(word)-1 || p.peek(0).quoted {
		return Constant{}
	}
	if c := word[i+1]; c >= '0' && c <= '9' || of == IPv6Addr && word[0] != '[' {
		return Constant{}
	}
	addr := parseConstant(of, strings.Trim(word[:i], "[]"))
	if addr.Raw != "" {
		return Constant{}
	}
	p.tokens = slices.Clone(p.tokens) // what is read again has the address
	p.tokens[p.at].text = word[i+1:]
	return addr
}

// colon takes the colon away in front of an expression of ports: ":tcp dport map ...".
func (p *parser) colon() bool {
	word, is := strings.CutPrefix(p.peek(0).text, ":")
	if !is || p.peek(0).quoted || word == "" || word[0] >= '0' && word[0] <= '9' {
		return false
	}
	p.tokens = slices.Clone(p.tokens) // what is read again has it
	p.tokens[p.at].text = word
	return true
}

// natFamily is the type of addresses that a translation leads to.
func (p *parser) natFamily(n *NAT) Type {
	if n.Family == IP6 || n.Family == "" && p.table.Family == IP6 {
		return IPv6Addr
	}
	return IPv4Addr
}

// splitTarget takes "10.0.0.1-10.0.0.9:80-90", "[fd00::1]-[fd00::9]:80", ":80" or "fd00::1" to pieces.
func splitTarget(word string) (addr, port string, ok bool) {
	switch {
	case strings.HasPrefix(word, "["):
		end := strings.LastIndex(word, "]")
		if end < 0 {
			return "", "", false
		}
		addr, port = strings.NewReplacer("[", "", "]", "").Replace(word[:end]), word[end+1:]
		if port == "" {
			return addr, "", true
		}
		port, ok = strings.CutPrefix(port, ":")
		return addr, port, ok
	case strings.Count(word, ":") == 1 && !strings.HasSuffix(word, ":"):
		addr, port, _ = strings.Cut(word, ":")
		return addr, port, true
	}
	return word, "", true
}
