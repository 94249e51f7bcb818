package dataplane_test

import (
	"testing"

	"github.com/google/nftables"
	"github.com/stretchr/testify/require"

	"natlab/lab/dataplane"
	"natlab/nat"
)

// Tables of nf_tables are named with the hooks that they are at; those of iptables-nft and natlab's own are not.
func TestForeign(t *testing.T) {
	h := namespace(t)
	require.NoError(t, h.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		inet := c.AddTable(&nftables.Table{Name: "filter", Family: nftables.TableFamilyINet})
		c.AddChain(&nftables.Chain{Table: inet, Name: "f", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter})
		c.AddChain(&nftables.Chain{Table: inet, Name: "i", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityRaw})
		c.AddChain(&nftables.Chain{Table: inet, Name: "called"})
		c.AddTable(&nftables.Table{Name: "mine", Family: nftables.TableFamilyIPv4})
		c.AddTable(&nftables.Table{Name: "natlab-probe", Family: nftables.TableFamilyIPv4})
		return c.Flush()
	}))
	p, err := dataplane.New(dataplane.NFT)
	require.NoError(t, err)
	require.NoError(t, p.Install(t.Context(), h, parse(t, nat.IPv4, "*filter\n-A FORWARD -j DROP\nCOMMIT\n")))
	lines, err := dataplane.Foreign(h)
	require.NoError(t, err)
	require.Equal(t, []string{"nft table inet filter: chain f at forward, priority 0; chain i at input, priority -300", "nft table ip mine"}, lines)
}
