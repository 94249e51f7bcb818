// Package replay puts into a network namespace what a bundle tells of a node besides its devices and routes: its sets, the rules of both backends
// of iptables, nft's own tables, and the connections that it remembers. What this kernel or its programs do not take is left out, by name.
package replay

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"natlab/lab/dataplane"
	"natlab/lab/witness"
	"natlab/nat"
	"natlab/nat/bundle"
	"natlab/nat/iptables"
	"natlab/nat/nftnl"
)

// mostRefused is how many lines of one rule set, or of the sets, are left out before it is given up.
const mostRefused = 64

// Options choose what a namespace is given.
type Options struct {
	First    dataplane.Backend // whose rules are loaded first: of two chains with one hook the one that is registered later runs first
	Families []nat.Family      // of the namespace: what is of another is left out
}

// Node gives a namespace a node's sets, rules and connections. Notes are what is left out, and why.
func Node(ctx context.Context, ns dataplane.Namespace, n *bundle.Node, o Options) (notes []string, err error) {
	first := o.First
	note := func(format string, args ...any) { notes = append(notes, n.Name+": "+fmt.Sprintf(format, args...)) }
	if err := sets(ctx, ns, n, note); err != nil {
		return notes, fmt.Errorf("sets: %w", err)
	}
	held := slices.Clone(n.Held)
	slices.SortStableFunc(held, func(a, b bundle.Held) int {
		rank := map[bool]int{true: 0, false: 1}
		return rank[a.Backend == string(first)] - rank[b.Backend == string(first)]
	})
	for _, h := range held {
		backend := dataplane.Backend(h.Backend)
		if h.Backend == "iptables" {
			backend = first
			note("which backend holds its rules is not told: they are loaded by %s", first)
		}
		for _, rs := range h.Rulesets {
			if !slices.Contains(o.Families, rs.Family) {
				continue
			}
			if err := rules(ctx, ns, backend, rs, note); err != nil {
				return notes, fmt.Errorf("rules of %s: %w", backend, err)
			}
		}
	}
	if err := native(ctx, ns, n, o.Families, note); err != nil {
		return notes, err
	}
	return notes, entries(ns, n, o.Families, note)
}

// entries loads the connections, with as long to live as they had when the bundle was gathered. Of those that are left out for one reason the first
// is named.
func entries(ns dataplane.Namespace, n *bundle.Node, families []nat.Family, note func(string, ...any)) error {
	all, others := n.Remembered()
	all = slices.DeleteFunc(all, func(e nat.Entry) bool { return !slices.Contains(families, nat.FamilyOf(e.Original.Src().Addr())) })
	if others > 0 {
		note("%d connections of zones of one direction are left out", others)
	}
	refused, err := witness.Remember(ns, all)
	count, first := map[string]int{}, map[string]nat.Entry{}
	for _, r := range refused {
		if count[r.Reason]++; count[r.Reason] == 1 {
			first[r.Reason] = r.Entry
		}
	}
	for _, why := range slices.Sorted(maps.Keys(count)) {
		more := ""
		if count[why] > 1 {
			more = fmt.Sprintf(", as are %d more", count[why]-1)
		}
		note("the connection %s is left out%s: %s", first[why].Original, more, why)
	}
	return err
}

// native loads nft's own tables that meet packets of the families, those that no program of iptables printed. Their base chains come behind those of iptables.
func native(ctx context.Context, ns dataplane.Namespace, n *bundle.Node, families []nat.Family, note func(string, ...any)) error {
	for i := range n.Facts.NFT.Tables {
		t := &n.Facts.NFT.Tables[i]
		if !slices.ContainsFunc(families, t.Family.Has) {
			continue
		}
		err := dataplane.WriteNFT(ns, nftnl.Whole(t))
		if errors.Is(err, nftnl.ErrUnwritten) {
			err = dataplane.RestoreNFT(ctx, ns, t.String())
		}
		refused := (*dataplane.RefusedError)(nil)
		switch {
		case errors.As(err, &refused):
			note("nft's own table %s %s is left out: %s", t.Family, t.Name, refused.Reason)
		case errors.Is(err, dataplane.ErrUnsupported):
			note("nft's own table %s %s is left out: %s", t.Family, t.Name, err)
		case err != nil:
			return fmt.Errorf("nft table %s %s: %w", t.Family, t.Name, err)
		}
	}
	return nil
}

// sets loads the sets as ipset save printed them.
func sets(ctx context.Context, ns dataplane.Namespace, n *bundle.Node, note func(string, ...any)) error {
	s, ok := n.Dump.Section("ipset save")
	if !ok || !s.OK() || strings.TrimSpace(s.Text) == "" {
		return nil
	}
	lines := strings.SplitAfter(s.Text, "\n")
	for range mostRefused {
		err := dataplane.RestoreSets(ctx, ns, strings.Join(lines, ""))
		refused := (*dataplane.RefusedError)(nil)
		if !errors.As(err, &refused) || refused.Line == 0 {
			return err
		}
		note("the line %q of its sets is left out: %s", strings.TrimSpace(refused.Text), refused.Reason)
		lines = slices.Delete(lines, refused.Line-1, refused.Line)
	}
	return fmt.Errorf("more than %d lines are refused", mostRefused)
}

// rules loads a rule set without the rules that are refused.
func rules(ctx context.Context, ns dataplane.Namespace, backend dataplane.Backend, rs iptables.Ruleset, note func(string, ...any)) error {
	plane, err := dataplane.New(backend)
	if err != nil {
		return err
	}
	rs = rs.Clone()
	for range mostRefused {
		err := plane.Install(ctx, ns, rs)
		refused := (*dataplane.RefusedError)(nil)
		if !errors.As(err, &refused) || !without(&rs, refused) {
			return err
		}
		note("the rule %q (table %s, %s) is left out: %s", refused.Text, refused.Table, backend, refused.Reason)
	}
	return fmt.Errorf("more than %d rules are refused", mostRefused)
}

// without takes the rule away that was refused; false: there is none of that text, or a whole table was refused.
func without(rs *iptables.Ruleset, refused *dataplane.RefusedError) bool {
	for t := range rs.Tables {
		if rs.Tables[t].Name != refused.Table {
			continue
		}
		for c := range rs.Tables[t].Chains {
			chain := &rs.Tables[t].Chains[c]
			for i, rule := range chain.Rules {
				if rule.Text(chain.Name) == refused.Text {
					chain.Rules = slices.Delete(slices.Clone(chain.Rules), i, i+1)
					return true
				}
			}
		}
	}
	return false
}
