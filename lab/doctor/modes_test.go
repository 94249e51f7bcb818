package doctor

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/lab/dataplane"
)

func TestOlder(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		version, than string
		want          bool
	}{
		{"1.0.6", "1.0.1", false},
		{"1.0.1", "1.0.1", false},
		{"1.0.0", "1.0.1", true},
		{"0.9.8", "1.0.1", true},
		{"1.0.6", "1.0.6.1", true},
		{"1.1.10", "1.1.2", false},
	} {
		require.Equal(t, row.want, older(row.version, row.than), "%s, %s", row.version, row.than)
	}
}

// Each part of kube-proxy's table is loaded by itself, and one that nft refuses is named.
func TestNFTParts(t *testing.T) {
	require.Zero(t, os.Geteuid(), "network namespaces need root")
	ns, undo, err := throwaway()
	require.NoError(t, err)
	defer undo()
	if _, err := dataplane.NFTVersion(t.Context(), ns); err != nil {
		require.ErrorIs(t, err, dataplane.ErrUnsupported)
		return
	}
	_, err = tryNFTablesMode(t.Context(), ns)
	require.NoError(t, err)
	_, err = tryNFTables(t.Context(), ns, append(nftParts(), nftPart{"wishes", "chain c { wish ; }"}))
	require.ErrorContains(t, err, "without wishes")
	require.True(t, isMissing(err))
}
