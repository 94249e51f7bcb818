package nftables

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Parse reads what `nft list ruleset` prints, with -a and -s, too. A table that is there twice, as in a file for `nft -f`, is one. Base
// chains count as registered in the order of the text.
func Parse(r io.Reader) (Ruleset, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return Ruleset{}, err
	}
	tokens, err := lex(string(text))
	if err != nil {
		return Ruleset{}, err
	}
	p := parser{stream: stream{tokens: tokens}}
	for p.ends(); !p.over(); p.ends() {
		p.top()
	}
	if p.err != nil {
		return Ruleset{}, p.err
	}
	p.registered()
	return p.out, nil
}

// ParseText is Parse of a text.
func ParseText(text string) (Ruleset, error) { return Parse(strings.NewReader(text)) }

// Read reads a listing of nft's as text or as JSON.
func Read(text string) (Ruleset, error) {
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		return ParseJSON(strings.NewReader(text))
	}
	return ParseText(text)
}

// Sniff reports whether a text is a listing of nft's, in words or in JSON, rather than one of iptables-save.
func Sniff(text string) bool {
	if strings.HasPrefix(strings.TrimSpace(text), `{"nftables"`) || strings.HasPrefix(strings.TrimSpace(text), `{ "nftables"`) {
		return true
	}
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		words := strings.Fields(line)
		return words[0] == "table" && len(words) > 2 && slices.Contains(words, "{") || words[0] == "flush" || words[0] == "add" && len(words) > 1 && words[1] == "table"
	}
	return false
}

type parser struct {
	stream
	out     Ruleset
	table   *Table
	managed bool
}

// top reads one thing that stands outside of tables.
func (p *parser) top() {
	switch {
	case p.take(managed):
		p.managed = true
	case p.take("flush"), p.take("delete"), p.take("destroy"):
		p.skipLine()
	case p.take("add"), p.is("table"):
		p.want("table")
		p.readTable()
	default:
		p.failf("want a table as nft list ruleset prints it, got %q", p.peek(0).text)
	}
}

func (p *parser) skipLine() {
	for !p.over() && !p.is(newline) {
		p.at++
	}
}

func (p *parser) readTable() {
	family := IP
	if f := Family(p.peek(0).text); slices.Contains([]Family{IP, IP6, Inet, ARP, Bridge, Netdev}, f) && p.peek(1).text != "{" && p.peek(1).text != newline {
		family = f
		p.at++
	}
	name := p.name("table")
	i := slices.IndexFunc(p.out.Tables, func(t Table) bool { return t.Family == family && t.Name == name })
	if i < 0 {
		p.out.Tables, i = append(p.out.Tables, Table{Family: family, Name: name}), len(p.out.Tables)
	}
	p.table = &p.out.Tables[i]
	p.table.Managed, p.managed = p.table.Managed || p.managed, false
	if !p.is("{") {
		return
	}
	p.block(func() {
		switch {
		case p.take("comment"):
			p.table.Comment = p.next().text
		case p.take("flags"):
			p.table.Flags = p.words()
		case p.take("chain"):
			p.readChain()
		case p.is("set"), p.is("map"):
			p.readSet(p.next().text == "map")
		default:
			p.readObject()
		}
	})
}

// block reads what stands in braces, line by line.
func (p *parser) block(line func()) {
	p.want("{")
	if p.take(handleMark) { // nft -a: "table ip x { # handle 1"
		p.at++
	}
	for p.ends(); !p.take("}"); p.ends() {
		if p.over() || p.at == len(p.tokens)-1 {
			p.failf("a block is not closed")
			return
		}
		line()
		if p.take(handleMark) {
			p.at++
		}
		if !p.is("}") {
			p.want(newline)
		}
	}
}

// name takes a name, of a what.
func (p *parser) name(what string) string {
	t := p.next()
	if t.text == newline || t.text == "{" || t.text == "}" {
		p.at--
		p.failf("a %s without a name", what)
	}
	return t.text
}

// words takes words with commas between them.
func (p *parser) words() (out []string) {
	for {
		out = append(out, p.name("flag"))
		if !p.take(",") {
			return out
		}
	}
}

func (p *parser) readChain() {
	name := p.name("chain")
	i := slices.IndexFunc(p.table.Chains, func(c Chain) bool { return c.Name == name })
	if i < 0 {
		p.table.Chains, i = append(p.table.Chains, Chain{Name: name}), len(p.table.Chains)
	}
	c := &p.table.Chains[i]
	p.block(func() {
		switch {
		case p.is("comment") && p.peek(1).quoted:
			p.at++
			c.Comment = p.next().text
		case p.is("type") && slices.ContainsFunc(p.rest(), func(t token) bool { return t.text == "hook" }):
			c.Base = p.readBase()
		case p.is("policy") && c.Base != nil:
			p.at++
			c.Base.Drop = p.next().text == "drop"
		default:
			c.Rules = append(c.Rules, p.readRule())
		}
	})
}

