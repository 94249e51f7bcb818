package iptables

import (
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/xt"
)

// ruleReader reads one rule's words as iptables does: an option belongs to the rule itself, or to the extension that was
// named last among those that have it. What the options of an extension mean is known once all have been read.
type ruleReader struct {
	c      *cursor
	rule   *Rule
	family nat.Family
	loaded []*loading
}

// loading is an extension whose options are being read.
type loading struct {
	row  *xt.Extension
	args xt.Args
	at   int // the column of its name
	slot int // among the rule's matches; -1: its target
}

func parseRule(c *cursor, r *Rule, family nat.Family) error {
	rr := ruleReader{c: c, rule: r, family: family}
	for !c.done() {
		var err error
		switch option := c.peekOption(); option {
		case "-m", "--match":
			err = rr.match()
		case "-j", "--jump", "-g", "--goto":
			err = rr.target()
		case "-c", "--set-counters":
			err = parseSetCounters(c, r)
		default:
			err = rr.option(option)
		}
		if err != nil {
			return err
		}
	}
	return rr.finish()
}

// option reads one of the options that every rule may have, or one of an extension.
func (rr *ruleReader) option(option string) error {
	if parse, known := baseOptions[option]; known {
		return rr.base(option, parse)
	}
	if l, o, ok := rr.find(option); ok {
		return rr.give(l, o)
	}
	if name := rr.rule.protocol(); name != "" && strings.HasPrefix(option, "--") && rr.imply(name) {
		if l, o, ok := rr.find(option); ok {
			return rr.give(l, o)
		}
	}
	if name := rr.rule.protocol(); name != "" && strings.HasPrefix(option, "--") {
		before := rr.c.at
		m, ok, err := parseKnown(rr.c, name)
		if err != nil || ok && rr.c.at > before {
			rr.rule.Matches = append(rr.rule.Matches, m)
			return err
		}
	}
	rr.c.option()
	return rr.c.errorf("option %q is not known here", option)
}

// imply loads the match of the rule's protocol, which iptables does for an option that nothing else knows.
func (rr *ruleReader) imply(name string) bool {
	if slices.ContainsFunc(rr.loaded, func(l *loading) bool { return l.row.Name == name }) {
		return false
	}
	x, ok := xt.Find(name, xt.MatchKind, rr.family)
	if ok {
		rr.load(x, name)
	}
	return ok
}

// base reads an option of the rule itself.
func (rr *ruleReader) base(option string, parse func(value string, not bool) (xt.Match, error)) error {
	c := rr.c
	start := c.at
	name, not := c.option()
	value := ""
	if option != "-f" && option != "--fragment" {
		var err error
		if value, err = c.value(name); err != nil {
			return err
		}
	}
	m, err := parse(value, not)
	if err != nil {
		return c.errorf("%s %s: %v", name, value, err)
	}
	if m == nil {
		m = Raw{c.verbatim(start)}
	}
	rr.rule.Matches = append(rr.rule.Matches, m)
	return nil
}

// match reads -m NAME.
func (rr *ruleReader) match() error {
	c := rr.c
	start := c.at
	if _, not := c.option(); not {
		return c.errorf("! does not go with -m")
	}
	name, err := c.value("-m")
	if err != nil {
		return err
	}
	if x, ok := xt.Find(name, xt.MatchKind, rr.family); ok && c.peek() != rawOption {
		rr.load(x, name)
		return nil
	}
	m, ok, err := parseKnown(c, name)
	if err != nil {
		return err
	}
	if !ok || !c.endsOption() {
		c.at = start + 2
		c.skipOptions()
		m = xt.RawMatch{Extension: name, Options: c.verbatim(start + 2)}
	}
	rr.rule.Matches = append(rr.rule.Matches, m)
	return nil
}

// load makes an extension known whose options follow.
func (rr *ruleReader) load(x *xt.Extension, name string) {
	l := &loading{row: x, args: xt.Args{Family: rr.family, Alias: name}, slot: -1}
	if i := rr.c.at - 1; i >= 0 {
		l.at = rr.c.words[i].start + 1
	}
	if x.Kind == xt.MatchKind {
		l.slot = len(rr.rule.Matches)
		rr.rule.Matches = append(rr.rule.Matches, nil)
	}
	rr.loaded = append(rr.loaded, l)
}

