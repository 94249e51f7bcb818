package nftables_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/nftables"
)

// What nft 1.0.6 lists of sets and rules comes back to the byte, also where natlab does not read all of it.
func TestListings(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ what, inside string }{
		{"all of a set's lines", "\tset a {\n\t\ttype ipv4_addr\n\t\tpolicy memory\n\t\tsize 9\n\t\tflags dynamic,timeout\n\t\tcounter\n\t\ttimeout 5m\n\t\tgc-interval 10s\n\t\tcomment \"x\"\n\t}\n"},
		{"what elements remember is one line", "\tset a {\n\t\ttype ipv4_addr\n\t\tflags interval\n\t\tcounter quota over 5 mbytes\n\t\tauto-merge\n\t}\n"},
		{"a limit with a counter", "\tset a {\n\t\ttype ipv4_addr\n\t\tsize 5\n\t\tlimit rate 1/second counter\n\t\telements = { 10.0.0.1 limit rate 1/second counter packets 0 bytes 0 }\n\t}\n"},
		{"a map to ranges", "\tmap a {\n\t\ttype ipv4_addr : interval ipv4_addr\n\t\tflags interval\n\t\telements = { 10.1.1.1 : 10.1.1.1-10.1.1.9 }\n\t}\n"},
		{"ranges have no names", "\tset a {\n\t\ttype inet_proto\n\t\tflags interval\n\t\telements = { tcp, 10-20 }\n\t}\n"},
		{"nor have those of rules", "\tchain c {\n\t\tip dscp 0x08-0x10 accept\n\t\ticmp type 8-9 drop\n\t}\n"},
		{"types of expressions that natlab does not know", "\tset a {\n\t\ttypeof iifname . ip saddr . ipsec in reqid\n\t\telements = { \"eth0\" . 10.1.1.2 . 42 }\n\t}\n\n\tset b {\n\t\ttypeof vlan id\n\t\telements = { 2, 3, 103 }\n\t}\n\n\tmap c {\n\t\ttypeof osf name : ct mark\n\t\telements = { \"Linux\" : 0x00000001 }\n\t}\n\n\tchain d {\n\t\tvlan id @b accept\n\t\tiifname . ip saddr . ipsec in reqid @a accept\n\t}\n"},
		{"bits behind the transport header", "\tset a {\n\t\ttypeof ip daddr . @ih,32,32\n\t\telements = { 1.1.1.1 . 0x14 }\n\t}\n\n\tchain c {\n\t\tip daddr . @ih,32,32 @a accept\n\t}\n"},
		{"a chain in its rule", "\tchain c {\n\t\tip saddr 10.0.0.2 jump {\n\t\t\tip saddr { 10.0.0.1, 10.0.0.2 } counter packets 0 bytes 0 accept\n\t\t\tdrop\n\t\t}\n\t\taccept\n\t}\n"},
		{"brackets", "\tchain c {\n\t\tct mark set (meta mark | 0x00000010) << 8\n\t}\n"},
	} {
		t.Run(row.what, func(t *testing.T) {
			t.Parallel()
			text := "table ip t {\n" + row.inside + "}\n"
			rs, err := nftables.ParseText(text)
			require.NoError(t, err)
			require.Equal(t, text, rs.String())
		})
	}
	for _, bad := range []string{"set a {\n typeof\n}", "set a {\n typeof . ip saddr\n}", "chain c {\n jump {\n accept\n"} {
		_, err := nftables.ParseText("table ip t {\n" + bad)
		require.Error(t, err, bad)
	}
}

// A set of what natlab does not know is open both ways by its rule's name, and behind a chain in its rule a packet is followed no further.
func TestListingsOpen(t *testing.T) {
	t.Parallel()
	rs := table(t, "vlan id @v drop\n\t\tip saddr 10.0.0.9 jump {\n\t\t\tdrop\n\t\t}\n\t\tip saddr 10.0.0.2 jump {\n\t\t\taccept\n\t\t}\n\t\taccept")
	rs.Sets = append(rs.Sets, nftables.Set{Name: "v", Key: []nftables.Type{nftables.Untold}, Typeof: "vlan id"})
	p, w := packetOf(t, "tcp 10.0.0.2:1000 > 10.0.0.1:80"), &world{}
	v, _ := nftables.Compile(rs, nat.IPv4).Run("c", nat.Input, &p, w, nil, nil)
	require.Equal(t, nat.Drop, v, "it is lost behind the second")
	require.Equal(t, []string{"vlan id @v"}, w.asked)
}
