package audit

import (
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/kubeproxy"
	"natlab/nat/nftables"
	"natlab/nat/rules"
)

// Priorities of nf_tables' hooks (nf_ip_hook_priorities): what comes before connection tracking, before DNAT and before SNAT.
const (
	conntrackPriority = -200
	dstnat            = -100
	srcnat            = 100
)

// nativeOthers looks at what other programs have in tables of nf_tables' own that what comes for Services hangs on.
func (a *auditor) nativeOthers() {
	family := a.node.Options.Family
	for i := range a.node.Native.Tables {
		t := &a.node.Native.Tables[i]
		if t.Name == kubeproxy.NFTTable || !t.Family.Has(family) || slices.Contains(t.Flags, "dormant") {
			continue
		}
		n := a.tableOf(t)
		n.translations()
		for k := range t.Chains {
			if c := &t.Chains[k]; c.Base != nil {
				n.base(c)
			}
		}
		n.marks()
	}
}

func (t *nativeTable) finding(kind Kind, chain string, rule int) Finding {
	f := Finding{Kind: kind, Backend: native, Table: t.table.FullName(), Chain: chain, Rule: rule}
	if c := t.chains[chain]; c != nil && rule > 0 {
		f.What = c.Rules[rule-1].String()
	}
	return f
}

// base finds what a base chain drops of what comes for Services, and what it translates in kube-proxy's place.
func (t *nativeTable) base(c *nftables.Chain) {
	hook, ok := c.Base.NatHook()
	translated := hook == nat.Forward || hook == nat.PostRouting || hook == nat.PreRouting && c.Base.Priority > dstnat
	translates := c.Base.Type == nftables.NATChain && (hook == nat.PreRouting || hook == nat.Output) && c.Base.Priority <= dstnat
	filters := c.Base.Type != nftables.NATChain && (translated || hook == nat.PreRouting)
	if !ok || !filters && !translates {
		return
	}
	var lost, led losses
	for _, p := range t.askedFor(translated) {
		w := nativeWalk{nativeTable: t, packet: p, translated: translated, untracked: hook == nat.PreRouting && c.Base.Priority <= conntrackPriority}
		switch w.through(c) {
		case dropped:
			kind := Dropped
			if w.number == 0 {
				kind = ForwardPolicy
			}
			lost.add(t.finding(kind, w.chain, w.number), p.name)
		case taken:
			if kubeChain(w.chain) { // as nft lists what kube-proxy wrote with iptables
				continue
			}
			led.add(t.finding(EarlyVerdict, w.chain, w.number), p.name)
		case goesOn, settled:
		}
	}
	for _, f := range lost.found() {
		t.found(f.droppedNatively(translated))
	}
	for _, f := range led.found() {
		f.Why, f.Issue = "a packet is translated once: what this table translates kube-proxy's rules do not see", "containernetworking/plugins#222"
		if c.Base.Priority == dstnat {
			f.Why += ", unless their chain was made later than this one, which has the same priority"
		}
		f.Remedy = "let the rule leave the Service's address and port alone, or publish another port"
		t.found(f)
	}
}

// droppedNatively is what is told of a rule, or a policy, of nf_tables' own that drops.
func (f Finding) droppedNatively(translated bool) Finding {
	f = f.droppedBy(false)
	if translated {
		f.Why = "a pod that asks the Service gets no answer, or a refusal: what another table accepts is dropped here all the same"
		f.Remedy = "let the chain accept what goes to pods, such as ct status dnat accept; a network policy is the place to refuse clients"
	}
	return f
}

// reached are the chains that a walk from those base chains comes to which are called so.
func (t *nativeTable) reached(called func(*nftables.Base) bool) []*nftables.Chain {
	var out []*nftables.Chain
	known := map[string]bool{}
	add := func(name string) {
		if c := t.chains[name]; c != nil && !known[name] {
			out, known[name] = append(out, c), true
		}
	}
	for i := range t.table.Chains {
		if b := t.table.Chains[i].Base; b != nil && called(b) {
			add(t.table.Chains[i].Name)
		}
	}
	for i := 0; i < len(out); i++ {
		for _, r := range out[i].Rules {
			for _, next := range t.table.Targets(r) {
				add(next)
			}
		}
	}
	return out
}

// translations finds what the table's DNAT has of pods that are gone, of ports that are published twice, and of ports of loopback.
func (t *nativeTable) translations() {
	loopback := t.dropsLoopback()
	for _, c := range t.reached(func(b *nftables.Base) bool { return b.Type == nftables.NATChain && b.Hook == "prerouting" }) {
		first := map[string]string{}
		for i := range c.Rules {
			r := &c.Rules[i]
			to := t.table.Destinations(r)
			if len(to) == 0 {
				continue
			}
			for _, addr := range to {
				if t.noPodHas(addr.Addr()) {
					t.found(t.finding(StaleDNAT, c.Name, i+1).staleDNAT(addr.Addr()))
				}
			}
			met := t.table.LaidRule(r)[0]
			before, there := first[met.Brief]
			switch {
			case slices.ContainsFunc(r.Statements, changesItself):
			case there && before != met.Action:
				t.found(t.finding(ShadowedDNAT, c.Name, i+1).shadowedBy(before))
			case !there:
				first[met.Brief] = met.Action
			}
			if !loopback && toNativeLoopback(r) && !to[0].Addr().IsLoopback() && !fromLoopback(r) {
				t.found(t.finding(LoopbackPublished, c.Name, i+1).onLoopback())
			}
		}
	}
}

