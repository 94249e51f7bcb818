package nat_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
)

func TestKernel(t *testing.T) {
	t.Parallel()
	for release, want := range map[string]nat.Kernel{
		"5.10": {5, 10}, "6.1.0-56-cloud-amd64": {6, 1}, "6.12.117+deb12-cloud-amd64": {6, 12}, "7.2-rc1": {7, 2},
	} {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			k, err := nat.ParseKernel(release)
			require.NoError(t, err)
			require.Equal(t, want, k)
			again, err := nat.ParseKernel(k.String())
			require.NoError(t, err)
			require.Equal(t, k, again)
		})
	}
	for _, bad := range []string{"", "6", "6.", "v6.1", "linux", "6.12345"} {
		_, err := nat.ParseKernel(bad)
		require.ErrorContains(t, err, "want a version such as", bad)
	}
	old := nat.Kernel{Major: 5, Minor: 10}
	require.True(t, old.Before(6, 1))
	require.True(t, old.Before(5, 11))
	require.False(t, old.Before(5, 10))
	require.False(t, old.Before(4, 19))
	require.False(t, nat.Kernel{}.Before(99, 0), "the newest")
	require.Empty(t, nat.Kernel{}.String())
}
