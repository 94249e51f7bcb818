package iptables

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Rules that were broken at words are read as they were; one that was broken inside of a word is refused.
func TestReadWrapped(t *testing.T) {
	t.Parallel()
	const whole = `*nat
:PREROUTING ACCEPT [0:0]
-A PREROUTING -d 192.0.2.10/32 -p tcp -m tcp --dport 80 -m comment --comment "a long comment" -j DNAT --to-destination 10.0.0.5:8080
[3:180] -A PREROUTING ! -i lo -p udp -m udp --dport 53 -j REDIRECT --to-ports 5353
COMMIT
`
	want, err := Read(whole)
	require.NoError(t, err)
	require.Empty(t, want.Notes)
	for _, at := range []string{" -m comment", " comment\"", " --comment", " -j DNAT", " --to-destination", " ! -i", " --dport 53", " -p udp"} {
		for _, glue := range []string{"\n", " \n", "\n   ", "\r\n"} {
			broken := strings.Replace(whole, at, glue+at[1:], 1)
			require.NotEqual(t, whole, broken)
			got, err := Read(broken)
			require.NoError(t, err, "%q", broken)
			require.Len(t, got.Notes, 1)
			require.Equal(t, want.Rulesets[0].String(), got.Rulesets[0].String(), "%q", broken)
		}
	}
	for _, at := range []string{"stination 10", "0/32", "EDIRECT"} {
		_, err := Read(strings.Replace(whole, at, "\n"+at, 1))
		require.Error(t, err)
	}
}
