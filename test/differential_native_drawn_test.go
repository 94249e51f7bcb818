package test

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"natlab/nat"
)

// nativeTable is a table that is being drawn.
type nativeTable struct {
	drawn
	name string          // with its family: "inet t1"
	sets map[string]bool // that its rules ask for, and other objects
}

// nativeKind is what a chain's rules may do, by the base chains that lead to it.
type nativeKind struct {
	hooks []string // of base chains
	calls []string // chains of its own kind that it may lead to
	nat   string   // "dst" at prerouting and output, "src" at postrouting, "in" at input
	early bool     // in front of conntrack
	back  bool     // the way back of the packet may be asked for
}

// nativePriorities are those that chains of type filter are drawn with, some of them those of conntrack's neighbours and of NAT.
var nativePriorities = []int{-300, -300, -225, -150, -150, -101, -100, -100, -99, 0, 0, 0, 1, 50, 99, 100, 100, 101, 225, 300}

// nativeBase is a base chain that is being drawn.
type nativeBase struct {
	table *nativeTable
	name  string
	head  string
	kind  nativeKind
}

// nativeRules draws tables with their chains, in an order of its own.
func (d drawn) nativeRules() nativeRules {
	var tables []*nativeTable
	var bases []nativeBase
	own := "ip"
	if d.family == nat.IPv6 {
		own = "ip6"
	}
	for i := range 1 + d.n(3) {
		t := &nativeTable{drawn: d, name: fmt.Sprintf("%s t%d", pick(d, []string{own, own, "inet"}), i), sets: map[string]bool{}}
		tables = append(tables, t)
		for j := range 1 + d.n(4) {
			bases = append(bases, t.base(fmt.Sprintf("b%d", j)))
		}
	}
	for i := range bases { // chains register in another order than their tables are there
		j := i + d.n(len(bases)-i)
		bases[i], bases[j] = bases[j], bases[i]
	}
	var b strings.Builder
	rs := nativeRules{listed: d.chance(2)}
	body := d.nativeBodies(tables, bases)
	first := slices.IndexFunc(bases, func(b nativeBase) bool { return b.kind.nat != "" }) // with which NAT registers, once
	for _, t := range tables {
		fmt.Fprintf(&b, "add table %s\n", t.name)
	}
	for i, c := range bases {
		fmt.Fprintf(&b, "add chain %s %s { %s }\n", c.table.name, c.name, c.head)
		rs.order = append(rs.order, c.table.name+" "+c.name)
		if again := d.n(max(i, 1)); again < i && again != first && d.chance(6) { // an earlier one registers anew
			again := bases[again]
			at := again.table.name + " " + again.name
			fmt.Fprintf(&b, "delete chain %s\nadd chain %s { %s }\n", at, at, again.head)
			rs.order = append(slices.DeleteFunc(rs.order, func(o string) bool { return o == at }), at)
		}
	}
	rs.text = b.String() + body
	return rs
}

// nativeBodies are the tables' other chains, their sets, and all rules.
func (d drawn) nativeBodies(tables []*nativeTable, bases []nativeBase) string {
	var body, decls strings.Builder
	for _, t := range tables {
		for _, kind := range []nativeKind{{}, {nat: "dst"}, {nat: "src"}} {
			all := kind.chains()
			for i, name := range all {
				kind.calls = all[i+1:]
				fmt.Fprintf(&decls, "add chain %s %s\n", t.name, name)
				t.rules(&body, name, kind)
			}
		}
	}
	for _, c := range bases {
		c.table.rules(&body, c.name, c.kind)
	}
	for _, t := range tables {
		for _, name := range slices.Sorted(maps.Keys(t.sets)) {
			decls.WriteString(t.declared(name))
		}
	}
	return decls.String() + body.String()
}

// chains are the names of the chains that are no base chains, those of a kind.
func (k nativeKind) chains() []string {
	switch k.nat {
	case "dst":
		return []string{"d1", "d2"}
	case "src":
		return []string{"s1", "s2"}
	case "in":
		return nil
	}
	return []string{"p1", "p2", "p3"}
}

