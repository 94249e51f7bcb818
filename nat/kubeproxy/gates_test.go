package kubeproxy

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The tables of feature gates can be read, are sorted, and know the gates that rules depend on.
func TestGateTables(t *testing.T) {
	t.Parallel()
	lines := strings.Split(strings.Trim(gateTable, "\n"), "\n")
	require.True(t, strings.HasPrefix(gateTable, "\n"), "the first line is found as the others are")
	require.True(t, slices.IsSorted(lines))
	require.Greater(t, len(lines), 400)
	row := regexp.MustCompile(`^[A-Z][A-Za-z0-9]+( (2[5-9]|3[0-7])[abgdlx][+-])+$`)
	names := map[string]bool{}
	for _, line := range lines {
		require.Regexp(t, row, line)
		words := strings.Fields(line)
		require.True(t, slices.IsSortedFunc(words[1:], func(a, b string) int { return strings.Compare(a[:2], b[:2]) }), line)
		require.False(t, names[words[0]], "twice: %s", line)
		names[words[0]] = true
	}
	needs := strings.Split(strings.Trim(needTable, "\n"), "\n")
	require.True(t, slices.IsSorted(needs))
	for _, line := range needs {
		name, needed, first, last := parseNeed(line)
		require.True(t, names[name] && names[needed], line)
		require.True(t, 25 <= first && first <= last && last <= 37, line)
	}
	// what is on by default needs nothing that is off
	for _, r := range Releases() {
		require.NoError(t, r.checkGates(map[string]bool{"AllAlpha": false}), r.Name)
		for _, name := range []string{
			"ProxyTerminatingEndpoints", "ServiceInternalTrafficPolicy", "TopologyAwareHints", "ServiceTrafficDistribution",
			"PreferSameTrafficDistribution", "LoadBalancerIPMode", "AllowServiceExternalIPs", "MinimizeIPTablesRestore",
		} {
			require.NotZero(t, r.gate(name).kind, "%s %s", r.Name, name)
		}
	}
}
