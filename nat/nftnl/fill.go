package nftnl

import (
	"slices"
	"strings"

	"natlab/nat/nftables"
)

// Unread reports whether a dumped rule set has something that this package does not read, and the nft program may.
func Unread(rs nftables.Ruleset) bool {
	for i := range rs.Tables {
		t := &rs.Tables[i]
		if slices.ContainsFunc(t.Objects, unreadObject) || slices.ContainsFunc(t.Sets, unreadSet) {
			return true
		}
		for _, c := range t.Chains {
			if slices.ContainsFunc(c.Rules, unreadRule) {
				return true
			}
		}
	}
	return false
}

// Fill is a dumped rule set with what the nft program has listed, handles and all, in place of each rule, set and object that this package does not
// read. The others stay as they are: of a rule that asks twice what a packet is a listing may leave one condition out, and is then of other packets.
func Fill(read, listed nftables.Ruleset) nftables.Ruleset {
	out := nftables.Ruleset{Tables: slices.Clone(read.Tables)}
	for i := range out.Tables {
		t := &out.Tables[i]
		at := slices.IndexFunc(listed.Tables, func(o nftables.Table) bool { return o.Family == t.Family && o.Name == t.Name })
		if at < 0 {
			continue
		}
		from := &listed.Tables[at]
		t.Chains, t.Sets, t.Objects = slices.Clone(t.Chains), slices.Clone(t.Sets), slices.Clone(t.Objects)
		for k := range t.Sets {
			if s, has := from.Set(t.Sets[k].Name); has && unreadSet(t.Sets[k]) {
				t.Sets[k] = *s
			}
		}
		for k, o := range t.Objects {
			if at := slices.IndexFunc(from.Objects, func(l nftables.Object) bool { return l.Name == o.Name }); at >= 0 && unreadObject(o) {
				t.Objects[k] = from.Objects[at]
			}
		}
		for k := range t.Chains {
			if c, has := from.Chain(t.Chains[k].Name); has {
				t.Chains[k].Rules = filled(t.Chains[k].Rules, c.Rules)
			}
		}
	}
	return out
}

func filled(rules, listed []nftables.Rule) []nftables.Rule {
	out := slices.Clone(rules)
	for i, r := range out {
		if !unreadRule(r) {
			continue
		}
		if at := slices.IndexFunc(listed, func(l nftables.Rule) bool { return l.Handle == r.Handle }); at >= 0 && r.Handle != 0 {
			out[i] = listed[at]
		}
	}
	return out
}

func unreadObject(o nftables.Object) bool { return strings.HasPrefix(o.Kind, "[") }

func unreadSet(s nftables.Set) bool {
	is := func(t nftables.Type) bool { return t == nftables.Untold }
	return slices.ContainsFunc(s.Key, is) || slices.ContainsFunc(s.Data, is) || slices.ContainsFunc(s.Statements, unreadStatement) ||
		slices.ContainsFunc(s.Elements, unreadElement)
}

func unreadElement(e nftables.Element) bool {
	is := func(c nftables.Constant) bool { return c.Type == nftables.Untold }
	return slices.ContainsFunc(e.Key, is) || slices.ContainsFunc(e.Data, is) || slices.ContainsFunc(e.Statements, unreadStatement)
}

func unreadRule(r nftables.Rule) bool { return slices.ContainsFunc(r.Statements, unreadStatement) }

func unreadStatement(s nftables.Statement) bool {
	switch s := s.(type) {
	case nftables.Opaque:
		return strings.HasPrefix(s.Text, "[") || strings.HasSuffix(s.Text, "{\n\t\t}")
	case nftables.Match:
		return untold(s.Left) || untold(s.Right)
	case nftables.VMap:
		return untold(s.Key) || untold(s.Map)
	case nftables.Assign:
		return untold(s.Value)
	case nftables.NAT:
		return s.To != nil && untold(s.To)
	case nftables.Update:
		return untold(s.Key) || s.Data != nil && untold(s.Data) || slices.ContainsFunc(s.Statements, unreadStatement)
	case *nftables.Verdict, nftables.Reject, nftables.Counter, nftables.Limit, nftables.Quota, nftables.Log, nftables.ObjectRef, nftables.NoTrack,
		nftables.Queue, nftables.Compat:
	}
	return false
}

// untold reports whether an expression has a part that this package does not read.
func untold(x nftables.Expr) bool {
	switch x := x.(type) {
	case nftables.Other:
		return true
	case nftables.Constant:
		return x.Type == nftables.Untold
	case nftables.Operation:
		return untold(x.Left) || untold(x.Right)
	case nftables.Concat:
		return slices.ContainsFunc(x, untold)
	case nftables.MapOf:
		return untold(x.Key) || untold(x.Map)
	case nftables.Hash:
		return x.Of != nil && untold(x.Of)
	case *nftables.In:
		return slices.ContainsFunc(x.Elements, unreadElement)
	case nftables.Selector, nftables.Fib, nftables.NumGen, nftables.Raw:
	}
	return false
}
