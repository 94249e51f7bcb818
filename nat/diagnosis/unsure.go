package diagnosis

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/topology"
)

// unsure makes of a packet that works one that may not, where something on its way is doubtful that the node does not tell. And it tells what a
// reader should know of one that works.
func (c Case) unsure(a *Answer, p nat.Prediction) {
	for _, o := range p {
		out := leaves(o.Request)
		if in, back, ok := asymmetric(o); ok {
			a.add(Cause{Code: "route.asymmetric", What: fmt.Sprintf("the packet comes in by %s and the answer leaves by %s: a firewall on the way, or rp_filter of another host, may drop it", in, back)})
		}
		dst := out.Tuple.Dst().Addr()
		r, ok := c.routeOf(dst)
		if out.Tuple.IsValid() && ok && (r.Dst.Bits() == 0 || c.near(dst, r.Device)) && dst == c.Ask.Tuple.Dst().Addr() && c.missed(a, p, &o, out) {
			continue
		}
		f, ok := c.flawOf(&o)
		if !ok {
			continue
		}
		a.Verdict, a.Why = Depends, fmt.Sprintf("%s; if so, it is %s", f.on, reason(o))
		if w, ok := c.sound(&o, p); ok {
			a.Why = either(o.Assumed, w.Assumed, "it depends "+f.on, reason(w))
		}
		for _, cause := range f.causes {
			a.add(cause)
		}
	}
}

// sound is the way without a flaw whose assumptions are closest to those of a way that has one; ok is false where none assumes otherwise.
func (c Case) sound(o *nat.Outcome, p nat.Prediction) (best nat.Outcome, ok bool) {
	least := 0
	for _, w := range p {
		if _, flawed := c.flawOf(&w); flawed {
			continue
		}
		apart := 0
		for _, x := range o.Assumed {
			if !slices.Contains(w.Assumed, x) {
				apart++
			}
		}
		if apart > 0 && (!ok || apart < least) {
			best, least, ok = w, apart, true
		}
	}
	return best, ok
}

// who makes of a packet that is answered on every way one of which it is not known whether the node itself answers.
func who(a *Answer, p nat.Prediction) {
	if a.Verdict != Works {
		return
	}
	here := func(o nat.Outcome) bool { return strings.HasPrefix(o.Server, "a process of ") }
	for _, o := range p[1:] {
		if here(o) != here(p[0]) && !slices.Equal(o.Assumed, p[0].Assumed) {
			a.Verdict = Depends
			a.Why = either(p[0].Assumed, o.Assumed, reason(p[0]), reason(o))
			return
		}
	}
}

// flaw is what a way that ends well hangs on, with what is to blame if it does not.
type flaw struct {
	on     string // "on whether ..."
	causes []Cause
}

// flawOf is that the answer strays, that nobody can answer the source that the packet leaves with, or that a route of its own is missing.
func (c Case) flawOf(o *nat.Outcome) (flaw, bool) {
	for _, look := range []func(*nat.Outcome) (flaw, bool){c.remembered, c.stray, c.untranslated, c.byDefault, c.elsewhere, c.astray, c.spared, c.doubled} {
		if f, ok := look(o); ok {
			return f, true
		}
	}
	return flaw{}, false
}

// asymmetric is by which device a packet came in, and by which other one its answer leaves.
func asymmetric(o nat.Outcome) (in, out string, ok bool) {
	back := leaves(o.Reply)
	if len(o.Request.Hops) == 0 || o.Request.Hops[0].Tap != nat.TapPreRaw {
		return "", "", false
	}
	in = o.Request.Hops[0].Dev
	return in, back.Dev, back.Dev != "" && in != "" && back.Dev != in
}

// stray is that the answer leaves by one way out of the node with the address of another one, which it came to: who is behind a network's gateway
// gets none such where the network lets its own addresses out alone (RFC 2827).
func (c Case) stray(o *nat.Outcome) (flaw, bool) {
	in, by, ok := asymmetric(*o)
	src, client := leaves(o.Reply).Tuple.Src().Addr(), c.Ask.Tuple.Src().Addr()
	if !ok || !slices.ContainsFunc(c.Namespace.Addresses, func(a topology.Address) bool { return a.Prefix.Addr() == src && a.Device == in }) {
		return flaw{}, false
	}
	switch {
	case c.near(client, in) && !c.near(client, by):
		return flaw{on: fmt.Sprintf("on whether who is behind %s brings the answer to %s, which is in the network of %s", by, client, in)}, true
	case slices.ContainsFunc(c.Namespace.Addresses, func(a topology.Address) bool { return a.Prefix.Contains(client) }):
		return flaw{}, false
	}
	return flaw{on: fmt.Sprintf("on whether the network behind %s lets the answer out, which leaves there with the address %s of %s, where the packet came in", by, src, in)}, true
}

