package iptables

import (
	"fmt"
	"slices"

	"natlab/nat/rules"
	"natlab/nat/xt"
)

// What iptables -L leaves out of a rule, or prints so that it cannot be read back. A rule with one of these is no input for
// iptables-restore.
type (
	// Unlisted is a condition of which only a text is known: a host's name, the words of an extension that nobody can read.
	Unlisted struct{ Text string }
	// UnlistedDevices are the rule's -i and -o in a listing without -v: it may have them or not.
	UnlistedDevices struct{}
)

// Name is "": the text is whole.
func (Unlisted) Name() string { return "" }

// Save prints the text in brackets.
func (m Unlisted) Save(p *xt.Printer) { p.Text(" [", m.Text, "]") }

// Holds is not known.
func (Unlisted) Holds(*rules.Visit) rules.Answer { return rules.Unknown }

// Tracks is what may be: a condition that nobody can read may ask conntrack.
func (Unlisted) Tracks() bool { return true }

// Actual tells that it is not known.
func (Unlisted) Actual(*rules.Visit) string { return "what iptables -L prints does not tell" }

// Name is "": the rule may have no such condition.
func (UnlistedDevices) Name() string { return "" }

// Save prints that the devices are not known.
func (UnlistedDevices) Save(p *xt.Printer) { p.Text(" [-i, -o: not listed without -v]") }

// Holds asks for the devices of the rule at hand: what is not known of one rule tells nothing of another.
func (UnlistedDevices) Holds(v *rules.Visit) rules.Answer {
	at := v.At
	return rules.Is(v.Unknown(fmt.Sprintf("the devices of %s %s:%d, which iptables -L leaves out without -v", at.Table, at.Chain, at.Rule)), false)
}

// Actual tells that the devices are not known.
func (UnlistedDevices) Actual(*rules.Visit) string { return "the listing has no devices" }

// Unlisted reports whether a listing left a condition of the rule open, so that the rule cannot be written for
// iptables-restore.
func (r *Rule) Unlisted() bool {
	return slices.ContainsFunc(r.Matches, func(m xt.Match) bool {
		switch m.(type) {
		case Unlisted, UnlistedDevices:
			return true
		}
		return false
	})
}

// Unlisted is an error that names the first rule of which a listing left a condition open; nil where there is none, so that
// the rule set can be loaded.
func (rs Ruleset) Unlisted() error {
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			for i := range c.Rules {
				if r := &c.Rules[i]; r.Unlisted() {
					return fmt.Errorf("line %d: what iptables -L prints leaves a condition open: %s: want iptables-save", r.Line, r.Text(c.Name))
				}
			}
		}
	}
	return nil
}
