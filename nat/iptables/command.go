package iptables

import (
	"slices"
	"strconv"
	"strings"

	"natlab/nat"
	"natlab/nat/xt"
)

// command is what a line asks for besides its rule: -A and its like.
type command struct {
	verb   byte // 'A', 'I', ...; 0 for none
	chain  string
	number int    // of a rule, from 1; 0: none was given
	value  string // the policy, or the new name
	column int    // of the chain
}

// The letters of the commands that need a chain, that take one, that go with a rule, and of those that only print.
const (
	needChain = "ACDEINPR"
	takeChain = "FLSXZ"
	withRule  = "ACDIR"
	onlyPrint = "LS"
)

// parse reads a command with its arguments.
func (m *command) parse(c *cursor, verb byte) error {
	name, not := c.option()
	switch {
	case not:
		return c.errorf("%s cannot be inverted", name)
	case m.verb != 0:
		return c.errorf("%s does not go with -%c: one command a line", name, m.verb)
	}
	m.verb = verb
	if strings.IndexByte(needChain, verb) >= 0 {
		chain, err := c.value(name)
		if err != nil {
			return err
		}
		m.chain, m.column = chain, c.words[c.at-1].start+1
	} else if c.hasArgument() {
		m.chain, m.column = c.peek(), c.words[c.at].start+1
		c.at++
	}
	switch {
	case strings.IndexByte("RI", verb) >= 0 && c.hasArgument(), strings.IndexByte("DLSZ", verb) >= 0 && c.hasArgument():
		n, ok := number(c.peek(), 1<<31-1)
		c.at++
		if !ok || n == 0 {
			return c.errorf("rule number %q: want one from 1", c.words[c.at-1].text)
		}
		m.number = int(n)
	case verb == 'R':
		return c.errorf("%s wants a chain and a rule's number", name)
	case verb == 'P' || verb == 'E':
		var err error
		m.value, err = c.value(name)
		return err
	}
	return nil
}

// hasArgument reports whether a word follows that is no option.
func (c *cursor) hasArgument() bool {
	w := c.peek()
	return !c.done() && !strings.HasPrefix(w, "-") && w != "!"
}

// run carries one line out.
func (b *builder) run(c *cursor) error {
	s := &b.reader
	*s = ruleReader{
		c: c, family: b.family, declared: b.isDeclared, rule: Rule{Line: c.number, Matches: s.rule.Matches[:0]}, loaded: s.loaded[:0],
		words: s.words[:0], texts: s.texts[:0],
	}
	if err := s.parse(); err != nil {
		return err
	}
	if s.other && s.command.passes() {
		return nil
	}
	for _, note := range s.notes {
		b.note(c.number, note)
	}
	m := &s.command
	if err := s.checkLine(b.table.Name); err != nil {
		return err
	}
	fail := func(format string, args ...any) error {
		e := c.errorf(format, args...).(*SyntaxError) //nolint:errorlint // it is made there
		e.Column = max(m.column, 1)
		return e
	}
	switch m.verb {
	case 'N':
		if b.excerpt && b.exists(m.chain) { // a rule was before it
			return nil
		}
		return b.create(m.chain, fail)
	case 'L', 'S':
		return nil
	case 'F', 'X', 'Z':
		return b.sweep(m, fail)
	}
	chain, ok := b.use(m.chain)
	if !ok {
		return fail("table %s has no chain %s", b.table.Name, m.chain)
	}
	switch m.verb {
	case 'P':
		if !chain.BuiltIn() || m.value != "ACCEPT" && m.value != "DROP" {
			return fail("policy %q of chain %s: want ACCEPT or DROP, of a built-in chain", m.value, m.chain)
		}
		chain.Policy = m.value
		return nil
	case 'E':
		return b.rename(m.chain, m.value, fail)
	}
	if j, ok := chainOf(s.rule.Target); ok && !b.declared(j) {
		b.jumps = append(b.jumps, jump{j, c.number, s.jumpTo.start + 1})
	}
	if m.verb == 'A' {
		before := len(chain.Rules)
		chain.Rules = s.appendRules(chain.Rules)
		if len(s.notes) == 0 && !s.other {
			b.appended, b.appendedTo = chain.Rules[before:], m.chain
		}
		return nil
	}
	return b.change(chain, m, s.appendRules(nil), fail)
}

