package iptables

import (
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/xt"
)

// loading is an extension whose options are being read.
type loading struct {
	row  *xt.Extension
	args xt.Args
	at   int // the column of its name
	slot int // among the rule's matches; -1: its target
}

// imply loads the match of the rule's protocol.
func (rr *ruleReader) imply() bool {
	if slices.ContainsFunc(rr.loaded, func(l *loading) bool { return l.row.Name == rr.implied }) {
		return false
	}
	x, ok := xt.Find(rr.implied, xt.MatchKind, rr.family)
	if ok {
		rr.load(x, rr.implied)
	}
	return ok
}

// match reads -m NAME.
func (rr *ruleReader) match() error {
	c := rr.c
	if _, not := c.option(); not {
		return c.errorf("! does not go with -m")
	}
	name, err := c.value("-m")
	if err != nil {
		return err
	}
	if x, ok := xt.Find(name, xt.MatchKind, rr.family); ok && !rr.kept(x, c.at) {
		rr.load(x, name)
		return nil
	}
	if rr.foreign(name, xt.MatchKind) && c.peek() != rawOption {
		return c.errorf("-m %s: it is no match of %s", name, rr.family)
	}
	start := c.at
	c.skipOptions()
	rr.rule.Matches = append(rr.rule.Matches, xt.RawMatch{Extension: name, Options: c.verbatim(start)})
	return nil
}

// foreign reports whether an extension is one of the other family only.
func (rr *ruleReader) foreign(name string, kind xt.Kind) bool {
	_, here := xt.Find(name, kind, rr.family)
	_, there := xt.Find(name, kind, nat.IPv4+nat.IPv6-rr.family)
	return there && !here
}

// load makes an extension known whose options follow.
func (rr *ruleReader) load(x *xt.Extension, name string) {
	l := rr.room()
	*l = loading{row: x, args: xt.Args{Family: rr.family, Alias: name, Given: l.args.Given[:0]}, slot: -1}
	if i := rr.c.at - 1; i >= 0 {
		l.at = rr.c.words[i].start + 1
	}
	if x.Kind == xt.MatchKind {
		l.slot = len(rr.rule.Matches)
		rr.rule.Matches = append(rr.rule.Matches, nil)
	}
}

// room is one more of those that are loaded, with the room for options of one of an earlier line.
func (rr *ruleReader) room() *loading {
	n := len(rr.loaded)
	if n < cap(rr.loaded) {
		rr.loaded = rr.loaded[:n+1]
	} else {
		rr.loaded = append(rr.loaded, nil)
	}
	if rr.loaded[n] == nil {
		rr.loaded[n] = &loading{}
	}
	return rr.loaded[n]
}

// find is the extension that an option belongs to: the last one that was named and has it. An option may be shortened as
// far as no other one begins alike (getopt_long); that an extension is named twice does not count.
func (rr *ruleReader) find(option string) (*loading, xt.Option, bool) {
	for _, l := range slices.Backward(rr.loaded) {
		for _, o := range l.row.Options {
			if o.Is(option) {
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
			switch {
			case found == nil:
				found, short = l, o
			case found.row != l.row || short.Name != o.Name:
				return nil, xt.Option{}, false
			}
		}
	}
	return found, short, found != nil
}

// give takes an option with its values.
func (rr *ruleReader) give(l *loading, o xt.Option) error {
	c := rr.c
	name, not := c.option()
	g := xt.Given{
		Option: o, Not: not, At: xt.Word{Text: name, Column: c.words[c.at-1].start + 1}, Protocol: rr.number, Excluded: rr.excluded,
	}
	if o.Values == 0 && !o.Maybe && c.at < len(c.words) && c.words[c.at].joined {
		return c.errorf("%s takes no value", name)
	}
	values := o.Values
	if c.at+values < len(c.words) && o.Takes(c.words[c.at+values].text) {
		values++
	}
	first := len(rr.words)
	for range values {
		text, err := c.text(name)
		if err != nil {
			return err
		}
		rr.words = append(rr.words, xt.Word{Text: text, Column: c.words[c.at-1].start + 1})
	}
	g.Values = rr.words[first:len(rr.words):len(rr.words)]
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
		l.args.Protocol = rr.number
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

// target reads -j NAME, which is no chain of the table as far as is known yet.
func (rr *ruleReader) target() error {
	c := rr.c
	if x, ok := xt.Find(targetName(c), xt.TargetKind, rr.family); ok && !rr.kept(x, c.at+2) {
		c.at += 2
		rr.load(x, c.words[c.at-1].text)
		return nil
	}
	if name := targetName(c); rr.foreign(name, xt.TargetKind) && c.at+2 < len(c.words) && c.words[c.at+2].text != rawOption {
		return c.errorf("-j %s: it is no target of %s", name, rr.family)
	}
	return parseTarget(c, &rr.rule)
}

// hasTarget reports whether there is a target so far.
func (rr *ruleReader) hasTarget() bool {
	return rr.rule.Target != nil || slices.ContainsFunc(rr.loaded, func(l *loading) bool { return l.slot < 0 })
}

// rawOption is how natlab writes an extension by its bytes, "--raw REVISION:HEX".
const rawOption = "--raw"

// kept reports whether the words from a place on are no options of an extension, and are kept as they are written: its
// bytes, what iptables prints for a revision that it does not know, or a misprint.
func (rr *ruleReader) kept(x *xt.Extension, at int) bool {
	words := rr.c.words[min(at, len(rr.c.words)):]
	if len(words) == 0 {
		return false
	}
	if first := words[0].text; first == rawOption || first == "[unsupported" {
		return true
	}
	if x.Misprint == nil {
		return false
	}
	rr.texts = rr.texts[:0]
	for _, w := range words {
		if short(w.text) != "" {
			break
		}
		rr.texts = append(rr.texts, w.text)
	}
	return x.Misprint(rr.texts, rr.family)
}

// targetName is the word behind -j.
func targetName(c *cursor) string {
	if c.at+1 < len(c.words) {
		return c.words[c.at+1].text
	}
	return ""
}

// endsOption reports whether the next word begins another part of the rule.
func (c *cursor) endsOption() bool {
	return c.done() || short(c.peekOption()) != "" && !c.words[c.at].quoted
}

// endsTyped is endsOption behind what was read into a type of its own: there a shortened option is the rule's too.
func (c *cursor) endsTyped() bool { return c.endsOption() || len(abbreviated(c.peekOption())) == 1 }

func (c *cursor) skipOptions() {
	for !c.endsOption() {
		c.at++
	}
}

// unexpected refuses the next word, which is no option.
func (c *cursor) unexpected() error {
	c.at++
	return c.errorf("unexpected %q", c.words[c.at-1].text)
}