// untranslated is that a packet leaves for the whole world with an address that nobody there has a way back to.
func (c Case) untranslated(o *nat.Outcome) (flaw, bool) {
	out := leaves(o.Request)
	if !out.Tuple.IsValid() {
		return flaw{}, false
	}
	src, dst := out.Tuple.Src().Addr(), out.Tuple.Dst().Addr()
	r, ok := c.routeOf(dst)
	if !ok || r.Dst.Bits() > 0 || !private(src) || private(dst) || !global(dst) || c.own(src) || out.Tap != nat.TapPost {
		return flaw{}, false
	}
	f := flaw{on: fmt.Sprintf("on whether somebody behind %s translates %s: the packet leaves with this private source, which %s has no way back to", out.Dev, src, dst)}
	if slices.Contains(c.missingTables(), "nat") {
		f.on = fmt.Sprintf("on whether a rule of table nat masquerades the packet, of which nothing is told (iptables-save without -t prints all): it leaves by %s with the private source %s, which %s has no way back to", out.Dev, src, dst)
		return f, true
	}
	if s, ok := cleared(o.Request.Steps); ok && c.savedBy(s) {
		rule := ruleOf(s, nat.Original)
		f.causes = append(f.causes, Cause{Code: "mark.cleared", What: fmt.Sprintf("%s takes the mark away that an earlier rule gave the packet, and without it nobody masquerades the packet", rule), Rule: &rule})
	}
	f.causes = append(f.causes, Cause{Code: "masquerade.missing", What: fmt.Sprintf("no rule masquerades %s on its way out of %s to %s, and nobody there knows a way back to a private address", src, out.Dev, dst)})
	return f, true
}

// savedBy reports whether the packet leaves with an address of the node's where the rule of a step is not there.
func (c Case) savedBy(s nat.Step) bool {
	without := c
	without.Rules = make(gateway.Rules, len(c.Rules))
	for i, rs := range c.Rules {
		without.Rules[i] = rs.Clone()
		for t := range without.Rules[i].Tables {
			for k := range without.Rules[i].Tables[t].Chains {
				chain := &without.Rules[i].Tables[t].Chains[k]
				if without.Rules[i].Tables[t].Name == s.Table && chain.Name == s.Chain && s.Rule > 0 && s.Rule <= len(chain.Rules) {
					chain.Rules = slices.Delete(slices.Clone(chain.Rules), s.Rule-1, s.Rule)
				}
			}
		}
	}
	x, err := gateway.Explain(without.Namespace, without.Rules, without.Facts, without.Ask, nil)
	return err == nil && !slices.ContainsFunc(x.Prediction, func(o nat.Outcome) bool { return !c.own(leaves(o.Request).Tuple.Src().Addr()) })
}

// byDefault is that a packet goes to a private address by the default route alone, while others of its network have routes of their own by other
// next hops, as an agent makes one for each node.
func (c Case) byDefault(o *nat.Outcome) (flaw, bool) {
	out := leaves(o.Request)
	if !out.Tuple.IsValid() || !out.Tuple.Dst().Addr().Is4() {
		return flaw{}, false
	}
	dst := out.Tuple.Dst().Addr()
	r, ok := c.routeOf(dst)
	if !ok || r.Dst.Bits() > 0 || !r.Via.IsValid() || !private(dst) || out.Tap != nat.TapPost {
		return flaw{}, false
	}
	around := netip.PrefixFrom(dst, 16).Masked()
	i := slices.IndexFunc(c.Namespace.Routes, func(s topology.Route) bool {
		return s.Table == r.Table && s.Dst.Bits() > 16 && around.Contains(s.Dst.Addr()) && s.Via.IsValid() && s.Via != r.Via
	})
	if i < 0 {
		return flaw{}, false
	}
	return flaw{
		on:     fmt.Sprintf("on whether %s knows a way to %s: the default route alone leads there", r.Via, dst),
		causes: []Cause{{Code: "route.missing", What: fmt.Sprintf("the node has no route of its own to %s, as it has to others of that network: %s", dst, c.Namespace.Routes[i])}},
	}, true
}

