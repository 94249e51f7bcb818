package iptables

import (
	"reflect"
	"slices"
	"strings"

	"natlab/nat"
)

// Text is a rule set as somebody wrote it: with its comments, its spacing, its order and its wording. Rules can be changed,
// added and taken away in it, and all else stays as it was to the byte.
type Text struct {
	lines   []string // with their ends
	read    Ruleset
	chains  []tableChain // by line: which one it declares
	counted bool         // its rules have counters
	edited  bool         // there are commands in it that do more than append one rule
}

type tableChain struct{ table, chain string }

// ParseText is Parse of a text that is to be printed again.
func ParseText(text string, family nat.Family) (Text, error) {
	p := parser{rs: Ruleset{Family: family}}
	rs, err := p.parse(strings.NewReader(text))
	if err != nil {
		return Text{}, err
	}
	t := Text{lines: slices.Collect(strings.Lines(text)), read: rs, edited: p.edited}
	t.chains = make([]tableChain, len(t.lines))
	table := ""
	for i, line := range t.lines {
		switch line := strings.TrimSpace(line); {
		case strings.HasPrefix(line, "*"):
			table = tableName(line)
		case strings.HasPrefix(line, "["):
			t.counted = true
		case strings.HasPrefix(line, ":"):
			t.chains[i] = tableChain{table, strings.Fields(line[1:])[0]}
		}
	}
	return t, nil
}

// Ruleset is what Parse makes of the text.
func (t Text) Ruleset() Ruleset { return t.read.Clone() }

// String is the text, to the byte.
func (t Text) String() string { return strings.Join(t.lines, "") }

// With is the text with the rules of rs, a copy of its own that was changed: a rule that is known by its Line stays as it is
// written there, or is written anew where it was changed; one without a Line is written where it belongs. Where rules that
// have one changed places, or the text has other commands than -A, all is as iptables-save prints it.
func (t Text) With(rs Ruleset) string {
	if reflect.DeepEqual(rs, t.Ruleset()) {
		return t.String()
	}
	e := edit{Text: t, rs: rs, was: map[int]Rule{}, now: map[int]spot{}}
	if t.edited || !e.inPlace() {
		return rs.text(t.counted)
	}
	for i, line := range t.lines {
		e.line(i, line)
	}
	for _, table := range rs.Tables {
		if _, known := t.read.Table(table.Name); !known {
			e.add(strings.TrimSuffix(Ruleset{Tables: []Table{table}}.text(t.counted), "\n"))
		}
	}
	return e.out.String()
}

// edit is the state of With.
type edit struct {
	Text
	rs      Ruleset
	was     map[int]Rule // by line
	now     map[int]spot // by line
	table   *Table       // that the line is in; nil between tables and in one that is gone
	changed map[string]bool
	written map[string]int // how many rules of each chain have been
	out     strings.Builder
}

// spot is a rule's place.
type spot struct {
	table string
	chain Chain
	index int
}

// inPlace reports whether the rules with a Line are where they were read, and notes them.
func (e *edit) inPlace() bool {
	read := map[int]spot{}
	for _, t := range e.read.Tables {
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				read[r.Line], e.was[r.Line] = spot{table: t.Name, chain: c}, r
			}
		}
	}
	for _, t := range e.rs.Tables {
		for _, c := range t.Chains {
			last := 0
			for i, r := range c.Rules {
				if r.Line == 0 {
					continue
				}
				if was := read[r.Line]; r.Line <= last || was.table != t.Name || was.chain.Name != c.Name {
					return false
				}
				last, e.now[r.Line] = r.Line, spot{t.Name, c, i}
			}
		}
	}
	return true
}

// line writes what has become of a line.
func (e *edit) line(at int, line string) {
	switch text := strings.TrimSpace(line); {
	case text == "" || text[0] == '#':
		e.out.WriteString(line)
	case text[0] == '*':
		if t, there := e.rs.Table(tableName(text)); there {
			e.out.WriteString(line)
			e.begin(t)
		}
	case e.table == nil:
	case text == "COMMIT":
		for _, c := range e.table.Chains {
			e.rulesBefore(c, len(c.Rules))
		}
		e.out.WriteString(line)
		e.table = nil
	case e.chains[at].chain != "":
		e.chain(e.chains[at].chain, line)
	default:
		e.rule(at+1, line)
	}
}

// begin writes the chains of a table that are new, or that were changed and have no line of their own.
func (e *edit) begin(t Table) {
	e.table, e.changed, e.written = &t, map[string]bool{}, map[string]int{}
	old, _ := e.read.Table(t.Name)
	for _, c := range t.Chains {
		was, known := old.Chain(c.Name)
		e.changed[c.Name] = !known || chainLine(was) != chainLine(c)
		if e.changed[c.Name] && !slices.Contains(e.chains, tableChain{t.Name, c.Name}) {
			e.add(chainLine(c))
		}
	}
}

func (e *edit) chain(name, line string) {
	c, there := e.table.Chain(name)
	switch {
	case !there:
	case e.changed[name]:
		e.add(chainLine(c))
	default:
		e.out.WriteString(line)
	}
}

func (e *edit) rule(number int, line string) {
	s, there := e.now[number]
	if !there {
		return
	}
	e.rulesBefore(s.chain, s.index)
	r := s.chain.Rules[s.index]
	if e.written[s.chain.Name]++; reflect.DeepEqual(r, e.was[number]) {
		e.out.WriteString(line)
		return
	}
	e.add(e.ruleLine(s.chain.Name, r))
}

// rulesBefore writes a chain's next rules, which are new, up to an index.
func (e *edit) rulesBefore(c Chain, end int) {
	for e.written[c.Name] < end {
		e.add(e.ruleLine(c.Name, c.Rules[e.written[c.Name]]))
		e.written[c.Name]++
	}
}

func (e *edit) ruleLine(chain string, r Rule) string {
	if !e.counted {
		return r.Text(chain)
	}
	return string(appendCounters(nil, r.Packets, r.Bytes)) + " " + r.Text(chain)
}

func chainLine(c Chain) string {
	return string(appendCounters([]byte(":"+c.Name+" "+c.Policy+" "), c.Packets, c.Bytes))
}

// add writes a line of its own.
func (e *edit) add(text string) {
	if s := e.out.String(); s != "" && !strings.HasSuffix(s, "\n") {
		e.out.WriteByte('\n')
	}
	e.out.WriteString(text + "\n")
}
