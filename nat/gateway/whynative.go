package gateway

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"natlab/nat"
	"natlab/nat/nftables"
)

// whyNative is Why for the rules of nf_tables' own tables: what is CHAIN or CHAIN:NUMBER, either perhaps behind a table, "ip kube-proxy services",
// or a rule's text as nft lists it. known reports whether there is such a rule.
func (x *Explanation) whyNative(g *Gateway, what string) (out []Reason, known bool) {
	tables := g.options.natives(g.host.family)
	for i := range tables {
		t := &tables[i]
		c := nftables.Compile(t, g.host.family)
		for _, chain := range t.Chains {
			for n := range chain.Rules {
				if !asksForNative(what, t, chain.Name, n+1, chain.Rules[n].String()) {
					continue
				}
				known = true
				for way := range x.Prediction {
					for _, r := range x.judgeNative(g, way, c, t, chain, n) {
						if len(x.nodes) > 1 {
							r.Node = g.host.member
						}
						if !slices.Contains(out, r) {
							out = append(out, r)
						}
					}
				}
			}
		}
	}
	return out, known
}

func asksForNative(what string, t *nftables.Table, chain string, number int, text string) bool {
	what = strings.TrimSpace(what)
	if what == text {
		return true
	}
	for _, table := range []string{t.FullName(), t.Name} {
		if rest, ok := strings.CutPrefix(what, table); ok && rest != "" && (rest[0] == ' ' || rest[0] == ':') {
			what = strings.TrimSpace(rest[1:])
			break
		}
	}
	return what == chain || what == chain+":"+strconv.Itoa(number)
}

// judgeNative is what a packet did with one rule on one way, at each base chain that leads to it.
func (x *Explanation) judgeNative(g *Gateway, way int, c *nftables.Compiled, t *nftables.Table, chain nftables.Chain, n int) (out []Reason) {
	for _, l := range x.looks[way] {
		if l.node != g.host.member || l.table != t.FullName() || !leads(t, l.base, chain.Name, map[string]bool{}) {
			continue
		}
		r := Reason{Way: way + 1, Hook: l.hook, Table: l.table, Chain: chain.Name, Rule: n + 1, Line: chain.Rules[n].Line, Text: chain.Rules[n].String()}
		if l.answer || l.reply {
			r.Direction = nat.Reply
		}
		steps := x.steps(way, l)
		switch before := ""; {
		case slices.ContainsFunc(steps, func(s nat.Step) bool { return s.Chain == chain.Name && s.Rule == n+1 }):
			r.Hit = true
		default:
			if before = g.notReachedNative(l, c, t, chain.Name, n, steps, 0); before != "" {
				r.Before = before
				break
			}
			p := l.packet
			p.Mark = markBefore(steps, chain.Name, n+1, p.Mark)
			if m, missed := c.Miss(chain.Name, n, l.hook, p, g.World()); missed {
				r.Wanted, r.Actual = m.Wanted, m.Actual
			}
		}
		out = append(out, r)
	}
	if out == nil {
		r := Reason{Way: way + 1, Table: t.FullName(), Chain: chain.Name, Rule: n + 1, Line: chain.Rules[n].Line, Text: chain.Rules[n].String()}
		r.Before = "the packet comes to no base chain of the table that leads to " + chain.Name
		if why := x.Prediction[way].Why; why != "" {
			r.Before += ", or ended before: " + why
		}
		out = append(out, r)
	}
	return out
}

// leads reports whether a chain leads to another one, by its rules or by the maps that they ask.
func leads(t *nftables.Table, from, to string, seen map[string]bool) bool {
	if from == to {
		return true
	}
	c, ok := t.Chain(from)
	if !ok || seen[from] {
		return false
	}
	seen[from] = true
	return slices.ContainsFunc(c.Rules, func(r nftables.Rule) bool {
		return slices.ContainsFunc(t.Targets(r), func(next string) bool { return leads(t, next, to, seen) })
	})
}

// notReachedNative is what kept a packet from coming to a rule: no rule led it into the chain, or an earlier one took it.
func (g *Gateway) notReachedNative(l look, c *nftables.Compiled, t *nftables.Table, chain string, n int, steps nat.Trace, depth int) string {
	if chain != l.base && !slices.ContainsFunc(steps, func(s nat.Step) bool { return s.Target == chain && s.Rule > 0 }) {
		return g.notCalledNative(l, c, t, chain, steps, depth)
	}
	for _, s := range steps {
		if s.Chain != chain || s.Rule == 0 || s.Rule > n {
			continue
		}
		switch s.Verdict {
		case nat.Continue, nat.Jump:
		case nat.Accept, nat.Drop, nat.Reject, nat.Queue, nat.Stolen, nat.Return, nat.Goto:
			return fmt.Sprintf("%s:%d took the packet before: %s", s.Chain, s.Rule, s.Text)
		}
	}
	if len(steps) == 0 {
		return ""
	}
	last := steps[len(steps)-1]
	if ended := last.Rule != 0 && last.Verdict != nat.Return && last.Verdict != nat.Continue && last.Verdict != nat.Jump; !ended || last.Chain == chain {
		return ""
	}
	for _, s := range steps { // a chain called before the rule ended the walk
		if s.Chain == chain && s.Verdict == nat.Jump && s.Rule <= n {
			return fmt.Sprintf("%s:%d took the packet before: %s", last.Chain, last.Rule, last.Text)
		}
	}
	return ""
}

// notCalledNative is why none of the rules that lead into a chain did; the one that came closest to it.
func (g *Gateway) notCalledNative(l look, c *nftables.Compiled, t *nftables.Table, chain string, steps nat.Trace, depth int) string {
	away := ""
	for _, from := range t.Chains {
		for i, r := range from.Rules {
			if !slices.Contains(t.Targets(r), chain) || !leads(t, l.base, from.Name, map[string]bool{}) {
				continue
			}
			place := fmt.Sprintf("%s:%d", from.Name, i+1)
			if depth < 8 {
				if before := g.notReachedNative(l, c, t, from.Name, i, steps, depth+1); before != "" {
					away = cmp.Or(away, before)
					continue
				}
			}
			p := l.packet
			p.Mark = markBefore(steps, from.Name, i+1, p.Mark)
			if m, missed := c.Miss(from.Name, i, l.hook, p, g.World()); missed {
				return fmt.Sprintf("%s, which leads to it, %s", place, m)
			}
			if s := slices.IndexFunc(steps, func(s nat.Step) bool { return s.Chain == from.Name && s.Rule == i+1 }); s >= 0 {
				return fmt.Sprintf("%s, which leads to it, took another way: %s", place, steps[s].Action)
			}
		}
	}
	return cmp.Or(away, "no rule leads to "+chain)
}
