package xt

import "natlab/nat/rules"

// NoTrack is -j CT --notrack, or -j NOTRACK (xt_CT.c).
type NoTrack struct{ Legacy bool }

// Name is "CT", or "NOTRACK" for the old target.
func (t NoTrack) Name() string {
	if t.Legacy {
		return "NOTRACK"
	}
	return "CT"
}

// Save prints --notrack.
func (t NoTrack) Save(p *Printer) { p.Flag(!t.Legacy, "--notrack") }

// Act keeps conntrack from the packet; what has a connection already keeps it (notrack_tg).
func (NoTrack) Act(v *rules.Visit) rules.Action {
	if !v.Tracked() && !v.Attached {
		v.State = rules.Untracked
	}
	return rules.Continue()
}
