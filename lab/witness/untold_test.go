package witness

import (
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat/proof"
)

// What was seen is told once, in order, and the room that it had is the next one's, without anything left in it.
func TestUntold(t *testing.T) {
	t.Parallel()
	var room blocks
	all := [2]untold{{from: &room}, {from: &room}}
	size := len(block{})
	next := uint64(0)
	for _, n := range []int{1, size - 1, size, size + 1, 0, 3 * size} {
		for i := range all {
			first := next
			for range n {
				next++
				all[i].add(&proof.Observation{Seq: next, Packet: []byte("packet")})
			}
			require.Equal(t, n, all[i].n)
			told := all[i].take([]proof.Observation{{Seq: first}})
			require.Len(t, told, n+1)
			for j, o := range told {
				require.Equal(t, first+uint64(j), o.Seq)
			}
			require.Zero(t, all[i].n)
		}
	}
	require.Len(t, room.free, 3, "both had the same")
	for _, of := range room.free {
		require.Equal(t, block{}, *of)
	}
}
