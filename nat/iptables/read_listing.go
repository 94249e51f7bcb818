package iptables

import (
	"fmt"
	"regexp"
)

var (
	policyCounters = regexp.MustCompile(`\(policy \w+ (\S+) packets, (\S+) bytes\)`)
	tableHeading   = regexp.MustCompile(`^# *table (\w+)$`)
)

// listsBelow reports whether the columns of iptables -L stand below a chain's heading.
func (r *reader) listsBelow(at int) bool {
	if at+1 >= len(r.lines) {
		return false
	}
	_, ok := listingColumns(r.lines[at+1])
	return ok
}

// listing takes a chain as iptables -L prints it, and returns the last of its lines.
func (r *reader) listing(at int) (last int) {
	line := r.lines[at]
	words := headingWords(line)
	u := r.listingUnit(words)
	heading := &row{cursor: cursor{line: line, number: at + 1, words: words}, table: u.table}
	if m := policyCounters.FindStringSubmatch(line); m != nil {
		heading.packets, _ = listedCount(m[1])
		heading.bytes, _ = listedCount(m[2])
	}
	u.rows = append(u.rows, heading)
	c, _ := listingColumns(r.lines[at+1])
	if !c.devices && !u.devicesNoted {
		u.devicesNoted = true
		r.notes = append(r.notes, Note{at + 2, "iptables -L without -v leaves the rules' devices out: whether a rule asks for one is unknown"})
	}
	number := 0
	for last = at + 1; last+1 < len(r.lines); last++ {
		line := r.lines[last+1]
		l, ok := c.split(line)
		if !ok {
			break
		}
		l.line = last + 2
		chain := words[1]
		if l.number > number+1 {
			r.notes = append(r.notes, Note{l.line, fmt.Sprintf("rules of chain %s before number %d are not in the text", chain.text, l.number)})
		}
		number = l.number
		rule := []word{{text: "-A", start: chain.start, end: chain.end}, {text: chain.text, start: chain.start, end: chain.end}}
		if l.target != "" {
			rule = append(rule, word{text: "-j"}, word{text: l.target})
		}
		u.rows = append(u.rows, &row{cursor: cursor{line: line, number: l.line, words: rule}, table: u.table, listed: &l, devices: c.devices})
	}
	return last
}

// headingWords are "Chain NAME (policy POLICY" as the command that makes the chain so.
func headingWords(line string) []word {
	m := chainHeading.FindStringSubmatchIndex(line)
	part := func(i int) word {
		return word{text: line[m[2*i]:m[2*i+1]], start: m[2*i], end: m[2*i+1]}
	}
	words := []word{{text: "-N", start: m[2] - len("Chain "), end: m[2] - 1}, part(1)}
	if m[6] >= 0 {
		words[0].text = "-P"
		words = append(words, part(3))
	}
	return words
}

// listingUnit is the unit that a listed chain belongs to. The built-in chains of a table come first, and each chain once: else
// another table begins, which the command above the first one does not name.
func (r *reader) listingUnit(heading []word) *unit {
	h := r.hint
	if n := len(r.units); n > 0 && r.units[n-1].listing {
		u := r.units[n-1]
		user, there := false, false
		for _, w := range u.rows {
			verb, chain := w.verb()
			user = user || verb == "-N"
			there = there || verb != "-A" && chain == heading[1].text
		}
		another := there || user && heading[0].text == "-P"
		switch {
		case u.hints == r.hints && !another:
			return u
		case u.hints == r.hints:
			h.table = ""
		}
	}
	u := &unit{hint: h, listing: true, hints: r.hints}
	r.units = append(r.units, u)
	return u
}

// addListed adds a rule of a listing to its table.
func (r *reader) addListed(b *builder, w *row) error {
	_, chain := w.verb()
	c, ok := b.use(chain)
	if !ok {
		return &SyntaxError{w.number, 1, fmt.Sprintf("table %s has no chain %s", b.table.Name, chain)}
	}
	rule, notes := w.listed.rule(b.family, w.devices)
	for _, n := range notes {
		r.notes = append(r.notes, Note{w.number, n})
	}
	if to, ok := chainOf(rule.Target); ok && !b.declared(to) {
		b.jumps = append(b.jumps, jump{to, w.number, 1})
	}
	c.Rules = append(c.Rules, rule)
	return nil
}
