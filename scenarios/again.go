package scenarios

import (
	"natlab/nat"
	"natlab/nat/proof"
)

// withoutAgain leaves out packets that were seen before in the same place, with the rules that they met behind it; again: there
// are such packets.
func withoutAgain(all []proof.Observation) (first []proof.Observation, again bool) {
	type sight struct {
		node  string
		hop   nat.Hop
		flags uint8
		icmp  proof.ICMP
	}
	known := map[sight]bool{}
	repeats := map[string]bool{} // by member: its last packet was one of them
	for _, o := range all {
		switch o.Kind {
		case proof.PacketSeen:
			at := sight{o.Node, o.Hop, o.TCPFlags, o.ICMP}
			repeats[o.Node] = known[at]
			again = again || known[at]
			known[at] = true
		case proof.RuleHit, proof.ConnSeen:
		}
		if o.Kind == proof.ConnSeen || !repeats[o.Node] {
			first = append(first, o)
		}
	}
	return first, again
}
