package audit

import (
	"net/netip"
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/nftables"
	"natlab/nat/rules"
)

// maxMet bounds how many rules of a table one packet meets.
const maxMet = 4096

// nativeTable is a table of nf_tables' own that is another agent's, ready to be walked.
type nativeTable struct {
	*auditor

	table  *nftables.Table
	chains map[string]*nftables.Chain
	sets   map[string]*members
}

// members are the elements of a set or map: those of single values by their key, and the others.
type members struct {
	exact map[string]*nftables.Element
	rest  []*nftables.Element
	all   []nftables.Element
	open  bool // packets change it, or it is not there: what is in it is not known
}

func (a *auditor) tableOf(t *nftables.Table) *nativeTable {
	out := &nativeTable{auditor: a, table: t, chains: map[string]*nftables.Chain{}, sets: map[string]*members{}}
	for i := range t.Chains {
		out.chains[t.Chains[i].Name] = &t.Chains[i]
	}
	for i := range t.Sets {
		s := &t.Sets[i]
		out.sets[s.Name] = membersOf(s.Elements)
		out.sets[s.Name].open = s.Has("dynamic") || s.Has("timeout")
	}
	return out
}

func membersOf(all []nftables.Element) *members {
	m := &members{exact: map[string]*nftables.Element{}, all: all}
	for i := range all {
		e := &all[i]
		if slices.ContainsFunc(e.Key, func(c nftables.Constant) bool { return !c.Single() }) {
			m.rest = append(m.rest, e)
			continue
		}
		m.exact[nftables.KeyOf(e.Key)] = e
	}
	return m
}

func (t *nativeTable) members(in *nftables.In) *members {
	if in.Name == "" {
		return membersOf(in.Elements)
	}
	if m := t.sets[in.Name]; m != nil {
		return m
	}
	return &members{open: true}
}

// nativeWalk follows one packet through the chains of a table of nf_tables, as far as it is certain. Where it is translated already it is a pod's;
// else the client may be anybody.
type nativeWalk struct {
	*nativeTable

	packet     asked
	translated bool
	untracked  bool // connection tracking has not seen it yet
	marked     bool // a rule gave it a mark
	left       int  // rules that it may meet yet

	chain  string // of the rule that ends its way; number 0: the chain's policy
	number int
}

// through walks a base chain.
func (w *nativeWalk) through(base *nftables.Chain) ending {
	w.left = maxMet
	end := w.walk(base.Name, true, 0)
	if end == goesOn && base.Base.Drop {
		w.chain, w.number = base.Name, 0
		return dropped
	}
	return end
}

func (w *nativeWalk) walk(name string, certain bool, depth int) ending {
	c := w.chains[name]
	if c == nil || depth > maxDepth {
		return settled
	}
	for i := range c.Rules {
		if w.left--; w.left < 0 {
			return settled
		}
		if end, done := w.rule(&c.Rules[i], &certain, depth); done {
			if (end == dropped || end == taken) && w.chain == "" {
				w.chain, w.number = name, i+1
			}
			return end
		}
	}
	return goesOn
}

// rule carries out one rule; done: the walk of its chain ends so. certain is false behind a rule that may have let the packet out.
func (w *nativeWalk) rule(r *nftables.Rule, certain *bool, depth int) (end ending, done bool) {
	holds := rules.Yes
	for _, s := range r.Statements {
		switch s := s.(type) {
		case nftables.Match:
			switch w.match(s) {
			case rules.No:
				return goesOn, false
			case rules.Unknown:
				holds = rules.Unknown
			case rules.Yes:
			}
		case nftables.Limit, nftables.Quota:
			holds = rules.Unknown
		case nftables.ObjectRef:
			if s.Kind == "limit" || s.Kind == "quota" {
				holds = rules.Unknown
			}
		case nftables.Update:
			if len(s.Statements) > 0 {
				holds = rules.Unknown
			}
		case nftables.Counter, nftables.Log:
		case nftables.Assign:
			to := strings.TrimPrefix(string(s.To), "meta ")
			w.marked = w.marked || to == "mark"
			if to == string(s.To) && to != "mark" && !strings.HasPrefix(to, "ct ") { // of a header
				return settled, true
			}
		case nftables.Compat:
			if s.Kind != "match" {
				return settled, true
			}
			holds = rules.Unknown
		case nftables.Reject:
			return dropped, *certain && holds == rules.Yes
		case nftables.NAT:
			return w.translate(s, holds, *certain)
		case *nftables.Verdict:
			return w.follow(s, holds, certain, depth)
		case nftables.VMap:
			return w.choose(s, holds, certain, depth)
		default: // what it does, or whether, is not known
			return settled, true
		}
	}
	return goesOn, false
}

