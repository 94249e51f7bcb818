package view

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/xtables"
)

// A protocol in iptables-save and in iptables -L -n of each version; what is behind the column tells its width.
func TestProtocolsByVersion(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		version, protocol string
		save, list        string
	}{
		{"1.8.7", "tcp", "-p tcp", " tcp  -- "},
		{"1.8.7", "ipv6-icmp", "-p ipv6-icmp", " icmpv6-- "},
		{"1.8.7", "mobility-header", "-p mobility-header", " ipv6-mh-- "},
		{"1.8.7", "gre", "-p gre", " 47   -- "},
		{"1.8.8", "ipv6-icmp", "-p ipv6-icmp", " ipv6-icmp-- "},
		{"1.8.8", "udplite", "-p udplite", " udplite-- "},
		{"1.8.9", "udplite", "-p udplite", " 136  -- "},
		{"1.8.9", "gre", "-p gre", " 47   -- "},
		{"1.8.10", "tcp", "-p tcp", " 6    -- "},
		{"1.8.10", "dccp", "-p dccp", " 33   -- "},
		{"1.8.11", "tcp", "-p tcp", " tcp  -- "},
		{"1.8.11", "dccp", "-p dccp", " dccp -- "},
		{"1.8.11", "udplite", "-p udplite", " udplite -- "},
		{"1.8.11", "ipv6-icmp", "-p ipv6-icmp", " ipv6-icmp -- "},
		{"1.8.11", "gre", "-p 47", " 47   -- "},
		{"1.8.11", "ipcomp", "-p ipcomp", " ipcomp -- "},
	} {
		t.Run(row.version, func(t *testing.T) {
			t.Parallel()
			v, err := ParseVersion(row.version)
			require.NoError(t, err)
			tables, err := xtables.Writer{Family: nat.IPv4, Version: Newest}.ReadSave("*filter\n-A INPUT -p " + row.protocol + "\n-A FORWARD\nCOMMIT\n")
			require.NoError(t, err)
			save, _ := View{Version: v}.Save(tables...)
			require.Contains(t, save, "-A INPUT "+row.save+"\n", row)
			list, _ := View{Version: v}.List(tables...)
			require.Contains(t, strings.Split(list, "\n")[2], strings.Repeat(" ", 10)+row.list, row)
		})
	}
}

// What a version leaves out of a rule, though the rule depends on it; what natlab reads back is whole.
func TestWhatSaveLeavesOut(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ rule, old, now string }{ // 1.8.9, 1.8.11
		{"-p tcp -m tcp ! --sport 0:65535", "-p tcp -m tcp", "-p tcp -m tcp ! --sport 0:65535"},
		{"-p udp -m udp ! --dport 0:65535 --sport 1", "-p udp -m udp --sport 1", "-p udp -m udp --sport 1 ! --dport 0:65535"},
		{"-p sctp -m sctp ! --sport 0:65535", "-p sctp -m sctp ! --sport 0:65535", "-p sctp -m sctp ! --sport 0:65535"},
		{"-p esp -m esp ! --espspi 0:4294967295", "-p esp -m esp", "-p esp -m esp ! --espspi 0:4294967295"},
		{"-p ah -m ah ! --ahspi 0:4294967295", "-p ah -m ah", "-p ah -m ah ! --ahspi 0:4294967295"},
		{"-p ipcomp -m ipcomp --ipcompspi 0:4294967295", "-p ipcomp -m ipcomp", "-p ipcomp -m ipcomp"},
		{"-p udp -m udp --sport 4:3", "-p udp -m udp --sport 4:3", "-p udp -m udp --sport 4:3"},
		{"-p tcp -m tcp --tcp-flags NONE SYN", "-p tcp -m tcp", "-p tcp -m tcp"},
		{"-p icmp -m icmp --icmp-type 3/1:4", "-p icmp -m icmp --icmp-type 3/1", "-p icmp -m icmp --icmp-type 3/1"},
		{"-p icmp -m icmp --icmp-type 255/7", "-p icmp -m icmp --icmp-type any", "-p icmp -m icmp --icmp-type 255/7"},
		{"-j MASQUERADE --random-fully", "-j MASQUERADE --random-fully", "-j MASQUERADE --random-fully"},
		{"-j NETMAP --to 1.2.3.4", "-j NETMAP --to 1.2.3.4/32", "-j NETMAP --to 1.2.3.4/32"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			t.Parallel()
			tables, err := xtables.Writer{Family: nat.IPv4, Version: Newest}.ReadSave("*nat\n-A POSTROUTING " + row.rule + "\nCOMMIT\n")
			require.NoError(t, err, row.rule)
			for _, as := range []struct {
				v    Version
				want string
			}{{Version{1, 8, 9}, row.old}, {Version{1, 8, 11}, row.now}} {
				text, _ := View{Version: as.v}.Save(tables...)
				require.Contains(t, text, "-A POSTROUTING "+as.want+"\n", as.v)
			}
			rs := xtables.Ruleset(nat.IPv4, nil, tables...)
			back, err := xtables.Writer{Family: nat.IPv4, Version: Newest}.Tables(rs)
			require.NoError(t, err)
			require.Equal(t, tables[0].Chains[0].Entries, back[0].Complete().Chains[3].Entries, row.rule)
		})
	}
}
