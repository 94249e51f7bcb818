package nftables

import (
	"slices"
	"time"

	"natlab/nat"
)

// Ruleset is all tables of a namespace, in the order in which nft lists them.
type Ruleset struct{ Tables []Table }

// Table is a table of one family.
type Table struct {
	Family  Family
	Name    string
	Comment string
	Flags   []string // "dormant": its base chains are not called
	Managed bool     // iptables-nft manages it, as nft warns
	Objects []Object
	Sets    []Set // and maps
	Chains  []Chain
}

// Family is the family of a table, as nft writes it.
type Family string

// The families. Inet's rules meet IPv4 and IPv6; the others do not meet what a router forwards or a process sends by IP.
const (
	IP     Family = "ip"
	IP6    Family = "ip6"
	Inet   Family = "inet"
	ARP    Family = "arp"
	Bridge Family = "bridge"
	Netdev Family = "netdev"
)

// FamilyOf is the family of tables for addresses of a family.
func FamilyOf(f nat.Family) Family {
	if f == nat.IPv6 {
		return IP6
	}
	return IP
}

// Has reports whether packets of a family meet the rules of such a table.
func (f Family) Has(of nat.Family) bool { return f == Inet || f == FamilyOf(of) }

// Chain is a chain; one with a Base is called by a hook.
type Chain struct {
	Name    string
	Comment string
	Base    *Base // nil for one that only rules call
	Rules   []Rule
}

// Base is what a base chain registers with.
type Base struct {
	Type     ChainType
	Hook     string   // "prerouting", "input", "forward", "output", "postrouting", "ingress", "egress"
	Devices  []string // of an ingress or egress hook
	Priority int      // a smaller one is called first
	Drop     bool     // the policy is drop, not accept
	// Registered orders base chains of one hook and priority: the one with the highest was registered last, and is called first
	// (nf_hook_entries_grow). Listings do not tell it; a parsed one has them in its own order, as after `nft -f` of it.
	Registered int
}

// ChainType is the type of a base chain: "filter", "nat" or "route".
type ChainType string

// The types.
const (
	FilterChain ChainType = "filter"
	NATChain    ChainType = "nat"   // is asked for the first packet of a connection alone
	RouteChain  ChainType = "route" // finds another route for what it changed
)

// NatHook is the hook where packets of IP meet the chain; false for one of another kind.
func (b *Base) NatHook() (nat.Hook, bool) {
	i := slices.Index(hookNames[:], b.Hook)
	return nat.Hook(max(i, 0)), i >= 0
}

// HookName is nft's name of a hook.
func HookName(h nat.Hook) string { return hookNames[h] }

var hookNames = [...]string{"prerouting", "input", "forward", "output", "postrouting"}

// Rule is one rule: its statements are carried out from left to right until a match does not hold.
type Rule struct {
	Statements []Statement
	Comment    string
	Handle     uint64 // 0 where it is not told
	Line       int    // of the text it was parsed from, from 1; 0 for a rule that was not parsed
}

// Set is a named set; with Data or a verdict a map.
type Set struct {
	Name       string
	Comment    string
	Key        []Type // of the parts of a concatenation
	Typeof     string // what it was declared by in place of types: "ip saddr . tcp dport"; "" for types
	Map        bool   //
	Data       []Type // of a map: one Verdict for a verdict map, the parts of a concatenation
	DataTypeof string //
	// DataInterval tells that a map leads to ranges.
	DataInterval bool
	Object       string      // of a map to objects: "counter", "quota"; "" else
	Flags        []string    // "constant", "interval", "dynamic", "timeout"
	Memory       bool        // policy memory
	Size         int         // 0: not bounded
	Statements   []Statement // that each element has: counter
	Timeout      time.Duration
	GCInterval   time.Duration
	AutoMerge    bool
	Elements     []Element
}

// Has reports whether the set has a flag.
func (s *Set) Has(flag string) bool { return slices.Contains(s.Flags, flag) }

// Element is one element of a set or a map.
type Element struct {
	Key        []Constant // the parts of a concatenation; one that is Any matches what no other element does
	Data       []Constant // of a map
	Verdict    *Verdict   // of a verdict map
	Statements []Statement
	Timeout    time.Duration
	Expires    time.Duration // that it has left, as far as it is told
	Comment    string
	Object     string // of a map to objects, its name
}

// Object is a named object of a table, such as a counter. What it is of beyond its name is kept as text.
type Object struct {
	Kind  string // "counter", "quota", "limit", "ct helper", "ct timeout", "ct expectation", "secmark", "synproxy", "flowtable"
	Name  string
	Lines []string // of its block
}

// Table returns the table of a family and name.
func (rs Ruleset) Table(f Family, name string) (Table, bool) {
	i := slices.IndexFunc(rs.Tables, func(t Table) bool { return t.Family == f && t.Name == name })
	if i < 0 {
		return Table{}, false
	}
	return rs.Tables[i], true
}

// Chain returns the chain of that name.
func (t Table) Chain(name string) (Chain, bool) {
	i := slices.IndexFunc(t.Chains, func(c Chain) bool { return c.Name == name })
	if i < 0 {
		return Chain{}, false
	}
	return t.Chains[i], true
}

// Set returns the set or map of that name.
func (t Table) Set(name string) (*Set, bool) {
	i := slices.IndexFunc(t.Sets, func(s Set) bool { return s.Name == name })
	if i < 0 {
		return nil, false
	}
	return &t.Sets[i], true
}