// passes reports whether the command does nothing in a line of the other family: it was not read, or it has no rule to work
// with then. The others are carried out all the same.
func (m *command) passes() bool {
	return m.verb == 0 || strings.IndexByte("AIC", m.verb) >= 0 || m.verb == 'D' && m.number == 0
}

// checkLine refuses what iptables refuses of a whole line.
func (rr *ruleReader) checkLine(table string) error {
	c, m := rr.c, &rr.command
	rule := strings.IndexByte(withRule, m.verb) >= 0 && (m.verb != 'D' || m.number == 0)
	c.at = 1
	switch {
	case m.verb == 0:
		return c.errorf("a command is missing: want -A CHAIN or another")
	case !rule && (rr.given != [128]bool{} || rr.rule.Target != nil || len(rr.rule.Matches) > 0):
		return c.errorf("-%c does not go with a rule", m.verb)
	case rr.given['o'] && (m.chain == "PREROUTING" || m.chain == "INPUT"):
		return c.errorf("-o does not go with %s", m.chain)
	case rr.given['i'] && (m.chain == "POSTROUTING" || m.chain == "OUTPUT"):
		return c.errorf("-i does not go with %s", m.chain)
	case rr.inverted && (len(rr.source) > 1 || len(rr.destination) > 1):
		return c.errorf("! does not go with a list of addresses")
	case m.verb == 'R' && rr.other:
		return c.errorf("-R wants a rule of this family")
	case m.verb == 'R' && (len(rr.source) > 1 || len(rr.destination) > 1):
		return c.errorf("-R wants one rule, not a list of addresses")
	case table == "nat" && (rr.rule.Target == xt.Target(xt.Drop{}) || m.verb == 'P' && m.value == "DROP"):
		return c.errorf("the nat table is not for filtering: iptables refuses DROP in it")
	}
	return nil
}

// chainOf is the chain that a target leads to.
func chainOf(t xt.Target) (chain string, ok bool) {
	switch t := t.(type) {
	case xt.Jump:
		return t.Chain, true
	case xt.Goto:
		return t.Chain, true
	}
	return "", false
}

type failure func(format string, args ...any) error

// create is -N.
func (b *builder) create(name string, fail failure) error {
	switch {
	case b.exists(name):
		return fail("chain %s is there already", name)
	case len(name) > longestName:
		return fail("chain %s: a name has at most %d bytes", name, longestName)
	case isTarget(name, b.family):
		return fail("chain %s: it would have the name of a target", name)
	}
	b.add(Chain{Name: name, Policy: "-"})
	return nil
}

// isTarget reports whether a target has that name.
func isTarget(name string, family nat.Family) bool {
	_, row := xt.Find(name, xt.TargetKind, family)
	return row || plainTargets[name] != nil
}

// sweep is -F, -X or -Z, of one chain or of all.
func (b *builder) sweep(m *command, fail failure) error {
	if _, ok := b.use(m.chain); m.chain != "" && !ok {
		if b.excerpt { // of a script that begins with what it may find there
			return nil
		}
		return fail("table %s has no chain %s", b.table.Name, m.chain)
	}
	if c, ok := b.use(m.chain); ok && m.number > len(c.Rules) {
		return fail("rule number %d: chain %s has %d rules", m.number, m.chain, len(c.Rules))
	}
	of := func(c Chain) bool { return m.chain == "" || c.Name == m.chain }
	if m.verb == 'X' {
		return b.remove(of, m.chain != "", fail)
	}
	for i := range b.table.Chains {
		c := &b.table.Chains[i]
		switch {
		case !of(*c):
		case m.verb == 'F':
			c.Rules = nil
		default:
			c.Packets, c.Bytes = 0, 0
			for j := range c.Rules {
				if m.number == 0 || m.number == j+1 {
					c.Rules[j].Packets, c.Rules[j].Bytes = 0, 0
				}
			}
		}
	}
	return nil
}

