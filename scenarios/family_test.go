package scenarios

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every address of a script is one of IPv6, and what has no like there is named.
func TestInIPv6(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ text, want, problem string }{
		{"ask cl tcp 192.168.0.1:30080 by=10.244.2.2:8080 seen=192.168.0.1", "ask cl tcp [fd00:192:168::1]:30080 by=[fd00:10:244:2::2]:8080 seen=fd00:192:168::1", ""},
		{"cidr: 192.168.0.0/24", "cidr: fd00:192:168::/64", ""},
		{"cidr: 10.244.0.0/16", "cidr: fd00:10:244::/48", ""},
		{"from 192.168.0.100/32 or 10.0.0.0/8 or 0.0.0.0/0", "from fd00:192:168::100/128 or fd00:10::/32 or ::/0", ""},
		{"release v1.28.15, 2.5 s", "release v1.28.15, 2.5 s", ""},
		{"ask n1 tcp 127.0.0.1:30080", "", "127.0.0.1:30080"},
		{"10.244.0.0/26", "", "/26"},
	} {
		got, err := inIPv6(row.text)
		if row.problem != "" {
			require.ErrorContains(t, err, row.problem)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, row.want, got)
	}
}

// Most scenarios make sense in IPv6, with documents that a cluster is loaded from; the others tell why they do not.
func TestLibraryInIPv6(t *testing.T) {
	t.Parallel()
	all, err := List()
	require.NoError(t, err)
	made := 0
	for _, s := range all {
		six, err := s.InIPv6()
		if err != nil {
			require.NotEmpty(t, err.Error())
			continue
		}
		made++
		require.True(t, six.ipv6)
		require.False(t, strings.Contains(string(s.Text), "[ipv6]") && !strings.Contains(string(s.Text), "[ipv4]"), s.Name)
	}
	require.Greater(t, made, len(all)/2)
	text, err := objectsInIPv6(string(small))
	require.NoError(t, err)
	o, err := parseObjects([]byte(text))
	require.NoError(t, err)
	c, err := o.cluster("small")
	require.NoError(t, err)
	require.Len(t, c.Families(), 1)
	_, err = Scenario{IPv4: "ARP"}.InIPv6()
	require.ErrorContains(t, err, "about IPv4: ARP")
}
