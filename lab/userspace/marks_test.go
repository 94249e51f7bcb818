package userspace

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
)

// A mark stands for another translation when no verdict is on its way any more that has it, of any queue.
func TestMarksInFlight(t *testing.T) {
	t.Parallel()
	slow, quick := &queue{}, &queue{}
	m := &marks{users: []*queue{slow, quick}, ids: map[translation]uint32{}}
	use := func(n int) uint32 {
		return m.mark(translation{kind: kind{family: nat.IPv4, proto: nat.TCP}, addr: netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})})
	}
	fly := func(q *queue) { q.flying, m.held = m.held, q.flying[:0] }
	first := use(0)
	fly(slow)
	others, n := map[uint32]bool{}, 0
	batches := func() {
		for range 2*mostMarks + 1 {
			n++
			others[use(n)] = true
			fly(quick)
			m.landed(quick)
		}
	}
	batches()
	require.False(t, others[first^mostMarks], "it is on its way")
	m.landed(slow)
	batches()
	require.True(t, others[first^mostMarks], "it is free")
}
