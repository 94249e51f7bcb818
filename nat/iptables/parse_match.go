package iptables

import (
	"math"
	"net/netip"
	"strconv"
	"strings"

	"natlab/nat/xt"
)

// extensions are the matches that are read into a type of their own. A parser takes the options it knows and stops at
// the first other word; ok is false where what it took says more than the type can hold.
var extensions = map[string]func(c *cursor) (m xt.Match, ok bool, err error){
	"mark":      parseMark,
	"comment":   parseComment,
	"statistic": parseStatistic,
	"recent":    parseRecent,
	"limit":     parseLimit,
	"set":       parseSet,
	"nfacct":    parseNFAcct,
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

func (c *cursor) number32(option string) (uint32, error) {
	text, err := c.value(option)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(text, 0, 32)
	if err != nil {
		return 0, c.errorf("%s %s: want a number of 32 bits", option, text)
	}
	return uint32(n), nil
}

// valueMask reads VALUE[/MASK].
func (c *cursor) valueMask(option string) (value, mask uint32, err error) {
	text, err := c.value(option)
	if err != nil {
		return 0, 0, err
	}
	first, second, both := strings.Cut(text, "/")
	v, err1 := strconv.ParseUint(first, 0, 32)
	m := uint64(math.MaxUint32)
	var err2 error
	if both {
		m, err2 = strconv.ParseUint(second, 0, 32)
	}
	if err1 != nil || err2 != nil {
		return 0, 0, c.errorf("%s %s: want VALUE[/MASK] of 32 bits", option, text)
	}
	return uint32(v), uint32(m), nil
}

func parseMark(c *cursor) (xt.Match, bool, error) {
	if c.peekOption() != "--mark" {
		return nil, false, nil
	}
	option, not := c.option()
	v, mask, err := c.valueMask(option)
	return xt.Mark{Not: not, Value: v, Mask: mask}, true, err
}

func parseComment(c *cursor) (xt.Match, bool, error) {
	if c.peek() != "--comment" {
		return nil, false, nil
	}
	c.option()
	text, err := c.text("--comment")
	return xt.Comment{Text: text}, true, err
}

func parseNFAcct(c *cursor) (xt.Match, bool, error) {
	if c.peek() != "--nfacct-name" {
		return nil, false, nil
	}
	c.option()
	name, err := c.value("--nfacct-name")
	return xt.NFAcct{Object: name}, true, err
}

func parseStatistic(c *cursor) (xt.Match, bool, error) {
	var m xt.Statistic
	mode := ""
	for {
		var err error
		switch c.peekOption() {
		case "--mode":
			c.option()
			mode, err = c.value("--mode")
		case "--probability":
			_, m.Not = c.option()
			m.Probability, err = c.probability()
		case "--every":
			_, m.Not = c.option()
			m.Every, err = c.number32("--every")
		case "--packet":
			c.option()
			m.Packet, err = c.number32("--packet")
		default:
			return m, mode == "random" && m.Every == 0 || mode == "nth" && m.Every != 0, nil
		}
		if err != nil {
			return nil, false, err
		}
	}
}

// probability reads a decimal fraction as libxt_statistic does: rounded to a multiple of 2^-31.
func (c *cursor) probability() (uint32, error) {
	text, err := c.value("--probability")
	if err != nil {
		return 0, err
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || f < 0 || f > 1 || math.IsNaN(f) {
		return 0, c.errorf("--probability %s: want 0 to 1", text)
	}
	return uint32(math.Round(f * (1 << 31))), nil
}

func parseRecent(c *cursor) (xt.Match, bool, error) {
	var m xt.Recent
	acted := false
	for {
		var err error
		switch option := c.peekOption(); option {
		case "--set", "--rcheck", "--update", "--remove":
			_, m.Not = c.option()
			acted = true
			for i, name := range []string{"--set", "--rcheck", "--update", "--remove"} {
				if name == option {
					m.Action = xt.RecentAction(i)
				}
			}
		case "--seconds":
			c.option()
			m.Seconds, err = c.number32(option)
		case "--hitcount":
			c.option()
			m.HitCount, err = c.number32(option)
		case "--reap":
			c.option()
			m.Reap = true
		case "--rttl":
			c.option()
			m.TTL = true
		case "--name":
			c.option()
			m.List, err = c.value(option)
		case "--mask":
			c.option()
			m.Mask, err = c.address(option)
		case "--rsource", "--rdest":
			c.option()
			m.ByDest = option == "--rdest"
		default:
			return m, acted, nil
		}
		if err != nil {
			return nil, false, err
		}
	}
}

func (c *cursor) address(option string) (netip.Addr, error) {
	text, err := c.value(option)
	if err != nil {
		return netip.Addr{}, err
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}, c.errorf("%s %s: want an address", option, text)
	}
	return a, nil
}

func parseLimit(c *cursor) (xt.Match, bool, error) {
	m := xt.Limit{Burst: 5}
	for {
		var err error
		switch c.peekOption() {
		case "--limit":
			c.option()
			m.Rate, err = c.value("--limit")
		case "--limit-burst":
			c.option()
			m.Burst, err = c.number32("--limit-burst")
		default:
			return m, m.Rate != "", nil
		}
		if err != nil {
			return nil, false, err
		}
	}
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
