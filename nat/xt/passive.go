package xt

import "natlab/nat/rules"

// Passive is a target that lets the packet go on as it is: CHECKSUM.
type Passive struct {
	Target  string
	Options string // as printed
}

// Name is the target's.
func (t Passive) Name() string { return t.Target }

// Save prints the options.
func (t Passive) Save(p *Printer) { p.Flag(t.Options != "", t.Options) }

// Act goes on.
func (Passive) Act(*rules.Visit) rules.Action { return rules.Continue() }
