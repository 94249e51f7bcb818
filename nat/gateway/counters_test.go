package gateway_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/iptables"
)

// Where counters that go round stand no program prints: which packet of so many this one is counts as chance, by rules of iptables and of nft.
func TestCountersOfADump(t *testing.T) {
	t.Parallel()
	want := []string{"answered 10.244.1.5:8080 0.33", "answered 10.244.1.6:8080 0.67"}
	t.Run("iptables", func(t *testing.T) {
		t.Parallel()
		rs, err := iptables.ParseString(`*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -d 10.96.0.7/32 -p tcp -m statistic --mode nth --every 3 --packet 0 -j DNAT --to-destination 10.244.1.5:8080
-A PREROUTING -d 10.96.0.7/32 -p tcp -j DNAT --to-destination 10.244.1.6:8080
COMMIT
`, nat.IPv4)
		require.NoError(t, err)
		tuple, err := nat.ParseTuple("tcp 192.168.1.9:1000 > 10.96.0.7:80")
		require.NoError(t, err)
		x, err := gateway.Explain(twoNetworks(), gateway.Rules{rs}, gateway.Facts{}, askIn(tuple, "eth0"), nil)
		require.NoError(t, err)
		require.Equal(t, want, endsAndChances(x))
	})
	t.Run("nft", func(t *testing.T) {
		t.Parallel()
		ways, _ := explainNative(t, native(t, `table ip lb {
	chain pre {
		type nat hook prerouting priority dstnat; policy accept;
		ip daddr 10.96.0.7 dnat to numgen inc mod 3 map { 0 : 10.244.1.5 . 8080, 1 : 10.244.1.6 . 8080, 2 : 10.244.1.6 . 8080 }
	}
}
`), "tcp 192.168.1.9:1000 > 10.96.0.7:80")
		require.Equal(t, want, ways)
	})
}