// translate is a translation; one whose map does not have the packet is none.
func (w *nativeWalk) translate(n nftables.NAT, holds rules.Answer, certain bool) (end ending, done bool) {
	if n.Kind != rules.DNAT && n.Kind != rules.Redirect {
		return settled, true
	}
	if m, is := n.To.(nftables.MapOf); is {
		found, _ := w.find(m.Key, m.Map)
		holds = min(holds, found)
		if found == rules.No {
			return goesOn, false
		}
	}
	return taken, certain && holds == rules.Yes
}

// follow does what a verdict tells.
func (w *nativeWalk) follow(v *nftables.Verdict, holds rules.Answer, certain *bool, depth int) (end ending, done bool) {
	sure := *certain && holds == rules.Yes
	switch v.Kind {
	case nat.Accept, nat.Queue, nat.Stolen:
		return settled, true
	case nat.Drop, nat.Reject:
		return dropped, sure
	case nat.Return:
		*certain = sure
		return goesOn, holds == rules.Yes
	case nat.Jump:
		end = w.walk(v.Chain, sure, depth+1)
		return end, end != goesOn
	case nat.Goto:
		end = w.walk(v.Chain, sure, depth+1)
		*certain = sure
		return end, end != goesOn || holds == rules.Yes
	case nat.Continue:
	}
	return goesOn, false
}

// choose does what the element of a verdict map tells that the packet has; where that is not known, what each may tell that it may have.
func (w *nativeWalk) choose(m nftables.VMap, holds rules.Answer, certain *bool, depth int) (end ending, done bool) {
	found, all := w.find(m.Key, m.Map)
	if found == rules.No {
		return goesOn, false
	}
	if found == rules.Unknown {
		holds = rules.Unknown
	}
	if len(all) == 0 { // packets put there what it has
		return settled, true
	}
	for _, e := range all {
		if e.Verdict == nil {
			return settled, true
		}
		if end, done = w.follow(e.Verdict, holds, certain, depth); done {
			return end, true
		}
	}
	return goesOn, false
}

// match tells whether a condition holds for the packet, from whoever it is.
func (w *nativeWalk) match(m nftables.Match) rules.Answer {
	if slices.ContainsFunc(parts(m.Left), w.absent) {
		return rules.No
	}
	switch right := m.Right.(type) {
	case *nftables.In:
		found, _ := w.find(m.Left, right)
		return found.Not(m.Op == "!=")
	case nftables.Constant:
		n, known := w.value(m.Left)
		switch {
		case right.Raw != "" || right.Any:
			return rules.Unknown
		case m.Op == "" && right.Type.Flags():
			return w.bits(m.Left, n, known, right)
		case m.Op == "" || m.Op == "==" || m.Op == "!=":
			return w.has(m.Left, right).Not(m.Op == "!=")
		case !known:
			return rules.Unknown
		}
		return compared(n, m.Op, right.Low)
	}
	return rules.Unknown
}

// bits tells whether the packet has one of some bits.
func (w *nativeWalk) bits(e nftables.Expr, n nftables.Number, known bool, c nftables.Constant) rules.Answer {
	if known {
		return yesNo(n.Low&c.Low.Low != 0)
	}
	if selector(e) == "ct status" && w.translated && c.Low.Low&uint64(nat.DstNAT) != 0 {
		return rules.Yes
	}
	return rules.Unknown
}

