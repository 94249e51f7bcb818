package iptables

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/xt"
)

// maxLine bounds a line of a rule set, in bytes; iptables-restore's own limit is 10240.
const maxLine = 1 << 16

// Parse reads input for iptables-restore or ip6tables-restore, such as iptables-save prints: any spelling and any command
// that iptables 1.8.9 takes there, from empty tables. Lines of the other family (-4, -6) are passed over. An extension that
// natlab does not know is kept verbatim (xt.RawMatch, xt.RawTarget). An error is a *SyntaxError with line and column, or the reader's
// own; the rule set is zero then. Besides what iptables-restore takes, lines may be indented and end as on Windows.
func Parse(r io.Reader, family nat.Family) (Ruleset, error) {
	p := parser{rs: Ruleset{Family: family}}
	return p.parse(r)
}

func (p *parser) parse(r io.Reader) (Ruleset, error) {
	scan := bufio.NewScanner(r)
	scan.Buffer(make([]byte, 0, 4096), maxLine)
	for scan.Scan() {
		p.number++
		if p.recall(scan.Bytes()) {
			continue
		}
		if p.table != nil {
			p.table.appended = nil
		}
		line := scan.Text()
		if err := p.line(line); err != nil {
			return Ruleset{}, err
		}
		p.learn(line)
	}
	if err := scan.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			return Ruleset{}, &SyntaxError{p.number + 1, 1, fmt.Sprintf("the line is longer than %d bytes", maxLine)}
		}
		return Ruleset{}, err
	}
	if err := p.end(); err != nil {
		return Ruleset{}, err
	}
	return p.rs, nil
}

// ParseString is Parse of a string.
func ParseString(s string, family nat.Family) (Ruleset, error) {
	return Parse(strings.NewReader(s), family)
}

// parser is the state between two lines of input for iptables-restore.
type parser struct {
	rs     Ruleset
	table  *builder // nil between tables
	number int
	cursor cursor // in the line; its words are reused for the next
	notes  []Note
	known  *Dictionary // may be nil
}

func (p *parser) fail(column int, format string, args ...any) error {
	return &SyntaxError{p.number, column, fmt.Sprintf(format, args...)}
}

func (p *parser) line(line string) error {
	trimmed := strings.TrimSpace(line)
	switch {
	case trimmed == "" || trimmed[0] == '#':
		return nil
	case p.table == nil && trimmed[0] == '*':
		return p.begin(tableName(trimmed))
	case p.table == nil:
		return p.fail(1, "want a table (*nat) before %q", trimmed)
	case trimmed == "COMMIT":
		return p.commit()
	case trimmed[0] == ':':
		return p.table.declare(line, p.number)
	case trimmed[0] == '*':
		return p.fail(1, "table %s has no COMMIT", p.table.table.Name)
	}
	words, err := split(p.cursor.words[:0], line, p.number)
	if err != nil {
		return err
	}
	p.cursor = cursor{line: line, number: p.number, words: words}
	return p.table.run(&p.cursor)
}

// end is the end of the text.
func (p *parser) end() error {
	if p.table != nil {
		p.number++
		return p.fail(1, "table %s has no COMMIT", p.table.table.Name)
	}
	return nil
}

// tableName is the name in a line "*NAME"; iptables-restore takes no notice of what follows.
func tableName(line string) string {
	if words := strings.Fields(line[1:]); len(words) > 0 {
		return words[0]
	}
	return ""
}

func (p *parser) begin(name string) error {
	if nat.TableHooks(name) == nil {
		return p.fail(2, "table %q: want raw, mangle, nat, filter or security", name)
	}
	if _, twice := p.rs.Table(name); twice {
		return p.fail(2, "table %s is there twice", name)
	}
	p.table = newBuilder(name, p.rs.Family)
	return nil
}

func (p *parser) commit() error {
	t, err := p.table.finish()
	if err != nil {
		return err
	}
	p.rs.Tables = append(p.rs.Tables, t)
	p.notes = append(p.notes, p.table.notes...)
	p.table = nil
	return nil
}

// builder makes a table of commands, as iptables-restore does: from an empty one.
type builder struct {
	family     nat.Family
	table      Table
	chains     map[string]int // by name
	jumps      []jump         // to chains that were not there yet
	reader     ruleReader     // of the line, reused for the next
	words      []word         // of a chain's line, reused too
	isDeclared func(string) bool
	appended   []Rule // by the line, where it did nothing else
	appendedTo string // the chain
	excerpt    bool   // rules taken out of a table: what they refer to may be missing
	notes      []Note
}

// jump is a rule's way to a chain, and its place in the text.
type jump struct {
	chain        string
	line, column int
}

func newBuilder(table string, family nat.Family) *builder {
	b := &builder{family: family, table: Table{Name: table}, chains: map[string]int{}}
	b.isDeclared = b.declared
	return b
}

func (b *builder) note(line int, text string) { b.notes = append(b.notes, Note{line, text}) }

// exists reports whether the table has a chain of that name, its own among them.
func (b *builder) exists(name string) bool {
	_, ok := b.chains[name]
	return ok || builtIn(b.table.Name, name)
}