// leaves reports whether packets have a route in the chain, as the kernel wants it of rules that ask for its MTU.
func (k nativeKind) leaves() bool {
	return len(k.hooks) > 0 && slices.Contains([]string{"forward", "output", "postrouting"}, k.hooks[0])
}

func (t *nativeTable) rules(b *strings.Builder, chain string, k nativeKind) {
	for range t.n(5) {
		fmt.Fprintf(b, "add rule %s %s%s\n", t.name, chain, t.rule(k))
	}
}

// base draws a base chain.
func (t *nativeTable) base(name string) nativeBase {
	c := nativeBase{table: t, name: name}
	hook := pick(t.drawn, []string{"prerouting", "input", "forward", "output", "postrouting"})
	kind, priority := "filter", pick(t.drawn, nativePriorities)
	switch pick(t.drawn, []string{"filter", "filter", "nat", "nat", "route"}) {
	case "nat":
		if hook == "forward" {
			hook = "prerouting"
		}
		kind = "nat"
		c.kind.nat = map[string]string{"prerouting": "dst", "output": "dst", "postrouting": "src", "input": "in"}[hook]
		priority = pick(t.drawn, map[string][]int{"dst": {-100, -100, -100, -90, -110, 0}, "src": {100, 100, 100, 90, 0}, "in": {100, 100, 50}}[c.kind.nat])
	case "route":
		hook, kind = "output", "route"
	}
	c.kind.hooks, c.kind.early = []string{hook}, priority <= -200
	c.kind.back = hook == "prerouting" || hook == "input" || hook == "forward"
	c.kind.calls = c.kind.chains()
	policy := "accept"
	if kind != "nat" && t.chance(12) {
		policy = "drop"
	}
	c.head = fmt.Sprintf("type %s hook %s priority %d; policy %s;", kind, hook, priority, policy)
	return c
}

// rule draws a rule.
func (t *nativeTable) rule(k nativeKind) string {
	var b strings.Builder
	for range pick(t.drawn, []int{0, 1, 1, 1, 2, 2, 3}) {
		b.WriteString(" " + t.match(k))
	}
	if t.chance(4) {
		b.WriteString(" counter")
	}
	if t.chance(4) {
		b.WriteString(" " + t.change(k))
	}
	end := t.end(k)
	if end != "" {
		end = " " + end
	}
	if b.Len()+len(end) == 0 {
		return " counter"
	}
	return b.String() + end
}

// ip and the ones below it are words of the family.
func (t *nativeTable) ip() string {
	if t.family == nat.IPv6 {
		return "ip6"
	}
	return "ip"
}

func (t *nativeTable) addrType() string {
	if t.family == nat.IPv6 {
		return "ipv6_addr"
	}
	return "ipv4_addr"
}

func (t *nativeTable) addr(v4 string) string { return addressIn(t.family, v4).String() }

func (t *nativeTable) prefix(v4 string) string { return prefixIn(t.family, v4).String() }

func (t *nativeTable) anyAddr() string {
	return t.addr(pick(t.drawn, slices.Concat(sourcePool, destPool)))
}

func (t *nativeTable) anyPort() string { return fmt.Sprint(pick(t.drawn, portPool)) }

func (t *nativeTable) side() string { return pick(t.drawn, []string{"saddr", "daddr"}) }

func (t *nativeTable) isnt() string {
	if t.chance(4) {
		return "!= "
	}
	return ""
}

// some are up to four different ones of a list, in its order.
func some(d drawn, from []string) string {
	n := 1 + d.n(min(4, len(from)))
	start := d.n(len(from) - n + 1)
	return strings.Join(from[start:start+n], ", ")
}

// set refers to a set of the table.
func (t *nativeTable) set(name string) string {
	t.sets[name] = true
	return "@" + name
}

// nets are networks and ranges that do not overlap.
func (t *nativeTable) nets() []string {
	return []string{
		t.addr("10.0.0.0") + "-" + t.addr("10.0.0.20"), t.addr("10.0.0.21"), t.prefix("10.96.0.0/31"), t.prefix("10.244.0.0/16"), t.prefix("192.168.1.8/30"), t.prefix("203.0.113.0/29"),
	}
}

// ports are ports and ranges that do not overlap.
var nativePorts = []string{"1-79", "80", "443-600", "1000", "8080-30080", "40000"}