func compared(n nftables.Number, op string, with nftables.Number) rules.Answer {
	if n.High != 0 || with.High != 0 {
		return rules.Unknown
	}
	switch op {
	case "<":
		return yesNo(n.Low < with.Low)
	case ">":
		return yesNo(n.Low > with.Low)
	case "<=":
		return yesNo(n.Low <= with.Low)
	case ">=":
		return yesNo(n.Low >= with.Low)
	}
	return rules.Unknown
}

// find is what of a set or map the packet has: Yes with the one element, or Unknown with those that may be it.
func (w *nativeWalk) find(key nftables.Expr, in *nftables.In) (found rules.Answer, all []*nftables.Element) {
	m, of := w.members(in), parts(key)
	if slices.ContainsFunc(of, w.absent) {
		return rules.No, nil
	}
	if m.open {
		return rules.Unknown, nil
	}
	candidates := m.rest
	if exact, known := w.key(of, m); known {
		if e := m.exact[exact]; e != nil {
			return rules.Yes, []*nftables.Element{e}
		}
	} else {
		candidates = nil
		for i := range m.all {
			candidates = append(candidates, &m.all[i])
		}
	}
	for _, e := range candidates {
		switch w.element(of, e) {
		case rules.Yes:
			return rules.Yes, []*nftables.Element{e}
		case rules.Unknown:
			all = append(all, e)
		case rules.No:
		}
	}
	if len(all) == 0 {
		return rules.No, nil
	}
	return rules.Unknown, all
}

// key is the packet's key as members keep those of single values; false where not all of it is known.
func (w *nativeWalk) key(of []nftables.Expr, m *members) (string, bool) {
	if len(m.all) == 0 || len(m.all[0].Key) != len(of) {
		return "", false
	}
	out := make([]nftables.Constant, len(of))
	for i, e := range of {
		n, known := w.value(e)
		if !known {
			return "", false
		}
		out[i] = nftables.Constant{Type: m.all[0].Key[i].Type, Low: n, High: n}
	}
	return nftables.KeyOf(out), true
}

// element tells whether the packet has an element's key.
func (w *nativeWalk) element(of []nftables.Expr, e *nftables.Element) rules.Answer {
	if len(of) != len(e.Key) {
		return rules.Unknown
	}
	out := rules.Yes
	for i, c := range e.Key {
		switch w.has(of[i], c) {
		case rules.No:
			return rules.No
		case rules.Unknown:
			out = rules.Unknown
		case rules.Yes:
		}
	}
	return out
}

// has tells whether a value of the packet is among a constant's.
func (w *nativeWalk) has(e nftables.Expr, c nftables.Constant) rules.Answer {
	if c.Raw != "" || c.Any {
		return rules.Unknown
	}
	if n, known := w.value(e); known {
		return yesNo(c.Has(n))
	}
	switch selector(e) {
	case "iifname", "oifname", "iif", "oif":
		if besidePods.MatchString(strings.Trim(c.String(), `"`)) {
			return rules.No
		}
	case "ip saddr", "ip6 saddr":
		if p, ok := prefixOf(c); ok && w.translated && w.elsewhere(p) {
			return rules.No
		}
	}
	return rules.Unknown
}

// elsewhere reports whether a network is none of pods.
func (a *auditor) elsewhere(p netip.Prefix) bool {
	pods := a.podNetworks()
	return len(pods) > 0 && !slices.ContainsFunc(pods, p.Overlaps)
}

// prefixOf is the network of a constant that is one address or a prefix.
func prefixOf(c nftables.Constant) (netip.Prefix, bool) {
	text := c.String()
	if addr, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(addr, addr.BitLen()), true
	}
	p, err := netip.ParsePrefix(text)
	return p, err == nil
}
