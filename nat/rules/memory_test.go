package rules_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat/rules"
)

// What is forgotten is fresh again, and the rest is remembered; a Memory that has seen nothing has nothing to forget.
func TestMemoryForgets(t *testing.T) {
	t.Parallel()
	var m rules.Memory
	m.Forget(func(any) bool { return true })
	fresh := func() int { return 1 }
	*rules.Recall(&m, "a", fresh) = 5
	*rules.Recall(&m, "b", fresh) = 6
	m.Forget(func(key any) bool { return key == "a" })
	require.Equal(t, 1, *rules.Recall(&m, "a", fresh))
	require.Equal(t, 6, *rules.Recall(&m, "b", fresh))
}