// declared reports whether the table has a user chain of that name.
func (b *builder) declared(name string) bool {
	at, ok := b.chains[name]
	return ok && !b.table.Chains[at].BuiltIn()
}

// use is the chain of that name. The built-in ones are there without being declared.
func (b *builder) use(name string) (*Chain, bool) {
	at, ok := b.chains[name]
	switch {
	case ok:
	case builtIn(b.table.Name, name):
		at = b.add(Chain{Name: name, Policy: "ACCEPT"})
	case b.excerpt && name != "":
		at = b.add(Chain{Name: name, Policy: "-"})
	default:
		return nil, false
	}
	return &b.table.Chains[at], true
}

func (b *builder) add(c Chain) int {
	b.chains[c.Name] = len(b.table.Chains)
	b.table.Chains = append(b.table.Chains, c)
	return len(b.table.Chains) - 1
}

// index finds the chains anew.
func (b *builder) index() {
	clear(b.chains)
	for i, c := range b.table.Chains {
		b.chains[c.Name] = i
	}
}

// declare reads ":NAME POLICY [packets:bytes]".
func (b *builder) declare(line string, number int) error {
	fail := func(column int, format string, args ...any) error {
		return &SyntaxError{number, column, fmt.Sprintf(format, args...)}
	}
	words, err := split(b.words[:0], strings.Replace(line, ":", " ", 1), number)
	if err != nil {
		return err
	}
	b.words = words
	if len(words) < 2 {
		return fail(1, "want :CHAIN POLICY [packets:bytes]")
	}
	c := Chain{Name: words[0].text, Policy: words[1].text}
	at := words[0].start + 1
	switch own := builtIn(b.table.Name, c.Name); {
	case c.Name == "" || strings.ContainsAny(c.Name, " \t\r\"'\\!"):
		return fail(at, "chain %q: want a word without blanks and quotes", c.Name)
	case len(c.Name) > longestName:
		return fail(at, "chain %s: a name has at most %d bytes", c.Name, longestName)
	case c.Policy != "-" && c.Policy != "ACCEPT" && c.Policy != "DROP":
		return fail(words[1].start+1, "policy %q: want ACCEPT, DROP or -", c.Policy)
	case own && c.Policy == "-":
		c.Policy = "ACCEPT"
	case !own && c.Policy != "-":
		return fail(words[1].start+1, "chain %s is none of table %s's own: want - for its policy", c.Name, b.table.Name)
	}
	if len(words) > 2 {
		var ok bool
		if c.Packets, c.Bytes, ok = parseCounters(words[2].text); !ok {
			return fail(words[2].start+1, "counters %q: want [packets:bytes]", words[2].text)
		}
	}
	old, twice := b.chains[c.Name]
	switch {
	case !twice:
		b.add(c)
	case !b.table.Chains[old].BuiltIn():
		return fail(at, "chain %s is there twice", c.Name)
	default: // a built-in one is there without its line
		c.Rules = b.table.Chains[old].Rules
		b.table.Chains[old] = c
	}
	return nil
}

// finish is the table, once all that rules lead to is there.
func (b *builder) finish() (Table, error) {
	missing := map[string]bool{}
	for _, j := range b.jumps {
		switch {
		case missing[j.chain] || b.excerpt && b.declared(j.chain):
		case b.declared(j.chain):
			return Table{}, &SyntaxError{j.line, j.column, fmt.Sprintf("chain %s is declared only below: iptables-restore wants it before", j.chain)}
		case b.exists(j.chain):
			return Table{}, &SyntaxError{j.line, j.column, fmt.Sprintf("chain %s is built in: only a hook leads to it", j.chain)}
		case b.excerpt:
			missing[j.chain] = true
			b.note(j.line, fmt.Sprintf("chain %s of table %s is not in the text: what it does is unknown", j.chain, b.table.Name))
		case slices.Contains(foreignTargets, j.chain):
			missing[j.chain] = true
		default:
			return Table{}, &SyntaxError{j.line, j.column, fmt.Sprintf(
				"%s is not a chain of table %s, and no target has that name: iptables-restore refuses all of the text", j.chain, b.table.Name)}
		}
	}
	led := map[string]bool{}
	for _, c := range b.table.Chains {
		for i := range c.Rules {
			to, ok := chainOf(c.Rules[i].Target)
			if led[to] = true; ok && missing[to] {
				c.Rules[i].Target = xt.RawTarget{Extension: to}
			}
		}
	}
	for _, c := range b.table.Chains {
		if b.excerpt && !c.BuiltIn() && len(c.Rules) > 0 && !led[c.Name] {
			b.note(c.Rules[0].Line, fmt.Sprintf("nothing in the text leads to chain %s of table %s: no packet is taken to it", c.Name, b.table.Name))
		}
	}
	order, err := b.order()
	if err != nil {
		return Table{}, err
	}
	return b.table, b.misplaced(order)
}

// foreignTargets are the targets of xtables-addons that go without options.
var foreignTargets = []string{"CHAOS", "DELUDE", "ECHO", "LOGMARK", "PROTO", "SYSRQ", "TARPIT"}
