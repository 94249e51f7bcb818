package rules

import (
	"bytes"
	"net/netip"
	"slices"

	"natlab/nat"
)

// Hit is a rule that a packet met and that matched, or the policy of the hook's chain for Rule 0.
type Hit struct {
	Chain   int // in the table's order
	Rule    int // from 1
	Verdict nat.Verdict
	Mark    uint32 // skb mark after the rule
	Maybe   bool   // whether it was met is not known, and makes no difference

	Malformed bool           // a match of the rule dropped the packet
	Element   string         // of a map, that it had for the packet; "" where no map was asked
	Target    string         // of a map's jump or goto, the chain
	To        netip.AddrPort // where a DNAT to a single address leads that a map had
}

// Way is one way that a packet can take through rules where chance decides, or something that is not known.
type Way struct {
	Verdict nat.Verdict
	Effect  Effect
	Packet  Packet           // as the rules leave it; its Wire is its own
	Hits    []Hit            //
	Chance  float64          // the probability of what chance decided on it
	Assumed []nat.Assumption // on which it depends
	Open    []string         // what was not known on it and made no difference
}

// Clone is a copy that shares nothing with the way that either changes.
func (s *Way) Clone() Way {
	out := *s
	out.Packet = s.Packet.Clone()
	out.Hits, out.Assumed, out.Open = slices.Clip(s.Hits), slices.Clip(s.Assumed), slices.Clip(s.Open)
	return out
}

// Merged makes ways that are at one place and have left the packet alike one way, where that leaves nothing out: their
// chances add up, or what one assumed does not matter.
func Merged(all []Way) []Way {
	for again := true; again; {
		again = false
		for i := 0; i < len(all); i++ {
			for j := i + 1; j < len(all); {
				if !all[i].takeIn(&all[j]) {
					j++
					continue
				}
				all = slices.Delete(all, j, j+1)
				again = true
			}
		}
	}
	return all
}

// takeIn merges another way into s; false where they are not one.
func (s *Way) takeIn(o *Way) bool {
	if s.Verdict != o.Verdict || len(s.Assumed) != len(o.Assumed) {
		return false
	}
	opposite := -1
	for i := range s.Assumed {
		switch a, b := s.Assumed[i], o.Assumed[i]; {
		case a == b:
		case a.What == b.What && opposite < 0:
			opposite = i
		default:
			return false
		}
	}
	switch {
	case !sameEffect(s.Effect, o.Effect) || !samePacket(&s.Packet, &o.Packet): // last, since it costs the most
		return false
	case opposite < 0:
		s.Chance += o.Chance
	case s.Chance != o.Chance:
		return false
	default:
		s.Open = append(slices.Clip(s.Open), s.Assumed[opposite].What)
		s.Assumed = slices.Delete(slices.Clone(s.Assumed), opposite, opposite+1)
	}
	for _, what := range o.Open {
		if !slices.Contains(s.Open, what) {
			s.Open = append(slices.Clip(s.Open), what)
		}
	}
	s.Hits = mergedHits(s.Hits, o.Hits)
	return true
}

func sameEffect(a, b Effect) bool {
	switch a := a.(type) {
	case *Translation:
		b, ok := b.(*Translation)
		return ok && *a == *b
	case *Rejection:
		b, ok := b.(*Rejection)
		return ok && *a == *b
	case *Open:
		b, ok := b.(*Open)
		return ok && *a == *b
	case *Queued:
		_, ok := b.(*Queued)
		return ok
	}
	return a == b
}

func samePacket(a, b *Packet) bool {
	x, y := *a, *b
	x.Wire, y.Wire = nil, nil
	if x != y || (a.Wire == nil) != (b.Wire == nil) {
		return false
	}
	return a.Wire == nil || bytes.Equal(a.Wire.Bytes(), b.Wire.Bytes())
}

// mergedHits are the rules that both ways met, with what only one met between them as Maybe.
func mergedHits(a, b []Hit) []Hit {
	same := 0
	for same < len(a) && same < len(b) && a[same] == b[same] {
		same++
	}
	end := 0
	for end < len(a)-same && end < len(b)-same && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	out := slices.Clone(a[:same])
	for _, only := range [][]Hit{a[same : len(a)-end], b[same : len(b)-end]} {
		for _, h := range only {
			h.Maybe = true
			out = append(out, h)
		}
	}
	return append(out, a[len(a)-end:]...)
}
