package inspect

import (
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/view"
)

// A saved rule set is loaded and read back, and nothing of it stays.
func TestLoad(t *testing.T) {
	const text = "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n-A OUTPUT -d 192.0.2.1/32 -p tcp -j DNAT --to-destination 192.0.2.2:80\nCOMMIT\n"
	raw, err := Load(t.Context(), text, nat.IPv4)
	require.NoError(t, err)
	got, _ := view.View{Version: view.Newest}.Save(raw.Tables...)
	require.Equal(t, text, got)
	// What natlab has no bytes for goes through iptables-restore.
	const odd = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A INPUT -m u32 --u32 \"0x0=0x1\" -j DROP\nCOMMIT\n"
	raw, err = Load(t.Context(), odd, nat.IPv4)
	require.NoError(t, err)
	require.Len(t, raw.Tables, 1)
	const sets = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A INPUT -m set --match-set cali40all-ipam-pools src -m nfacct --nfacct-name  x -j DROP\nCOMMIT\n"
	raw, err = Load(t.Context(), sets, nat.IPv4)
	require.NoError(t, err)
	got, _ = view.View{Version: view.Newest, Sets: raw.Sets}.Save(raw.Tables...)
	require.Equal(t, sets, got)
	// Without a kernel the bytes are the same.
	alone, err := layOut(sets, nat.IPv4)
	require.NoError(t, err)
	require.True(t, alone.Unasked)
	raw.Unasked = true
	for i := range raw.Tables[0].Chains {
		for j := range raw.Tables[0].Chains[i].Entries {
			raw.Tables[0].Chains[i].Entries[j].Comefrom = 0 // the kernel's own
		}
		raw.Tables[0].Chains[i].Tail.Comefrom = 0
	}
	require.Equal(t, raw, alone)
	_, err = Load(t.Context(), "*nat\n-A NOWHERE -j ACCEPT\nCOMMIT\n", nat.IPv4)
	require.ErrorContains(t, err, "line 2")
}
