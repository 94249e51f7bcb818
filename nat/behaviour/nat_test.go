package behaviour_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/nat/behaviour"
)

// What is given is read, and printed so that it is read again.
func TestParse(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ text, printed string }{
		{"", ""},
		{" ", ""},
		{"mapping=endpoint-independent", "mapping=endpoint-independent,filtering=address-dependent,ports=preserve,parity=on,pooling=paired,hairpin=on"},
		{"filtering=address-and-port-dependent, hairpin=off,parity=off", "mapping=endpoint-independent,filtering=address-and-port-dependent,ports=preserve,parity=off,pooling=paired,hairpin=off"},
		{
			"mapping=address-dependent,filtering=endpoint-independent,ports=random,pooling=arbitrary,range=1024-2047,block=64,blocks=4,udp-timeout=5m,tcp-timeout=7440,icmp-timeout=60s",
			"mapping=address-dependent,filtering=endpoint-independent,ports=random,parity=on,pooling=arbitrary,hairpin=on,range=1024-2047,block=64,blocks=4,udp-timeout=5m0s,tcp-timeout=2h4m0s,icmp-timeout=1m0s",
		},
		{"range=9", "mapping=endpoint-independent,filtering=address-dependent,ports=preserve,parity=on,pooling=paired,hairpin=on,range=9-9"},
	} {
		n, err := behaviour.Parse(row.text)
		require.NoError(t, err, row.text)
		require.Equal(t, row.printed, n.String())
		again, err := behaviour.Parse(n.String())
		require.NoError(t, err)
		require.Equal(t, n, again)
	}
}

// What cannot be meant is refused, by name.
func TestParseErrors(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ text, want string }{
		{"cone", `"cone": want NAME=VALUE`},
		{"mapping=", "mapping=: want endpoint-independent or address-dependent or address-and-port-dependent"},
		{"mapping=full-cone", "mapping=full-cone: want endpoint-independent or address-dependent or address-and-port-dependent"},
		{"ports=same", "ports=same: want preserve or sequential or random or overload"},
		{"parity=even", "parity=even: want on or off"},
		{"hairpin=on,hairpin=off", "hairpin is given twice"},
		{"hairpins=on", "hairpins=on: not known: want mapping, filtering, ports, parity, pooling, hairpin, range, block, blocks, udp-timeout, tcp-timeout, icmp-timeout"},
		{"range=0-10", "range=0-10: want a number from 1 to 65535"},
		{"range=10-9", "range=10-9: want LOW-HIGH"},
		{"range=10-", "range=10-: want LOW-HIGH"},
		{"block=0", "block=0: want a number from 1 to 65535"},
		{"blocks=2", "blocks=2: of how many ports? Give block, too"},
		{"range=10-19,block=11", "block=11: range=10-19 has 10 ports"},
		{"udp-timeout=0", "udp-timeout=0: want a time of a second or more, such as 5m"},
		{"udp-timeout=5", ""},
	} {
		n, err := behaviour.Parse(row.text)
		if row.want == "" {
			require.NoError(t, err)
			require.Equal(t, 5*time.Second, n.UDP)
			continue
		}
		require.EqualError(t, err, row.want)
		require.Zero(t, n)
	}
}

// Whatever is read is printed so that it is read again.
func FuzzParse(f *testing.F) {
	f.Add("mapping=address-dependent,filtering=endpoint-independent,ports=random,range=1024-2047,block=64,udp-timeout=5m")
	f.Fuzz(func(t *testing.T, text string) {
		n, err := behaviour.Parse(text)
		if err != nil {
			require.Zero(t, n)
			return
		}
		again, err := behaviour.Parse(n.String())
		require.NoError(t, err)
		require.Equal(t, n, again)
	})
}
