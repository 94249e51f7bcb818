package bundle

import (
	"maps"
	"slices"
	"strings"

	"natlab/nat/nftables"
)

// tableChanges compares nf_tables' own tables: base chains as their hooks call them, rules without counters, logs and comments, sets and maps with
// the elements that no rule puts there, and named objects.
func tableChanges(a, b *Node) (out []Change) {
	names := map[string]bool{}
	of := func(n *Node) map[string]*nftables.Table {
		m := map[string]*nftables.Table{}
		for i := range n.Facts.NFT.Tables {
			t := &n.Facts.NFT.Tables[i]
			if key := (nftTable{string(t.Family), t.Name}); t.Family == nftables.Bridge || !a.printed(key) && !b.printed(key) {
				m[t.FullName()], names[t.FullName()] = t, true
			}
		}
		return m
	}
	ta, tb := of(a), of(b)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		one, other := ta[name], tb[name]
		if one == nil {
			one = &nftables.Table{Family: other.Family, Name: other.Name}
		}
		if other == nil {
			other = &nftables.Table{Family: one.Family, Name: one.Name}
		}
		out = append(out, tableChange("nft "+name, one, other)...)
	}
	return out
}

func tableChange(where string, a, b *nftables.Table) (out []Change) {
	out = append(out, changed("chain", where, a.Flags, b.Flags)...)
	for _, name := range chainNames(a, b) {
		ca, _ := a.Chain(name)
		cb, _ := b.Chain(name)
		out = append(out, nativeChange(where+" "+name, a.Family, &ca, &cb)...)
	}
	for _, name := range setNames(a, b) {
		sa, hasA := a.Set(name)
		sb, hasB := b.Set(name)
		c := Change{Kind: "object", Where: where}
		var was, is []string
		if hasA {
			c.A, was = sa.Head(), a.Listed(sa)
		}
		if hasB {
			c.B, is = sb.Head(), b.Listed(sb)
		}
		if c.A != c.B {
			out = append(out, c)
		}
		out = append(out, changed("element", where+" "+name, was, is)...)
	}
	return append(out, changed("object", where, objectLines(a), objectLines(b))...)
}

func nativeChange(where string, f nftables.Family, a, b *nftables.Chain) (out []Change) {
	was, is := a.Called(f), b.Called(f)
	begin, policy, _ := strings.Cut(was, "; policy ")
	begins, policies, _ := strings.Cut(is, "; policy ")
	switch {
	case was == is:
	case begin == begins:
		out = append(out, Change{Kind: "policy", Where: where, A: strings.TrimSuffix(policy, ";"), B: strings.TrimSuffix(policies, ";")})
	default:
		out = append(out, Change{Kind: "chain", Where: where, A: was, B: is})
	}
	return append(out, listChanges(where, bareRules(a), bareRules(b))...)
}

func bareRules(c *nftables.Chain) (out []string) {
	for i := range c.Rules {
		out = append(out, c.Rules[i].Bare())
	}
	return out
}

func chainNames(tables ...*nftables.Table) []string {
	names := map[string]bool{}
	for _, t := range tables {
		for i := range t.Chains {
			names[t.Chains[i].Name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

func setNames(tables ...*nftables.Table) []string {
	names := map[string]bool{}
	for _, t := range tables {
		for i := range t.Sets {
			names[t.Sets[i].Name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// objectLines are a table's named objects, but for counters.
func objectLines(t *nftables.Table) (out []string) {
	for _, o := range t.Objects {
		text := strings.Join(o.Lines, " ")
		if st, _, ok := o.Statement(); ok {
			if q, is := st.(nftables.Quota); is {
				q.Used = 0
				st = q
			}
			text = st.String()
		}
		if o.Kind != "counter" {
			out = append(out, o.Kind+" "+o.Name+" { "+text+" }")
		}
	}
	return out
}
