package nat_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
)

// Every length of a rest, and more than one round: the numbers are a C program's of the same definition.
func TestJHash(t *testing.T) {
	t.Parallel()
	words := []uint32{1, 2, 3, 4, 5, 6, 7}
	for n, want := range []uint32{0xdeadd123, 0x44704bbc, 0xd40e33e6, 0x050a4870, 0xf83bdd1e, 0xffb70cec, 0xed871d4f, 0xbd09d003} {
		require.Equal(t, want, nat.JHash(words[:n], 0x1234), n)
	}
}
