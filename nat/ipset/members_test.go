package ipset

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A set's members are printed so that they are read as they are.
func TestMembers(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ create, members string }{
		{"hash:ip family inet counters", "10.0.0.1 packets 3 bytes 180; 10.0.0.2 packets 0 bytes 0"},
		{"hash:net family inet6", "fd00::/64; fd00::1/128 nomatch"},
		{"hash:ip,port family inet", "10.0.0.1,1:8/0; 10.0.0.1,6:80; 10.0.0.1,47:0"},
		{"hash:ip,port,net family inet", "10.0.0.1,17:53,10.0.0.0/8; 10.0.0.1,17:53,10.1.0.0/16 nomatch"},
		{"hash:net,iface family inet", "10.0.0.0/8,eth0; 10.0.0.0/8,eth1 nomatch; 10.0.0.0/8,physdev:eth wildcard"},
		{"hash:ip,mark family inet", "10.0.0.1,64"},
		{"hash:mac", "00:11:22:33:44:55"},
		{"hash:net family inet skbinfo", "10.0.0.0/8 skbmark 0x1/0xff skbprio 1:a skbqueue 3"},
		{"bitmap:ip range 10.0.0.0-10.0.0.255", "10.0.0.1; 10.0.0.9"},
		{"bitmap:ip,mac range 10.0.0.0-10.0.0.255", "10.0.0.1; 10.0.0.2,00:11:22:33:44:55"},
		{"bitmap:port range 1-100", "53; 80"},
		{"list:set size 8", "other; another"},
	} {
		t.Run(row.create, func(t *testing.T) {
			t.Parallel()
			text := "create other hash:ip\ncreate another hash:ip\ncreate one " + row.create + "\n"
			for m := range strings.SplitSeq(row.members, "; ") {
				text += "add one " + m + "\n"
			}
			sets, err := Parse(text)
			require.NoError(t, err)
			require.ElementsMatch(t, strings.Split(row.members, "; "), sets["one"].Members())
		})
	}
	sets, err := Parse("create a hash:ip\ncreate b hash:ip\ncreate l list:set\nadd l b\nadd l a\n")
	require.NoError(t, err)
	require.Equal(t, []string{"b", "a"}, sets["l"].Members())
}
