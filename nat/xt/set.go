package xt

import (
	"strings"

	"natlab/nat/rules"
)

// Set is -m set (xt_set.c).
type Set struct {
	Not  bool
	Set  string // its name
	Dirs string // "src,dst"
	Rest string // further options, verbatim
}

// Name is "set".
func (Set) Name() string { return "set" }

// Save prints the set and its dimensions.
func (m Set) Save(p *Printer) {
	p.Option(m.Not, "--match-set", m.Set+" "+m.Dirs)
	p.Flag(m.Rest != "", m.Rest)
}

// Holds asks the World's sets.
func (m Set) Holds(v *rules.Visit) rules.Answer {
	w, ok := v.World.(rules.SetHolder)
	if !ok || m.Rest != "" {
		return rules.Unknown
	}
	var dirs []bool
	for dir := range strings.SplitSeq(m.Dirs, ",") {
		dirs = append(dirs, dir == "src")
	}
	return w.InSet(m.Set, v.Packet, dirs).Not(m.Not)
}

// Actual tells whether the set has the packet.
func (m Set) Actual(*rules.Visit) string {
	if m.Not {
		return "the set " + m.Set + " has it"
	}
	return "the set " + m.Set + " does not have it"
}
