package nftables

import (
	"slices"
	"sync"

	"natlab/nat"
	"natlab/nat/rules"
)

// Compiled is a table made ready for packets of one family: its rules as steps, its sets indexed, so that a look-up costs the same however
// many elements there are. It is not changed by packets: what rules put into sets is in the World's Memory.
type Compiled struct {
	name   string // with the family: "ip kube-proxy"
	family nat.Family
	source *Table
	chains []chain
	rules  []rule
	all    []step // of all rules, one after the other: a packet that comes to a chain for the first time finds them side by side
	index  map[string]int
	bases  map[string]int // the base chains' part of index, which each packet asks for
	sets   map[string]*lookup
	runs   sync.Pool // of *run that are not in use: a packet meets many base chains
}

// chain is a chain's rules: those of the table from one to another.
type chain struct{ first, end int32 }

// rule is a rule's statements as steps: those of the table from one to another.
type rule struct{ first, end int32 }

// step carries one statement out.
type step func(r *run) flow

// flow is how a rule goes on behind a statement.
type flow uint8

const (
	goesOn flow = iota
	breaks      // the rule does not match (NFT_BREAK)
	ends        // run.verdict is the rule's
)

// Compile makes a table ready. The table must not be changed afterwards.
func Compile(t *Table, f nat.Family) *Compiled {
	c := &Compiled{name: t.FullName(), family: f, source: t, index: map[string]int{}, bases: map[string]int{}, sets: map[string]*lookup{}}
	changed := t.changedSets()
	for i := range t.Sets {
		s := &t.Sets[i]
		c.sets[s.Name] = newLookup(s.Elements, len(s.Key))
		c.sets[s.Name].declare(s, slices.Contains(changed, s.Name))
	}
	for i := range t.Chains {
		c.index[t.Chains[i].Name] = i
		if t.Chains[i].Base != nil {
			c.bases[t.Chains[i].Name] = i
		}
	}
	c.compile()
	return c
}

// compile makes the rules ready. Conditions that are alike are one.
func (c *Compiled) compile() {
	known := map[Match]step{}
	c.chains = make([]chain, 0, len(c.source.Chains))
	for i := range c.source.Chains {
		from := &c.source.Chains[i]
		first := len(c.rules)
		for j := range from.Rules {
			at := len(c.all)
			c.all = append(c.all, c.steps(from.Rules[j].Statements, rules.Place{Table: c.name, Chain: from.Name, Rule: j + 1}, known)...)
			c.rules = append(c.rules, rule{int32(at), int32(len(c.all))}) //nolint:gosec // as many as there are statements
		}
		c.chains = append(c.chains, chain{int32(first), int32(len(c.rules))}) //nolint:gosec // as many as there are rules
	}
}

// rulesOf are a chain's rules, and stepsOf a rule's steps.
func (c *Compiled) rulesOf(at int) []rule { return c.rules[c.chains[at].first:c.chains[at].end] }

func (c *Compiled) stepsOf(r rule) []step { return c.all[r.first:r.end] }

// steps are a rule's statements as steps.
func (c *Compiled) steps(all []Statement, at rules.Place, known map[Match]step) (out []step) {
	for k, s := range all {
		at.Match = k + 1
		one := c.alike(s, at, known)
		if k > 0 && joined(all[k-1], s) {
			one = joinedStep(out[k-1], one, all[k-1].String()+" "+s.String())
			out[k-1] = func(*run) flow { return goesOn }
		}
		out = append(out, one)
	}
	return out
}

// alike is a statement as a step: of those that compare a value of the packet with a constant the same for all that are alike.
func (c *Compiled) alike(s Statement, at rules.Place, known map[Match]step) step {
	m, is := s.(Match)
	_, value := m.Left.(Selector)
	_, constant := m.Right.(Constant)
	if !is || !value || !constant {
		return c.step(s, at)
	}
	if known[m] == nil {
		known[m] = c.step(m, at)
	}
	return known[m]
}

// FullName is the table's name behind its family: "inet filter". Tables of other families may have the same name.
func (t *Table) FullName() string { return string(t.Family) + " " + t.Name }

// changedSets are the sets that rules of the table put elements into.
func (t *Table) changedSets() (out []string) {
	for i := range t.Chains {
		for _, r := range t.Chains[i].Rules {
			for _, s := range r.Statements {
				if u, is := s.(Update); is {
					out = append(out, u.Set)
				}
			}
		}
	}
	return out
}

// Name is the table's FullName.
func (c *Compiled) Name() string { return c.name }

// step is a statement as a step. place names it.
func (c *Compiled) step(s Statement, place rules.Place) step {
	switch s := s.(type) {
	case Match:
		return c.matchStep(s)
	case VMap:
		return c.vmapStep(s)
	case *Verdict:
		to := c.leadsTo(s)
		kind, chain := s.Kind, s.Chain
		return func(r *run) flow {
			r.target = chain
			return r.end(kind, to)
		}
	case Assign:
		return c.assignStep(s)
	case NAT:
		return c.natStep(s)
	case Reject:
		return rejectStep(s, c.family)
	case Limit:
		return limitStep(s, s.String(), place)
	case Quota:
		return quotaStep(s, s.String(), place)
	case Update:
		return c.updateStep(s, place)
	case NoTrack:
		return noTrack
	case Queue:
		return queueStep(s)
	case Counter, Log:
		return func(*run) flow { return goesOn }
	case ObjectRef:
		return c.objectStep(s)
	case Opaque:
		return opaqueStep(s)
	case Compat:
		return c.compatStep(s)
	}
	return openStep(s.String())
}