// remove is -X: the chains have to be empty, and no rule may lead to them.
func (b *builder) remove(of func(Chain) bool, named bool, fail failure) error {
	for _, c := range b.table.Chains {
		if !of(c) || c.BuiltIn() {
			if named && of(c) {
				return fail("chain %s is built in: it cannot be removed", c.Name)
			}
			continue
		}
		if len(c.Rules) > 0 {
			return fail("chain %s has rules: it cannot be removed", c.Name)
		}
		for _, from := range b.table.Chains {
			for _, r := range from.Rules {
				if to, ok := chainOf(r.Target); ok && to == c.Name {
					return fail("chain %s cannot be removed: a rule of %s leads to it", c.Name, from.Name)
				}
			}
		}
	}
	b.table.Chains = slices.DeleteFunc(b.table.Chains, func(c Chain) bool { return of(c) && !c.BuiltIn() })
	b.index()
	return nil
}

// rename is -E; what leads to the chain leads to the new name.
func (b *builder) rename(from, to string, fail failure) error {
	c, _ := b.use(from)
	switch {
	case c.BuiltIn():
		return fail("chain %s is built in: it cannot be renamed", from)
	case b.exists(to):
		return fail("chain %s is there already", to)
	case len(to) > longestName:
		return fail("chain %s: a name has at most %d bytes", to, longestName)
	}
	c.Name = to
	b.index()
	for i := range b.table.Chains {
		rules := b.table.Chains[i].Rules
		for j := range rules {
			switch rules[j].Target {
			case xt.Jump{Chain: from}:
				rules[j].Target = xt.Jump{Chain: to}
			case xt.Goto{Chain: from}:
				rules[j].Target = xt.Goto{Chain: to}
			}
		}
	}
	return nil
}

// change is -I, -R, -D or -C.
func (b *builder) change(c *Chain, m *command, rules []Rule, fail failure) error {
	switch m.verb {
	case 'I':
		at := max(m.number, 1)
		if at > len(c.Rules)+1 {
			return fail("rule number %d: chain %s has %d rules", at, c.Name, len(c.Rules))
		}
		for _, r := range rules { // each before the one before it
			c.Rules = slices.Insert(c.Rules, at-1, r)
		}
	case 'R', 'D':
		if m.number > len(c.Rules) {
			return fail("rule number %d: chain %s has %d rules", m.number, c.Name, len(c.Rules))
		}
		switch {
		case m.verb == 'R':
			c.Rules[m.number-1] = rules[0]
		case m.number > 0:
			c.Rules = slices.Delete(c.Rules, m.number-1, m.number)
		default:
			return b.drop(c, rules, fail)
		}
	case 'C':
		for _, r := range rules {
			if c.find(r) < 0 {
				return fail("-C: chain %s has no such rule", c.Name)
			}
		}
	}
	return nil
}

// drop is -D with a rule's specification: the first such rule goes.
func (b *builder) drop(c *Chain, rules []Rule, fail failure) error {
	for _, r := range rules {
		at := c.find(r)
		if at < 0 {
			if b.excerpt {
				continue
			}
			return fail("-D: chain %s has no such rule", c.Name)
		}
		c.Rules = slices.Delete(c.Rules, at, at+1)
	}
	return nil
}

// find is the place of the first rule that asks and does the same, -1 for none.
func (c *Chain) find(r Rule) int {
	spec := r.Spec()
	return slices.IndexFunc(c.Rules, func(o Rule) bool { return o.Spec() == spec })
}

// builtIn reports whether a table has a chain of its own of that name.
func builtIn(table, chain string) bool {
	switch chain {
	case "PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING":
		return slices.ContainsFunc(nat.TableHooks(table), func(h nat.Hook) bool { return h.String() == chain })
	}
	return false
}

func parseCounters(s string) (packets, bytes uint64, ok bool) {
	s, open := strings.CutPrefix(s, "[")
	s, closed := strings.CutSuffix(s, "]")
	first, second, both := strings.Cut(s, ":")
	packets, err1 := strconv.ParseUint(first, 10, 64)
	bytes, err2 := strconv.ParseUint(second, 10, 64)
	return packets, bytes, open && closed && both && err1 == nil && err2 == nil
}
