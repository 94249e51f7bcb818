package verify

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"

	"natlab/nat"
	"natlab/nat/proof"
)

// An attempt that the kernel gave another port, since an entry of an earlier connection had its tuple, tells nothing of its flow, with taps or without.
func TestAPortThatAnotherConnectionHeldIsNoVerdict(t *testing.T) {
	client, target, endpoint := netip.MustParseAddrPort("192.168.26.106:38312"), netip.MustParseAddrPort("192.168.26.105:30936"), netip.MustParseAddrPort("10.0.0.1:1")
	asked := nat.TupleOf(nat.TCP, client, target)
	entry := func(id uint32, original, reply nat.Tuple) proof.Observation {
		return proof.Observation{Kind: proof.ConnSeen, Node: "vms105", Conn: nat.Conn{Node: "vms105", ID: id, Original: original, Reply: reply}}
	}
	otherPort := netip.AddrPortFrom(client.Addr(), 42987)
	mine := entry(2, asked, nat.TupleOf(nat.TCP, endpoint, otherPort))
	answered := by(1, "10.0.0.1:1")
	answered.ServerPeer, answered.ClientPeer = client, target
	answered.Conns = []nat.Conn{{Node: "vms105", Original: asked, Reply: nat.TupleOf(nat.TCP, endpoint, client)}}
	live := nat.Prediction{answered}
	for _, row := range []struct {
		name     string
		earlier  []proof.Observation // of another batch
		verdict  proof.Outcome
		repeated map[string]int
		controls int
	}{
		{"nobody held it", nil, proof.Disproved, map[string]int{}, 1},
		{"a masquerade had drawn it", []proof.Observation{entry(1, nat.TupleOf(nat.TCP, client, endpoint), nat.TupleOf(nat.TCP, endpoint, client))}, proof.Inconclusive, map[string]int{"too little was seen": maxRetries + 1}, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			v := &verification{meter: proof.Meter{}, discarded: map[string]int{}}
			q := &flowState{intent: live, live: live}
			q.expect(false)
			a := &attempt{
				flowState: q, probe: nat.Probe{From: "vms106", Tuple: asked}, intent: live, live: live,
				ends: proof.Ends{End: nat.EndAnswered, ServerAddr: endpoint, ServerPeer: otherPort, ClientPeer: target},
			}
			v.noteControl(nil, row.earlier, false)
			v.noteControl([]*attempt{a}, []proof.Observation{mine}, false)
			assert.Len(t, q.controls, row.controls)
			q.controls = nil
			q.expect(true)
			for len(q.certs) == 0 {
				seen := []proof.Observation{mine}
				v.certify([]*attempt{a}, batchRecord{Seen: seen, Holders: v.holders(seen)})
			}
			assert.Equal(t, row.verdict, q.certs[0].Verdict, "%+v", q.certs[0].Wrong)
			assert.Equal(t, row.repeated, v.discarded)
		})
	}
}