// openStep is of a statement of which it is not known whether it lets the rule go on.
func openStep(text string) step {
	return func(r *run) flow { return r.open(text) }
}

// matchStep compares a value.
func (c *Compiled) matchStep(m Match) step {
	text := m.String()
	if n, is := m.Left.(NumGen); is && !n.Inc {
		if right, ok := m.Right.(Constant); ok && right.Raw == "" {
			p := n.share(m.Op, right)
			return func(r *run) flow { return hold(r.visit.Take(p)) }
		}
	}
	read := c.reader(m.Left)
	holds := c.comparison(m)
	if read == nil || holds == nil {
		return openStep(text)
	}
	return func(r *run) flow {
		k := r.key()
		defer r.done()
		switch read(r, k) {
		case rules.No:
			return breaks
		case rules.Unknown:
			return r.open(text)
		case rules.Yes:
		}
		switch holds(r, k) {
		case rules.Yes:
			return goesOn
		case rules.No:
			return breaks
		case rules.Unknown:
		}
		return r.open(text)
	}
}

func hold(yes bool) flow {
	if yes {
		return goesOn
	}
	return breaks
}

// comparison is what a value is asked; nil where it cannot be read.
func (c *Compiled) comparison(m Match) func(r *run, k *key) rules.Answer {
	not := m.Op == "!="
	switch right := m.Right.(type) {
	case *In:
		set := c.lookup(right, partsOf(m.Left))
		if set == nil {
			return nil
		}
		return func(r *run, k *key) rules.Answer {
			_, found := set.find(r, k)
			if found == rules.Yes && !not && set.passes(r, k) != goesOn {
				return rules.No
			}
			return found.Not(not)
		}
	case Constant:
		one := comparing(m.Op, right, m.Left)
		if one == nil {
			return nil
		}
		return func(_ *run, k *key) rules.Answer { return rules.Is(one(k[0]), false) }
	case Concat:
		wanted := make([]Constant, len(right))
		for i, e := range right {
			part, is := e.(Constant)
			if !is || part.Raw != "" || i >= maxParts {
				return nil
			}
			wanted[i] = part
		}
		return func(_ *run, k *key) rules.Answer {
			for i, w := range wanted {
				if !w.Has(k[i]) {
					return rules.Is(not, false)
				}
			}
			return rules.Is(!not, false)
		}
	case Selector, Operation, MapOf, Fib, NumGen, Hash, Raw, Other:
	}
	return nil
}

// comparing is a comparison with a constant; nil for one that cannot be read.
func comparing(op string, c Constant, left Expr) func(Number) bool {
	if f, is := left.(Fib); is && f.Result != "type" && (c.Raw == "missing" || c.Raw == "exists" || c.Raw == "0") {
		missing := (c.Raw != "exists") != (op == "!=")
		return func(n Number) bool { return (n == Number{}) == missing }
	}
	if c.Raw != "" || c.Any {
		return nil
	}
	if c.Type == CTLabel { // the constant is a bit's number
		bit := ones(int(c.Low.Low) + 1).xor(ones(int(c.Low.Low)))
		return func(n Number) bool { return (n.and(bit) == bit) == (op != "!=" && op != "!") }
	}
	_, masked := left.(Operation)
	bits := c.Type.row().mask && !masked
	switch op {
	case "":
		if bits {
			return func(n Number) bool { return n.and(c.Low) != Number{} }
		}
		return c.Has
	case "!":
		return func(n Number) bool { return n.and(c.Low) == Number{} }
	case "==":
		return c.Has
	case "!=":
		return func(n Number) bool { return !c.Has(n) }
	case "<":
		return func(n Number) bool { return n.less(c.Low) }
	case ">=":
		return func(n Number) bool { return !n.less(c.Low) }
	case ">":
		return func(n Number) bool { return c.High.less(n) }
	case "<=":
		return func(n Number) bool { return !c.High.less(n) }
	}
	return nil
}

// share is the probability that a random number meets a comparison.
func (n NumGen) share(op string, c Constant) float64 {
	if n.Mod == 0 {
		return 0
	}
	first, last := uint64(n.Offset), uint64(n.Offset)+uint64(n.Mod)-1
	low, high := c.Low.Low, c.High.Low
	count := func(from, to uint64) float64 { // of what is generated
		from, to = max(from, first), min(to, last)
		if from > to {
			return 0
		}
		return float64(to-from+1) / float64(n.Mod)
	}
	switch op {
	case "!=":
		return 1 - count(low, high)
	case "<":
		return count(0, low) - count(low, low)
	case "<=":
		return count(0, low)
	case ">":
		return 1 - count(0, high)
	case ">=":
		return 1 - count(0, low) + count(low, low)
	}
	return count(low, high)
}

// vmapStep looks the verdict up.
func (c *Compiled) vmapStep(m VMap) step {
	text := m.Key.String() + " vmap"
	read, set := c.reader(m.Key), c.lookup(m.Map, partsOf(m.Key))
	if read == nil || set == nil {
		return openStep(m.String())
	}
	set.lead(c)
	return func(r *run) flow {
		k := r.key()
		defer r.done()
		found, at := read(r, k), -1
		if found == rules.Yes {
			at, found = set.find(r, k)
		}
		if found == rules.Yes && set.passes(r, k) != goesOn {
			return breaks
		}
		switch {
		case found == rules.No:
			return breaks
		case found == rules.Unknown || at < 0 || !set.leads[at].known:
			return r.lost("which element " + text + " finds")
		}
		l := set.leads[at]
		if r.hits != nil {
			r.element, r.target = set.elements[at].bare(), set.elements[at].Verdict.Chain
		}
		return r.end(l.verdict, l.to)
	}
}
