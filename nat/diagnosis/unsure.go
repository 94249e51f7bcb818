package diagnosis

import (
	"fmt"
	"net/netip"
	"slices"

	"natlab/nat"
	"natlab/topology"
)

// unsure makes of a packet that works one that may not: it leaves for the whole world with an address that nobody there has a way back to. And it
// tells what a reader should know of one that works.
func (c Case) unsure(a *Answer, p nat.Prediction) {
	for _, o := range p {
		out, back := leaves(o.Request), leaves(o.Reply)
		if !out.Tuple.IsValid() {
			continue
		}
		if in := o.Request.Hops[0].Dev; back.Dev != "" && in != "" && back.Dev != in && o.Request.Hops[0].Tap == nat.TapPreRaw {
			a.add(Cause{Code: "route.asymmetric", What: fmt.Sprintf("the packet comes in by %s and the answer leaves by %s: a firewall on the way, or rp_filter of another host, may drop it", in, back.Dev)})
		}
		src, dst := out.Tuple.Src().Addr(), out.Tuple.Dst().Addr()
		r, ok := c.routeOf(dst)
		if ok && r.Dst.Bits() == 0 && dst == c.Ask.Tuple.Dst().Addr() && c.missed(a, p, &o, out) {
			continue
		}
		if !ok || r.Dst.Bits() > 0 || !private(src) || private(dst) || !global(dst) || c.own(src) || out.Tap != nat.TapPost {
			continue
		}
		a.Verdict = Depends
		a.Why = fmt.Sprintf("on whether somebody behind %s translates %s: the packet leaves with this private source, which %s has no way back to; if so, it is %s", out.Dev, src, dst, reason(o))
		a.add(Cause{Code: "masquerade.missing", What: fmt.Sprintf("no rule masquerades %s on its way out of %s to %s, and nobody there knows a way back to a private address", src, out.Dev, dst)})
	}
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
		cause := Cause{Code: "dnat.missed", What: fmt.Sprintf("%s is for %s, and the packet was not translated", r, dst), Rule: &r}
		if i := slices.IndexFunc(o.Request.Steps, func(s nat.Step) bool { return s.Table == "raw" && (s.Target == "NOTRACK" || s.Target == "CT") }); i >= 0 {
			untracked := ruleOf(o.Request.Steps[i], nat.Original)
			cause.What, cause.Rule = fmt.Sprintf("%s takes the packet out of connection tracking, and %s does not see it", untracked, r), &untracked
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
