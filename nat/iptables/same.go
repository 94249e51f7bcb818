package iptables

import (
	"bytes"
	"reflect"

	"natlab/nat"
	"natlab/nat/xt"
)

// Same reports whether two rule sets are the same to every packet and every reader: the same chains in each table, with the same
// policies and the same rules in the same order. The order of chains, counters, and tables of built-in chains that hold nothing do not matter.
func (rs Ruleset) Same(o Ruleset) bool {
	c := comparison{}
	return rs.within(o, c.chains) && o.within(rs, func(*Chain, *Chain) bool { return true })
}

// within reports whether o has all chains that rs has, each the same.
func (rs Ruleset) within(o Ruleset, same func(a, b *Chain) bool) bool {
	for _, t := range rs.Tables {
		other, has := o.Table(t.Name)
		if !has {
			if t.idle() {
				continue
			}
			return false
		}
		chains := other.ByName()
		for i := range t.Chains {
			if c := chains[t.Chains[i].Name]; c == nil || !same(&t.Chains[i], c) {
				return false
			}
		}
	}
	return true
}

// idle reports whether a table has built-in chains alone, without rules, and with policies that accept.
func (t *Table) idle() bool {
	for i := range t.Chains {
		if c := &t.Chains[i]; !c.BuiltIn() || len(c.Rules) > 0 || c.Policy != "ACCEPT" {
			return false
		}
	}
	return true
}

// SameRules reports whether two chains hold the same rules in the same order, counters aside.
func SameRules(a, b []Rule) bool { return comparison{}.allRules(a, b) }

// comparison knows the types whose values Go compares without looking into interfaces.
type comparison map[reflect.Type]bool

func (c comparison) chains(a, b *Chain) bool {
	return a.Policy == b.Policy && c.allRules(a.Rules, b.Rules)
}

func (c comparison) allRules(a, b []Rule) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !c.rules(&a[i], &b[i]) {
			return false
		}
	}
	return true
}

// rules reports whether two rules have one text. Where their values are the same, which is the usual case, nothing is printed.
func (c comparison) rules(a, b *Rule) bool {
	if c.equal(a, b) {
		return true
	}
	p, q := xt.NewPrinter(nil, nat.IPv4), xt.NewPrinter(nil, nat.IPv4)
	a.print(p)
	b.print(q)
	return bytes.Equal(p.Bytes(), q.Bytes())
}

func (c comparison) equal(a, b *Rule) bool {
	if len(a.Matches) != len(b.Matches) || !c.values(a.Target, b.Target) {
		return false
	}
	for i := range a.Matches {
		if !c.values(a.Matches[i], b.Matches[i]) {
			return false
		}
	}
	return true
}

// values reports whether two values are the same. Those of which a rule set of kube-proxy's has most are compared as what they are.
func (c comparison) values(a, b xt.Value) bool {
	switch a := a.(type) {
	case nil:
		return b == nil
	case xt.Comment:
		b, ok := b.(xt.Comment)
		return ok && a == b
	case Protocol:
		b, ok := b.(Protocol)
		return ok && a == b
	case xt.Jump:
		b, ok := b.(xt.Jump)
		return ok && a == b
	case xt.Ports:
		b, ok := b.(xt.Ports)
		return ok && samePorts(a, b)
	}
	t := reflect.TypeOf(a)
	if t != reflect.TypeOf(b) {
		return false
	}
	plain, known := c[t]
	if !known {
		plain = isPlain(t)
		c[t] = plain
	}
	return plain && a == b
}

// samePorts reports whether two matches have the same ranges, and are one in all else.
func samePorts(a, b xt.Ports) bool {
	same := sameRange(a.Source, b.Source) && sameRange(a.Destination, b.Destination)
	a.Source, a.Destination, b.Source, b.Destination = nil, nil, nil, nil
	return same && a == b
}

func sameRange(a, b *xt.PortRange) bool {
	return a == b || a != nil && b != nil && *a == *b
}

// isPlain reports whether == of a type's values cannot panic: what is equal has one text then.
func isPlain(t reflect.Type) bool {
	if t.Kind() == reflect.Array {
		return isPlain(t.Elem())
	}
	if t.Kind() == reflect.Struct {
		for f := range t.Fields() {
			if !isPlain(f.Type) {
				return false
			}
		}
		return true
	}
	return t.Comparable() && t.Kind() != reflect.Interface
}