// find is the extension that an option belongs to: the last one that was named and has it. An option may be shortened as
// far as no other one begins alike (getopt_long).
func (rr *ruleReader) find(option string) (*loading, xt.Option, bool) {
	for _, l := range slices.Backward(rr.loaded) {
		for _, o := range l.row.Options {
			if o.Name == option || slices.Contains(o.Also, option) {
				return l, o, true
			}
		}
	}
	if !strings.HasPrefix(option, "--") || len(option) < 3 {
		return nil, xt.Option{}, false
	}
	var found *loading
	var short xt.Option
	for _, l := range slices.Backward(rr.loaded) {
		for _, o := range l.row.Options {
			if !slices.ContainsFunc(append([]string{o.Name}, o.Also...), func(s string) bool { return strings.HasPrefix(s, option) }) {
				continue
			}
			if found != nil && (found != l || short.Name != o.Name) {
				return nil, xt.Option{}, false
			}
			found, short = l, o
		}
	}
	return found, short, found != nil
}

// give takes an option with its values.
func (rr *ruleReader) give(l *loading, o xt.Option) error {
	c := rr.c
	name, not := c.option()
	g := xt.Given{Option: o, Not: not, At: xt.Word{Text: name, Column: c.words[c.at-1].start + 1}, Protocol: rr.rule.protocolNumber()}
	for range o.Values {
		text, err := c.text(name)
		if err != nil {
			return err
		}
		g.Values = append(g.Values, xt.Word{Text: text, Column: c.words[c.at-1].start + 1})
	}
	l.args.Give(g)
	return rr.check(l)
}

// check is what is wrong with an extension's options so far, with its place.
func (rr *ruleReader) check(l *loading) error {
	if l.args.Err() == nil {
		return nil
	}
	wrong := l.args.Wrong()
	column := wrong.Column
	if column == 0 {
		column = l.at
	}
	kind := "-m "
	if l.slot < 0 {
		kind = "-j "
	}
	return &SyntaxError{rr.c.number, column, kind + l.args.Alias + ": " + wrong.Reason}
}

// finish makes the values of the extensions.
func (rr *ruleReader) finish() error {
	for _, l := range rr.loaded {
		l.args.Protocol = rr.rule.protocolNumber()
		v, wrong := l.row.Read(&l.args)
		if wrong != nil {
			return rr.check(l)
		}
		if l.slot < 0 {
			rr.rule.Target = v.(xt.Target)
		} else {
			rr.rule.Matches[l.slot] = v.(xt.Match)
		}
	}
	return nil
}

// target reads -j NAME or -g NAME.
func (rr *ruleReader) target() error {
	c := rr.c
	if name := targetName(c); name != "" {
		if x, ok := xt.Find(name, xt.TargetKind, rr.family); ok && !targetIsRaw(c) && (c.peek() == "-j" || c.peek() == "--jump") {
			if rr.rule.Target != nil || slices.ContainsFunc(rr.loaded, func(l *loading) bool { return l.slot < 0 }) {
				c.option()
				return c.errorf("-j given twice")
			}
			c.at += 2
			rr.load(x, name)
			return nil
		}
	}
	return parseTarget(c, rr.rule, rr.family)
}

// rawOption is how natlab writes an extension by its bytes, "--raw REVISION:HEX".
const rawOption = "--raw"

func targetIsRaw(c *cursor) bool { return c.at+2 < len(c.words) && c.words[c.at+2].text == rawOption }

// targetName is the word behind -j.
func targetName(c *cursor) string {
	if c.at+1 < len(c.words) {
		return c.words[c.at+1].text
	}
	return ""
}

// protocol is the name of the rule's -p so far, "" where it has none or a negated one.
func (r *Rule) protocol() string {
	for _, m := range r.Matches {
		if p, ok := m.(Protocol); ok && !p.Not {
			return p.Protocol
		}
	}
	return ""
}

// protocolNumber is the protocol of the rule's -p so far, 0 for none and for a negated one.
func (r *Rule) protocolNumber() nat.Proto {
	p, _ := nat.ParseRuleProto(r.protocol())
	return p
}

// endsOption reports whether the next word begins another part of the rule.
func (c *cursor) endsOption() bool {
	if c.done() {
		return true
	}
	switch option := c.peekOption(); option {
	case "-m", "--match", "-j", "--jump", "-g", "--goto":
		return true
	default:
		_, base := baseOptions[option]
		return base && !c.words[c.at].quoted
	}
}

func (c *cursor) skipOptions() {
	for !c.endsOption() {
		c.at++
	}
}
