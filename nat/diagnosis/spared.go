package diagnosis

import (
	"fmt"
	"net/netip"
	"slices"

	"natlab/nat"
	"natlab/topology"
)

// spared is that a packet leaves by the default route for a private address with a source of a network behind the node, of which the rules masquerade
// what goes elsewhere, and not this: whether those behind the next hop know a way back to that network is not told. It is how ip-masq-agent, Cilium and
// others are told which networks do (nonMasqueradeCIDRs, the native routing CIDR), and what is wrong where these are too wide.
func (c Case) spared(o *nat.Outcome) (flaw, bool) {
	out := leaves(o.Request)
	if !out.Tuple.IsValid() || out.Tap != nat.TapPost {
		return flaw{}, false
	}
	src, dst := out.Tuple.Src().Addr(), out.Tuple.Dst().Addr()
	r, ok := c.routeOf(dst)
	if !ok || r.Dst.Bits() > 0 || !r.Via.IsValid() || !private(src) || !private(dst) || c.own(src) || src != c.Ask.Tuple.Src().Addr() {
		return flaw{}, false
	}
	back, told := c.routeOf(src)
	if !told || back.Device == r.Device || back.Dst.Bits() == 0 || c.near(src, r.Device) {
		return flaw{}, false
	}
	rule, ok := c.spares(o.Request.Steps)
	if !ok {
		return flaw{}, false
	}
	what := fmt.Sprintf("%s leaves %s as it is, which goes on to %s by %s: whether there is a way back to it behind that one is not told", rule, src, dst, r.Via)
	return flaw{
		on:     fmt.Sprintf("on whether %s knows a way back to %s, which the node masquerades elsewhere, but not on its way to %s", r.Via, src, dst),
		causes: []Cause{{Code: "masquerade.missing", What: what, Rule: &rule}},
	}, true
}

// near reports whether an address is of a network that a device has an address of.
func (c Case) near(a netip.Addr, dev string) bool {
	return slices.ContainsFunc(c.Namespace.Addresses, func(own topology.Address) bool { return own.Device == dev && own.Prefix.Contains(a) })
}

// spares is the rule of the table nat that lets a packet leave untranslated, in a chain that masquerades others behind it.
func (c Case) spares(steps nat.Trace) (Rule, bool) {
	for _, s := range slices.Backward(steps) {
		if s.Hook != nat.PostRouting || s.Table != "nat" || s.Rule == 0 || s.Target != "RETURN" && s.Target != "ACCEPT" {
			continue
		}
		for _, rs := range c.Rules {
			t, _ := rs.Table("nat")
			chain, ok := t.Chain(s.Chain)
			if !ok || s.Rule > len(chain.Rules) {
				continue
			}
			for _, later := range chain.Rules[s.Rule:] {
				if later.Target != nil && (later.Target.Name() == "MASQUERADE" || later.Target.Name() == "SNAT") {
					return ruleOf(s, nat.Original), true
				}
			}
		}
	}
	return Rule{}, false
}
