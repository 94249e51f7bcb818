package nftables_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat/nftables"
)

// Listings that real programs made come back to the byte. NATLAB_NFT_GOLDENS is a directory with files nft.txt, `nft list ruleset` of 1.0.6;
// those of testdata are there in any case.
func TestGoldens(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"testdata", os.Getenv("NATLAB_NFT_GOLDENS")} {
		if dir == "" {
			t.Log("NATLAB_NFT_GOLDENS is not set: only the listings of testdata are tried")
			continue
		}
		tried := 0
		require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(d.Name(), "nft.txt") || strings.Contains(path, "views") {
				return err
			}
			tried++
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			rs, err := nftables.ParseText(string(text))
			require.NoError(t, err, path)
			require.Equal(t, string(text), rs.String(), path)
			for _, table := range rs.Tables {
				for _, c := range table.Chains {
					for _, r := range c.Rules {
						for _, unread := range nftables.Unread(r) {
							require.Contains(t, []string{"ct count over 20", "ip option rr exists"}, unread, "%s: %s", path, r)
						}
					}
				}
			}
			return nil
		}))
		require.Positive(t, tried, "no nft.txt in %s", dir)
	}
}
