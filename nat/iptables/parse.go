package iptables

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"natlab/nat"
)

// maxLine bounds a line of a rule set, in bytes; iptables-restore's own limit is 10240.
const maxLine = 1 << 16

// Parse reads what iptables-save or ip6tables-save prints, with or without counters. An extension that natlab does not
// know is kept verbatim (Raw, RawTarget). An error is a *SyntaxError with line and column, or the reader's own; the
// rule set is zero then.
func Parse(r io.Reader, family nat.Family) (Ruleset, error) {
	p := parser{rs: Ruleset{Family: family}}
	scan := bufio.NewScanner(r)
	scan.Buffer(make([]byte, 0, 4096), maxLine)
	for scan.Scan() {
		p.number++
		if err := p.line(scan.Text()); err != nil {
			return Ruleset{}, err
		}
	}
	if err := scan.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			return Ruleset{}, &SyntaxError{p.number + 1, 1, fmt.Sprintf("the line is longer than %d bytes", maxLine)}
		}
		return Ruleset{}, err
	}
	if p.table != nil {
		return Ruleset{}, &SyntaxError{p.number + 1, 1, fmt.Sprintf("table %s has no COMMIT", p.table.Name)}
	}
	return p.rs, nil
}

// ParseString is Parse of a string.
func ParseString(s string, family nat.Family) (Ruleset, error) {
	return Parse(strings.NewReader(s), family)
}

// parser is the state between two lines.
type parser struct {
	rs     Ruleset
	table  *Table         // nil between tables
	chains map[string]int // of the table, by name
	number int
	words  []word // of the line, reused for the next
}

func (p *parser) fail(column int, format string, args ...any) error {
	return &SyntaxError{p.number, column, fmt.Sprintf(format, args...)}
}

func (p *parser) line(line string) error {
	trimmed := strings.TrimSpace(line)
	switch {
	case trimmed == "" || trimmed[0] == '#':
		return nil
	case trimmed[0] == '*':
		return p.begin(trimmed[1:])
	case p.table == nil:
		return p.fail(1, "want a table (*nat) before %q", trimmed)
	case trimmed == "COMMIT":
		p.rs.Tables = append(p.rs.Tables, *p.table)
		p.table = nil
		return nil
	case trimmed[0] == ':':
		return p.chain(line)
	}
	return p.rule(line)
}

func (p *parser) begin(name string) error {
	switch name = strings.TrimSpace(name); {
	case p.table != nil:
		return p.fail(1, "table %s has no COMMIT", p.table.Name)
	case name != "raw" && name != "mangle" && name != "nat" && name != "filter" && name != "security":
		return p.fail(2, "table %q: want raw, mangle, nat, filter or security", name)
	}
	if _, twice := p.rs.Table(name); twice {
		return p.fail(2, "table %s is there twice", name)
	}
	p.table, p.chains = &Table{Name: name}, map[string]int{}
	return nil
}

// chain reads ":NAME POLICY [packets:bytes]".
func (p *parser) chain(line string) error {
	words, err := split(nil, strings.Replace(line, ":", " ", 1), p.number)
	if err != nil {
		return err
	}
	if len(words) < 2 {
		return p.fail(1, "want :CHAIN POLICY [packets:bytes]")
	}
	c := Chain{Name: words[0].text, Policy: words[1].text}
	if c.Name == "" || strings.ContainsAny(c.Name, " \t\r\"'\\!") {
		return p.fail(words[0].start+1, "chain %q: want a word without blanks and quotes", c.Name)
	}
	if c.Policy != "-" && c.Policy != "ACCEPT" && c.Policy != "DROP" {
		return p.fail(words[1].start+1, "policy %q: want ACCEPT, DROP or -", c.Policy)
	}
	if len(words) > 2 {
		var ok bool
		if c.Packets, c.Bytes, ok = parseCounters(words[2].text); !ok {
			return p.fail(words[2].start+1, "counters %q: want [packets:bytes]", words[2].text)
		}
	}
	if _, twice := p.chains[c.Name]; twice {
		return p.fail(words[0].start+1, "chain %s is there twice", c.Name)
	}
	p.chains[c.Name] = len(p.table.Chains)
	p.table.Chains = append(p.table.Chains, c)
	return nil
}

func parseCounters(s string) (packets, bytes uint64, ok bool) {
	s, open := strings.CutPrefix(s, "[")
	s, closed := strings.CutSuffix(s, "]")
	first, second, both := strings.Cut(s, ":")
	packets, err1 := strconv.ParseUint(first, 10, 64)
	bytes, err2 := strconv.ParseUint(second, 10, 64)
	return packets, bytes, open && closed && both && err1 == nil && err2 == nil
}

// rule reads "[packets:bytes] -A CHAIN ...".
func (p *parser) rule(line string) error {
	words, err := split(p.words[:0], line, p.number)
	if err != nil {
		return err
	}
	p.words = words
	c := cursor{line: line, number: p.number, words: words}
	r := Rule{Line: p.number}
	if strings.HasPrefix(c.peek(), "[") {
		var ok bool
		c.at++
		if r.Packets, r.Bytes, ok = parseCounters(words[0].text); !ok {
			return c.errorf("counters %q: want [packets:bytes]", words[0].text)
		}
	}
	if verb := c.peek(); verb != "-A" && verb != "--append" {
		c.at++
		return c.errorf("want -A, not %q", verb)
	}
	c.at++
	name, err := c.value("-A")
	if err != nil {
		return err
	}
	at, known := p.chains[name]
	if !known {
		if _, err := nat.ParseHook(name); err != nil {
			return c.errorf("chain %s of table %s is not declared", name, p.table.Name)
		}
		// Input for iptables-restore may leave the built-in chains out: they are there.
		at = len(p.table.Chains)
		p.chains[name] = at
		p.table.Chains = append(p.table.Chains, Chain{Name: name, Policy: "ACCEPT"})
	}
	if err := parseRule(&c, &r, p.rs.Family); err != nil {
		return err
	}
	chain := &p.table.Chains[at]
	chain.Rules = append(chain.Rules, r)
	return nil
}

// ParseRule reads one rule's specification, what iptables takes after "-A CHAIN".
func ParseRule(spec string, family nat.Family) (Rule, error) {
	words, err := split(nil, spec, 1)
	if err != nil {
		return Rule{}, err
	}
	c := cursor{line: spec, number: 1, words: words}
	var r Rule
	if err := parseRule(&c, &r, family); err != nil {
		return Rule{}, err
	}
	return r, nil
}

// parseSetCounters reads "-c PACKETS BYTES", which iptables-restore takes within a rule.
func parseSetCounters(c *cursor, r *Rule) error {
	name, not := c.option()
	if not {
		return c.errorf("%s cannot be inverted", name)
	}
	for _, n := range []*uint64{&r.Packets, &r.Bytes} {
		value, err := c.value(name)
		if err != nil {
			return err
		}
		if *n, err = strconv.ParseUint(value, 10, 64); err != nil {
			return c.errorf("counter %q: want a number", value)
		}
	}
	return nil
}
