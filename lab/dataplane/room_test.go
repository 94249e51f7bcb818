package dataplane

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What one namespace took is the next one's, the smallest piece that is large enough, and two at a time share none.
func TestRoom(t *testing.T) {
	t.Parallel()
	var r room
	first := r.enter()
	large, small := first.take(1000), first.take(10)
	require.Len(t, large, 1000)
	require.Len(t, small, 10)
	require.NotSame(t, &large[0], &small[0])
	first.leave()

	second := r.enter()
	defer second.leave()
	again := second.take(8)
	require.Len(t, again, 8)
	require.Same(t, &small[0], &again[0])
	require.Same(t, &large[0], &second.take(900)[0])
	require.Len(t, second.take(2000), 2000)
}
