package iptables

import (
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
)

// What the kernel refuses because of the table, or of the hooks that lead to a chain, is refused with the rule's line; what it
// takes is taken.
func TestMisplaced(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ table, lines, want string }{
		{"filter", "-A FORWARD -p tcp -j REDIRECT --to-ports 80", "line 2, column 1: -j REDIRECT goes into table nat only, this is table filter"},
		{"filter", ":X - [0:0]\n-A X -j MASQUERADE", "line 3, column 1: -j MASQUERADE goes into table nat only, this is table filter"},
		{"mangle", "-A FORWARD -j REJECT", "line 2, column 1: -j REJECT goes into table filter only, this is table mangle"},
		{"filter", "-A FORWARD -m rpfilter", "line 2, column 1: -m rpfilter goes into table mangle or raw only, this is table filter"},
		{"nat", "-A PREROUTING -j MASQUERADE", "line 2, column 1: -j MASQUERADE goes with POSTROUTING only, packets come here from PREROUTING"},
		{"nat", "-A POSTROUTING -j DNAT --to-destination 10.0.0.1", "line 2, column 1: -j DNAT goes with PREROUTING and OUTPUT only, packets come here from POSTROUTING"},
		{"filter", "-A INPUT -m owner --uid-owner 0", "line 2, column 1: -m owner goes with OUTPUT and POSTROUTING only, packets come here from INPUT"},
		{
			"nat", ":X - [0:0]\n:Y - [0:0]\n-A Y -j SNAT --to-source 10.0.0.1\n-A OUTPUT -j X\n-A POSTROUTING -j Y\n-A X -g Y",
			"line 4, column 1: -j SNAT goes with INPUT and POSTROUTING only, packets come here from OUTPUT",
		},
		{"filter", "-A INPUT -m devgroup --src-group 1 --dst-group 2", "line 2, column 1: -m devgroup --src-group 0x1 --dst-group 0x2 goes with FORWARD only, packets come here from INPUT"},
		{"filter", "-A OUTPUT -m physdev --physdev-out eth0", "line 2, column 1: -m physdev --physdev-out eth0 goes with PREROUTING, INPUT, FORWARD and POSTROUTING only, packets come here from OUTPUT"},
		{"filter", "-A FORWARD -m physdev --physdev-out eth0", ""},
		{"filter", "-A INPUT -p tcp --tcp-flags SYN SYN -j TCPMSS --clamp-mss-to-pmtu", "line 2, column 1: -j TCPMSS --clamp-mss-to-pmtu goes with FORWARD, OUTPUT and POSTROUTING only, packets come here from INPUT"},
		{"filter", "-A INPUT -p tcp --tcp-flags SYN SYN -j TCPMSS --set-mss 1400", ""},
		// no packet comes there
		{"nat", ":X - [0:0]\n:Y - [0:0]\n-A X -j Y\n-A Y -m owner --uid-owner 0 -j MASQUERADE", ""},
		// iptables-nft has an expression of nf_tables for it
		{"filter", "-A INPUT -j TRACE", ""},
		{"raw", "-A PREROUTING -m addrtype --dst-type LOCAL", ""},
		{"raw", "-A PREROUTING -m addrtype --dst-type LOCAL --limit-iface-out", "line 2, column 1: -m addrtype --dst-type LOCAL --limit-iface-out goes with FORWARD, OUTPUT and POSTROUTING only, packets come here from PREROUTING"},
		{"filter", "-A INPUT -m policy --dir out --pol none", "line 2, column 1: -m policy --dir out --pol none goes with FORWARD, OUTPUT and POSTROUTING only, packets come here from INPUT"},
	} {
		_, err := ParseString("*"+row.table+"\n"+row.lines+"\nCOMMIT\n", nat.IPv4)
		if row.want == "" {
			require.NoError(t, err, row.lines)
		} else {
			require.EqualError(t, err, row.want+": the kernel refuses the rule", row.lines)
		}
	}
}

// The table of rules that name none is one where their extensions may be.
func TestTableOfExtensions(t *testing.T) {
	t.Parallel()
	for _, row := range [][2]string{
		{"-A PREROUTING -m rpfilter --invert -j DROP", "mangle"},
		{"-A X -p tcp -j REDIRECT", "nat"},
		{"-A X -m rpfilter -j TTL --ttl-set 3", "mangle"},
		{"-A INPUT -j TRACE", "filter"},
		{`-A X -m comment --comment "-j REDIRECT" -j ACCEPT`, "filter"},
	} {
		read, err := Read(row[0] + "\n")
		require.NoError(t, err, row[0])
		require.Len(t, read.Rulesets[0].Tables, 1)
		require.Equal(t, row[1], read.Rulesets[0].Tables[0].Name, row[0])
	}
}
