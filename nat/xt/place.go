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

// hooked is a value whose options decide which hooks it goes with; 0 is any.
type hooked interface{ Hooks() Hooks }

// tabled is a value whose options decide which tables it goes into; none is any of its row's.
type tabled interface{ Tables() []string }

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
	tables, options := x.Tables, ""
	if t, ok := v.(tabled); ok && len(t.Tables()) > 0 {
		tables, options = t.Tables(), saved(v, f)
	}
	if len(tables) > 0 && !slices.Contains(tables, table) {
		return fmt.Sprintf("%s %s%s goes into table %s only, this is table %s", flag, v.Name(), options, strings.Join(tables, " or "), table)
	}
	only := x.Hooks
	if h, ok := v.(hooked); ok {
		only = h.Hooks()
	}
	if only == 0 || from&^only == 0 {
		return ""
	}
	if x.Hooks != only {
		options = saved(v, f)
	}
	return fmt.Sprintf("%s %s%s goes with %s only, packets come here from %s", flag, v.Name(), options, only, from&^only)
}

// saved is a value's options as iptables-save prints them.
func saved(v Value, f nat.Family) string {
	p := NewPrinter(nil, f)
	v.Save(p)
	return p.String()
}
