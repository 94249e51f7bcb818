package audit

import (
	"fmt"
	"net/netip"

	"natlab/nat/iptables"
	"natlab/nat/xt"
)

// callers are the built-in chains of nat in which the walk must get as far as kube-proxy's chain.
var callers = []struct{ chain, kube string }{
	{"PREROUTING", "KUBE-SERVICES"},
	{"OUTPUT", "KUBE-SERVICES"},
	{"POSTROUTING", "KUBE-POSTROUTING"},
}

// maxDepth bounds how deep calls are followed.
const maxDepth = 16

// earlyVerdicts finds rules of others that end the walk of a built-in chain before kube-proxy's chain is called.
func (a *auditor) earlyVerdicts(h Held) {
	table, _ := h.Rules.Table("nat")
	for _, c := range callers {
		chain, ok := table.Chain(c.chain)
		if !ok {
			continue
		}
		for i, r := range chain.Rules {
			if r.Target != nil && r.Target.Name() == c.kube {
				break
			}
			a.early(place{h.Backend, "nat", c.chain}, c.kube, ruled{Rule: r, number: i + 1}, table, 0)
		}
	}
}

// early looks at one rule in front of kube-proxy's chain, and into the chain it calls.
func (a *auditor) early(p place, kube string, r ruled, table iptables.Table, depth int) {
	if !a.mayMatch(r.Rule, kube) {
		return
	}
	called := ""
	switch t := r.Target.(type) {
	case xt.Jump:
		called = t.Chain
	case xt.Goto:
		called = t.Chain
	default:
		if ends(r.Target, kube, depth) {
			a.earlyVerdict(p, kube, r)
		}
		return
	}
	inner, ok := table.Chain(called)
	if !ok || kubeChain(called) || depth == maxDepth {
		return
	}
	for i, in := range inner.Rules {
		a.early(place{p.backend, p.table, called}, kube, ruled{Rule: in, number: i + 1}, table, depth+1)
	}
}

// ends reports whether a target keeps packets from kube-proxy's chain. A source that is translated early is as good as
// kube-proxy's own masquerade; RETURN ends the walk in a built-in chain only.
func ends(t xt.Target, kube string, depth int) bool {
	switch t.(type) {
	case xt.Accept:
		return true
	case xt.Return:
		return depth == 0
	case xt.DNAT, xt.Redirect:
		return kube == "KUBE-SERVICES"
	}
	return false
}

// mayMatch reports whether a rule can match a packet that kube-proxy's chain would have translated.
func (a *auditor) mayMatch(r iptables.Rule, kube string) bool {
	for _, m := range r.Matches {
		switch m := m.(type) {
		case xt.Mark:
			// After translation the mark is set on all that is to be masqueraded.
			if !m.Not && m.Value != 0 && m.Mask&a.mark == 0 {
				return false // another agent's own packets, by its mark
			}
			if kube == "KUBE-POSTROUTING" && m.Mask&a.mark != 0 && (m.Value&a.mark != 0) == m.Not && m.Mask == a.mark {
				return false
			}
		case iptables.Destination:
			if kube == "KUBE-SERVICES" && !m.Not && !a.serves(m.Prefix) {
				return false
			}
		}
	}
	return true
}

// serves reports whether a Service has an address in the prefix.
func (a *auditor) serves(p netip.Prefix) bool {
	for _, s := range a.services() {
		if p.Contains(s.address.Addr()) {
			return true
		}
	}
	return false
}

func (a *auditor) earlyVerdict(p place, kube string, r ruled) {
	f := p.finding(EarlyVerdict, r.number, fmt.Sprintf("%q can take packets before %s does", r.Text(p.chain), kube))
	f.Why, f.Issue = "packets it takes are not masqueraded, although kube-proxy marked them: their answers do not come back through this node", "kubernetes#20391"
	f.Remedy = "move the rule behind the call of KUBE-POSTROUTING, or let it return on mark 0x4000/0x4000 as newer flannel does"
	if kube == "KUBE-SERVICES" {
		f.Why, f.Issue = "packets it takes are not sent to the Service's endpoints", "containernetworking/plugins#222"
		f.Remedy = "move the rule behind the call of KUBE-SERVICES"
	}
	a.found(f)
}

// marks finds rules of others that set, clear or restore kube-proxy's bit of the mark.
func (a *auditor) marks(h Held) {
	for _, t := range h.Rules.Tables {
		table, _ := a.intent.Table(t.Name)
		own := table.ByName()
		for _, c := range t.Chains {
			if own[c.Name] != nil && kubeChain(c.Name) {
				continue // compared rule by rule
			}
			for i, r := range c.Rules {
				if how := touches(r.Target, a.mark); how != "" {
					a.found(place{h.Backend, t.Name, c.Name}.finding(MarkTaken, i+1, r.Text(c.Name)).markTaken(how, a.mark))
				}
			}
		}
	}
}

// markTaken is what is told of a rule, What, that does something to kube-proxy's bit of the mark.
func (f Finding) markTaken(how string, bit uint32) Finding {
	f.What = fmt.Sprintf("%q %s bit %#x of the mark", f.What, how, bit)
	f.Why = "the bit is for what kube-proxy has to masquerade: packets are masqueraded that must not be, or are not that must be"
	f.Issue = "kubernetes#19983"
	f.Remedy = "give the rule a mask without the bit, or kube-proxy another one (iptables.masqueradeBit)"
	return f
}

// touches is what a target does to a bit of the mark: "" for nothing.
func touches(t xt.Target, bit uint32) string {
	switch t := t.(type) {
	case xt.SetMark: // mark = mark &^ Mask ^ Value
		switch {
		case t.Mask&bit != 0 && t.Value&bit != 0:
			return "sets"
		case t.Mask&bit != 0:
			return "clears"
		case t.Value&bit != 0:
			return "flips"
		}
	case xt.SetConnMark:
		if t.Action == xt.ConnMarkRestore && t.NFMask&bit != 0 {
			return "overwrites"
		}
	}
	return ""
}
