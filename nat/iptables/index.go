package iptables

import (
	"math/bits"

	"natlab/nat"
	"natlab/nat/xt"
)

// indexFrom is the number of rules from which a chain gets an index.
const indexFrom = 8

// maxShapes bounds how many keys of an index a packet is looked up by; rules of further shapes are tried for every packet.
const maxShapes = 6

// chainIndex finds the rules of a chain that a packet may match: those that ask for what it has, by what they ask for
// (tuple space search). A rule that asks for nothing that is indexed is in the shape without any field. What is found by
// a hash may ask for something else after all; each rule's conditions are checked in any case.
type chainIndex struct {
	shapes []shape
	slots  []slot        // a power of two, at least half of them empty; those of equal hash follow one another
	rules  []indexedRule // by number, from 1
}

// shape is which fields a rule asks for exactly.
type shape struct {
	src, dst address // masks; zero: not asked for
	proto    bool
	dport    bool
}

type shapeKey struct {
	src, dst address
	proto    nat.Proto
	dport    uint16
}

// slot leads from a key to the rules that ask for it.
type slot struct {
	tag  uint32 // of the key's hash, with the shape's number
	rule uint32 // the first one; 0 for an empty slot
}

type indexedRule struct {
	at   uint32 // its head
	next uint32 // rule of the same key; 0: none
}

// tagShapes are the bits of a tag that hold the shape, so that no two shapes share a slot.
const tagShapes = 7

// newIndex builds the index of a chain, nil for one that gains nothing by it.
func newIndex(rules []Rule) *chainIndex {
	if len(rules) < indexFrom {
		return nil
	}
	shapes, keys := make([]shape, len(rules)), make([]shapeKey, len(rules))
	place := map[shape]int{{}: 0}
	x := &chainIndex{shapes: make([]shape, 1, maxShapes), rules: make([]indexedRule, len(rules)+1)}
	plain := 0
	for i := range rules {
		shapes[i], keys[i] = shapeOf(&rules[i])
		if _, ok := place[shapes[i]]; !ok && len(x.shapes) < maxShapes {
			place[shapes[i]] = len(x.shapes)
			x.shapes = append(x.shapes, shapes[i])
		}
		if place[shapes[i]] == 0 {
			plain++
		}
	}
	if len(rules)-plain < indexFrom {
		return nil
	}
	x.slots = make([]slot, 1<<bits.Len(uint(2*len(rules))))
	last := make([]uint32, len(x.slots)) // rule of each slot
	for i := range rules {
		at := place[shapes[i]] // 0 too for a shape that has no number
		if at == 0 {
			keys[i] = shapeKey{}
		}
		s, tag := x.find(at, &keys[i])
		if x.slots[s].rule == 0 {
			x.slots[s] = slot{tag: tag, rule: uint32(i + 1)}
		} else {
			x.rules[last[s]].next = uint32(i + 1)
		}
		last[s] = uint32(i + 1)
	}
	return x
}

// find is the slot of a key, or the empty one where it would be.
func (x *chainIndex) find(shape int, k *shapeKey) (at uint64, tag uint32) {
	h := k.hash()
	tag = uint32(h>>32)&^tagShapes | uint32(shape)
	for at = h & uint64(len(x.slots)-1); x.slots[at].rule != 0 && x.slots[at].tag != tag; {
		at = (at + 1) & uint64(len(x.slots)-1)
	}
	return at, tag
}

// hash mixes a key's fields by multiplication, as wyhash does.
func (k *shapeKey) hash() uint64 {
	const a, b, c = 0xa0761d6478bd642f, 0xe7037ed1a0b428db, 0x8ebc6af09c88c6e3
	mix := func(x, y uint64) uint64 {
		high, low := bits.Mul64(x, y)
		return high ^ low
	}
	h := mix(k.src.low^a, k.dst.low^b)
	if k.src.high|k.dst.high != 0 {
		h = mix(h^k.src.high^b, k.dst.high^c)
	}
	return mix(h^c, uint64(k.proto)<<16^uint64(k.dport)^a)
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
			if number, ok := m.Number(); ok && !m.Not {
				s.proto, k.proto = true, number
			}
		case xt.Ports:
			if d := m.Destination; !stateful && d != nil && !d.Not && d.Low == d.High {
				s.dport, k.dport = true, d.Low
			}
			stateful = stateful || !m.Plain() // what is inside may drop the packet
		case xt.Comment, xt.NFAcct, InInterface, OutInterface, xt.Mark, xt.ConnMark, xt.AddrType, xt.MultiPort, xt.ICMPType, Fragment,
			xt.DSCP, xt.ECN, xt.IPRange, xt.Length, xt.MAC, xt.PktType, xt.TOS, xt.TTL,
			xt.EUI64, xt.Frag, xt.IP6Options, xt.IPv6Header, xt.Policy, xt.BPF, xt.RT, xt.SRH, xt.String, xt.U32:
		case xt.Conntrack:
			stateful = stateful || m.Conn != nil
		default:
			stateful = true
		}
	}
	return s, k
}

// indexed walks a chain by its index, in the order of the rules.
func (r *compiledRun) indexed(chain *instruction, depth int) nat.Verdict {
	x := r.table.indexes[chain.operands-1]
	var found [maxShapes]uint32
	for i := range x.shapes {
		s := &x.shapes[i]
		k := shapeKey{src: r.src.masked(s.src), dst: r.dst.masked(s.dst)}
		if s.proto {
			k.proto = r.proto
		}
		if s.dport {
			k.dport = r.dport
		}
		at, _ := x.find(i, &k)
		found[i] = x.slots[at].rule
	}
	for {
		best := -1
		for i, rule := range found[:len(x.shapes)] {
			if rule != 0 && (best < 0 || rule < found[best]) {
				best = i
			}
		}
		if best < 0 {
			return nat.Continue
		}
		number := found[best]
		rule := &x.rules[number]
		found[best] = rule.next
		if v, done := r.rule(chain, rule.at, number, depth); done {
			return v
		}
	}
}
