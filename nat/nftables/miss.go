package nftables

import (
	"fmt"

	"natlab/nat"
	"natlab/nat/rules"
)

// Miss is the first statement of a rule that did not let a packet go on.
type Miss struct {
	Wanted string // the statement as nft prints it
	Actual string // what the packet has instead: "ip daddr is 10.0.0.1"; of a set or map, which element would have been needed
	Open   bool   // chance, or what is not known of the node, decides
}

// String is the miss in one line: "wants tcp dport 80: tcp dport is 81".
func (m Miss) String() string { return "wants " + m.Wanted + ": " + m.Actual }

// Miss tells which of the statements of a chain's rule, counted from 0, failed first for a packet at a hook; false: none did. One that
// surely fails goes before one that may. Of the world nothing is changed.
func (c *Compiled) Miss(chain string, rule int, hook nat.Hook, pkt rules.Packet, w rules.World) (Miss, bool) {
	at, ok := c.index[chain]
	if !ok || rule >= len(c.rulesOf(at)) {
		return Miss{}, false
	}
	var open Miss
	pkt.Wire = pkt.Clone().Wire
	for i, s := range c.source.Chains[at].Rules[rule].Statements {
		if _, changes := s.(Update); changes {
			continue
		}
		a := &asker{}
		r := run{c: c}
		r.visit = rules.Visit{Packet: &pkt, World: w, Decider: a, Hook: hook}
		f := c.stepsOf(c.rulesOf(at)[rule])[i](&r)
		switch {
		case a.asked != "" && !open.Open:
			open = Miss{Wanted: s.String(), Actual: a.asked, Open: true}
		case a.asked == "" && f == breaks:
			return Miss{Wanted: s.String(), Actual: c.actual(&r, s)}, true
		case f == ends:
			return open, open.Open
		}
	}
	return open, open.Open
}

// asker notes that a condition cannot be decided by the packet alone.
type asker struct{ asked string }

func (a *asker) Take(p float64) bool {
	if p > 0 && p < 1 {
		a.asked = fmt.Sprintf("chance decides, it holds or not (probability %.5g)", p)
	}
	return p > 0
}

func (a *asker) Unknown(string) bool {
	a.asked = "natlab cannot tell"
	return true
}

// actual is what the packet has instead of what a statement wants.
func (c *Compiled) actual(r *run, s Statement) string {
	switch s := s.(type) {
	case Match:
		in, _ := s.Right.(*In)
		return c.has(r, s.Left, in, s.Op == "!=")
	case VMap:
		return c.has(r, s.Key, s.Map, false)
	case NAT:
		if m, is := s.To.(MapOf); is {
			return c.has(r, m.Key, m.Map, false)
		}
		return "the packet is of " + c.family.String()
	case Assign:
		if m, is := s.Value.(MapOf); is {
			return c.has(r, m.Key, m.Map, false)
		}
		return c.has(r, s.Value, nil, false)
	case Limit, Quota, Update:
		return "the limit is used up"
	case Reject:
		return "the packet is of " + c.family.String() + ", " + r.visit.Tuple.Proto().String()
	case *Verdict, Counter, Log, ObjectRef, NoTrack, Queue, Compat, Opaque:
	}
	return "it does not hold"
}

// has is an expression's value in words; where it was looked up, what the set would have needed.
func (c *Compiled) has(r *run, e Expr, in *In, not bool) string {
	read := c.reader(e)
	if read == nil {
		return "it does not hold"
	}
	var k key
	if read(r, &k) != rules.Yes {
		return "the packet has no " + e.String()
	}
	text := keyText(&k, typesOf(e))
	switch {
	case in == nil:
		return e.String() + " is " + text
	case in.Name != "" && not:
		return "@" + in.Name + " has " + text
	case in.Name != "":
		return "@" + in.Name + " has no element " + text
	case not:
		return e.String() + " is " + text + ", which is one of them"
	}
	return e.String() + " is " + text + ", which is none of them"
}
