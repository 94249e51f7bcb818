package nftables

import (
	"slices"
	"strings"
	"time"

	"natlab/nat"
	"natlab/nat/rules"
)

// maxParts is how many parts of a concatenation natlab looks up.
const maxParts = 6

// key is the value of a concatenation, or a single one in its first part.
type key [maxParts]Number

// lookup is a set or a map ready to be asked.
type lookup struct {
	elements []Element
	exact    index
	sorted   []int // of one part: elements that are ranges, by where they begin; they do not overlap
	linear   []int // of several parts: elements with a range in them
	any      int   // what matches nothing else; -1: none
	unread   bool  // an element could not be read

	name    string // "" for one that stands in a rule
	changed bool   // rules put elements into it
	size    int
	timeout time.Duration
	leads   []lead // of a verdict map, by the elements' places
}

// lead is what an element of a verdict map does with the packet; the zero lead is of one that has no verdict.
type lead struct {
	verdict nat.Verdict
	known   bool
	to      int32 // the chain that it leads to, by its place; -1: to none
}

func newLookup(elements []Element, parts int) *lookup {
	for i := range elements { // a set that is declared by typeof does not tell
		parts = max(parts, min(len(elements[i].Key), maxParts))
	}
	l := &lookup{elements: elements, any: -1}
	keys, places := make([]key, 0, len(elements)), make([]int32, 0, len(elements))
	for i := range elements {
		e := &elements[i]
		if len(e.Key) == 1 && e.Key[0].Any {
			l.any = i
			continue
		}
		l.unread = l.unread || slices.ContainsFunc(e.Key[:min(len(e.Key), maxParts)], func(part Constant) bool { return part.Raw != "" })
		switch {
		case e.single():
			keys, places = append(keys, e.key()), append(places, int32(i)) //nolint:gosec // as many as there are elements
		case len(e.Key) == 1:
			l.sorted = append(l.sorted, i)
		default:
			l.linear = append(l.linear, i)
		}
	}
	l.exact = newIndex(parts, keys, places)
	slices.SortFunc(l.sorted, func(a, b int) int {
		x, y := elements[a].Key[0].Low, elements[b].Key[0].Low
		switch {
		case x.less(y):
			return -1
		case y.less(x):
			return 1
		}
		return 0
	})
	return l
}

// declare is of a named set.
func (l *lookup) declare(s *Set, changed bool) {
	l.name, l.changed, l.size, l.timeout = s.Name, changed, s.Size, s.Timeout
}

// lookup is what a rule looks a key of so many parts up in; nil for a set that the table has not, or too long a key.
func (c *Compiled) lookup(in *In, parts int) *lookup {
	if parts > maxParts {
		return nil
	}
	if in.Name == "" {
		return newLookup(in.Elements, parts)
	}
	return c.sets[in.Name]
}

// find is the place of the element that a key has; -1 with Yes for one that rules put into the set.
func (l *lookup) find(r *run, k *key) (int, rules.Answer) {
	if l.changed {
		return l.findChanged(r, k)
	}
	return l.listed(k)
}

// listed is the place of the element that a key has in the set as it was listed; -1 for none.
func (l *lookup) listed(k *key) (int, rules.Answer) {
	if i, ok := l.exact.find(k); ok {
		return i, rules.Yes
	}
	if len(l.sorted)+len(l.linear) == 0 && !l.unread && l.any < 0 {
		return -1, rules.No
	}
	if at, ok := slices.BinarySearchFunc(l.sorted, k[0], func(i int, n Number) int {
		switch e := &l.elements[i].Key[0]; {
		case n.less(e.Low):
			return 1
		case e.High.less(n):
			return -1
		}
		return 0
	}); ok {
		return l.sorted[at], rules.Yes
	}
	for _, i := range l.linear {
		if l.elements[i].has(k) {
			return i, rules.Yes
		}
	}
	switch {
	case l.unread:
		return -1, rules.Unknown
	case l.any >= 0:
		return l.any, rules.Yes
	}
	return -1, rules.No
}