// rest are the tokens to the end of the line.
func (p *parser) rest() []token {
	end := p.at
	for end < len(p.tokens) && p.tokens[end].text != newline {
		end++
	}
	return p.tokens[p.at:end]
}

// readBase reads "type filter hook input priority filter + 5"; the policy is a line of its own.
func (p *parser) readBase() *Base {
	p.want("type")
	b := &Base{Type: ChainType(p.next().text)}
	p.want("hook")
	b.Hook = p.next().text
	switch {
	case p.take("device"):
		b.Devices = []string{p.next().text}
	case p.take("devices"):
		p.want("=")
		p.want("{")
		b.Devices = p.words()
		p.want("}")
	}
	p.want("priority")
	var words []string
	for !p.is(newline) && !p.over() {
		words = append(words, p.next().text)
	}
	text := strings.Join(words, "")
	var ok bool
	if b.Priority, ok = parsePriority(text, p.table.Family); !ok {
		p.failf("priority %q: want a number, or a name such as filter with what is added to it", text)
	}
	if p.peek(0).text == newline && p.peek(1).text == "policy" {
		p.at += 2
		b.Drop = p.next().text == "drop"
	}
	return b
}

// readObject reads a named object, or another block, as text.
func (p *parser) readObject() {
	o := Object{Kind: p.next().text}
	if o.Kind == "ct" {
		o.Kind += " " + p.next().text
	}
	o.Name = p.name(o.Kind)
	if !p.is("{") {
		p.failf("%s %q of a table: want a chain, a set, a map or an object with its block", o.Kind, o.Name)
		return
	}
	p.block(func() {
		var words []string
		for depth := 0; !p.over(); {
			t := p.peek(0)
			if depth == 0 && (t.text == newline || t.text == "}" || t.text == handleMark) {
				break
			}
			switch t.text {
			case "{":
				depth++
			case "}":
				depth--
			}
			words = append(words, written(p.next()))
		}
		o.Lines = append(o.Lines, unspace(strings.Join(words, " ")))
	})
	p.table.Objects = append(p.table.Objects, o)
}

// written is a token as it stands in the text.
func written(t token) string {
	if t.quoted {
		return quote(t.text)
	}
	return t.text
}

// unspace takes the blanks away that do not stand in front of commas.
func unspace(s string) string {
	return strings.NewReplacer(" ,", ",", "( ", "(", " )", ")").Replace(s)
}

// registered numbers base chains in the order of the tables.
func (p *parser) registered() {
	n := 0
	for i := range p.out.Tables {
		for j := range p.out.Tables[i].Chains {
			if b := p.out.Tables[i].Chains[j].Base; b != nil {
				n++
				b.Registered = n
			}
		}
	}
}

// priorities are the names of priorities (std_prios), with the hook that they are of; "" for all.
var priorities = []struct {
	name   string
	value  int
	hook   string
	bridge bool
}{
	{"raw", -300, "", false},
	{"mangle", -150, "", false},
	{"dstnat", -100, "prerouting", false},
	{"filter", 0, "", false},
	{"security", 50, "", false},
	{"srcnat", 100, "postrouting", false},
	{"dstnat", -300, "prerouting", true},
	{"filter", -200, "", true},
	{"out", 100, "output", true},
	{"srcnat", 300, "postrouting", true},
}

// parsePriority reads "-110" or "dstnat-10".
func parsePriority(text string, f Family) (int, bool) {
	base := 0
	for _, p := range priorities {
		if rest, ok := strings.CutPrefix(text, p.name); ok && p.bridge == (f == Bridge) {
			base, text = p.value, rest
			if text == "" {
				return base, true
			}
			break
		}
	}
	var n int
	if _, err := fmt.Sscanf(text, "%d", &n); err != nil {
		return 0, false
	}
	return base + n, true
}

// printPriority prints a priority as nft does: by the name that is at most 10 away, if there is one for the hook (prio2str).
func printPriority(n int, hook string, f Family) string {
	for _, p := range priorities {
		if p.bridge != (f == Bridge) || p.hook != "" && p.hook != hook || n < p.value-10 || n > p.value+10 {
			continue
		}
		switch {
		case f == Netdev && p.name != "filter" || f == ARP && p.name != "filter":
		case n > p.value:
			return fmt.Sprintf("%s + %d", p.name, n-p.value)
		case n < p.value:
			return fmt.Sprintf("%s - %d", p.name, p.value-n)
		default:
			return p.name
		}
	}
	return fmt.Sprint(n)
}
