package nftables

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// An index finds what was put there and nothing else, however many parts a key has.
func TestIndex(t *testing.T) {
	t.Parallel()
	for parts := range maxParts + 1 {
		for _, first := range []uint64{0, 5} { // numbers from 0 on are a row
			x, n := newIndex(parts, 3), max(parts, 1)
			at := func(v uint64) *key {
				var k key
				for i := range n {
					k[i] = Number{Low: v + uint64(i)}
				}
				return &k
			}
			for i := range 3 {
				x.put(at(first+uint64(i)), i)
			}
			x.finish()
			require.Equal(t, n == 1 && first == 0, x.row != nil)
			for i := range 3 {
				got, ok := x.find(at(first + uint64(i)))
				require.True(t, ok)
				require.Equal(t, i, got)
			}
			_, ok := x.find(at(first + 3))
			require.False(t, ok)
			_, ok = x.find(&key{{High: 1, Low: first}})
			require.False(t, ok)
			seen := map[key]int{}
			x.each(func(k key, i int) { seen[k] = i })
			require.Equal(t, map[key]int{*at(first): 0, *at(first + 1): 1, *at(first + 2): 2}, seen)
		}
	}
	empty := newIndex(1, 0)
	empty.finish()
	_, ok := empty.find(&key{})
	require.False(t, ok)
}
