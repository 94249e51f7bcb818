package xt

import (
	"fmt"
	"slices"
	"strings"

	"natlab/nat"
)

// Hooks is a set of hooks.
type Hooks uint8

// HooksOf is the set of some hooks.
func HooksOf(hooks ...nat.Hook) (s Hooks) {
	for _, h := range hooks {
		s |= 1 << h
	}
	return s
}

// String is the hooks' chains: "INPUT and FORWARD".
func (s Hooks) String() string {
	var out []string
	for _, h := range nat.Hooks() {
		if s&HooksOf(h) != 0 {
			out = append(out, h.String())
		}
	}
	if last := len(out) - 1; last > 0 {
		return strings.Join(out[:last], ", ") + " and " + out[last]
	}
	return strings.Join(out, "")
}

// The hooks where a packet has come in by a device, and those where it will leave by one.
var (
	cameIn = HooksOf(nat.PreRouting, nat.Input, nat.Forward)
	leaves = HooksOf(nat.Forward, nat.Output, nat.PostRouting)
)

// hooked is a value whose options decide which hooks it goes with.
type hooked interface{ Hooks() Hooks }

// Misplaced tells why the kernel refuses a rule with a value in a chain of a table that some hooks lead to; "" where it takes
// the rule (xt_check_match, xt_check_target and the extensions' own checks; nft_compat asks the same).
func Misplaced(v Value, f nat.Family, table string, from Hooks) string {
	kind, flag := MatchKind, "-m"
	if _, ok := v.(Target); ok {
		kind, flag = TargetKind, "-j"
	}
	x, ok := Find(v.Name(), kind, f)
	if !ok || x.Native {
		return ""
	}
	if len(x.Tables) > 0 && !slices.Contains(x.Tables, table) {
		return fmt.Sprintf("%s %s goes into table %s only, this is table %s", flag, v.Name(), strings.Join(x.Tables, " or "), table)
	}
	only := x.Hooks
	if h, ok := v.(hooked); ok {
		only = h.Hooks()
	}
	if only == 0 || from&^only == 0 {
		return ""
	}
	p := NewPrinter(nil, f)
	if x.Hooks != only {
		v.Save(p)
	}
	return fmt.Sprintf("%s %s%s goes with %s only, packets come here from %s", flag, v.Name(), p, only, from&^only)
}
