package gateway_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat/gateway"
)

func TestParseSets(t *testing.T) {
	t.Parallel()
	sets, err := gateway.ParseSets(`# comment
create friends hash:ip family inet hashsize 1024 maxelem 65536
add friends 10.0.0.7
add friends 10.0.0.9 timeout 30
create nets hash:net family inet6
add nets 2001:db8::/32
create empty hash:net

create ports hash:ip,port family inet
add ports 10.0.0.7,tcp:80
create all list:set size 8
add all friends
`)
	require.NoError(t, err)
	require.Equal(t, gateway.Sets{
		"friends": {netip.MustParsePrefix("10.0.0.7/32"), netip.MustParsePrefix("10.0.0.9/32")},
		"nets":    {netip.MustParsePrefix("2001:db8::/32")},
		"empty":   nil,
	}, sets, "of a set of another type nothing is known, and an empty one is known to be empty")
	for text, want := range map[string]string{
		"create a hash:ip\nadd a nowhere\n": "line 2: set a: ",
		"create a\n":                        `line 1: "create a": want create or add`,
		"\nflush a\n":                       `line 2: "flush a": want create or add`,
	} {
		sets, err = gateway.ParseSets(text)
		require.ErrorContains(t, err, want)
		require.Nil(t, sets)
	}
}

func FuzzParseSets(f *testing.F) {
	f.Add("create a hash:ip\nadd a 10.0.0.1\ncreate b hash:net\nadd b 10.0.0.0/8\nadd b ::/0\n")
	f.Add("create a list:set\nadd a b\n# \nadd c 10.0.0.1 comment x\n")
	f.Fuzz(func(t *testing.T, text string) {
		sets, err := gateway.ParseSets(text)
		if err != nil {
			require.Nil(t, sets)
			return
		}
		var b strings.Builder
		for _, name := range slices.Sorted(maps.Keys(sets)) {
			fmt.Fprintf(&b, "create %s hash:net\n", name)
			for _, member := range sets[name] {
				fmt.Fprintf(&b, "add %s %s\n", name, member)
			}
		}
		again, err := gateway.ParseSets(b.String())
		require.NoError(t, err)
		require.Equal(t, sets, again)
	})
}
