package nftables

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

// A key is told from every other, and is the same as itself.
func TestKeyOf(t *testing.T) {
	addr := func(s string) Constant { return Addr(netip.MustParseAddr(s)) }
	keys := [][]Constant{
		nil,
		{Value(InetService, 1)},
		{Value(InetService, 1), Value(InetService, 1)},
		{Value(InetService, 257)},
		{addr("10.0.0.1"), Value(InetService, 80)},
		{addr("10.0.0.1"), Value(InetService, 81)},
		{addr("fd00::1")},
		{addr("fd00::1"), Value(InetService, 0)},
		{Prefix(netip.MustParsePrefix("10.0.0.0/31"))},
		{Range(Value(InetService, 1), Value(InetService, 2))},
		{{Type: InetService, Any: true}},
		{{Type: InetService, Raw: "x"}},
		{{Type: InetService, Raw: "x"}, {Type: InetService, Raw: ""}},
		{{Type: InetService, Raw: "xx"}},
	}
	seen := map[string]int{}
	for i, key := range keys {
		text := KeyOf(key)
		was, there := seen[text]
		require.False(t, there, "%v and %v", keys[max(0, was)], key)
		require.Equal(t, text, KeyOf(key))
		seen[text] = i
	}
}
