package topology

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReferencePlanHasFourteenNamespaces(t *testing.T) {
	c, err := Reference()
	require.NoError(t, err)
	p, err := NewPlan(c)
	require.NoError(t, err)
	require.Len(t, p.Namespaces, 14)
}
