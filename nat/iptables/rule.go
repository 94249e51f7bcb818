package iptables

import (
	"strconv"
	"strings"

	"natlab/nat"
	"natlab/nat/xt"
)

// ruleReader reads one line's words as iptables does: a command with its rule, in any order. An option belongs to the line
// itself, or to the extension that was named last among those that have it. What the options of an extension mean is known
// once all have been read.
type ruleReader struct {
	c        *cursor
	family   nat.Family
	declared func(chain string) bool // a user chain of the table; nil: none is
	command  command
	rule     Rule       // with the matches of extensions only, until rules
	loaded   []*loading // extensions; behind its end are those of earlier lines, for their room
	words    []xt.Word  // the options' values
	texts    []string   // of a target's options
	given    [128]bool  // the options that may be given but once, by their letters

	hosts                       [2]hosts   // -s and -d, which are read last: the line may be the other family's
	source, destination         []xt.Match // one for each address of a list
	in, out, protocol, fragment xt.Match
	number, excluded            nat.Proto // of -p so far, and of ! -p; 0 for none
	inverted                    bool      // -s or -d
	implied                     string    // the match that -p implies, "" for none
	other                       bool      // -4 or -6: the line is the other family's
	jumpTo                      word      // behind -j or -g
	notes                       []string
}

// ParseRule reads one rule's specification, what iptables takes after "-A CHAIN". A list of addresses, which makes several
// rules, is refused.
func ParseRule(text string, family nat.Family) (Rule, error) {
	words, err := split(nil, text, 1)
	if err != nil {
		return Rule{}, err
	}
	c := cursor{line: text, number: 1, words: words}
	rr := ruleReader{c: &c, family: family}
	if err := rr.parse(); err != nil {
		return Rule{}, err
	}
	rules := rr.appendRules(nil)
	switch {
	case rr.command.verb != 0:
		c.at = 1
		return Rule{}, c.errorf("a command does not go here: want a rule")
	case len(rules) != 1:
		c.at = 1
		return Rule{}, c.errorf("a list of addresses makes %d rules: want one", len(rules))
	}
	return rules[0], nil
}

// parse reads all words of a line.
func (rr *ruleReader) parse() error {
	c := rr.c
	if strings.HasPrefix(c.peek(), "[") {
		var ok bool
		if end := strings.IndexByte(c.peek(), ']') + 1; end > 0 && end < len(c.peek()) {
			c.part(c.at, end, end)
		}
		c.at++
		if rr.rule.Packets, rr.rule.Bytes, ok = parseCounters(c.words[c.at-1].text); !ok {
			return c.errorf("counters %q: want [packets:bytes]", c.words[c.at-1].text)
		}
	}
	for !c.done() {
		if err := rr.option(c.peekOption()); err != nil {
			return err
		}
	}
	if rr.other {
		return nil
	}
	for i := range rr.hosts {
		if err := rr.addresses(&rr.hosts[i]); err != nil {
			return err
		}
	}
	return rr.finish()
}

// option reads one option with its values, by the order of getopt_long: the line's own go before those of extensions, and
// the match that -p implies is loaded for what nothing else knows.
func (rr *ruleReader) option(option string) error {
	if kind := short(option); kind != "" {
		return rr.own(kind)
	}
	if option == "--" { // the end of options
		if rr.c.at++; !rr.c.done() {
			return rr.c.unexpected()
		}
		return nil
	}
	l, o, found := rr.find(option)
	kinds := abbreviated(option)
	switch {
	case found && len(kinds) > 0 && !o.Is(option):
		rr.c.option()
		return rr.c.errorf("option %q is short for an option of -m %s and for %s", option, l.row.Name, strings.Join(kinds, " and "))
	case found:
		return rr.give(l, o)
	case len(kinds) == 1:
		return rr.own(kinds[0])
	case len(kinds) > 1:
		rr.c.option()
		return rr.c.errorf("option %q is short for %s", option, strings.Join(kinds, " and "))
	}
	if strings.HasPrefix(option, "--") && rr.imply() {
		if l, o, found := rr.find(option); found {
			return rr.give(l, o)
		}
	}
	return rr.unknownOption()
}

