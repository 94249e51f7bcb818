package xtables

import "fmt"

// Policy is ACCEPT or DROP for a built-in chain, and "-" for another.
func (c Chain) Policy() string {
	if !c.BuiltIn {
		return "-"
	}
	return c.Tail.VerdictName()
}

// Counters are those of the policy, which are its entry's; a user chain has none.
func (c Chain) Counters() (packets, bytes uint64) {
	if !c.BuiltIn {
		return 0, 0
	}
	return c.Tail.Packets, c.Tail.Bytes
}

var verdictNames = map[int32]string{VerdictDrop: "DROP", VerdictAccept: "ACCEPT", VerdictQueue: "QUEUE", VerdictReturn: "RETURN"}

// Verdict is what a standard target that jumps nowhere decides.
func (e Entry) Verdict() int32 { return int32(order.Uint32(e.Target.Data)) }

// VerdictName is the standard verdict by its name: "ACCEPT", or "verdict(7)" for one without.
func (e Entry) VerdictName() string {
	if name, ok := verdictNames[e.Verdict()]; ok {
		return name
	}
	return fmt.Sprintf("verdict(%d)", e.Verdict())
}
