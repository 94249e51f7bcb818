package xt

import (
	"strings"

	"natlab/nat"
	"natlab/nat/rules"
)

// Passive is a target that lets the packet go on as it is: LOG, NFLOG, TRACE, AUDIT, CHECKSUM and their like.
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

// QueueTo is -j NFQUEUE (xt_NFQUEUE.c).
type QueueTo struct{ Options string }

// Name is "NFQUEUE".
func (QueueTo) Name() string { return "NFQUEUE" }

// Save prints the options.
func (t QueueTo) Save(p *Printer) { p.Flag(t.Options != "", t.Options) }

// Act hands the packet to a program.
func (QueueTo) Act(*rules.Visit) rules.Action { return rules.Action{Verdict: nat.Queue} }

// TProxy is -j TPROXY (xt_TPROXY.c).
type TProxy struct{ Options string }

// Name is "TPROXY".
func (TProxy) Name() string { return "TPROXY" }

// Save prints the options.
func (t TProxy) Save(p *Printer) { p.Flag(t.Options != "", t.Options) }

// Act is open: whether a socket takes the packet is not known.
func (t TProxy) Act(*rules.Visit) rules.Action {
	return rules.Action{Verdict: nat.Accept, Else: nat.Continue, Open: strings.TrimSuffix("-j TPROXY "+t.Options, " ")}
}
