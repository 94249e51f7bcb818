package main

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"natlab/nat"
)

// printable is a text with its control characters written out, but for newlines and tabs: names and comments come from files of others, and a
// terminal would obey them.
func printable(text string) string {
	obeyed := func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }
	if !strings.ContainsFunc(text, obeyed) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if obeyed(r) {
			fmt.Fprintf(&b, `\x%02x`, r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// printableWays are ways whose texts of rules and names are printable: what draws them adds colours of its own.
func printableWays(all nat.Prediction) nat.Prediction {
	all = slices.Clone(all)
	for i := range all {
		o := &all[i]
		o.Where, o.Why, o.Server = printable(o.Where), printable(o.Why), printable(o.Server)
		for _, j := range []*nat.Journey{&o.Request, &o.Reply} {
			j.Hops, j.Steps = slices.Clone(j.Hops), slices.Clone(j.Steps)
			for k := range j.Hops {
				j.Hops[k].Dev, j.Hops[k].Node = printable(j.Hops[k].Dev), printable(j.Hops[k].Node)
			}
			for k := range j.Steps {
				s := &j.Steps[k]
				s.Text, s.Brief, s.Action, s.Why = printable(s.Text), printable(s.Brief), printable(s.Action), printable(s.Why)
				s.Chain, s.Target, s.Node = printable(s.Chain), printable(s.Target), printable(s.Node)
			}
		}
		o.Assumed, o.Unknown = slices.Clone(o.Assumed), slices.Clone(o.Unknown)
		for k := range o.Assumed {
			o.Assumed[k].What = printable(o.Assumed[k].What)
		}
		for k := range o.Unknown {
			o.Unknown[k] = printable(o.Unknown[k])
		}
	}
	return all
}