// changesItself reports whether a statement does not let the same packets on each time, or is not read.
func changesItself(s nftables.Statement) bool {
	switch s := s.(type) {
	case nftables.Limit, nftables.Quota, nftables.ObjectRef, nftables.Update, nftables.Opaque, nftables.Compat:
		return true
	case nftables.Match:
		switch left := s.Left.(type) {
		case nftables.NumGen, nftables.Hash, nftables.Other:
			return true
		case nftables.Selector:
			return strings.HasPrefix(string(left), "meta time") || strings.HasPrefix(string(left), "meta hour") || strings.HasPrefix(string(left), "meta day")
		}
	case nftables.NAT:
		_, many := s.To.(nftables.MapOf)
		return many
	}
	return false
}

// asksFor reports whether a rule asks that a value be, or with not be none, of what is has.
func asksFor(r *nftables.Rule, not bool, selectors []string, is func(nftables.Constant) bool) bool {
	return slices.ContainsFunc(r.Statements, func(s nftables.Statement) bool {
		m, ok := s.(nftables.Match)
		c, single := m.Right.(nftables.Constant)
		return ok && single && (m.Op == "!=") == not && slices.Contains(selectors, selector(m.Left)) && is(c)
	})
}

func toNativeLoopback(r *nftables.Rule) bool {
	return asksFor(r, false, []string{"ip daddr", "ip6 daddr"}, func(c nftables.Constant) bool {
		p, ok := prefixOf(c)
		return ok && p.Addr().IsLoopback()
	})
}

func fromLoopback(r *nftables.Rule) bool {
	return asksFor(r, false, []string{"iifname", "iif"}, func(c nftables.Constant) bool { return strings.Trim(c.String(), `"`) == "lo" })
}

// dropsNativeLoopback reports whether a rule of a table drops, in front of DNAT, what comes to a loopback address.
func dropsNativeLoopback(table nftables.Table) bool {
	t := (&auditor{}).tableOf(&table)
	drops := func(r nftables.Rule) bool {
		return toNativeLoopback(&r) && slices.ContainsFunc(r.Statements, func(s nftables.Statement) bool {
			v, is := s.(*nftables.Verdict)
			return is && v.Kind == nat.Drop
		})
	}
	return slices.ContainsFunc(t.reached(func(b *nftables.Base) bool { return b.Hook == "prerouting" && b.Priority < dstnat }), func(c *nftables.Chain) bool {
		return slices.ContainsFunc(c.Rules, drops)
	})
}

// marks finds rules that set kube-proxy's bit of the mark, or take it from a packet between its marking and its masquerade.
func (t *nativeTable) marks() {
	sets := t.reached(func(*nftables.Base) bool { return true })
	behind := t.reached(func(b *nftables.Base) bool {
		switch b.Hook {
		case "prerouting", "output":
			return b.Priority > dstnat
		case "postrouting":
			return b.Priority < srcnat
		}
		return b.Hook == "forward"
	})
	for _, c := range sets {
		if kubeChain(c.Name) { // as nft lists what kube-proxy wrote with iptables
			continue
		}
		for i := range c.Rules {
			how := touchesNatively(&c.Rules[i], t.mark)
			if how == "" || how != "sets" && !slices.Contains(behind, c) {
				continue
			}
			t.found(t.finding(MarkTaken, c.Name, i+1).markTaken(how, t.mark))
		}
	}
}

// touchesNatively is what a rule does to a bit of the mark: "" for nothing.
func touchesNatively(r *nftables.Rule, bit uint32) string {
	for _, s := range r.Statements {
		a, is := s.(nftables.Assign)
		if !is || selector(a.To) != "mark" {
			continue
		}
		switch unset, set := after(a.Value, bit, rules.No), after(a.Value, bit, rules.Yes); {
		case unset == rules.Unknown || set == rules.Unknown:
			return "overwrites"
		case unset == rules.Yes && set == rules.Yes:
			return "sets"
		case unset == rules.No && set == rules.No:
			return "clears"
		case unset == rules.Yes:
			return "flips"
		}
	}
	return ""
}

// after is whether a bit is in a value, by whether it is in the packet's mark.
func after(e nftables.Expr, bit uint32, now rules.Answer) rules.Answer {
	switch e := e.(type) {
	case nftables.Constant:
		if !e.Single() {
			return rules.Unknown
		}
		return yesNo(e.Low.Low&uint64(bit) != 0)
	case nftables.Selector:
		if selector(e) == "mark" {
			return now
		}
	case nftables.Operation:
		left, right := after(e.Left, bit, now), after(e.Right, bit, now)
		switch {
		case e.Op == "&" && (left == rules.No || right == rules.No):
			return rules.No
		case e.Op == "|" && (left == rules.Yes || right == rules.Yes):
			return rules.Yes
		case left == rules.Unknown || right == rules.Unknown:
			return rules.Unknown
		case e.Op == "&":
			return rules.Yes
		case e.Op == "|":
			return rules.No
		case e.Op == "^":
			return yesNo(left != right)
		}
	}
	return rules.Unknown
}
