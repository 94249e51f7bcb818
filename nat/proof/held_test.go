package proof

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"natlab/nat"
)

// TestAPortThatAnotherConnectionHeld: a pod's connection was masqueraded by its node as 192.168.26.106:38312; then that node asks from 38312 itself, and in the
// node of the endpoint both would have the same answers.
func TestAPortThatAnotherConnectionHeld(t *testing.T) {
	conn := func(node string, id uint32, original, reply string) Observation {
		return Observation{Kind: ConnSeen, Node: node, Conn: nat.Conn{Node: node, ID: id, Original: tuple(original), Reply: tuple(reply)}}
	}
	const asked, toldPort, sameAnswer = "tcp 192.168.26.106:38312 > 192.168.26.105:30936", "tcp 10.244.169.89:9000 > 192.168.26.106:42987", "tcp 10.244.169.89:9000 > 192.168.26.106:38312"
	earlier := conn("vms105", 1, "tcp 192.168.26.106:38312 > 10.244.169.89:9000", sameAnswer)
	mine := conn("vms105", 2, asked, toldPort)
	gone := earlier
	gone.Gone = true
	// A pod that its node masqueraded with the port of the client: in the endpoint's node it looks like a connection of the client.
	masqueraded := conn("vms106", 3, "tcp 10.244.1.9:555 > 10.96.0.1:80", sameAnswer)
	masqueradedGone := masqueraded
	masqueradedGone.Gone = true
	translated := conn("vms106", 4, asked, sameAnswer)
	for _, row := range []struct {
		name                 string
		before, seen         []Observation
		client               string
		holders, isDisplaced bool
	}{
		{"an earlier one holds it", []Observation{earlier}, []Observation{mine}, asked, true, true},
		{"one of the same moment holds it", nil, []Observation{earlier, mine}, asked, true, true},
		{"one that goes in the same moment held it", []Observation{earlier}, []Observation{mine, gone}, asked, true, true},
		{"one that asks that way round holds it", []Observation{conn("vms105", 1, sameAnswer, "tcp 192.168.26.106:38312 > 10.244.169.89:9000")}, []Observation{mine}, asked, true, true},
		{"what another node made of another connection is told of late", []Observation{masqueraded}, []Observation{earlier}, asked, true, true},
		{"that other connection was gone before", []Observation{masqueraded, masqueradedGone}, []Observation{earlier}, asked, false, false},
		{"what another node made of its own", nil, []Observation{translated, earlier}, asked, true, false},
		{"nobody holds it", nil, []Observation{mine}, asked, false, false},
		{"it was gone before", []Observation{earlier, gone}, []Observation{mine}, asked, false, false},
		{"an entry of another node holds it", []Observation{conn("vms100", 1, "tcp 192.168.26.106:38312 > 10.244.169.89:9000", sameAnswer)}, []Observation{mine}, asked, false, false},
		{"its own entry was seen twice", []Observation{conn("vms105", 2, asked, sameAnswer)}, []Observation{mine}, asked, false, false},
		{"its port stayed", []Observation{earlier}, []Observation{conn("vms105", 2, asked, "tcp 10.244.38.178:9000 > 192.168.26.106:38312")}, asked, false, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			var h Held
			h.Learn(row.before)
			h.Forget(row.before)
			h.Learn(row.seen)
			holders := h.Of(row.seen)
			h.Forget(row.seen)
			assert.Equal(t, row.holders, len(holders) > 0)
			joined := Join([]nat.Probe{{From: "vms106", Tuple: tuple(row.client)}}, row.seen)
			Displace(joined, holders)
			assert.Equal(t, row.isDisplaced, joined[0].Mixed)
		})
	}
}
