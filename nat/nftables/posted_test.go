package nftables

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Listings as people post them: with handles and comments of nft -a, and with the names of ports that old versions print.
func TestPosted(t *testing.T) {
	t.Parallel()
	const posted = `table ip nat { # handle 7
	comment "mine"
	chain prerouting { # handle 1
		comment "the first"
		type nat hook prerouting priority dstnat; policy accept;
		iifname "eth0" tcp dport http counter packets 5 bytes 300 dnat to 10.0.0.5:8080 comment "web" # handle 4
		tcp dport { ssh, https, 8000-8100 } accept # handle 5
	}
}
`
	require.True(t, Sniff(posted))
	rs, err := ParseText(posted)
	require.NoError(t, err)
	require.Empty(t, rs.Unread())
	want, err := ParseText(`table ip nat {
	chain prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		iifname "eth0" tcp dport 80 dnat to 10.0.0.5:8080
		tcp dport { 22, 443, 8000-8100 } accept
	}
}`)
	require.NoError(t, err)
	for i, r := range rs.Tables[0].Chains[0].Rules {
		require.Equal(t, want.Tables[0].Chains[0].Rules[i].Bare(), r.Bare())
	}
	require.False(t, Sniff("table of contents\n"))
}

// Words in place of signs, as nft prints them of what iptables-nft wrote, are the same rules.
func TestPostedWords(t *testing.T) {
	t.Parallel()
	table := func(rules string) Ruleset {
		rs, err := ParseText("table ip nat {\n\tchain c {\n" + rules + "\n\t}\n}")
		require.NoError(t, err)
		require.Empty(t, rs.Unread())
		return rs
	}
	words := table("counter packets 0 bytes 0 meta mark set mark or 0x4000\nmeta mark set mark xor 0x4000\nmark and 0x0000c000 == 0x00004000 accept\nmeta mark set ct mark lshift 8\nmeta mark set mark and 0xffff0000")
	signs := table("counter packets 0 bytes 0 meta mark set meta mark | 0x4000\nmeta mark set meta mark ^ 0x4000\nmeta mark & 0x0000c000 == 0x00004000 accept\nmeta mark set ct mark << 8\nmeta mark set meta mark & 0xffff0000")
	for i := range signs.Tables[0].Chains[0].Rules {
		require.Equal(t, signs.Tables[0].Chains[0].Rules[i].Bare(), words.Tables[0].Chains[0].Rules[i].Bare())
	}
}
