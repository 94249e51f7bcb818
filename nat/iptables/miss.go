package iptables

import (
	"fmt"

	"natlab/nat"
	"natlab/nat/rules"
)

// Miss is the first condition of a rule that a packet did not meet.
type Miss struct {
	Wanted string // the condition as iptables-save prints it
	Actual string // what the packet has instead: "in device eth1"
	Open   bool   // chance, or what is not known of the node, decides: the condition may hold or not
}

// String is the miss in one line: "wants -p tcp: protocol udp".
func (m Miss) String() string { return "wants " + m.Wanted + ": " + m.Actual }

// Miss tells which of a rule's conditions failed first for a packet at a hook; false: none did. One that surely fails goes before one that
// may. Of the world only AddrType is asked.
func (r Rule) Miss(hook nat.Hook, pkt rules.Packet, w rules.World) (Miss, bool) {
	var open Miss
	for _, m := range r.Matches {
		asker := &asker{}
		evaluation := run{visit: rules.Visit{Packet: &pkt, World: w, Decider: asker, Hook: hook}}
		held := evaluation.match(m)
		switch {
		case asker.asked != "" && !open.Open:
			open = Miss{Wanted: matchText(m), Actual: asker.asked, Open: true}
		case asker.asked == "" && !held:
			return Miss{Wanted: matchText(m), Actual: m.Actual(&evaluation.visit)}, true
		}
	}
	return open, open.Open
}

// asker notes that a condition cannot be decided by the packet alone.
type asker struct{ asked string }

func (a *asker) Take(p float64) bool {
	switch {
	case p <= 0:
		return false
	case p >= 1:
		return true
	}
	a.asked = fmt.Sprintf("chance decides, it holds or not (probability %.5g)", p)
	return true
}

func (a *asker) Unknown(string) bool {
	a.asked = "natlab cannot tell"
	return true
}
