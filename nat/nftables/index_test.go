package nftables

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// An index finds what was put there and nothing else, however many parts a key has, and wherever in them keys differ.
func TestIndex(t *testing.T) {
	t.Parallel()
	kinds := map[string]func(x index) bool{
		"row":   func(x index) bool { return x.row != nil },
		"slots": func(x index) bool { return x.slots != nil },
		"wide":  func(x index) bool { return x.listed != nil },
	}
	for _, row := range []struct {
		kind  string
		parts int
		keys  []key
	}{
		{"row", 0, []key{{{0, 0}}, {{0, 1}}, {{0, 2}}}},
		{"row", 1, []key{{{0, 5}}, {{0, 6}}, {{0, 7}}}},
		{"row", 1, []key{{{1, 9}}}},
		{"row", 3, []key{{{0, 0x0a600001}, {0, 6}, {0, 80}}, {{0, 0x0a600002}, {0, 6}, {0, 80}}, {{0, 0x0a600003}, {0, 6}, {0, 80}}}},
		{"slots", 1, []key{{{0, 1}}, {{0, 1 << 40}}, {{0, 3 << 40}}}},
		{"slots", 3, []key{{{0, 0x0a600001}, {0, 6}, {0, 80}}, {{0, 0x0a600001}, {0, 17}, {0, 53}}, {{0, 0x0a630a02}, {0, 6}, {0, 8080}}}},
		{"slots", 2, []key{{{7, 1}, {0, 0}}, {{7, 1 << 30}, {0, 1 << 30}}, {{7, 2}, {0, 65535}}}},
		{"slots", 1, []key{{{0, 0}}, {{0, ^uint64(0)}}, {{0, 1}}}},
		{"wide", 2, []key{{{1 << 63, 1}, {0, 1}}, {{2, 1 << 63}, {0, 1}}, {{2, 1}, {0, 2}}}},
		{"wide", maxParts, []key{{{1, 1}, {2, 2}, {3, 3}, {4, 4}, {5, 5}, {1 << 60, 1 << 60}}, {{1 << 60, 1}, {2, 2}, {3, 3}, {4, 4}, {5, 5}, {6, 6}}}},
	} {
		places := make([]int32, len(row.keys))
		for i := range places {
			places[i] = int32(10 + i)
		}
		x := newIndex(row.parts, row.keys, places)
		require.True(t, kinds[row.kind](x), "%s %v", row.kind, row.keys)
		for i := range row.keys {
			at, ok := x.find(&row.keys[i])
			require.True(t, ok, row.keys)
			require.Equal(t, 10+i, at)
			for part := range max(row.parts, 1) {
				for bit := range 128 { // what differs in one bit is there only if it was put there
					other := row.keys[i]
					if bit < 64 {
						other[part].Low ^= 1 << bit
					} else {
						other[part].High ^= 1 << (bit - 64)
					}
					at, ok := x.find(&other)
					wanted := -1
					for j, k := range row.keys {
						if k == other {
							wanted = 10 + j
						}
					}
					require.Equal(t, wanted >= 0, ok, "%v", other)
					require.Equal(t, wanted, at)
				}
			}
		}
	}
	empty := newIndex(1, nil, nil)
	_, ok := empty.find(&key{})
	require.False(t, ok)
	twice := newIndex(1, []key{{{0, 1}}, {{0, 1}}}, []int32{0, 1})
	at, ok := twice.find(&key{{0, 1}})
	require.True(t, ok)
	require.Equal(t, 1, at, "the later one")
}