// elsewhere is that a packet goes, with a source that is not of there, to a host of a network whose gateway is another: it is not told that the host
// sends answers by the node.
func (c Case) elsewhere(o *nat.Outcome) (flaw, bool) {
	out := leaves(o.Request)
	if !out.Tuple.IsValid() || out.Tap != nat.TapPost {
		return flaw{}, false
	}
	src, dst := out.Tuple.Src().Addr(), out.Tuple.Dst().Addr()
	r, ok := c.routeOf(dst)
	if !ok || r.Via.IsValid() || r.Device != out.Dev || r.Dst.Bits() == 0 || r.Dst.Contains(src) || c.own(src) {
		return flaw{}, false
	}
	i := slices.IndexFunc(c.Namespace.Routes, func(s topology.Route) bool {
		return s.Table == "" && s.Dst.Bits() == 0 && s.Device == r.Device && r.Dst.Contains(s.Via)
	})
	peer := slices.ContainsFunc(c.Namespace.Routes, func(s topology.Route) bool { return s.Via == dst }) // one that routes lead by has some back
	back, told := c.routeOf(src)
	if i < 0 || peer || !told || back.Device == r.Device || back.Dst.Bits() == 0 {
		return flaw{}, false
	}
	gateway := c.Namespace.Routes[i].Via
	return flaw{
		on:     fmt.Sprintf("on whether %s sends its answer to %s by the node: the gateway of its network is %s", dst, src, gateway),
		causes: []Cause{{Code: "masquerade.missing", What: fmt.Sprintf("no rule masquerades %s on its way out of %s to %s, whose network has another gateway, %s", src, out.Dev, dst, gateway)}},
	}, true
}

// missed makes of a packet that works one that may not where it leaves for an address that rules translate, as a Service's, and was not translated:
// no host need have that address. It reports whether it is so.
func (c Case) missed(a *Answer, p nat.Prediction, o *nat.Outcome, out nat.Hop) bool {
	dst := out.Tuple.Dst().Addr()
	for _, rs := range c.Rules {
		chain, n, ok := rs.Translated(dst)
		if !ok || rs.Family != nat.FamilyOf(dst) {
			continue
		}
		t, _ := rs.Table("nat")
		in, _ := t.Chain(chain)
		rule := in.Rules[n-1]
		r := Rule{Table: "nat", Chain: chain, Rule: n, Line: rule.Line, Text: rule.Text(chain)}
		if rule.Target != nil {
			r.Owner = ruleOwner(r.Table, chain, rule.Target.Name(), r.Text)
		}
		if c.near(dst, out.Dev) && r.Owner != "kube-proxy" {
			continue // of the node's own networks it is a host's, but for the addresses of load balancers, which none has
		}
		cause := Cause{Code: "dnat.missed", What: fmt.Sprintf("%s is for %s, and the packet was not translated", r, dst), Rule: &r}
		if i := slices.IndexFunc(o.Request.Steps, func(s nat.Step) bool { return s.Table == "raw" && (s.Target == "NOTRACK" || s.Target == "CT") }); i >= 0 {
			untracked := ruleOf(o.Request.Steps[i], nat.Original)
			cause.What, cause.Rule = fmt.Sprintf("%s takes the packet out of connection tracking, and %s does not see it", untracked, r), &untracked
		} else if original, reply, old := c.keptFrom(r); old {
			cause = staleEntry(original, reply)
		}
		a.Verdict = Depends
		a.Why = fmt.Sprintf("on whether a host behind %s has the address %s, which is translated on this node, but was not for this packet; if so, it is %s", out.Dev, dst, reason(*o))
		if i := slices.IndexFunc(p, func(w nat.Outcome) bool {
			return !leaves(w.Request).Tuple.IsValid() && !slices.Equal(w.Assumed, o.Assumed)
		}); i >= 0 {
			a.Why = either(p[i].Assumed, o.Assumed, reason(p[i]), fmt.Sprintf("it leaves by %s for an address that the node translates, and did not for this packet", out.Dev))
		}
		a.add(cause)
		return true
	}
	return false
}

// leaves is a packet as it left the node; zero where it did not.
func leaves(j nat.Journey) nat.Hop {
	if n := len(j.Hops); n > 0 && j.Hops[n-1].Tap == nat.TapPost {
		return j.Hops[n-1]
	}
	return nat.Hop{}
}

// private reports whether an address is of a private network (RFC 1918, RFC 6598, RFC 4193).
func private(a netip.Addr) bool {
	return a.IsPrivate() || netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, 0, 0}), 10).Contains(a)
}

// global reports whether an address is one of the whole world's, those of documentation (RFC 5737) among them, which stand for such.
func global(a netip.Addr) bool { return a.IsGlobalUnicast() && !private(a) }

func (c Case) own(a netip.Addr) bool {
	return slices.ContainsFunc(c.Namespace.Addresses, func(own topology.Address) bool { return own.Prefix.Addr() == a })
}
