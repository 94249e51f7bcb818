package nftables

import (
	"natlab/nat/rules"
)

// reader reads an expression's value into a key. No: the packet has no such value, and the rule does not match.
type reader func(r *run, into *key) rules.Answer

// value reads a single value.
type value func(r *run) (Number, rules.Answer)

func known(n uint64) (Number, rules.Answer) { return number(n), rules.Yes }

// reader is how an expression is read; nil for one that cannot be.
func (c *Compiled) reader(e Expr) reader {
	parts, ok := e.(Concat)
	if !ok {
		parts = Concat{e}
	}
	if len(parts) > maxParts {
		return nil
	}
	values := make([]value, len(parts))
	for i, part := range parts {
		if values[i] = c.value(part); values[i] == nil {
			return nil
		}
	}
	if len(values) == 1 {
		only := values[0]
		return func(r *run, into *key) (a rules.Answer) {
			into[0], a = only(r)
			return a
		}
	}
	return func(r *run, into *key) rules.Answer {
		all := rules.Yes
		for i, read := range values {
			var a rules.Answer
			switch into[i], a = read(r); a {
			case rules.No:
				return rules.No
			case rules.Unknown:
				all = rules.Unknown
			case rules.Yes:
			}
		}
		return all
	}
}

// partsOf is how many parts a key has.
func partsOf(e Expr) int {
	if c, is := e.(Concat); is {
		return len(c)
	}
	return 1
}

// value is how a single value is read; nil for one that cannot be.
func (c *Compiled) value(e Expr) value {
	switch e := e.(type) {
	case Selector:
		row, ok := selectorRow(string(e))
		if !ok || row.read == nil {
			return func(*run) (Number, rules.Answer) { return Number{}, rules.Unknown }
		}
		return row.read
	case Constant:
		if e.Raw != "" || e.Any {
			return nil
		}
		return func(*run) (Number, rules.Answer) { return e.Low, rules.Yes }
	case Operation:
		return c.operation(e)
	case MapOf:
		return c.mapped(e)
	case Fib:
		return e.value()
	case NumGen:
		return e.value()
	case Hash:
		return e.value(c)
	case Raw:
		return e.value()
	case Concat, *In, Other:
	}
	return nil
}

// operation computes of two values; those have at most 64 bits where one is shifted.
func (c *Compiled) operation(o Operation) value {
	left, right := c.value(o.Left), c.value(o.Right)
	if left == nil || right == nil {
		return nil
	}
	var of func(a, b Number) Number
	switch o.Op {
	case "&":
		of = Number.and
	case "|":
		of = Number.or
	case "^":
		of = Number.xor
	case "<<":
		of = func(a, b Number) Number { return number(a.Low << b.Low & (1<<32 - 1)) }
	case ">>":
		of = func(a, b Number) Number { return number(a.Low >> b.Low) }
	default:
		return nil
	}
	return func(r *run) (Number, rules.Answer) {
		a, got := left(r)
		b, got2 := right(r)
		return of(a, b), both(got, got2)
	}
}

// both is what two answers are together.
func both(a, b rules.Answer) rules.Answer {
	switch {
	case a == rules.No || b == rules.No:
		return rules.No
	case a == rules.Unknown || b == rules.Unknown:
		return rules.Unknown
	}
	return rules.Yes
}

// mapped is a map's data of one part.
func (c *Compiled) mapped(m MapOf) value {
	find := c.dataOf(m)
	if find == nil {
		return nil
	}
	return func(r *run) (Number, rules.Answer) {
		data, _, found := find(r)
		if found != rules.Yes {
			return Number{}, found
		}
		if len(data) != 1 || !data[0].Single() {
			return Number{}, rules.Unknown
		}
		return data[0].Low, rules.Yes
	}
}

// dataOf looks a map's data up, and the place of its element; nil for a map that cannot be asked.
func (c *Compiled) dataOf(m MapOf) func(r *run) ([]Constant, int, rules.Answer) {
	read, set := c.reader(m.Key), c.lookup(m.Map, partsOf(m.Key))
	if read == nil || set == nil {
		return nil
	}
	return func(r *run) ([]Constant, int, rules.Answer) {
		k := r.key()
		defer r.done()
		if got := read(r, k); got != rules.Yes {
			return nil, -1, got
		}
		at, found := set.find(r, k)
		if found != rules.Yes {
			return nil, -1, found
		}
		if set.passes(r, k) != goesOn {
			return nil, -1, rules.No
		}
		if at < 0 || len(set.elements[at].Data) == 0 {
			return nil, -1, rules.Unknown
		}
		if r.hits != nil {
			r.element = set.elements[at].String()
		}
		return set.elements[at].Data, at, rules.Yes
	}
}

// mostChosen is among how many numbers natlab follows each that chance may choose.
const mostChosen = 1024

// value chooses a number; where an inc generator stands is not known, and each number is as likely.
func (n NumGen) value() value {
	if n.Mod == 0 || n.Mod > mostChosen {
		return nil
	}
	return func(r *run) (Number, rules.Answer) { return known(uint64(n.Offset) + uint64(n.chosen(r))) }
}

// chosen is a number below Mod.
func (n NumGen) chosen(r *run) uint32 {
	if n.Inc {
		if memory := rules.Counting(r.visit.World); memory != nil {
			at := rules.Recall(memory, r.place(), func() uint32 { return n.Mod - 1 })
			*at = (*at + 1) % n.Mod
			return *at
		}
	}
	for i := range n.Mod {
		if r.visit.Take(1 / float64(n.Mod-i)) {
			return i
		}
	}
	return n.Mod - 1
}
