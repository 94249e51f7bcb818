package iptables

import (
	"natlab/nat"
)

// indexFrom is the number of rules from which a chain gets an index.
const indexFrom = 8

// maxShapes bounds how many tables of an index a packet is looked up in; rules of further shapes are tried for every packet.
const maxShapes = 6

// chainIndex finds the rules of a chain that a packet may match: those that ask for what it has, by what they ask for
// (tuple space search). A rule that asks for nothing that is indexed is in the shape without any field.
type chainIndex struct {
	shapes []shapeTable
}

// shape is which fields a rule asks for exactly.
type shape struct {
	src, dst address // masks; zero: not asked for
	proto    bool
	dport    bool
}

type shapeTable struct {
	shape
	rules map[shapeKey][]int32
}

type shapeKey struct {
	src, dst address
	proto    nat.Proto
	dport    uint16
}

// newIndex builds the index of a chain, nil for a short one.
func newIndex(rules []Rule) *chainIndex {
	if len(rules) < indexFrom {
		return nil
	}
	counts := map[shape]int{}
	shapes := make([]shape, len(rules))
	keys := make([]shapeKey, len(rules))
	var order []shape
	for i := range rules {
		shapes[i], keys[i] = shapeOf(&rules[i])
		if counts[shapes[i]] == 0 {
			order = append(order, shapes[i])
		}
		counts[shapes[i]]++
	}
	place := make(map[shape]int, len(order))
	x := &chainIndex{shapes: []shapeTable{{rules: map[shapeKey][]int32{}}}}
	place[shape{}] = 0
	for _, s := range order {
		if _, ok := place[s]; ok || len(x.shapes) == maxShapes {
			continue
		}
		place[s] = len(x.shapes)
		x.shapes = append(x.shapes, shapeTable{shape: s, rules: make(map[shapeKey][]int32, counts[s])})
	}
	for i := range rules {
		at, ok := place[shapes[i]]
		if !ok {
			at, keys[i] = 0, shapeKey{}
		}
		t := x.shapes[at].rules
		t[keys[i]] = append(t[keys[i]], int32(i))
	}
	return x
}

// shapeOf is what a rule asks for exactly. No port behind a match that remembers, counts or is decided elsewhere is
// indexed: such a match has to see every packet that comes to it. Addresses and protocol are asked for before all others.
func shapeOf(rule *Rule) (s shape, k shapeKey) {
	stateful := false
	for _, m := range rule.Matches {
		switch m := m.(type) {
		case Source:
			if !m.Not && m.Prefix.Bits() > 0 {
				s.src = maskOf(m.Prefix)
				k.src = halves(m.Prefix.Addr()).masked(s.src)
			}
		case Destination:
			if !m.Not && m.Prefix.Bits() > 0 {
				s.dst = maskOf(m.Prefix)
				k.dst = halves(m.Prefix.Addr()).masked(s.dst)
			}
		case Protocol:
			if number, ok := protocolNumber(m.Name); ok && !m.Not {
				s.proto, k.proto = true, number
			}
		case Ports:
			if d := m.Destination; !stateful && d != nil && !d.Not && d.Low == d.High {
				s.dport, k.dport = true, d.Low
			}
		case Comment, NFAcct, InInterface, OutInterface, Mark, ConnMark, Conntrack, AddrType, MultiPort, ICMPType, Fragment:
		default:
			stateful = true
		}
	}
	return s, k
}

// indexed walks a chain by its index, in the order of the rules.
func (r *compiledRun) indexed(c *compiledChain, at, depth int) nat.Verdict {
	var found [maxShapes][]int32
	n := 0
	for i := range c.index.shapes {
		s := &c.index.shapes[i]
		k := shapeKey{src: r.src.masked(s.src), dst: r.dst.masked(s.dst)}
		if s.proto {
			k.proto = r.proto
		}
		if s.dport {
			k.dport = r.dport
		}
		if list := s.rules[k]; len(list) > 0 {
			found[n] = list
			n++
		}
	}
	for {
		best := -1
		for i := range n {
			if len(found[i]) > 0 && (best < 0 || found[i][0] < found[best][0]) {
				best = i
			}
		}
		if best < 0 {
			return nat.Continue
		}
		i := found[best][0]
		found[best] = found[best][1:]
		if v, done := r.rule(c, at, int(i), depth); done {
			return v
		}
	}
}
