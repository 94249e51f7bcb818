package dataplane_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"

	"natlab/lab/dataplane"
	"natlab/nat/nftables"
	"natlab/nat/nftnl"
)

// What nft loads is read by netlink as nft lists it.
func TestNFTRead(t *testing.T) {
	t.Parallel()
	for _, row := range []string{
		// fields that are set, of whole bytes and of bits
		"ip ttl set 5",
		"ip dscp set cs1",
		"ip6 hoplimit set 5",
		"ip6 dscp set cs1",
		"ip daddr set 10.0.0.1",
		"tcp dport set 81",
		"ip id set 5",
		"ip saddr 10.0.0.1 tcp dport 80 ip ttl set 5 accept",
		// ranges of numbers that the machine has in an order of its own
		"meta mark { 0x00000001, 0x00000010-0x00000020, 0x00004000 } accept",
		"meta mark vmap { 0x00000001-0x00000005 : drop, 0x00000009 : accept }",
		"meta mark . meta l4proto { 0x00000001-0x00000005 . tcp } accept",
		"ct state . meta mark { new . 0x00000001-0x00000005 } accept",
		"meta skuid { 1-1000, 5000 } accept",
		"meta mark set tcp dport map { 80-90 : 0x00000001 }",
		// what meta and ct tell of
		"meta ipsec missing accept",
		"meta rtclassid 5 accept",
		"ct original packets > 5 accept",
		// elements that rules put into sets
		"update @s { ip saddr timeout 1h }",
		"update @s { ip saddr }",
		"add @s { ip saddr timeout 5m limit rate over 1/day burst 2 packets }",
	} {
		t.Run(row, func(t *testing.T) {
			t.Parallel()
			ns := namespace(t)
			require.NoError(t, dataplane.RunNFT(t.Context(), ns, nftChain(row)))
			want, err := nftables.ParseText(listed(t, ns))
			require.NoError(t, err)
			require.Contains(t, want.String(), row, "nft lists it otherwise")
			got, err := dataplane.ReadNFT(ns, nftables.Inet)
			require.NoError(t, err)
			require.False(t, nftnl.Unread(got), got)
			require.Empty(t, cmp.Diff(placeless(t, want), placeless(t, got), cmpopts.EquateEmpty()))
		})
	}
}

// nftChain is a table whose chain has a rule.
func nftChain(rule string) string {
	return "table inet t {\n\tset s {\n\t\ttype ipv4_addr\n\t\tsize 9\n\t\tflags dynamic,timeout\n\t\ttimeout 1h\n\t}\n\n\tchain c {\n\t\t" + rule + "\n\t}\n}\n"
}

// A condition that nft does not list is read by netlink, in whatever company: what is asked for of nft is only what is not read.
func TestNFTReadsWhatIsNotListed(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ rule, listed, read string }{
		{"ip6 daddr fd00::1 meta protocol ip ip6 saddr fd00::5 accept", "ip6 daddr fd00::1 ip6 saddr fd00::5 accept", "ip6 daddr fd00::1 meta protocol ip ip6 saddr fd00::5 accept"},
		{
			"ip6 daddr fd00::1 meta protocol ip dnat ip6 to ip6 daddr map { fd00::1 : fd00::2 }", "ip6 daddr fd00::1 dnat ip6 to ip6 daddr map { fd00::1 : fd00::2 }",
			"ip6 daddr fd00::1 meta protocol ip dnat ip6 to ip6 daddr map { fd00::1 : fd00::2 }",
		},
		{"meta l4proto tcp meta mark set 0x00000001 redirect to :tcp dport map { 80 : 8080 }", "meta l4proto tcp meta mark set 0x00000001 redirect to", "meta l4proto tcp meta mark set 0x00000001 redirect to :tcp dport map { 80 : 8080 }"},
		{"meta l4proto icmp th sport { 1, 5 } accept", "th sport { 1, 5 } accept", "meta l4proto icmp @th,0,16 { 1, 5 } accept"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			t.Parallel()
			ns := namespace(t)
			unread := "meta hour \"10:00\"-\"11:00\" accept"
			text := strings.Replace(nftChain(strings.Replace(row.rule, "redirect to :", "redirect to ", 1)+"\n\t\t"+unread), "chain c {\n", "chain c {\n\t\ttype nat hook prerouting priority dstnat; policy accept;\n", 1)
			require.NoError(t, dataplane.RunNFT(t.Context(), ns, text))
			by := listed(t, ns)
			if !strings.Contains(by, row.rule) { // newer versions list it
				require.Contains(t, by, row.listed)
			}
			got, err := dataplane.NFTTables(t.Context(), ns, nftables.Inet)
			require.NoError(t, err)
			require.Len(t, got.Tables, 1)
			c, has := got.Tables[0].Chain("c")
			require.True(t, has)
			require.Len(t, c.Rules, 2)
			require.Equal(t, row.read, c.Rules[0].Bare())
			require.NotContains(t, c.Rules[1].Bare(), "[meta]")
			require.Contains(t, c.Rules[1].Bare(), "hour")
		})
	}
}

// The sets alone are read as with all else, and the elements of those that are wanted.
func TestReadNFTSets(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	require.NoError(t, dataplane.RunNFT(t.Context(), ns, `table inet a {
	set who { type ipv4_addr; flags dynamic,timeout; timeout 3h; elements = { 10.0.0.1, 10.0.0.2 } }
	set ports { type inet_service; elements = { 80, 81 } }
	map to { type ipv4_addr : verdict; elements = { 10.0.0.3 : drop } }
	chain c { type filter hook input priority 0; tcp dport { 1, 2 } accept; ip saddr @who accept; }
}
table inet b {
	set who { type ipv4_addr; flags dynamic; elements = { 10.0.0.1 } }
}`))
	all, err := dataplane.ReadNFT(ns, nftables.Inet)
	require.NoError(t, err)
	require.Len(t, all.Tables, 2)
	wanted := func(t *nftables.Table, s *nftables.Set) bool { return t.Name == "a" && s.Has("dynamic") }
	got, err := dataplane.ReadNFTSets(ns, nftables.Inet, wanted)
	require.NoError(t, err)
	require.Len(t, got.Tables, 2)
	read := 0
	for i := range all.Tables {
		want := &all.Tables[i]
		require.Equal(t, want.Name, got.Tables[i].Name)
		require.Empty(t, got.Tables[i].Chains)
		require.Len(t, got.Tables[i].Sets, len(want.Sets))
		for k, s := range want.Sets {
			is := got.Tables[i].Sets[k]
			read += len(is.Elements)
			if wanted(want, &s) {
				require.Len(t, is.Elements, 2)
			}
			s.Elements, is.Elements = nil, nil
			require.Equal(t, s, is)
		}
	}
	require.Equal(t, 2, read, "elements that nobody wants")
	got, err = dataplane.ReadNFTSets(ns, nftables.IP, wanted)
	require.NoError(t, err)
	require.Empty(t, got.Tables)
}