// own reads one of the line's own options; kind is its short form.
func (rr *ruleReader) own(kind string) error {
	c := rr.c
	switch kind {
	case "-m":
		return rr.match()
	case "-j", "-g":
		return rr.jump(kind)
	case "-c":
		return rr.counters()
	case "-s", "-d", "-i", "-o", "-p", "-f":
		return rr.header(kind)
	case "-4", "-6":
		c.option()
		if rr.other = (kind == "-6") != (rr.family == nat.IPv6); rr.other {
			c.at = len(c.words) // iptables-restore looks no further
		}
		return nil
	case "-v":
		c.option()
		return nil
	case "-M": // which program loads modules
		name, _ := c.option()
		_, err := c.text(name)
		return err
	case "-t", "-n", "-x", "-0", "-w", "-W", "-h", "-V":
		name, _ := c.option()
		return c.errorf("%s does not go here", name)
	}
	return rr.command.parse(c, kind[1])
}

func (rr *ruleReader) unknownOption() error {
	c := rr.c
	name, not := c.option()
	switch {
	case name == "!" && !not:
		return c.errorf("nothing behind !")
	case !strings.HasPrefix(name, "-"):
		c.at--
		return c.unexpected()
	case rr.implied == "" && (strings.HasSuffix(name, "port") || strings.HasSuffix(name, "ports")):
		return c.errorf("option %q is not known here: it needs -p tcp or udp, or -m multiport, before it", name)
	}
	if name == "--days" {
		return c.errorf("option %q is of the time match before Linux 2.6.24, which looked at the node's own time: write --weekdays in its place, and --kerneltz behind it", name)
	}
	return c.errorf("option %q is not known here", name)
}

// once refuses an option that was given before.
func (rr *ruleReader) once(kind string) error {
	c := rr.c
	if rr.given[kind[1]] {
		return c.errorf("%s is given twice", c.words[c.at-1].text)
	}
	rr.given[kind[1]] = true
	return nil
}

// header reads one of the conditions that need no -m.
func (rr *ruleReader) header(kind string) error {
	c := rr.c
	name, not := c.option()
	if err := rr.once(kind); err != nil {
		return err
	}
	if err := c.ownWord(); err != nil {
		return err
	}
	if kind == "-f" {
		if rr.family == nat.IPv6 {
			return c.errorf("%s is of IPv4: want -m frag", name)
		}
		rr.fragment = Fragment{not}
		return nil
	}
	if c.peek() == "!" && c.at+1 < len(c.words) { // as iptables-save 1.4.2 and older print it
		if c.at++; not {
			return c.errorf("! before and behind %s", name)
		}
		not = true
		rr.notes = append(rr.notes, "a ! behind "+name+" is old: iptables 1.8.9 wants it before")
	}
	if kind == "-s" || kind == "-d" {
		value, err := c.text(name)
		if err != nil {
			return err
		}
		rr.inverted = rr.inverted || not
		side := 0
		if kind == "-d" {
			side = 1
		}
		rr.hosts[side] = hosts{kind: kind, name: name, value: value, not: not, at: c.at}
		return nil
	}
	value, err := c.value(name)
	if err != nil {
		return err
	}
	if kind == "-i" || kind == "-o" {
		return rr.device(kind, value, not)
	}
	return rr.protocolOption(name, value, not)
}

func (rr *ruleReader) device(kind, value string, not bool) error {
	c := rr.c
	const longest = 15 // IFNAMSIZ without its zero
	switch {
	case len(value) > longest:
		return c.errorf("%s %s: a device's name has at most %d bytes", kind, value, longest)
	case value == "+" && !not: // any device: no condition
	case kind == "-i":
		rr.in = InInterface{not, value}
	default:
		rr.out = OutInterface{not, value}
	}
	return nil
}

