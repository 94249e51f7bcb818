package verify

import (
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/proof"
)

// Of entries that stand those are told of that a packet of the lab can meet and that translate it.
func TestOldEntry(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, original, reply, want string
	}{
		{"a tunnel's", "ipip 10.0.0.1:0 > 10.0.0.2:0", "ipip 10.0.0.2:0 > 10.0.0.9:0", "an old entry of connection tracking translates ipip 10.0.0.1:0 > 10.0.0.2:0: its answers are ipip 10.0.0.2:0 > 10.0.0.9:0"},
		{"a tunnel's that translates nothing", "ipip 10.0.0.1:0 > 10.0.0.2:0", "ipip 10.0.0.2:0 > 10.0.0.1:0", ""},
		{"VXLAN's", "udp 10.0.0.1:50000 > 10.0.0.2:4789", "udp 10.0.0.2:4789 > 10.0.0.9:50000", "an old entry of connection tracking translates udp 10.0.0.1:50000 > 10.0.0.2:4789: its answers are udp 10.0.0.2:4789 > 10.0.0.9:50000"},
		{"a client's, whose port nobody takes", "udp 10.0.0.1:50000 > 10.0.0.2:53", "udp 10.0.0.7:53 > 10.0.0.1:50000", ""},
		{"TCP", "tcp 10.0.0.1:50000 > 10.0.0.2:4789", "tcp 10.0.0.7:4789 > 10.0.0.1:50000", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			original, err := nat.ParseTuple(row.original)
			require.NoError(t, err)
			reply, err := nat.ParseTuple(row.reply)
			require.NoError(t, err)
			require.Equal(t, row.want, oldEntry(nat.Conn{Original: original, Reply: reply}))
		})
	}
}

// The entries of a node in which nothing was seen are nobody's.
func TestWhereSomethingWasSeen(t *testing.T) {
	t.Parallel()
	nodes := []string{"a", "b", "c"}
	seen := []proof.Observation{{Kind: proof.PacketSeen, Node: "outside"}, {Kind: proof.ConnSeen, Node: "c"}, {Kind: proof.PacketSeen, Node: "a"}, {Kind: proof.RuleHit, Node: "c"}}
	require.Equal(t, []string{"a", "c"}, met(nodes, seen))
	require.Empty(t, met(nodes, nil))
	require.Equal(t, []string{"a", "b", "c"}, nodes)
}
