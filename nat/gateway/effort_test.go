package gateway_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/iptables"
)

// Of ways on which a table has more ways than are followed a few are enough: each costs as much as the bound of a table allows, and there may be a
// thousand of them.
func TestFewWaysAreCutShort(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	marks := func(table, chain string, bits int) {
		fmt.Fprintf(&b, "*%s\n:%s ACCEPT [0:0]\n", table, chain)
		for i := range bits {
			fmt.Fprintf(&b, "-A %s -m set --match-set %s%d src -j MARK --set-xmark %#x/0x0\n", chain, table, i, 1<<i)
		}
		b.WriteString("COMMIT\n")
	}
	marks("raw", "PREROUTING", 6)
	marks("mangle", "FORWARD", 16)
	rs, err := iptables.ParseString(b.String(), nat.IPv4)
	require.NoError(t, err)
	tuple, err := nat.ParseTuple("tcp 192.168.1.9:1000 > 10.244.1.5:80")
	require.NoError(t, err)
	x, err := gateway.Explain(twoNetworks(), gateway.Rules{rs}, gateway.Facts{}, askIn(tuple, "eth0"), nil)
	require.NoError(t, err)
	ways := len(x.Prediction) // Len would print them all
	require.Equal(t, 3, ways)
	for _, o := range x.Prediction {
		require.Equal(t, nat.EndUnknown, o.End)
	}
	require.Contains(t, x.Prediction[2].Why, "more ways than are followed")
}
