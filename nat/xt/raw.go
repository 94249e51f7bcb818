package xt

import (
	"strings"

	"natlab/nat"
	"natlab/nat/rules"
)

// RawMatch is a match without a row: its options are kept as they were written.
type RawMatch struct{ Extension, Options string }

// RawTarget is a target without a row: its options are kept as they were written.
type RawTarget struct{ Extension, Options string }

// Name is the extension's.
func (m RawMatch) Name() string { return m.Extension }

// Save prints the options as they were written.
func (m RawMatch) Save(p *Printer) { saveRaw(p, m.Options) }

// Holds is not known.
func (RawMatch) Holds(*rules.Visit) rules.Answer { return rules.Unknown }

// Actual tells that it is not known.
func (RawMatch) Actual(*rules.Visit) string { return "natlab does not know the match" }

// Name is the extension's.
func (t RawTarget) Name() string { return t.Extension }

// Save prints the options as they were written.
func (t RawTarget) Save(p *Printer) { saveRaw(p, t.Options) }

// Act is open: the packet may be dropped or go on.
func (t RawTarget) Act(*rules.Visit) rules.Action {
	return rules.Action{Verdict: nat.Drop, Else: nat.Continue, Open: strings.TrimSuffix("-j "+t.Extension+" "+t.Options, " ")}
}

func saveRaw(p *Printer, options string) { p.Flag(options != "", options) }
