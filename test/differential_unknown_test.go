package test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/iptables"
)

// What the kernel does by a race is said to be unknown, by name, and not taken for what the emulator makes of it.
func TestDifferentialUnknown(t *testing.T) {
	t.Parallel()
	const npt = " --src-pfx fd00::/64 --dst-pfx fd00:0:0:9::/64"
	onAllTwins(t, func(t *testing.T, w *twins) {
		t.Helper()
		for _, row := range []struct {
			rule string
			of   given
			what string
			in   nat.Family
		}{
			{"-A POSTROUTING -j SNPT" + npt, given{tuple: "udp [fd00::a00:1]:1000 > [ff02::1]:80"}, "SNPT writes into what the node hears of a packet while that leaves", nat.IPv6},
			{"-A PREROUTING -j DNPT" + npt, given{tuple: "udp [fd00::a00:1]:1000 > [ff02::1]:80"}, "DNPT writes into what the node hears of a packet while that leaves", nat.IPv6},
			{"-A INPUT -j SNPT" + npt, given{dev: "in0", tuple: "udp [2001:db8::9]:1000 > [fd00::a00:1]:80"}, "SNPT writes into an address without the prefix", nat.IPv6},
		} {
			if row.in != w.family {
				continue
			}
			rs, err := iptables.ParseString(mangleRules(row.rule), w.family)
			require.NoError(t, err)
			w.load(t, rs)
			clear(w.unmodelled)
			require.Equal(t, undecided, w.give(t, row.of.dev, row.of.packet(t, w.family), 0), row.rule)
			require.Contains(t, strings.Join(slices.Collect(maps.Keys(w.unmodelled)), "\n"), row.what, row.rule)
		}
	})
}
