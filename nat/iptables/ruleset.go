package iptables

import (
	"slices"

	"natlab/nat"
	"natlab/nat/xt"
)

// Ruleset is what iptables-save prints: the tables of one family, each with its chains and rules, in its order.
type Ruleset struct {
	Family nat.Family
	Tables []Table
}

// Table is one table: "raw", "mangle", "nat", "filter" or "security".
type Table struct {
	Name   string
	Chains []Chain
}

// Chain is a chain of a table.
type Chain struct {
	Name    string
	Policy  string // "ACCEPT" or "DROP" for a built-in chain; "-" for a user chain, as iptables-save prints it
	Packets uint64 // that met the policy
	Bytes   uint64
	Rules   []Rule
}

// BuiltIn reports whether a hook calls the chain.
func (c Chain) BuiltIn() bool { return c.Policy != "-" }

// Rule is one rule: when all its matches hold, its target is used.
type Rule struct {
	Matches []xt.Match
	Target  xt.Target // nil for a rule without one, which counts the packet and goes on
	Packets uint64    // that matched, as iptables-save -c prints it
	Bytes   uint64
	Line    int // of the text it was parsed from, 1 for the first; 0 for a rule that was not parsed
}

// Table returns the table of that name.
func (rs Ruleset) Table(name string) (Table, bool) {
	for _, t := range rs.Tables {
		if t.Name == name {
			return t, true
		}
	}
	return Table{}, false
}

// Chain returns the chain of that name.
func (t Table) Chain(name string) (Chain, bool) {
	for _, c := range t.Chains {
		if c.Name == name {
			return c, true
		}
	}
	return Chain{}, false
}

// ByName are the chains by their names, for who looks for many of a large table: what Chain finds. They are the table's own.
func (t Table) ByName() map[string]*Chain {
	out := make(map[string]*Chain, len(t.Chains))
	for i := range slices.Backward(t.Chains) {
		out[t.Chains[i].Name] = &t.Chains[i]
	}
	return out
}

// Clone is a copy that shares no slice with rs; matches and targets are values and are never changed.
func (rs Ruleset) Clone() Ruleset {
	out := Ruleset{Family: rs.Family, Tables: make([]Table, len(rs.Tables))}
	for i, t := range rs.Tables {
		out.Tables[i] = Table{Name: t.Name, Chains: make([]Chain, len(t.Chains))}
		for j, c := range t.Chains {
			c.Rules = append([]Rule(nil), c.Rules...)
			out.Tables[i].Chains[j] = c
		}
	}
	return out
}
