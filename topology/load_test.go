package topology

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReferenceLoads(t *testing.T) {
	c, err := Reference()
	require.NoError(t, err)
	require.Equal(t, "reference", c.Name)
	require.Len(t, c.Nodes, 6)
	require.Len(t, c.Pods, 5)
	require.Len(t, c.Services, 3)
}
