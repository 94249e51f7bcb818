package xt

import (
	"natlab/nat"
	"natlab/nat/rules"
)

// Reject is -j REJECT (ipt_REJECT.c, ip6t_REJECT.c).
type Reject struct{ With string } // "icmp-port-unreachable", "tcp-reset", ...

// Name is "REJECT".
func (Reject) Name() string { return "REJECT" }

// Save prints the answer.
func (t Reject) Save(p *Printer) { p.Option(false, "--reject-with", t.With) }

// Act drops the packet and answers it.
func (t Reject) Act(*rules.Visit) rules.Action {
	return rules.Action{Verdict: nat.Reject, Effect: &rules.Rejection{With: t.With}}
}
