package lab

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

// Progress counts every part once and ends with all of them done.
func TestProgressAddsUp(t *testing.T) {
	var counts []int
	var totals []int
	l, err := Up(t.Context(), reference(t), Options{Progress: func(step string, done, total int) {
		if step != "" {
			counts, totals = append(counts, done), append(totals, total)
		}
	}})
	require.NoError(t, err)
	require.NoError(t, l.Down(context.Background()))
	require.NotEmpty(t, counts)
	for i, done := range counts {
		require.Equal(t, i+1, done)
		require.Equal(t, totals[0], totals[i])
	}
	require.Equal(t, totals[0], counts[len(counts)-1])
}