func (rr *ruleReader) protocolOption(name, value string, not bool) error {
	c := rr.c
	p, ok := nat.ParseRuleProto(value)
	switch {
	case !ok:
		return c.errorf("%s %s: want a protocol of /etc/protocols, or a number up to 255", name, value)
	case p == 0 && not:
		return c.errorf("! %s %s: it would never match", name, value)
	case p == 0:
		return nil
	}
	rr.protocol = Protocol{not, p.RuleName()}
	if rr.number = p; not {
		rr.number, rr.excluded = 0, p
	}
	switch _, number := xt.Number(value, 255); {
	case p == nat.ICMPv6: // xtables_find_match
		rr.implied = "icmp6"
	case number:
		rr.implied = p.RuleName()
	default: // "mh" has a match, "mobility-header" has none
		rr.implied = strings.ToLower(value)
	}
	return nil
}

// jump reads -j or -g. A chain of the table goes before a target of its name.
func (rr *ruleReader) jump(kind string) error {
	c := rr.c
	name, not := c.option()
	switch {
	case not:
		return c.errorf("%s cannot be inverted", name)
	case rr.hasTarget():
		return c.errorf("%s: there is a target before it", name)
	}
	if kind == "-j" {
		if err := c.ownWord(); err != nil {
			return err
		}
	}
	target, err := c.value(name)
	if err != nil {
		return err
	}
	rr.jumpTo = c.words[c.at-1]
	switch {
	case len(target) > longestName:
		return c.errorf("%s %s: a name has at most %d bytes", name, target, longestName)
	case kind == "-g":
		rr.rule.Target = xt.Goto{Chain: target}
		return nil
	case rr.declared != nil && rr.declared(target):
		rr.rule.Target = xt.Jump{Chain: target}
		return nil
	}
	c.at -= 2
	return rr.target()
}

const longestName = 28 // XT_EXTENSION_MAXNAMELEN without its zero

// counters reads -c PACKETS BYTES, or PACKETS,BYTES.
func (rr *ruleReader) counters() error {
	c := rr.c
	name, not := c.option()
	if not {
		return c.errorf("%s cannot be inverted", name)
	}
	if err := rr.once("-c"); err != nil {
		return err
	}
	first, err := c.value(name)
	if err != nil {
		return err
	}
	packets, bytes, both := strings.Cut(first, ",")
	if rr.rule.Packets, err = strconv.ParseUint(packets, 10, 64); err != nil {
		return c.errorf("counter %q: want a number", packets)
	}
	if !both {
		if bytes, err = c.value(name); err != nil {
			return err
		}
	}
	if rr.rule.Bytes, err = strconv.ParseUint(bytes, 10, 64); err != nil {
		return c.errorf("counter %q: want a number", bytes)
	}
	return nil
}

// appendRules appends the rules that the line makes: one for each source and destination, in the order in which iptables adds
// them, with their conditions in the order in which iptables-save prints them.
func (rr *ruleReader) appendRules(list []Rule) []Rule {
	one := [1]xt.Match{}
	sources, destinations := rr.source, rr.destination
	if len(sources) == 0 {
		sources = one[:]
	}
	if len(destinations) == 0 {
		destinations = one[:]
	}
	for _, src := range sources {
		for _, dst := range destinations {
			r := rr.rule
			r.Matches = joined([...]xt.Match{src, dst, rr.in, rr.out, rr.protocol, rr.fragment}, rr.rule.Matches)
			list = append(list, r)
		}
	}
	return list
}

// joined are the conditions of a rule: those that need no -m, as far as they are there, and those of extensions.
func joined(head [6]xt.Match, extensions []xt.Match) []xt.Match {
	n := 0
	for _, m := range head {
		if m != nil {
			n++
		}
	}
	if n+len(extensions) == 0 {
		return nil
	}
	all := make([]xt.Match, 0, n+len(extensions))
	for _, m := range head {
		if m != nil {
			all = append(all, m)
		}
	}
	return append(all, extensions...)
}
