package nat_test

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
)

// Names of tuples and of rules, both ways.
func TestProtoNames(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		proto       nat.Proto
		tuple, rule string
	}{
		{nat.TCP, "tcp", "tcp"},
		{nat.ICMPv6, "icmpv6", "ipv6-icmp"},
		{nat.IPIP, "ipip", "ipencap"},
		{nat.DCCP, "dccp", "dccp"},
		{nat.GRE, "gre", "gre"},
		{nat.ESP, "esp", "esp"},
		{nat.AH, "ah", "ah"},
		{nat.UDPLite, "udplite", "udplite"},
		{89, "ospf", "ospf"},
		{94, "94", "ipip"},
		{135, "mobility-header", "mobility-header"},
		{0, "0", "all"},
		{253, "253", "253"},
	} {
		t.Run(row.tuple, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, row.tuple, row.proto.String())
			require.Equal(t, row.rule, row.proto.RuleName())
		})
	}
	for n := range 256 {
		p := nat.Proto(n)
		got, err := nat.ParseProto(p.String())
		require.NoError(t, err)
		require.Equal(t, p, got, p.String())
		for _, name := range []string{p.RuleName(), strconv.Itoa(n)} {
			got, ok := nat.ParseRuleProto(name)
			require.True(t, ok, name)
			require.Equal(t, p, got, name)
		}
	}
	for name, want := range map[string]nat.Proto{
		"TCP": nat.TCP, "Ipv6-ICMP": nat.ICMPv6, "icmpv6": nat.ICMPv6, "mh": 135, "ipv6-mh": 135, "all": 0, "ip": 0, "hopopt": 0, "0x32": nat.ESP, "062": nat.ESP, "ipip": 94,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, ok := nat.ParseRuleProto(name)
			require.True(t, ok, name)
			require.Equal(t, want, got, name)
		})
	}
	for _, bad := range []string{"", "256", "-1", "nosuch", "1:2", "all ", "0b1", "0o7", "1_0"} {
		_, ok := nat.ParseRuleProto(bad)
		require.False(t, ok, bad)
	}
	for _, bad := range []string{"", "256", "all", "nosuch"} {
		_, err := nat.ParseProto(bad)
		require.ErrorContains(t, err, "want a name of /etc/protocols", bad)
	}
}
