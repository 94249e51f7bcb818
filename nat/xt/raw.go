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

// Tracks is that of the target's row. A target or a chain that nothing is known of is taken for one that makes the kernel
// track connections.
func (t RawTarget) Tracks() bool {
	for _, f := range []nat.Family{nat.IPv4, nat.IPv6} {
		if x, ok := Find(t.Extension, TargetKind, f); ok {
			return x.Tracks
		}
	}
	return true
}

// Act is what is known of the target by its name. One that translates does so, to what nobody can read; one that only looks
// at the packet, or changes it, goes on. Another one decides about the packet, or goes on.
func (t RawTarget) Act(v *rules.Visit) rules.Action {
	text := strings.TrimSuffix("-j "+t.Extension+" "+t.Options, " ")
	switch t.Extension {
	case "DNAT", "SNAT", "MASQUERADE", "REDIRECT", "NETMAP":
		return rules.Action{Verdict: nat.Accept, Effect: &rules.Open{Why: text + ": to what it translates is not known"}}
	case "AUDIT", "CHECKSUM", "CLASSIFY", "CONNMARK", "CONNSECMARK", "CT", "DSCP", "ECN", "HL", "HMARK", "IDLETIMER", "LED", "LOG", "MARK", "NFLOG",
		"RATEEST", "SECMARK", "SET", "TCPMSS", "TCPOPTSTRIP", "TEE", "TOS", "TRACE", "TTL", "ULOG":
		return rules.Continue()
	}
	if v.Unknown(text + " decides about the packet") {
		return rules.Action{Verdict: nat.Accept, Effect: &rules.Open{Why: text + ": what it does is not known"}}
	}
	return rules.Continue()
}

func saveRaw(p *Printer, options string) { p.Flag(options != "", options) }