// lead notes what the elements of a verdict map do.
func (l *lookup) lead(c *Compiled) {
	if l.leads != nil {
		return
	}
	l.leads = make([]lead, len(l.elements))
	for i := range l.elements {
		if v := l.elements[i].Verdict; v != nil {
			l.leads[i] = lead{v.Kind, true, c.leadsTo(v)}
		}
	}
}

// leadsTo is the place of the chain that a verdict leads to; -1 for none.
func (c *Compiled) leadsTo(v *Verdict) int32 {
	if v != nil {
		if at, is := c.index[v.Chain]; is && v.Chain != "" {
			return int32(at) //nolint:gosec // as many as there are chains
		}
	}
	return -1
}

// single reports whether all parts of the element's key are single values; key is them.
func (e *Element) single() bool {
	return !slices.ContainsFunc(e.Key[:min(len(e.Key), maxParts)], func(part Constant) bool { return !part.Single() })
}

func (e *Element) key() (k key) {
	for i, part := range e.Key[:min(len(e.Key), maxParts)] {
		k[i] = part.Low
	}
	return k
}

func (e *Element) has(k *key) bool {
	for i, part := range e.Key[:min(len(e.Key), maxParts)] {
		if !part.Has(k[i]) {
			return false
		}
	}
	return true
}

// live is what is in a set that rules put elements into.
type live struct{ members map[key]*member }

// member is an element that is there until a time, the zero time for ever, with the statements that it got when it was put there.
type member struct {
	until   time.Time
	own     []Statement
	buckets []bucket // of those that are limits
}

// over reports whether a member's time is over.
func (m *member) over(now time.Time) bool { return !m.until.IsZero() && !m.until.After(now) }

// liveKey names a set in the Memory.
type liveKey struct{ table, set string }

// findChanged looks into what rules put there. Where nothing is remembered, an element that is not listed may be there.
func (l *lookup) findChanged(r *run, k *key) (int, rules.Answer) {
	now, m := r.remembered(l)
	if m == nil {
		i, found := l.listed(k)
		if found == rules.No {
			found = rules.Unknown
		}
		return i, found
	}
	one, ok := m.members[*k]
	if ok && one.over(now) {
		delete(m.members, *k)
		ok = false
	}
	if !ok {
		return -1, rules.No
	}
	i, _ := l.listed(k)
	return i, rules.Yes
}

// remembered is what a set has now; nil where the World does not remember.
func (r *run) remembered(l *lookup) (now time.Time, m *live) {
	w, ok := r.visit.World.(rules.Rememberer)
	if !ok || w.Memory() == nil {
		return now, nil
	}
	now = w.Now()
	return now, rules.Recall(w.Memory(), liveKey{r.c.name, l.name}, func() live {
		out := live{members: map[key]*member{}}
		for i := range l.elements {
			if e := &l.elements[i]; e.single() {
				out.members[e.key()] = &member{until: e.until(now, l.timeout), own: e.Statements}
			}
		}
		return out
	})
}

// passes carries out what the element that a key has was put there with, as a rule does that finds it (nft_set_elem_update_expr).
func (l *lookup) passes(r *run, k *key) flow {
	if !l.changed {
		return goesOn
	}
	now, m := r.remembered(l)
	if m == nil || m.members[*k] == nil {
		return goesOn
	}
	return r.ownStatements(m.members[*k], now)
}

// until is when an element ends; the zero time for one that does not.
func (e *Element) until(now time.Time, otherwise time.Duration) time.Time {
	for _, d := range []time.Duration{e.Expires, e.Timeout, otherwise} {
		if d > 0 {
			return now.Add(d)
		}
	}
	return time.Time{}
}

// keyText is a key as an element of types would be written.
func keyText(k *key, types []Type) string {
	parts := make([]string, 0, len(types))
	for i, t := range types[:min(len(types), maxParts)] {
		parts = append(parts, Constant{Type: t, Low: k[i], High: k[i]}.String())
	}
	return strings.Join(parts, " . ")
}
