package iptables

import (
	"natlab/nat/xt"
)

// extensions are the matches that are read into a type of their own. A parser takes the options it knows and stops at
// the first other word; ok is false where what it took says more than the type can hold.
var extensions = map[string]func(c *cursor) (m xt.Match, ok bool, err error){
	"set": parseSet,
}

func parseKnown(c *cursor, name string) (xt.Match, bool, error) {
	parse, known := extensions[name]
	if !known {
		return nil, false, nil
	}
	return parse(c)
}

func takeOptions(c *cursor) string {
	start := c.at
	c.skipOptions()
	return c.verbatim(start)
}

func parseSet(c *cursor) (xt.Match, bool, error) {
	var m xt.Set
	if c.peekOption() != "--match-set" {
		return nil, false, nil
	}
	_, m.Not = c.option()
	var err error
	if m.Set, err = c.value("--match-set"); err != nil {
		return nil, false, err
	}
	if m.Dirs, err = c.value("--match-set"); err != nil {
		return nil, false, err
	}
	m.Rest = takeOptions(c)
	return m, true, nil
}
