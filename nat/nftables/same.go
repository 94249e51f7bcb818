package nftables

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"natlab/nat/rules"
)

// Same reports whether two tables do the same to packets: they have the same chains with the same rules, base chains that are called alike,
// and sets with the same elements, in whatever order. Chains without rules that no hook calls do not count, nor comments, counters and
// handles, nor what rules put into sets, which is of the packets that came.
func (t *Table) Same(o *Table) bool {
	return t.Family == o.Family && t.Name == o.Name && slices.Contains(t.Flags, "dormant") == slices.Contains(o.Flags, "dormant") &&
		slices.Equal(t.Called(), o.Called()) && t.within(o) && o.within(t)
}

// within reports whether o has all that t has.
func (t *Table) within(o *Table) bool {
	chains := make(map[string]*Chain, len(o.Chains))
	for i := range o.Chains {
		chains[o.Chains[i].Name] = &o.Chains[i]
	}
	for i := range t.Chains {
		c := &t.Chains[i]
		if other := chains[c.Name]; len(c.Rules) > 0 && (other == nil || !slices.EqualFunc(c.Rules, other.Rules, sameRule)) {
			return false
		}
	}
	for i := range t.Sets {
		other, has := o.Set(t.Sets[i].Name)
		if !has || t.Sets[i].Timeout != other.Timeout || !slices.Equal(t.Listed(&t.Sets[i]), o.Listed(other)) {
			return false
		}
	}
	return true
}

func sameRule(a, b Rule) bool {
	brief, action := described(&a)
	brief2, action2 := described(&b)
	return brief == brief2 && action == action2
}

// Listed are the elements of a set as nft prints them, without comments and sorted; none of a set that rules of the table put elements into.
func (t *Table) Listed(s *Set) []string {
	if slices.Contains(t.changedSets(), s.Name) {
		return nil
	}
	out := make([]string, len(s.Elements))
	for i := range s.Elements {
		out[i] = s.Elements[i].bare()
	}
	slices.Sort(out)
	return out
}

// bare is an element without its comment and its statements.
func (e *Element) bare() string {
	one := Element{Key: e.Key, Data: e.Data, Verdict: e.Verdict, Object: e.Object}
	return one.String()
}

// Called are the base chains as hooks call them, "chain nat-output: type nat hook output priority -100; policy accept;", sorted by hook,
// priority and the order in which they are called.
func (t *Table) Called() []string {
	var bases []*Chain
	for i := range t.Chains {
		if t.Chains[i].Base != nil {
			bases = append(bases, &t.Chains[i])
		}
	}
	slices.SortFunc(bases, func(a, b *Chain) int {
		return cmp.Or(cmp.Compare(a.Base.Hook, b.Base.Hook), cmp.Compare(a.Base.Priority, b.Base.Priority), cmp.Compare(b.Base.Registered, a.Base.Registered))
	})
	out := make([]string, len(bases))
	for i, c := range bases {
		out[i] = "chain " + c.Name + ": " + c.Base.text(t.Family)
	}
	return out
}

// Emptied is a table without what its rules put into its sets: of whoever came before.
func (t Table) Emptied() Table {
	changed := t.changedSets()
	t.Sets = slices.Clone(t.Sets)
	for i := range t.Sets {
		if slices.Contains(changed, t.Sets[i].Name) {
			t.Sets[i].Elements = nil
		}
	}
	return t
}

// Bare is the rule as nft prints it without what does nothing to packets: its comment, counters and logs.
func (r *Rule) Bare() string {
	brief, action := described(r)
	return strings.TrimSpace(brief + " " + action)
}

// Called is the base chain as its hook calls it, "type nat hook output priority -100; policy accept;"; "" for one that only rules call.
func (c *Chain) Called(f Family) string {
	if c.Base == nil {
		return ""
	}
	return c.Base.text(f)
}

// Endpoints are the addresses and ports to which the rule translates what is sent to a Service: of its own, or of its map's elements.
func (r *Rule) Endpoints() (out []netip.AddrPort) {
	add := func(parts ...Constant) {
		if len(parts) == 2 && parts[0].Type != "" && parts[0].Single() && parts[1].Single() {
			addr := parts[0].Low.addr4()
			if parts[0].Type == IPv6Addr {
				addr = parts[0].Low.addr6()
			}
			out = append(out, netip.AddrPortFrom(addr, uint16(parts[1].Low.Low))) //nolint:gosec // a port
		}
	}
	for _, s := range r.Statements {
		n, is := s.(NAT)
		if !is || n.Kind != rules.DNAT {
			continue
		}
		add(n.Addr, n.Port)
		if m, is := n.To.(MapOf); is {
			for _, e := range m.Map.Elements {
				add(e.Data...)
			}
		}
	}
	return out
}

// Destinations are the addresses to which the rule's DNAT leads, of its own or of its map's elements, with port 0 where the packet keeps its own.
func (t *Table) Destinations(r *Rule) (out []netip.AddrPort) {
	add := func(parts ...Constant) {
		if len(parts) == 0 || !parts[0].Single() || parts[0].Type != IPv4Addr && parts[0].Type != IPv6Addr {
			return
		}
		addr, port := parts[0].Low.addr4(), uint16(0)
		if parts[0].Type == IPv6Addr {
			addr = parts[0].Low.addr6()
		}
		if len(parts) == 2 && parts[1].Type == InetService && parts[1].Single() {
			port = uint16(parts[1].Low.Low) //nolint:gosec // a port
		}
		out = append(out, netip.AddrPortFrom(addr, port))
	}
	for _, s := range r.Statements {
		n, is := s.(NAT)
		if !is || n.Kind != rules.DNAT {
			continue
		}
		add(n.Addr, n.Port)
		if m, is := n.To.(MapOf); is && !n.ToPort {
			for _, e := range t.elementsOf(m.Map) {
				add(e.Data...)
			}
		}
	}
	return out
}
