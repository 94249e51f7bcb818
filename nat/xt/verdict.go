package xt

import (
	"natlab/nat"
	"natlab/nat/rules"
)

// The targets that x_tables itself brings, and calls of chains. They have no row: they take no option.
type (
	// Accept is -j ACCEPT.
	Accept struct{}
	// Drop is -j DROP.
	Drop struct{}
	// Return is -j RETURN: back to the calling chain, or to the policy of a built-in one.
	Return struct{}
	// Jump is -j CHAIN.
	Jump struct{ Chain string }
	// Goto is -g CHAIN.
	Goto struct{ Chain string }
)

// Name is "ACCEPT".
func (Accept) Name() string { return "ACCEPT" }

// Save prints no option.
func (Accept) Save(*Printer) {}

// Act accepts.
func (Accept) Act(*rules.Visit) rules.Action { return rules.Action{Verdict: nat.Accept} }

// Name is "DROP".
func (Drop) Name() string { return "DROP" }

// Save prints no option.
func (Drop) Save(*Printer) {}

// Act drops.
func (Drop) Act(*rules.Visit) rules.Action { return rules.Action{Verdict: nat.Drop} }

// Name is "RETURN".
func (Return) Name() string { return "RETURN" }

// Save prints no option.
func (Return) Save(*Printer) {}

// Act returns.
func (Return) Act(*rules.Visit) rules.Action { return rules.Action{Verdict: nat.Return} }

// Name is the chain's.
func (t Jump) Name() string { return t.Chain }

// Save prints no option.
func (Jump) Save(*Printer) {}

// Act jumps.
func (Jump) Act(*rules.Visit) rules.Action { return rules.Action{Verdict: nat.Jump} }

// Name is the chain's.
func (t Goto) Name() string { return t.Chain }

// Save prints no option.
func (Goto) Save(*Printer) {}

// Act goes to the chain.
func (Goto) Act(*rules.Visit) rules.Action { return rules.Action{Verdict: nat.Goto} }
