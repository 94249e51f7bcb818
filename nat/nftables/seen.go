package nftables

import (
	"slices"
	"strings"

	"natlab/nat"
)

// Seen is what a trace of the kernel tells of a chain's rule, counted from 1, that a packet met: it names the rule and its verdict, with
// the chain of a jump or goto, and never the element that a verdict map had (nft_trace.c). That is the one whose key the packet has, which
// before is as it came to the base chain, and that has the verdict; "" where there is not just one. false: there is no such rule.
func (t *Table) Seen(chain string, rule int, verdict nat.Verdict, target string, before nat.Tuple) (nat.Met, bool) {
	c, ok := t.Chain(chain)
	if !ok || rule < 1 || rule > len(c.Rules) {
		return nat.Met{}, false
	}
	r := &c.Rules[rule-1]
	element := ""
	if m, is := vmapOf(r); is {
		element = t.elementOf(m, &Verdict{Kind: verdict, Chain: target}, before)
	}
	out := t.met(r, element)
	if target != "" {
		out.Target = target
	}
	return out, true
}

// Laid are the rules of a chain as a trace tells of them, each as LaidRule has it.
func (t *Table) Laid(chain string) (out []nat.Met, ok bool) {
	c, ok := t.Chain(chain)
	for i := range c.Rules {
		out = append(out, t.LaidRule(&c.Rules[i])...)
	}
	return out, ok
}

// LaidRule is a rule as a trace tells of it, one that asks a verdict map once for each of the elements, in the order of their text. Of a map
// without any it has no packet.
func (t *Table) LaidRule(r *Rule) (out []nat.Met) {
	m, is := vmapOf(r)
	if !is {
		return []nat.Met{t.met(r, "")}
	}
	var all []string
	for _, e := range t.elementsOf(m.Map) {
		all = append(all, e.bare())
	}
	slices.Sort(all)
	for _, e := range all {
		out = append(out, t.met(r, e))
	}
	return out
}

// Declared is what a table has besides rules, as the rules of a chain: its base chains (Called), and the elements of its sets,
// "set cluster-ips: 10.96.0.10", but for those that packets fill: what is in these nobody declared.
func (t *Table) Declared() (out []nat.Met) {
	for _, text := range t.Called() {
		out = append(out, nat.Met{Text: text, Brief: text})
	}
	for i := range t.Sets {
		s := &t.Sets[i]
		if s.Has("dynamic") {
			continue
		}
		word := "set "
		if s.Map {
			word = "map "
		}
		for _, e := range t.Listed(s) {
			text := word + s.Name + ": " + e
			out = append(out, nat.Met{Text: text, Brief: text})
		}
	}
	return out
}

func vmapOf(r *Rule) (VMap, bool) {
	for _, s := range r.Statements {
		if m, is := s.(VMap); is {
			return m, true
		}
	}
	return VMap{}, false
}

func (t *Table) elementsOf(in *In) []Element {
	if in.Name == "" {
		return in.Elements
	}
	s, ok := t.Set(in.Name)
	if !ok {
		return nil
	}
	return s.Elements
}

// elementOf finds the element that a packet had.
func (t *Table) elementOf(m VMap, v *Verdict, before nat.Tuple) string {
	parts := []Expr{m.Key}
	if c, is := m.Key.(Concat); is {
		parts = c
	}
	found := ""
	for _, e := range t.elementsOf(m.Map) {
		if e.Verdict == nil || *e.Verdict != *v || !e.fits(parts, before) {
			continue
		}
		if found != "" {
			return ""
		}
		found = e.bare()
	}
	return found
}

// fits reports whether an element's key is the packet's, as far as its header tells.
func (e *Element) fits(parts []Expr, of nat.Tuple) bool {
	for i, part := range parts[:min(len(parts), len(e.Key))] {
		s, is := part.(Selector)
		if !is {
			continue
		}
		if n, known := headerNumber(s, of); known && !e.Key[i].Any && !e.Key[i].Has(n) {
			return false
		}
	}
	return true
}

// headerNumber is a selector's value in a packet's header; false for one that is not in it.
func headerNumber(s Selector, of nat.Tuple) (n Number, ok bool) {
	if !of.IsValid() {
		return n, false
	}
	switch s {
	case "ip saddr", "ip6 saddr":
		return addrNumber(of.Src().Addr()), true
	case "ip daddr", "ip6 daddr":
		return addrNumber(of.Dst().Addr()), true
	case "meta l4proto", "ip protocol", "ip6 nexthdr":
		return number(uint64(of.Proto())), true
	case "th sport", "tcp sport", "udp sport", "sctp sport":
		return number(uint64(of.Src().Port())), true
	case "th dport", "tcp dport", "udp dport", "sctp dport":
		return number(uint64(of.Dst().Port())), true
	}
	return n, false
}

// elementText is an element for people: "service-ips: 10.96.0.10 . tcp . 53 -> service-X", without a name of a map that stands in the rule.
func elementText(r *Rule, element string) string {
	key, verdict, leads := strings.Cut(element, " : ")
	out := key
	if leads {
		out += " -> " + strings.TrimPrefix(strings.TrimPrefix(verdict, "goto "), "jump ")
	}
	if m, is := vmapOf(r); is && m.Map.Name != "" {
		out = m.Map.Name + ": " + out
	}
	return out
}
